"""What tasks of a language model have in common: its class, the loss of learned tokens, their scores.

Final classes: `answers.Answers`, `plain_text.PlainText`. Leaves out how rows become tokens, and what a report
shows."""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
import torch
from torch import nn
from transformers import AutoModelForCausalLM, PreTrainedModel
from transformers import PreTrainedTokenizerBase as Tokenizer

from trimtab import tuning
from trimtab.data.spec import EVALUATION_TOKENS
from trimtab.data.token_store import let_go
from trimtab.errors import DataError, ModelError
from trimtab.evaluation import vocabulary
from trimtab.evaluation.encode import Collator, Encoded, spans
from trimtab.evaluation.objective import Inputs, Objective, Opening, RowLosses, ScoredRows, counted_by_row
from trimtab.evaluation.predict import device_of, row_batches
from trimtab.methods import Strategy
from trimtab.metrics import Score, score_answers
from trimtab.models.spec import ModelSpec
from trimtab.tuning.shapes import config_of

_GATE_ROWS = 32  # of each of which the logits of one position are held, over the whole vocabulary
_PIECE_ROWS = 1 << 13


class LanguageModelling(Objective):
    """Abstract. Cross entropy of the learned tokens; mean over those of the global batch. `main`: the metric that
    decides; `nothing_left`: the refusal of a split of which not one learned token is left."""

    can_start = True
    main: ClassVar[str]
    nothing_left: ClassVar[str]

    def model(self, opening: Opening) -> PreTrainedModel:
        model = tuning.load_language_model(
            opening.source,
            pad_token_id=opening.pad_token_id,
            seed=opening.seed,
            trust_remote_code=opening.trust_remote_code,
        )
        vocabulary.require_same_logits(model)
        return model

    def shape(self, spec: ModelSpec, outputs: int) -> PreTrainedModel:
        config = config_of(spec)
        config.pad_token_id, config.use_cache = 0, False
        try:
            return tuning.shrink_built(AutoModelForCausalLM.from_config(config, dtype=torch.float32))
        except ValueError as error:  # "Unrecognized configuration class"
            raise ModelError("TT-T007", model=spec.name, family=spec.family) from error

    def collator(self, tokenizer: Tokenizer, max_length: int) -> Collator:
        """Padded on the right: no token of a causal model sees the padding, and positions count from the first."""
        return replace(Collator.of(tokenizer, max_length), left=False)

    def require_targets(self, encoded: Encoded, split: str, max_length: int) -> None:
        """Raises DataError where not one learned token is left."""
        if not _learned_tokens(encoded).any():
            raise DataError(self.nothing_left, split=split, rows=len(encoded), length=max_length)

    def targets(self, encoded: Encoded, collator: Collator, rows: np.ndarray) -> torch.Tensor:
        """`Collator.next_tokens`: places and ids, int64 (2, tokens)."""
        return collator.next_tokens(encoded, rows)

    def imagined_targets(self, rows: int, texts: int, learned: int) -> torch.Tensor:
        return torch.zeros(2, learned, dtype=torch.int64)

    def weight(self, encoded: Encoded, rows: np.ndarray) -> int:
        """Learned tokens; 1 where all of the batch were cut away, whose loss is 0."""
        assert encoded.learned is not None, "only a language model has learned tokens"
        at, begins = spans(encoded.starts, rows)
        learned = encoded.learned[at]
        learned[begins[:-1][np.diff(begins) > 0]] = False  # nothing predicts the first token of a row
        return max(1, int(learned.sum()))

    def given(self, model: nn.Module, inputs: Inputs, targets: torch.Tensor) -> torch.Tensor:
        """What the head sees before each learned token, (tokens, width)."""
        return _before(model, inputs, targets)

    def loss_of(
        self, model: nn.Module, given: torch.Tensor, targets: torch.Tensor, strategy: Strategy
    ) -> torch.Tensor:
        """Never all logits at once: see `vocabulary`."""
        return vocabulary.cross_entropy_sum(given, targets[1], vocabulary.head_of(model))

    def sequence_shares(self, inputs: Inputs, targets: torch.Tensor) -> torch.Tensor:
        return counted_by_row(inputs, targets)

    def run(self, model: nn.Module, inputs: Inputs, targets: torch.Tensor) -> None:
        vocabulary.token_scores(_before(model, inputs, targets), targets[1], vocabulary.head_of(model))

    def score(self, model: PreTrainedModel, rows: ScoredRows) -> Score:
        """Raises DataError where not one learned token is left."""
        return self.read(model, rows)[0]

    def read(self, model: PreTrainedModel, rows: ScoredRows) -> tuple[Score, RowLosses]:
        """Raises as `score`. A row as long as rows are cut is taken to have been cut."""
        encoded, longest = rows.encoded, rows.collator.max_length
        self.require_targets(encoded, rows.split, longest)
        sums = _token_sums(model, encoded, rows.collator)
        score = score_answers(rows.split, sums.losses, sums.right, sums.tokens, main=self.main)
        return score, RowLosses(sums.losses, (sums.tokens > 0) & (encoded.lengths < longest))

    def main_metric(self, label_counts: tuple[int, ...]) -> str:
        return self.main

    def agreement(self, before: np.ndarray, after: np.ndarray) -> float:
        return float((before.argmax(axis=1) == after.argmax(axis=1)).mean())

    def outputs(self, model: PreTrainedModel, encoded: Encoded, collator: Collator) -> np.ndarray:
        """Logits before the last learned token of every row, of a row without any before its last token; float32
        (rows, vocabulary), of 32 rows at most."""
        return _last_logits(model, encoded.first(_GATE_ROWS), collator)


