"""Distilling: the objective of a student. What its task asks for, and what a teacher says beside it.

    loss = hard_share      x the task's loss, of rows that have a label
         + soft_share      x distance from the teacher's outputs: T^2 KL of classes, tags or next tokens; KL of yes
                             and no for each of several labels; squared error of numbers; 1 - cosine of vectors
         + hidden_share    x squared difference of hidden states, mean over the matched layers
         + attention_share x KL of relations between queries, keys and values in the last matched layer

It wraps the task's objective, whose rows, scores and artifacts stay what they are. The teacher's outputs come from
a file, or it answers every batch: see `Taught`.
"""

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import final

import numpy as np
import torch
from torch import nn
from transformers import PreTrainedModel
from transformers import PreTrainedTokenizerBase as Tokenizer

from trimtab.artifacts import ArtifactFacts
from trimtab.compression.layers import Seen, Watched, watching
from trimtab.compression.soft_losses import SoftLoss, hidden_sum, relation_heads, relation_sum
from trimtab.compression.token_kl import token_kl_sum
from trimtab.data import Split
from trimtab.data.spec import Example
from trimtab.errors import UsageError
from trimtab.evaluation import vocabulary
from trimtab.evaluation.encode import Collator, Encoded
from trimtab.evaluation.objective import Inputs, Objective, Opening, ScoredRows
from trimtab.evaluation.prediction import Prediction
from trimtab.methods import Strategy
from trimtab.metrics import Findings, Score
from trimtab.models import ModelSource
from trimtab.models.spec import ModelSpec

_TAUGHT = "teacher_outputs"  # among the inputs of a batch
_PROJECTION = "distilling_projection"  # in the model, while it is trained


@dataclass(frozen=True, kw_only=True, slots=True)
class DistillLoss:
    """What each kind of loss counts; they need not add up to 1.

    `temperature` T softens both sides of a KL. Hidden states and relations are left out by default: the teacher is
    then asked once, and is not in memory while the student learns. `relation_heads`: into how many parts queries,
    keys and values are cut, at most; fewer where it does not divide the widths (MiniLMv2: 12 to 48)."""

    hard_share: float = 0.5
    soft_share: float = 0.5
    temperature: float = 2.0
    hidden_share: float = 0.0
    attention_share: float = 0.0
    relation_heads: int = 12

    def check(self, *, answers: bool = False) -> None:
        """`answers`: those that are learned are the teacher's own. Raises UsageError TT-C106 for a share below 0,
        or where nothing is learned from the teacher, TT-C107 for a temperature or a number of heads that is none.
        """
        shares = (self.hard_share, self.soft_share, self.hidden_share, self.attention_share)
        if not min(shares) >= 0 or not any(shares if answers else shares[1:]):  # NaN is neither
            raise UsageError("TT-C106", shares=", ".join(map(str, shares)))
        if not self.temperature > 0 or self.relation_heads < 1:
            raise UsageError("TT-C107", temperature=self.temperature, heads=self.relation_heads)

    @property
    def asks(self) -> bool:
        """Whether a teacher has to say anything of a batch."""
        return self.soft_share > 0 or self.looks_inside

    @property
    def looks_inside(self) -> bool:
        """Whether the teacher has to be there in every step, whatever the task."""
        return self.hidden_share > 0 or self.attention_share > 0


@dataclass(frozen=True, slots=True)
class Answer:
    """Of one batch: outputs as `Objective.given` has them, and what was seen inside."""

    given: torch.Tensor
    seen: Seen = field(default_factory=Seen)


class Taught(ABC):
    """Abstract. The teacher's side of a batch."""

    def beside(self, task: Objective, encoded: Encoded, collator: Collator, rows: np.ndarray) -> Inputs:
        return {}

    @abstractmethod
    def answer(self, task: Objective, inputs: Inputs, taught: Inputs, targets: torch.Tensor) -> Answer:
        """`inputs` are the model's, `taught` what `beside` gave."""


@final
class FromFile(Taught):
    """Outputs float32 (places, numbers) that were asked for before. NaN: not known."""

    def __init__(self, outputs: np.ndarray) -> None:
        self._outputs = outputs

    def beside(self, task: Objective, encoded: Encoded, collator: Collator, rows: np.ndarray) -> Inputs:
        there = self._outputs[task.places(encoded, collator, rows)]
        return {_TAUGHT: torch.from_numpy(np.array(there))}

    def answer(self, task: Objective, inputs: Inputs, taught: Inputs, targets: torch.Tensor) -> Answer:
        return Answer(taught[_TAUGHT])


