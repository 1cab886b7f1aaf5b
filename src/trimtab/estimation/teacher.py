"""A second model beside the one that is trained: a teacher, that answers and does not learn. Its bytes.

Asked once, before training, it is gone when training starts; the file of its answers is mapped, and no memory of
the process. Live, it stands there all the time and answers every batch. It may write answers of its own before
either. Its time is in `estimation.time`. Leaves out relations of attention, and its loading, which is not worse
than the student's beside it.
"""

import math
from dataclasses import dataclass, replace

from trimtab.data.spec import DataSpec, padded_positions
from trimtab.estimation.held import BYTES
from trimtab.estimation.question import evaluated_rows, learned_tokens, longest_batch
from trimtab.methods import Precision, Strategy
from trimtab.models.spec import ModelSpec


@dataclass(frozen=True, kw_only=True, slots=True)
class Writing:
    """Answers that a teacher is to write, token by token, to `rows` prompts: of `most` tokens at most, `whole`
    with the prompt; of so many tokens, prompts and answers, `at_once`."""

    rows: int
    most: int
    whole: int
    at_once: int

    def prompt_tokens(self, data: DataSpec) -> float:
        """Of a prompt, on average: what stands before the answers of the data."""
        return 0.0 if data.answers is None else min(self.whole, data.answers.starts.mean(self.whole))

    def answer_tokens(self, data: DataSpec) -> float:
        """Of an answer, on average, if the teacher's are as long as the data's."""
        mean = 0.0 if data.answers is None else data.answers.tokens / max(1, data.lengths.examples)
        return min(mean, self.most, max(1.0, self.whole - self.prompt_tokens(data)))

    def longest(self, data: DataSpec) -> int:
        """Tokens of a mean prompt whose answer is as long as it may be."""
        return max(1, min(self.whole, math.ceil(self.prompt_tokens(data)) + self.most))

    def batch(self, data: DataSpec) -> int:
        """Rows that are written at once."""
        return min(max(1, self.rows), max(1, self.at_once // self.longest(data)))

    def kept_bytes(self, teacher: ModelSpec, data: DataSpec, number_bytes: int) -> int:
        """Keys and values of a batch whose answers are as long as they may be."""
        width = 2 * teacher.layers * teacher.kv_heads * teacher.head_dim
        return self.batch(data) * self.longest(data) * width * number_bytes


@dataclass(frozen=True, kw_only=True, slots=True)
class Teacher:
    """`live`: it answers in every step, else once, and if it is not `asked` never. `compared`: how many of its
    layers the student's are held to, whose outputs are kept until the loss of a batch is there. `writing`: what it
    writes before."""

    spec: ModelSpec
    precision: Precision
    live: bool = False
    asked: bool = True
    compared: int = 0
    writing: Writing | None = None

    def passes(self, strategy: Strategy) -> int:
        """How often it reads every training row."""
        if not self.asked:
            return 0
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
    """What a teacher takes. Where it is asked before training, its batches are those of an evaluation; what it
    writes, it writes before."""
    if teacher is None:
        return Beside()
    rows, length = longest_batch(strategy, data)
    weights = teacher.weight_bytes(strategy, data.outputs)
    before = 0 if teacher.live or not teacher.asked else evaluated_rows(data, length)
    taken = [teacher.answering_bytes(strategy, data, before, length)] if before else []
    if teacher.writing is not None:
        taken.append(teacher.writing.kept_bytes(teacher.spec, data, BYTES[teacher.precision]))
    found = Beside(before=weights + max(taken) if taken else 0)
    if not teacher.live:
        return found
    answering = teacher.answering_bytes(strategy, data, rows, length)
    return replace(found, standing=weights, answering=answering)
