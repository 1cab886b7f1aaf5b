"""The task embed: one vector a text, near those of texts that go with it."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F
from transformers import AutoModel, PreTrainedModel
from transformers import PreTrainedTokenizerBase as Tokenizer

from trimtab import data, tuning
from trimtab.artifacts import ArtifactFacts
from trimtab.data import Split
from trimtab.data.spec import EVALUATION_TOKENS, Example
from trimtab.errors import Diverged, ModelError
from trimtab.evaluation.contrast import cosent_sum, info_nce_sum, left_out
from trimtab.evaluation.encode import Collator, Encoded, encode_apart
from trimtab.evaluation.objective import Inputs, OnePass, Opening, ScoredRows
from trimtab.evaluation.predict import device_of, row_batches
from trimtab.evaluation.prediction import Prediction
from trimtab.evaluation.sentence_files import write_sentence_files
from trimtab.methods import Strategy
from trimtab.metrics import Findings, Score, WorstExample
from trimtab.metrics.retrieval import Retrieval, rank_gaps, retrieve, score_pairs, score_retrieval
from trimtab.models.spec import ModelSpec
from trimtab.tuning.load import without_pooler
from trimtab.tuning.shapes import config_of

_WORST = 20
_POOLING = "sentence_pooling"  # where a model in memory keeps how its vectors are made


class Embeddings(OnePass):
    """Queries with a positive and hard negatives, or pairs with a score: told apart by their targets."""

    can_start = True

    def model(self, opening: Opening) -> PreTrainedModel:
        model = tuning.load_encoder(
            opening.source,
            pad_token_id=opening.pad_token_id,
            seed=opening.seed,
            trust_remote_code=opening.trust_remote_code,
        )
        setattr(model, _POOLING, opening.pooling or "mean")
        return model

    def shape(self, spec: ModelSpec, outputs: int) -> PreTrainedModel:
        config = config_of(spec)
        config.use_cache = False
        try:
            model = without_pooler(tuning.shrink_built(AutoModel.from_config(config, dtype=torch.float32)), 0)
        except ValueError as error:  # "Unrecognized configuration class"
            raise ModelError("TT-T007", model=spec.name, family=spec.family) from error
        setattr(model, _POOLING, "cls" if spec.pooling == "cls" else "mean")
        return model

    def collator(self, tokenizer: Tokenizer, max_length: int) -> Collator:
        """Padded on the right: the first token is where "cls" looks for it."""
        return replace(Collator.of(tokenizer, max_length), left=False)

    def encode(self, examples: Iterable[Example], tokenizer: Tokenizer, max_length: int) -> Encoded:
        return encode_apart(examples, tokenizer, max_length)

    def targets(self, encoded: Encoded, collator: Collator, rows: np.ndarray) -> torch.Tensor:
        """Scores, float32 (rows); of ranked rows what is no negative, bool (rows, texts that may be found)."""
        if encoded.labels.dtype == np.float32:
            return torch.from_numpy(encoded.labels[rows])
        assert encoded.apart is not None
        return torch.from_numpy(left_out(encoded.apart, rows))

    def imagined_targets(self, rows: int, texts: int, learned: int) -> torch.Tensor:
        """Of ranked rows; scored pairs need as much, up to a few bytes a pair of rows."""
        return torch.zeros(rows, rows * (texts - 1), dtype=torch.bool)

    def weight(self, encoded: Encoded, rows: np.ndarray) -> int:
        return len(rows)

    def given(self, model: nn.Module, inputs: Inputs, targets: torch.Tensor) -> torch.Tensor:
        """Vectors of length 1, (texts, width)."""
        return vectors_of(model, inputs)

    def loss_of(
        self, model: nn.Module, given: torch.Tensor, targets: torch.Tensor, strategy: Strategy
    ) -> torch.Tensor:
        of_rows = info_nce_sum if targets.dtype == torch.bool else cosent_sum
        return of_rows(given, targets, strategy.temperature)

    def places(self, encoded: Encoded, collator: Collator, rows: np.ndarray) -> np.ndarray:
        """Texts."""
        assert encoded.apart is not None
        return encoded.apart.order(rows)

    def place_count(self, encoded: Encoded) -> int:
        assert encoded.apart is not None
        return len(encoded.apart.keys)

    def sequence_shares(self, inputs: Inputs, targets: torch.Tensor) -> torch.Tensor:
        """Those of a row share its weight."""
        ids = inputs["input_ids"]
        return torch.full((len(ids),), len(targets) / len(ids), device=ids.device)

    def run(self, model: nn.Module, inputs: Inputs, targets: torch.Tensor) -> None:
        vectors_of(model, inputs)

    def score(self, model: PreTrainedModel, rows: ScoredRows) -> Score:
        """Raises Diverged TT-E003 where a vector is not finite."""
        encoded = rows.encoded
        vectors = _finite(self.outputs(model, encoded, rows.collator))
        if encoded.labels.dtype == np.float32:
            return score_pairs(rows.split, _cosines(vectors, encoded), encoded.labels.astype(np.float64))
        return score_retrieval(rows.split, _retrieved(vectors, encoded))

    def main_metric(self, label_counts: tuple[int, ...]) -> str:
        """Said by the rows: Spearman's correlation where they have scores, else the mean reciprocal rank."""
        return ""

    def outputs(self, model: PreTrainedModel, encoded: Encoded, collator: Collator) -> np.ndarray:
        """Vectors of all texts, (texts, width), in the order of the rows."""
        return vectors(model, encoded.texts, collator)

    def findings(self, model: PreTrainedModel, tokenizer: Tokenizer, rows: ScoredRows, split: Split) -> Findings:
        """Pairs that stand furthest from their place by score; queries before whose positive most else comes, with
        what comes first."""
        encoded = rows.encoded
        found = self.outputs(model, encoded, rows.collator)
        if encoded.labels.dtype == np.float32:
            return Findings(worst=_worst_pairs(_cosines(found, encoded), encoded, split))
        return Findings(worst=_worst_queries(_retrieved(found, encoded), encoded, split))

    def asked(self, text: tuple[str, ...], file: str | None, columns: tuple[str, ...]) -> Iterator[Example]:
        """Single texts; of a table those of the first column of the training, where the table has it."""
        inputs = iter(text) if file is None else data.read_single_texts(file, columns[0])
        return (Example((one,), None) for one in inputs)

    def rows_of(self, facts: ArtifactFacts, examples: Sequence[Example]) -> list[Example]:
        """Each behind the prefix of queries."""
        return [replace(example, texts=facts.prefixes.put(*example.texts)) for example in examples]

    def outputs_in(
        self, model: nn.Module, output: Any, inputs: Inputs, encoded: Encoded, collator: Collator, rows: np.ndarray
    ) -> torch.Tensor:
        """Vectors of length 1, (texts, width)."""
        return _pooled(model, output, inputs)

    def predictions(
        self, outputs: np.ndarray, encoded: Encoded, facts: ArtifactFacts, examples: Sequence[Example]
    ) -> Iterator[Prediction]:
        return (Prediction(None, None, None, (), vector=tuple(map(float, row))) for row in outputs)

    def write_beside(self, folder: Path, facts: ArtifactFacts, model: PreTrainedModel) -> None:
        write_sentence_files(
            folder,
            width=model.config.hidden_size,
            pooling=getattr(model, _POOLING),
            max_length=facts.strategy.max_length,
            prefixes=facts.prefixes,
        )


