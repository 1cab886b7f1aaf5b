"""A second model beside the one that is trained: a teacher, that answers and does not learn. Its bytes.

Asked once, before training, it is gone when training starts; the file of its answers is mapped, and no memory of
the process. Live, it stands there all the time and answers every batch. Its time is in `estimation.time`. Leaves
out relations of attention, and its loading, which is not worse than the student's beside it.
"""

from dataclasses import dataclass

from trimtab.data.spec import DataSpec, padded_positions
from trimtab.estimation.held import BYTES
from trimtab.estimation.question import evaluated_rows, learned_tokens, longest_batch
from trimtab.methods import Precision, Strategy
from trimtab.models.spec import ModelSpec


@dataclass(frozen=True, kw_only=True, slots=True)
class Teacher:
    """`live`: it answers in every step, else once. `compared`: how many of its layers the student's are held to,
    whose outputs are kept until the loss of a batch is there."""

    spec: ModelSpec
    precision: Precision
    live: bool = False
    compared: int = 0

    def passes(self, strategy: Strategy) -> int:
        """How often it reads every training row."""
        return sum(stage.schedule.epochs for stage in strategy.stages) if self.live else 1

    def weight_bytes(self, strategy: Strategy, outputs: int) -> int:
        """With the head that the student has."""
        return strategy.total_parameters(self.spec, outputs) * BYTES[self.precision]

    def answering_bytes(self, strategy: Strategy, data: DataSpec, rows: int, length: int) -> int:
        """What a forward pass over `rows` of `length` tokens takes beside the weights: its widest moment; the
        outputs of the compared layers, with their differences in fp32, which backward needs; of a language model
        a chunk of scores over the vocabulary."""
        number, tokens = BYTES[self.precision], rows * length
        arrays = 3 if self.spec.gated_ffn else 2
        widest = max(self.spec.ffn * arrays, 4 * self.spec.heads * self.spec.head_dim) * number
        compared = self.compared * self.spec.hidden * (number + 4)
        taken = tokens * (widest + 3 * self.spec.hidden * number + compared)
        if strategy.language_head is None:
            return taken
        positions = rows * learned_tokens(data, length)
        scores = (2 * 4 + (number if number < 4 else 0)) * padded_positions(positions, self.spec.vocab)
        return taken + positions * self.spec.hidden * number + scores * self.spec.vocab


@dataclass(frozen=True, slots=True)
class Beside:
    """Bytes of a teacher: before the training, when nothing of the student is there; in every phase of it but the
    last, when it has gone; and while a batch is gone through."""

    before: int = 0
    standing: int = 0
    answering: int = 0


def beside(teacher: Teacher | None, strategy: Strategy, data: DataSpec) -> Beside:
    """What a teacher takes. Where it is asked before training, its batches are those of an evaluation."""
    if teacher is None:
        return Beside()
    rows, length = longest_batch(strategy, data)
    weights = teacher.weight_bytes(strategy, data.outputs)
    if not teacher.live:
        rows = evaluated_rows(data, length)
        return Beside(before=weights + teacher.answering_bytes(strategy, data, rows, length))
    return Beside(standing=weights, answering=teacher.answering_bytes(strategy, data, rows, length))