@final
class Live(Taught):
    """A teacher that reads what the student reads, in evaluation mode and without gradients."""

    def __init__(self, model: PreTrainedModel, spec: ModelSpec, watched: Watched) -> None:
        self.model = model.eval().requires_grad_(False)
        self._spec, self._watched = spec, watched

    @torch.no_grad()
    def answer(self, task: Objective, inputs: Inputs, taught: Inputs, targets: torch.Tensor) -> Answer:
        with watching(self.model, self._spec, self._watched) as seen:
            return Answer(task.given(self.model, inputs, targets), seen)


@final
class _Gone(Taught):
    def answer(self, task: Objective, inputs: Inputs, taught: Inputs, targets: torch.Tensor) -> Answer:
        raise AssertionError("the teacher has been let go")


@dataclass(frozen=True, kw_only=True, slots=True)
class Matched:
    """Layers of student and teacher that are held to one another, lowest first, and the widths of both."""

    student: ModelSpec
    student_watched: Watched
    teacher_watched: Watched
    teacher_width: int

    @property
    def projects(self) -> bool:
        return bool(self.student_watched.hidden) and self.student.hidden != self.teacher_width


@final
class Distilling(Objective):
    """`task` is the objective wrapped, `soft` its distance from a teacher's outputs, None = that of tokens over a
    vocabulary; `teacher_key`: whose outputs they are."""

    def __init__(
        self,
        task: Objective,
        loss: DistillLoss,
        taught: Taught,
        matched: Matched,
        *,
        soft: SoftLoss | None,
        teacher_key: str,
    ) -> None:
        self.task, self.loss, self._taught, self._matched = task, loss, taught, matched
        self._soft, self._teacher_key = soft, teacher_key
        self.can_start = task.can_start

    def let_teacher_go(self) -> None:
        """Learn no more: its memory is given back."""
        self._taught = _Gone()

    @property
    def loss_key(self) -> str:
        layers = (self._matched.student_watched, self._matched.teacher_watched)
        plain = json.dumps([asdict(self.loss), *map(asdict, layers), self._teacher_key], sort_keys=True)
        return hashlib.sha256(plain.encode()).hexdigest()

    # ---------------------------------------------------------------- the loss

    def beside(self, encoded: Encoded, collator: Collator, rows: np.ndarray) -> Inputs:
        return self._taught.beside(self.task, encoded, collator, rows)

    def given(self, model: nn.Module, inputs: Inputs, targets: torch.Tensor) -> torch.Tensor:
        return self.task.given(model, _of_model(inputs), targets)

    def loss_of(
        self, model: nn.Module, given: torch.Tensor, targets: torch.Tensor, strategy: Strategy
    ) -> torch.Tensor:
        """The task's, of what has a target."""
        known = self.task.known(targets)
        if known is None or known.all():
            return self.task.loss_of(model, given, targets, strategy)
        # Of no rows at all it is 0, with gradients that are 0.
        return self.task.loss_of(model, given[known], targets[known], strategy)

    def loss_sum(
        self, model: nn.Module, inputs: Inputs, targets: torch.Tensor, strategy: Strategy
    ) -> torch.Tensor:
        loss, asked = self.loss, _of_model(inputs)
        answer = self._taught.answer(self.task, asked, inputs, targets)
        with watching(model, self._matched.student, self._matched.student_watched) as seen:
            given = self.task.given(model, asked, targets)
        total = torch.zeros((), device=given.device)
        if loss.hard_share:
            total = total + loss.hard_share * self.loss_of(model, given, targets, strategy)
        if loss.soft_share:
            total = total + loss.soft_share * self._soft_sum(model, given, answer.given)
        if loss.looks_inside:
            shares = self.task.sequence_shares(asked, targets)
            total = total + self._inside_sum(model, seen, answer.seen, asked["attention_mask"], shares)
        return total

    def _soft_sum(self, model: nn.Module, given: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
        if self._soft is None:
            assert isinstance(self._taught, Live), "a language model's outputs are too many to be kept"
            head, teacher_head = vocabulary.head_of(model), vocabulary.head_of(self._taught.model)
            return token_kl_sum(given, head, wanted, teacher_head, self.loss.temperature)
        there = ~wanted.isnan().any(1)
        return self._soft(given[there], wanted[there], self.loss.temperature)

    def _inside_sum(
        self, model: nn.Module, seen: Seen, wanted: Seen, mask: torch.Tensor, shares: torch.Tensor
    ) -> torch.Tensor:
        total, matched = torch.zeros((), device=mask.device), self._matched
        pairs = list(zip(matched.student_watched.hidden, matched.teacher_watched.hidden, strict=True))
        for layer, of_teacher in pairs:
            hidden, teacher = seen.hidden[layer], wanted.hidden[of_teacher]
            moved = getattr(model, _PROJECTION)(hidden) if matched.projects else hidden
            total = total + self.loss.hidden_share / len(pairs) * hidden_sum(moved, teacher, mask, shares)
        widths = (x.shape[2] for side in (seen, wanted) for x in side.related.values())
        heads = relation_heads(self.loss.relation_heads, *widths)
        for name, student in seen.related.items():
            related = relation_sum(student, wanted.related[name], mask, shares, heads)
            total = total + self.loss.attention_share * related
        return total

    # ---------------------------------------------------------------- the model

    def model(self, opening: Opening) -> PreTrainedModel:
        """With a matrix beside its head, made from the seed, that brings hidden states to the teacher's width,
        where there is another. `without_projection` takes it away."""
        model = self.task.model(opening)
        if self._matched.projects:
            torch.manual_seed(opening.seed)
            projection = nn.Linear(self._matched.student.hidden, self._matched.teacher_width, bias=False)
            model.add_module(_PROJECTION, projection.to(model.dtype))
        return model

    def also_trained(self, model: PreTrainedModel) -> tuple[nn.Module, ...]:
        found = getattr(model, _PROJECTION, None)
        return () if found is None else (found,)

    # ---------------------------------------------------------------- the task's own

    def tokenizer(self, source: ModelSource, *, trust_remote_code: bool = False) -> Tokenizer:
        return self.task.tokenizer(source, trust_remote_code=trust_remote_code)

    def shape(self, spec: ModelSpec, outputs: int) -> PreTrainedModel:
        return self.task.shape(spec, outputs)

    def collator(self, tokenizer: Tokenizer, max_length: int) -> Collator:
        return self.task.collator(tokenizer, max_length)

    def encode(self, examples: Iterable[Example], tokenizer: Tokenizer, max_length: int) -> Encoded:
        return self.task.encode(examples, tokenizer, max_length)

    def require_targets(self, encoded: Encoded, split: str, max_length: int) -> None:
        self.task.require_targets(encoded, split, max_length)

    def targets(self, encoded: Encoded, collator: Collator, rows: np.ndarray) -> torch.Tensor:
        return self.task.targets(encoded, collator, rows)

    def known(self, targets: torch.Tensor) -> torch.Tensor | None:
        return self.task.known(targets)

    def places(self, encoded: Encoded, collator: Collator, rows: np.ndarray) -> np.ndarray:
        return self.task.places(encoded, collator, rows)

    def place_count(self, encoded: Encoded) -> int:
        return self.task.place_count(encoded)

    def sequence_shares(self, inputs: Inputs, targets: torch.Tensor) -> torch.Tensor:
        return self.task.sequence_shares(inputs, targets)

    def imagined_targets(self, rows: int, texts: int, learned: int) -> torch.Tensor:
        return self.task.imagined_targets(rows, texts, learned)

    def weight(self, encoded: Encoded, rows: np.ndarray) -> int:
        return self.task.weight(encoded, rows)

    def run(self, model: nn.Module, inputs: Inputs, targets: torch.Tensor) -> None:
        self.task.run(model, inputs, targets)

    def score(self, model: PreTrainedModel, rows: ScoredRows) -> Score:
        return self.task.score(model, rows)

    def main_metric(self, label_counts: tuple[int, ...]) -> str:
        return self.task.main_metric(label_counts)

    def outputs(self, model: PreTrainedModel, encoded: Encoded, collator: Collator) -> np.ndarray:
        return self.task.outputs(model, encoded, collator)

    def findings(self, model: PreTrainedModel, tokenizer: Tokenizer, rows: ScoredRows, split: Split) -> Findings:
        return self.task.findings(model, tokenizer, rows, split)

    def asked(self, text: tuple[str, ...], file: str | None, columns: tuple[str, ...]) -> Iterator[Example]:
        return self.task.asked(text, file, columns)

    def predict(
        self, model: PreTrainedModel, tokenizer: Tokenizer, facts: ArtifactFacts, examples: Sequence[Example]
    ) -> Iterator[Prediction]:
        return self.task.predict(model, tokenizer, facts, examples)

    def before_writing(self, model: PreTrainedModel, tokenizer: Tokenizer) -> None:
        self.task.before_writing(model, tokenizer)

    def write_beside(self, folder: Path, facts: ArtifactFacts, model: PreTrainedModel) -> None:
        self.task.write_beside(folder, facts, model)


def without_projection(model: PreTrainedModel, opened: tuple[str, ...]) -> tuple[str, ...]:
    """Make `model` what its class is, in place: what only learning needed is gone. `opened`: names of what was
    trained; returns those that are left."""
    if hasattr(model, _PROJECTION):
        delattr(model, _PROJECTION)
    return tuple(name for name in opened if not name.startswith(f"{_PROJECTION}."))


def _of_model(inputs: Inputs) -> Inputs:
    return {name: x for name, x in inputs.items() if name != _TAUGHT}
