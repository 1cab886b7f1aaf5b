"""Objective: what a task is below the torch line, one object for each. Which class of model, how rows become
tokens, what a batch is to predict, its loss, how it is scored and shown. Loop, dry run, artifacts and reports ask
here.

`OnePass` are those that one pass over a text answers. Final classes: `labelled.Labelled`, `answers.Answers`,
`plain_text.PlainText`, `embeddings.Embeddings`, `tagged.Tagged`; `compression.distillation.Distilling`, which
wraps one of them.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from transformers import PreTrainedModel
from transformers import PreTrainedTokenizerBase as Tokenizer

from trimtab import tuning
from trimtab.artifacts import ArtifactFacts
from trimtab.data import Split
from trimtab.data.spec import EVALUATION_TOKENS, Example
from trimtab.evaluation.encode import Collator, Encoded
from trimtab.evaluation.predict import device_of, row_batches
from trimtab.evaluation.prediction import Prediction
from trimtab.methods import Strategy
from trimtab.metrics import Findings, Score
from trimtab.models import ModelSource
from trimtab.models.sentence import PoolingKind
from trimtab.models.spec import ModelSpec

Inputs = dict[str, torch.Tensor]


@dataclass(frozen=True, kw_only=True, slots=True)
class Opening:
    """What a model is opened from, and for what: `outputs` numbers of its head, with their names where they have
    `labels`; `pooling`: how one vector is made of a text, where embeddings are trained. Weights that the folder
    does not have are made from `seed`."""

    source: ModelSource
    outputs: int
    pad_token_id: int
    labels: tuple[str, ...] = ()
    pooling: PoolingKind | None = None
    seed: int = 0
    trust_remote_code: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class ScoredRows:
    """Rows that a model is scored on, the split named `split`. `main`: the metric to put first."""

    split: str
    encoded: Encoded
    collator: Collator
    labels: tuple[str, ...]
    main: str | None = None


@dataclass(frozen=True, slots=True)
class RowLosses:
    """Of every row the loss of all that it is to predict, float64 (rows), whatever tokens that is cut into; and
    whether none of it was cut off, bool (rows)."""

    losses: np.ndarray
    whole: np.ndarray


def counted_by_row(inputs: Inputs, targets: torch.Tensor) -> torch.Tensor:
    """How many of `targets`, int64 (2, n) with places in the flattened batch first, each sequence has; fp32."""
    rows, width = inputs["input_ids"].shape
    return torch.bincount(targets[0] // width, minlength=rows).float()


class Objective(ABC):
    """Abstract. Stateless: a task is the same for every model."""

    can_start: bool
    """Whether a model does the task before it is trained, so that its score then says something."""

    @property
    def loss_key(self) -> str:
        """What decides the loss beside task and strategy, for a resumed run to be the same; "" = nothing."""
        return ""

    def tokenizer(self, source: ModelSource, *, trust_remote_code: bool = False) -> Tokenizer:
        """The tokenizer of a model folder, ready for the task. Raises ModelError."""
        return tuning.load_tokenizer(source, trust_remote_code=trust_remote_code)

    @abstractmethod
    def model(self, opening: Opening) -> PreTrainedModel:
        """The model with the head of the task. Raises ModelError."""

    @abstractmethod
    def shape(self, spec: ModelSpec, outputs: int) -> PreTrainedModel:
        """The same class from shapes alone, on the default device. Raises ModelError TT-T007 where there is
        none."""

    def collator(self, tokenizer: Tokenizer, max_length: int) -> Collator:
        return Collator.of(tokenizer, max_length)

    @abstractmethod
    def encode(self, examples: Iterable[Example], tokenizer: Tokenizer, max_length: int) -> Encoded: ...

    def require_targets(self, encoded: Encoded, split: str, max_length: int) -> None:
        """Raises DataError where nothing of a split, cut at `max_length` tokens, can be learned or scored."""
        return None

    @abstractmethod
    def targets(self, encoded: Encoded, collator: Collator, rows: np.ndarray) -> torch.Tensor:
        """What a batch of `rows` is to predict, for `loss_sum` and `run`."""

    @abstractmethod
    def imagined_targets(self, rows: int, texts: int, learned: int) -> torch.Tensor:
        """Targets of a batch of `rows`, each of that many texts, of which `learned` tokens have a loss: for a dry
        run."""

    @abstractmethod
    def weight(self, encoded: Encoded, rows: np.ndarray) -> int:
        """What the loss of a batch is the mean over: rows, or tokens. At least 1."""

    def beside(self, encoded: Encoded, collator: Collator, rows: np.ndarray) -> Inputs:
        """What `loss_sum` finds among its inputs besides those of the model."""
        return {}

    def also_trained(self, model: PreTrainedModel) -> tuple[nn.Module, ...]:
        """Modules in `model` that are trained beside what the strategy trains, and are no part of what is kept."""
        return ()

    @abstractmethod
    def given(self, model: nn.Module, inputs: Inputs, targets: torch.Tensor) -> torch.Tensor:
        """What the loss of a batch is computed from, (n, numbers), with gradients: outputs of the head for rows or
        words; of a language model what its head sees before each learned token; vectors of texts."""

    @abstractmethod
    def loss_of(
        self, model: nn.Module, given: torch.Tensor, targets: torch.Tensor, strategy: Strategy
    ) -> torch.Tensor:
        """Loss of what was `given`, summed; a scalar in fp32, with gradients."""

    def loss_sum(
        self, model: nn.Module, inputs: Inputs, targets: torch.Tensor, strategy: Strategy
    ) -> torch.Tensor:
        """Loss of a batch as `strategy` wants it, summed; a scalar in fp32, with gradients."""
        return self.loss_of(model, self.given(model, inputs, targets), targets, strategy)

    def known(self, targets: torch.Tensor) -> torch.Tensor | None:
        """Which targets of a batch are there, bool (n); None = all of them, always."""
        return None

    def places(self, encoded: Encoded, collator: Collator, rows: np.ndarray) -> np.ndarray:
        """Which of a split's outputs those `given` for `rows` are, int64 (n): the rows themselves; of a tagger
        words, of embeddings texts, whatever the tokenizer."""
        return rows

    def place_count(self, encoded: Encoded) -> int:
        """How many there are of a split."""
        return len(encoded)

    def sequence_shares(self, inputs: Inputs, targets: torch.Tensor) -> torch.Tensor:
        """What each sequence of a batch counts, fp32 (sequences): together they are the batch's `weight`."""
        ids = inputs["input_ids"]
        return torch.ones(len(ids), device=ids.device)

    @abstractmethod
    def run(self, model: nn.Module, inputs: Inputs, targets: torch.Tensor) -> None:
        """What an evaluation computes of one batch, and keeps nothing: for a dry run."""

    @abstractmethod
    def score(self, model: PreTrainedModel, rows: ScoredRows) -> Score:
        """Score of a model as it is. Raises Diverged where it computes no numbers."""

    def read(self, model: PreTrainedModel, rows: ScoredRows) -> tuple[Score, RowLosses | None]:
        """The score, and where rows are texts to be written, what tells apart models of different tokenizers.
        Raises as `score`."""
        return self.score(model, rows), None

    def judged(self, outputs: np.ndarray, rows: ScoredRows) -> Score | None:
        """The score of a model by its `outputs` for `rows`; None where they do not tell, and the model is to be
        run."""
        return None

    def agreement(self, before: np.ndarray, after: np.ndarray) -> float | None:
        """Share of the `outputs` of two models that say the same; None where they are no choice among labels or
        words."""
        return None

    def gain_interval(self, before: np.ndarray, after: np.ndarray, rows: ScoredRows) -> tuple[float, float] | None:
        """95 % interval of what the metric that decides grows by from `before` to `after`, `outputs` of two models
        for `rows`; None where they do not tell."""
        return None

    @abstractmethod
    def main_metric(self, label_counts: tuple[int, ...]) -> str: ...

    @abstractmethod
    def outputs(self, model: PreTrainedModel, encoded: Encoded, collator: Collator) -> np.ndarray:
        """What tells two models apart, float32 (n, numbers): the equality gate compares it."""

    @abstractmethod
    def findings(self, model: PreTrainedModel, tokenizer: Tokenizer, rows: ScoredRows, split: Split) -> Findings:
        """What a report shows of single rows of `split`, which are `rows`."""

    @abstractmethod
    def asked(self, text: tuple[str, ...], file: str | None, columns: tuple[str, ...]) -> Iterator[Example]:
        """What a finished model is asked, streamed: each of `text`, or each row of `file` ("-" = lines of standard
        input). `columns` are those of its training. Raises DataError."""

    @abstractmethod
    def predict(
        self, model: PreTrainedModel, tokenizer: Tokenizer, facts: ArtifactFacts, examples: Sequence[Example]
    ) -> Iterator[Prediction]:
        """What it says, one Prediction an example, in order."""

    def before_writing(self, model: PreTrainedModel, tokenizer: Tokenizer) -> None:
        """What a whole model needs beside its weights, so that other programs use it as it was trained."""
        return None

    def write_beside(self, folder: Path, facts: ArtifactFacts, model: PreTrainedModel) -> None:
        """Files that other programs want beside a model or an adapter, in subfolders too."""
        return None


