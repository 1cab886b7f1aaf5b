"""The task tag: every word of a sentence has a tag, and tags name entities.

A word is what the data say it is; its tag is learned and predicted at its first token. A word beyond the cut has
no token: it is predicted to be outside of every entity, and counts as such in the score. Tags are taken one by
one, the most likely of each; leaves out whatever would make them agree with each other (a CRF, Viterbi).
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import nn
from transformers import AutoModelForTokenClassification, PreTrainedModel
from transformers import PreTrainedTokenizerBase as Tokenizer

from trimtab import tuning
from trimtab.artifacts import ArtifactFacts
from trimtab.data import Split, read_sentences
from trimtab.data.spec import EVALUATION_TOKENS, Example
from trimtab.data.tag_schemes import OUTSIDE, Spans, TagSet
from trimtab.data.words import joined
from trimtab.errors import DataError, ModelError
from trimtab.evaluation.encode import Collator, Encoded, Words, spans
from trimtab.evaluation.encode_words import encode_words
from trimtab.evaluation.loss import class_loss
from trimtab.evaluation.objective import Inputs, OnePass, Opening, ScoredRows, counted_by_row
from trimtab.evaluation.predict import device_of, row_batches
from trimtab.evaluation.prediction import Entity, Prediction
from trimtab.methods import Strategy
from trimtab.metrics import (
    ENTITY_METRIC,
    Confusion,
    Findings,
    Score,
    TaggedWords,
    WorstExample,
    confusion_matrix,
    score_entities,
)
from trimtab.models import ModelSource
from trimtab.models.spec import ModelSpec
from trimtab.tuning.shapes import config_of

_WORST = 20
_GATE_WORDS = 256


class Tagged(OnePass):
    """Cross entropy of the words' tags; mean over the words of the global batch. Final."""

    can_start = False  # the head is freshly made

    def tokenizer(self, source: ModelSource, *, trust_remote_code: bool = False) -> Tokenizer:
        """One that says which word a token is of. Raises ModelError TT-M060 where it does not."""
        tokenizer = tuning.load_tokenizer(source, trust_remote_code=trust_remote_code, words=True)
        if not tokenizer.is_fast:
            raise ModelError("TT-M060", tokenizer=type(tokenizer).__name__)
        return tokenizer

    def model(self, opening: Opening) -> PreTrainedModel:
        return tuning.load_tagger(
            opening.source,
            outputs=opening.outputs,
            pad_token_id=opening.pad_token_id,
            labels=opening.labels,
            seed=opening.seed,
            trust_remote_code=opening.trust_remote_code,
        )

    def shape(self, spec: ModelSpec, outputs: int) -> PreTrainedModel:
        config = config_of(spec, num_labels=outputs)
        config.pad_token_id, config.use_cache = 0, False
        try:
            return tuning.shrink_built(AutoModelForTokenClassification.from_config(config, dtype=torch.float32))
        except ValueError as error:  # "Unrecognized configuration class"
            raise ModelError("TT-M061", model=spec.name, family=spec.family) from error

    def collator(self, tokenizer: Tokenizer, max_length: int) -> Collator:
        """Padded on the right: no token of a causal model sees the padding, and positions count from the first."""
        return replace(Collator.of(tokenizer, max_length), left=False)

    def encode(self, examples: Iterable[Example], tokenizer: Tokenizer, max_length: int) -> Encoded:
        return encode_words(examples, tokenizer, max_length)

    def require_targets(self, encoded: Encoded, split: str, max_length: int) -> None:
        """Raises DataError TT-D128 where no word has a token."""
        if not (_words(encoded).places >= 0).any():
            raise DataError("TT-D128", split=split, rows=len(encoded), length=max_length)

    def targets(self, encoded: Encoded, collator: Collator, rows: np.ndarray) -> torch.Tensor:
        """Places of words in the flattened batch and their tags, int64 (2, words)."""
        words, places = collator.tagged_words(encoded, rows)
        return torch.from_numpy(np.stack([places, _words(encoded).tags[words]]))

    def imagined_targets(self, rows: int, texts: int, learned: int) -> torch.Tensor:
        return torch.stack([torch.arange(learned), torch.zeros(learned, dtype=torch.int64)])

    def weight(self, encoded: Encoded, rows: np.ndarray) -> int:
        words = _words(encoded)
        return max(1, int((words.places[spans(words.starts, rows)[0]] >= 0).sum()))

    def given(self, model: nn.Module, inputs: Inputs, targets: torch.Tensor) -> torch.Tensor:
        """Logits at the first tokens of words, (words, tags)."""
        return model(**inputs).logits.flatten(0, 1)[targets[0]]

    def loss_of(
        self, model: nn.Module, given: torch.Tensor, targets: torch.Tensor, strategy: Strategy
    ) -> torch.Tensor:
        return class_loss(given, targets[1], strategy)

    def places(self, encoded: Encoded, collator: Collator, rows: np.ndarray) -> np.ndarray:
        """Words that have a token."""
        return collator.tagged_words(encoded, rows)[0]

    def place_count(self, encoded: Encoded) -> int:
        return len(_words(encoded).tags)

    def sequence_shares(self, inputs: Inputs, targets: torch.Tensor) -> torch.Tensor:
        return counted_by_row(inputs, targets)

    def run(self, model: nn.Module, inputs: Inputs, targets: torch.Tensor) -> None:
        model(**inputs)

    def score(self, model: PreTrainedModel, rows: ScoredRows) -> Score:
        """Raises DataError TT-D128 where no word has a token."""
        self.require_targets(rows.encoded, rows.split, rows.collator.max_length)
        words, tags = _words(rows.encoded), TagSet(rows.labels)
        said = _said(model, rows.encoded, rows.collator, tags)
        tagged = TaggedWords(said.guesses, words.tags, words.starts)
        return score_entities(rows.split, tagged, tags, float(said.losses[words.places >= 0].mean()))

    def main_metric(self, label_counts: tuple[int, ...]) -> str:
        return ENTITY_METRIC

    def agreement(self, before: np.ndarray, after: np.ndarray) -> float:
        return float((before.argmax(axis=1) == after.argmax(axis=1)).mean())

    def outputs(self, model: PreTrainedModel, encoded: Encoded, collator: Collator) -> np.ndarray:
        """Logits at the first words, (at most 256, tags), in their order; zeros where a word was cut off."""
        count = min(_GATE_WORDS, len(_words(encoded).tags))
        found: np.ndarray | None = None
        for words, logits in _at_words(model, encoded, collator):
            found = np.zeros((count, logits.shape[1]), np.float32) if found is None else found
            first = words < count
            found[words[first]] = logits[first]
        assert found is not None, "no rows to run"
        return found

    def findings(self, model: PreTrainedModel, tokenizer: Tokenizer, rows: ScoredRows, split: Split) -> Findings:
        """The sentences with the highest losses, and which type the words of an entity are taken for."""
        words, tags = _words(rows.encoded), TagSet(rows.labels)
        said = _said(model, rows.encoded, rows.collator, tags)
        lost = np.add.reduceat(said.losses, words.starts[:-1]) / np.maximum(1, np.diff(words.starts))
        worst = {int(row): rank for rank, row in enumerate(np.argsort(-lost, kind="stable")[:_WORST])}
        found: list[tuple[int, WorstExample]] = []
        for row, example in enumerate(split):
            if row in worst:
                part = slice(words.starts[row], words.starts[row + 1])
                shown = WorstExample(
                    texts=(joined(example.texts).text,),
                    expected=_shown(example.texts, words.tags[part], tags),
                    predicted=_shown(example.texts, said.guesses[part], tags),
                    loss=float(lost[row]),
                )
                found.append((worst[row], shown))
        return Findings(
            worst=tuple(example for _, example in sorted(found, key=lambda pair: pair[0])),
            confusion=_confusion(said.guesses, words.tags, tags),
        )

    def asked(self, text: tuple[str, ...], file: str | None, columns: tuple[str, ...]) -> Iterator[Example]:
        """Texts are cut into words by rule (`data.words`), rows of words are taken as they are."""
        return (Example(one.words, None, sentence=one) for one in read_sentences(text, file, columns))

    def rows_of(self, facts: ArtifactFacts, examples: Sequence[Example]) -> list[Example]:
        """Those that have a word."""
        return [example for example in examples if example.texts]

    def outputs_in(
        self, model: nn.Module, output: Any, inputs: Inputs, encoded: Encoded, collator: Collator, rows: np.ndarray
    ) -> torch.Tensor:
        """Logits at the first tokens of words, (words that have a token, tags)."""
        logits = output.logits.flatten(0, 1)
        _, places = collator.tagged_words(encoded, rows)
        return logits[torch.from_numpy(places).to(logits.device)].float()

    def predictions(
        self, outputs: np.ndarray, encoded: Encoded, facts: ArtifactFacts, examples: Sequence[Example]
    ) -> Iterator[Prediction]:
        """The entities of each sentence, in order; none where there is no word."""
        tags, words = TagSet(facts.labels), _words(encoded)
        said = _Said.nothing(len(words.tags), tags)
        there = np.flatnonzero(words.places >= 0)
        if len(there):  # of no words at all there are no logits, whose width would be that of the tags
            said.put(there, outputs[there], words.tags[there])
        bounds = iter(pairwise(words.starts))
        for example in examples:
            found = _entities(example, tags, said.part(slice(*next(bounds)))) if example.texts else ()
            yield Prediction(None, None, None, (), entities=found)


