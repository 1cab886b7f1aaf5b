"""The task text: a decoder goes on learning from plain text (continued pre-training), every token of it.

Documents are put one after the other, the end of text between them, and cut into blocks of `max_length` tokens.
Attention and positions run through a block, whatever documents it holds, as in pre-training. The first token of a
block, which nothing predicts, is not learned. Leaves out masked-language models (encoders)."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice

import numpy as np
from transformers import PreTrainedModel
from transformers import PreTrainedTokenizerBase as Tokenizer

from trimtab import data, tuning
from trimtab.artifacts import ArtifactFacts
from trimtab.data import Split
from trimtab.data.spec import Example
from trimtab.errors import ModelError
from trimtab.evaluation.encode import Encoded
from trimtab.evaluation.generate import continuation
from trimtab.evaluation.language import LanguageModelling
from trimtab.evaluation.objective import ScoredRows
from trimtab.evaluation.prediction import Prediction
from trimtab.metrics import Findings, Sample, exact_match, rouge_l
from trimtab.models import ModelSource

_SAMPLES = 4
_SAMPLE_PROMPT_TOKENS = 32
_SAMPLE_TOKENS = 64
_DOCUMENTS = 256  # tokenised at a time


class PlainText(LanguageModelling):
    """What is learned is every token of a block but its first. Final."""

    main = "perplexity"
    nothing_left = "TT-D155"

    def tokenizer(self, source: ModelSource, *, trust_remote_code: bool = False) -> Tokenizer:
        """Raises ModelError TT-M069 for one that has no end of text."""
        tokenizer = tuning.load_tokenizer(source, trust_remote_code=trust_remote_code)
        if tokenizer.eos_token_id is None:
            raise ModelError("TT-M069", folder=str(source.folder))
        return tokenizer

    def encode(self, examples: Iterable[Example], tokenizer: Tokenizer, max_length: int) -> Encoded:
        return encode_blocks(examples, tokenizer, max_length)

    def findings(self, model: PreTrainedModel, tokenizer: Tokenizer, rows: ScoredRows, split: Split) -> Findings:
        """How a few documents, spread evenly over the split, go on from their beginnings, and how the model has
        them go on."""
        wanted = set(np.linspace(0, len(split) - 1, num=min(_SAMPLES, len(split)), dtype=np.int64).tolist())
        texts = [example.texts[0] for row, example in enumerate(split) if row in wanted]
        samples = (_sample(model, tokenizer, text, rows.collator.max_length) for text in texts)
        return Findings(samples=tuple(sample for sample in samples if sample is not None))

    def asked(self, text: tuple[str, ...], file: str | None, columns: tuple[str, ...]) -> Iterator[Example]:
        """Beginnings of texts: each of `text`, each line or row of `file`."""
        inputs = iter(text) if file is None else data.read_single_texts(file, columns[0])
        return (Example((one,), None) for one in inputs)

    def predict(
        self, model: PreTrainedModel, tokenizer: Tokenizer, facts: ArtifactFacts, examples: Sequence[Example]
    ) -> Iterator[Prediction]:
        """How each text goes on."""
        for example in examples:
            written = continuation(model, tokenizer, open_ids(tokenizer, example.texts[0]))
            yield Prediction(None, None, None, (), text=written.text, ended=written.ended)


def encode_blocks(examples: Iterable[Example], tokenizer: Tokenizer, max_length: int) -> Encoded:
    """Tokenise a stream of documents and cut it into blocks. The last block may be a short one; of a single token,
    which nothing predicts, there is none."""
    parts = [np.array(row, np.int32) for row in _documents(examples, tokenizer)]
    ids = np.concatenate(parts) if parts else np.zeros(0, np.int32)
    if len(ids) % max_length == 1:
        ids = ids[:-1]
    starts = np.append(np.arange(0, len(ids), max_length, dtype=np.int64), len(ids))
    rows = len(starts) - 1
    return Encoded(
        ids=ids,
        starts=starts,
        seconds=np.zeros(rows, np.int32),
        labels=np.zeros(rows, np.int64),
        learned=np.ones(len(ids), np.bool_),
    )


def _documents(examples: Iterable[Example], tokenizer: Tokenizer) -> Iterator[list[int]]:
    """Tokens of each document as the tokenizer writes a text, with the end of text behind it, once."""
    end = int(tokenizer.eos_token_id)
    texts = (example.texts[0] for example in examples)
    while block := list(islice(texts, _DOCUMENTS)):
        for row in tokenizer(block, return_attention_mask=False)["input_ids"]:
            yield row if row and row[-1] == end else [*row, end]


def open_ids(tokenizer: Tokenizer, text: str) -> list[int]:
    """Tokens of a text that is to go on: without its end."""
    ids = list(tokenizer(text)["input_ids"])
    while ids and ids[-1] == tokenizer.eos_token_id:
        ids.pop()
    return ids or [int(tokenizer.eos_token_id)]


def _sample(model: PreTrainedModel, tokenizer: Tokenizer, text: str, max_length: int) -> Sample | None:
    """None for a document of a few tokens, which has no beginning and no rest."""
    ids = open_ids(tokenizer, text)
    begun = min(_SAMPLE_PROMPT_TOKENS, len(ids) // 2, max(1, max_length // 2))
    if begun < 1:
        return None
    tokens = max(1, min(_SAMPLE_TOKENS, max_length - begun))
    written = continuation(model, tokenizer, ids[:begun], most_tokens=tokens)
    expected = tokenizer.decode(ids[begun : begun + tokens], skip_special_tokens=True)
    return Sample(
        prompt=tokenizer.decode(ids[:begun], skip_special_tokens=True),
        expected=expected,
        written=written.text,
        tokens=written.tokens,
        ended=written.ended,
        exact=exact_match(expected, written.text),
        rouge_l=rouge_l(expected, written.text),
    )