class OnePass(Objective):
    """Abstract. What one pass of the model over a text answers, so that texts of several askers may share a
    batch."""

    @abstractmethod
    def rows_of(self, facts: ArtifactFacts, examples: Sequence[Example]) -> list[Example]:
        """What of `examples` goes through the model, as it is to be encoded. Raises ArtifactError TT-A008."""

    @abstractmethod
    def outputs_in(
        self, model: nn.Module, output: Any, inputs: Inputs, encoded: Encoded, collator: Collator, rows: np.ndarray
    ) -> torch.Tensor:
        """Of the `output` of `model` for a batch of `rows`, what predictions are made of: fp32 (`places`,
        numbers)."""

    @abstractmethod
    def predictions(
        self, outputs: np.ndarray, encoded: Encoded, facts: ArtifactFacts, examples: Sequence[Example]
    ) -> Iterator[Prediction]:
        """One an example, in order, from the outputs at all places of its `encoded` rows; of a place that was not
        run anything may stand there."""

    def predict(
        self, model: PreTrainedModel, tokenizer: Tokenizer, facts: ArtifactFacts, examples: Sequence[Example]
    ) -> Iterator[Prediction]:
        length = facts.strategy.max_length
        encoded = self.encode(self.rows_of(facts, examples), tokenizer, length)
        collator = self.collator(tokenizer, length).beside(facts.strategy)
        yield from self.predictions(self.one_pass(model, encoded, collator), encoded, facts, examples)

    @torch.inference_mode()
    def one_pass(
        self, model: PreTrainedModel, encoded: Encoded, collator: Collator, *, tokens: int = EVALUATION_TOKENS
    ) -> np.ndarray:
        """Outputs at all places, float32 (`place_count`, numbers), 0 where none was run. Batches hold at most
        `tokens` padded tokens. The model is put into evaluation mode and stays there."""
        model.eval()
        device = device_of(model)
        found = np.zeros((self.place_count(encoded), 0), np.float32)
        for rows in row_batches(encoded.widths, tokens, collator.max_length):
            inputs = {name: x.to(device) for name, x in collator.batch(encoded, rows).items()}
            outputs = self.outputs_in(model, model(**inputs), inputs, encoded, collator, rows)
            found = with_places(found, self.places(encoded, collator, rows), outputs.cpu().numpy())
        return found


def with_places(found: np.ndarray, places: np.ndarray, outputs: np.ndarray) -> np.ndarray:
    """`found` (all places, numbers) with these `outputs` at `places`; wider where they are, zeros beside them."""
    if outputs.shape[1] > found.shape[1]:
        found = np.pad(found, ((0, 0), (0, outputs.shape[1] - found.shape[1])))
    found[places, : outputs.shape[1]] = outputs
    return found