@dataclass(frozen=True, slots=True)
class _Said:
    """Of every word: the most likely tag, int64, its probability and the loss of the right tag, float64. A word
    without a token is outside of every entity, for sure, and has no loss."""

    guesses: np.ndarray
    shares: np.ndarray
    losses: np.ndarray

    @classmethod
    def nothing(cls, count: int, tags: TagSet) -> "_Said":
        """Of `count` words without a token."""
        return cls(np.full(count, tags.outside), np.ones(count), np.zeros(count))

    def put(self, at: np.ndarray, logits: np.ndarray, right: np.ndarray) -> None:
        """What `logits` (words, tags) say of the words `at`, whose tags are `right`."""
        log_shares = torch.from_numpy(logits).double().log_softmax(1).numpy()
        self.guesses[at] = logits.argmax(1)
        self.shares[at] = np.exp(log_shares.max(1))
        self.losses[at] = -log_shares[np.arange(len(at)), right]

    def part(self, words: slice) -> "_Said":
        return _Said(self.guesses[words], self.shares[words], self.losses[words])


def _said(model: PreTrainedModel, encoded: Encoded, collator: Collator, tags: TagSet) -> _Said:
    words = _words(encoded)
    said = _Said.nothing(len(words.tags), tags)
    for at, logits in _at_words(model, encoded, collator):
        said.put(at, logits, words.tags[at])
    return said