def vectors_of(model: nn.Module, inputs: Inputs) -> torch.Tensor:
    """Vectors of length 1 of a batch, fp32 (texts, width)."""
    return _pooled(model, model(**inputs), inputs)


def _pooled(model: nn.Module, output: Any, inputs: Inputs) -> torch.Tensor:
    hidden = output[0]
    if getattr(model, _POOLING) == "cls":
        return F.normalize(hidden[:, 0].float(), dim=1)
    # A product with the mask: no copy of the hidden states, none kept for backward. The sum will do for the mean,
    # since it is divided by its length.
    mask = inputs["attention_mask"].to(hidden.dtype)
    return F.normalize(torch.bmm(mask[:, None], hidden)[:, 0].float(), dim=1)


@torch.inference_mode()
def vectors(
    model: PreTrainedModel, texts: Encoded, collator: Collator, tokens: int = EVALUATION_TOKENS
) -> np.ndarray:
    """Vectors of texts, float32 (texts, width). The model is put into evaluation mode and stays there."""
    model.eval()
    device = device_of(model)
    found = np.zeros((len(texts), model.config.hidden_size), np.float32)
    for rows in row_batches(texts.lengths, tokens, collator.max_length):
        inputs = {name: x.to(device) for name, x in collator.batch(texts, rows).items()}
        found[rows] = vectors_of(model, inputs).cpu().numpy()
    return found