@dataclass(frozen=True, slots=True)
class _Sums:
    """Over the learned tokens of each row: their losses, float64; how many are the most likely ones and how many
    there are, int64."""

    losses: np.ndarray
    right: np.ndarray
    tokens: np.ndarray


@torch.inference_mode()
def _token_sums(
    model: PreTrainedModel, encoded: Encoded, collator: Collator, tokens: int = EVALUATION_TOKENS
) -> _Sums:
    model.eval()
    head = vocabulary.head_of(model)
    sums = _Sums(np.zeros(len(encoded)), np.zeros(len(encoded), np.int64), _learned_tokens(encoded))
    for rows in row_batches(encoded.lengths, tokens, collator.max_length):
        inputs, targets = collator.batch(encoded, rows), collator.next_tokens(encoded, rows)
        row = rows[targets[0].numpy() // inputs["input_ids"].shape[1]]
        targets = _moved(model, {"": targets})[""]
        losses, right = vocabulary.token_scores(_before(model, _moved(model, inputs), targets), targets[1], head)
        np.add.at(sums.losses, row, losses.double().cpu().numpy())
        np.add.at(sums.right, row, right.cpu().numpy())
    return sums


@dataclass(frozen=True, slots=True)
class TokenReadings:
    """What a model makes of every learned token, batch after batch, so in the same order for the same rows
    whatever the model: its row int64, its loss float32, the most likely token at its place int32."""

    rows: np.ndarray
    losses: np.ndarray
    likely: np.ndarray


def read_tokens(
    model: PreTrainedModel, encoded: Encoded, collator: Collator, tokens: int = EVALUATION_TOKENS
) -> TokenReadings:
    """Run `model` over rows, batches of at most `tokens` padded tokens; 16 bytes a learned token are kept."""
    parts = [part for part in _readings(model, encoded, collator, tokens) if len(part.rows)]
    if not parts:
        return TokenReadings(np.zeros(0, np.int64), np.zeros(0, np.float32), np.zeros(0, np.int32))
    return TokenReadings(
        rows=np.concatenate([part.rows for part in parts]),
        losses=np.concatenate([part.losses for part in parts]),
        likely=np.concatenate([part.likely for part in parts]),
    )


@torch.inference_mode()
def _readings(
    model: PreTrainedModel, encoded: Encoded, collator: Collator, tokens: int
) -> Iterator[TokenReadings]:
    model.eval()
    head = vocabulary.head_of(model)
    for rows in row_batches(encoded.lengths, tokens, collator.max_length):
        inputs, targets = collator.batch(encoded, rows), collator.next_tokens(encoded, rows)
        row = rows[targets[0].numpy() // inputs["input_ids"].shape[1]]
        targets = _moved(model, {"": targets})[""]
        losses, likely = vocabulary.token_readings(
            _before(model, _moved(model, inputs), targets), targets[1], head
        )
        yield TokenReadings(row, losses.numpy(), likely.numpy().astype(np.int32))


@torch.inference_mode()
def _last_logits(model: PreTrainedModel, encoded: Encoded, collator: Collator) -> np.ndarray:
    assert not collator.left, "the columns of a batch are the tokens of its rows"
    model.eval()
    head, columns = vocabulary.head_of(model), _before_last(encoded)
    found = np.empty((len(encoded), len(head.weight)), np.float32)
    for rows in row_batches(encoded.lengths, EVALUATION_TOKENS, collator.max_length):
        hidden = vocabulary.hidden_states(model, _moved(model, collator.batch(encoded, rows)))
        before = hidden[torch.arange(len(rows)), torch.from_numpy(columns[rows])]
        found[rows] = head.logits(before).cpu().numpy()
    return found


def _before_last(encoded: Encoded) -> np.ndarray:
    """Which token of every row stands before the last learned one, else before the last one; int64 (rows)."""
    assert encoded.learned is not None, "only a language model has learned tokens"
    found = np.maximum(encoded.lengths - 2, 0)
    for row, (start, end) in enumerate(itertools.pairwise(encoded.starts)):
        learned = np.flatnonzero(encoded.learned[start + 1 : end])
        found[row] = learned[-1] if len(learned) else found[row]
    return found


def _before(model: nn.Module, inputs: Inputs, targets: torch.Tensor) -> torch.Tensor:
    """What the head sees at the places before the learned tokens, (tokens, width)."""
    return vocabulary.hidden_states(model, inputs).flatten(0, 1)[targets[0]]


def _learned_tokens(encoded: Encoded) -> np.ndarray:
    """Learned tokens of every row, int64; the first token of a row, which nothing predicts, is none."""
    assert encoded.learned is not None, "only a language model has learned tokens"
    found = np.zeros(len(encoded), np.int64)
    for first in range(0, len(encoded), _PIECE_ROWS):  # never as many numbers at once as there are tokens
        starts = encoded.starts[first : first + _PIECE_ROWS + 1]
        learned = encoded.learned[starts[0] : starts[-1]].astype(np.int64)
        learned[(starts[:-1] - starts[0])[np.diff(starts) > 0]] = 0
        running = np.concatenate([np.zeros(1, np.int64), np.cumsum(learned)])
        found[first : first + _PIECE_ROWS] = np.diff(running[starts - starts[0]])
        let_go(encoded.learned)
    return found


def _moved(model: nn.Module, inputs: Inputs) -> Inputs:
    device = device_of(model)
    return {name: tensor.to(device) for name, tensor in inputs.items()}