@torch.inference_mode()
def _at_words(
    model: PreTrainedModel, encoded: Encoded, collator: Collator, tokens: int = EVALUATION_TOKENS
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Which words, and their logits float32 (words, tags), batch by batch."""
    model.eval()
    device = device_of(model)
    for rows in row_batches(encoded.lengths, tokens, collator.max_length):
        inputs = {name: x.to(device) for name, x in collator.batch(encoded, rows).items()}
        words, places = collator.tagged_words(encoded, rows)
        logits = model(**inputs).logits.flatten(0, 1)[torch.from_numpy(places).to(device)]
        yield words, logits.float().cpu().numpy()


def _entities(example: Example, tags: TagSet, said: _Said) -> tuple[Entity, ...]:
    """Those of one sentence, where they stand in its text, and how probable the least of their words is."""
    sentence = example.sentence or joined(example.texts)
    spans = tags.spans(said.guesses, np.array([0, len(said.guesses)]))
    found = []
    for kind, first, end in zip(spans.types, spans.begins, spans.ends, strict=True):
        (start, _), (_, stop) = sentence.places[first], sentence.places[end - 1]
        share = float(said.shares[first:end].min())
        found.append(Entity(tags.types[kind], sentence.text[start:stop], start, stop, share))
    return tuple(found)


def _words(encoded: Encoded) -> Words:
    assert encoded.words is not None, "only sentences have tagged words"
    return encoded.words


def _shown(words: Sequence[str], tags_of: np.ndarray, tags: TagSet) -> str:
    """The entities of a sentence: "person: Ann Lee; location: Oslo"."""
    spans: Spans = tags.spans(tags_of, np.array([0, len(tags_of)]))
    named = zip(spans.types, spans.begins, spans.ends, strict=True)
    said = (f"{tags.types[kind]}: {joined(words[begin:end]).text}" for kind, begin, end in named)
    return "; ".join(said) or "–"


def _confusion(guesses: np.ndarray, targets: np.ndarray, tags: TagSet) -> Confusion:
    """Words by the type they are of, and by the one they are taken for; outside of all entities comes last."""
    of, taken = tags.type_of[targets], tags.type_of[guesses]
    last = len(tags.types)
    counts = confusion_matrix(np.where(taken < 0, last, taken), np.where(of < 0, last, of), last + 1)
    return Confusion(labels=(*tags.types, OUTSIDE), counts=tuple(map(tuple, counts.tolist())))