def _finite(vectors: np.ndarray) -> np.ndarray:
    broken = int(np.count_nonzero(~np.isfinite(vectors).all(axis=1)))
    if broken:
        raise Diverged("TT-E003", count=broken, n=len(vectors))
    return vectors


def _cosines(vectors: np.ndarray, encoded: Encoded) -> np.ndarray:
    assert encoded.apart is not None
    first = encoded.apart.rows[:-1]
    return np.einsum("ij,ij->i", vectors[first], vectors[first + 1]).astype(np.float64)


def _retrieved(vectors: np.ndarray, encoded: Encoded) -> Retrieval:
    """Each query before all different passages of the split."""
    apart = encoded.apart
    assert apart is not None
    queries = apart.rows[:-1]
    passages = np.setdiff1d(np.arange(len(vectors)), queries)
    keys, first, place = np.unique(apart.keys[passages], return_index=True, return_inverse=True)
    positives = place[np.searchsorted(passages, queries + 1)]
    return retrieve(
        vectors[queries], vectors[passages[first]], positives, apart.keys[queries], keys, passages[first]
    )


def _worst_pairs(cosines: np.ndarray, encoded: Encoded, split: Split) -> tuple[WorstExample, ...]:
    gaps = rank_gaps(cosines, encoded.labels.astype(np.float64))
    worst = np.argsort(-gaps, kind="stable")[:_WORST]
    texts = _texts_of(split, {int(row) for row in worst})
    return tuple(
        WorstExample(
            texts=texts[row],
            expected=f"{encoded.labels[row]:.3f}",
            predicted=f"{cosines[row]:.3f}",
            loss=float(gaps[row]),
        )
        for row in map(int, worst)
    )


def _worst_queries(found: Retrieval, encoded: Encoded, split: Split) -> tuple[WorstExample, ...]:
    apart = encoded.apart
    assert apart is not None
    worst = np.argsort(-found.ranks, kind="stable")[:_WORST]
    worst = worst[found.ranks[worst] > 1]
    rows = np.searchsorted(apart.rows, found.best, side="right") - 1  # of the passage that comes first
    texts = _texts_of(split, {int(row) for row in (*worst, *rows[worst])})
    return tuple(
        WorstExample(
            texts=(*texts[row][:2], texts[int(rows[row])][int(found.best[row] - apart.rows[rows[row]])]),
            expected=f"{found.cosines[row]:.3f}",
            predicted=f"{found.best_cosines[row]:.3f}",
            loss=float(found.ranks[row]),
        )
        for row in map(int, worst)
    )


def _texts_of(split: Split, rows: set[int]) -> dict[int, tuple[str, ...]]:
    return {row: example.texts for row, example in enumerate(split) if row in rows}
