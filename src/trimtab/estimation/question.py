"""Question: what a dry run is asked, as a value: it can be hashed, kept, and asked of another process.

The dry run itself is below the torch line (`training.dry_run`).
"""

import math
from dataclasses import dataclass, replace

from trimtab.data.spec import EVALUATION_TOKENS, DataSpec, Task, padded_length, padded_tokens
from trimtab.estimation.prefix import cached_depths
from trimtab.estimation.updated import table_rows
from trimtab.hardware.machine import DeviceKind, Machine
from trimtab.methods import Strategy
from trimtab.models.spec import ModelSpec


@dataclass(frozen=True, kw_only=True, slots=True)
class Question:
    """One training step: `rows` of `length` tokens, padding included, are its largest micro-batch; of embeddings
    each row of the data is `texts` of them. `tokens`: rows of the token embedding that training reads. `learned`:
    tokens a row that have a loss, where not the row has one (instruct). `evaluated`: rows of an evaluation batch.
    `device`: whose kernels run. `held_below`: what is run once here runs in another stage, and stays."""

    spec: ModelSpec
    strategy: Strategy
    task: Task
    outputs: int
    rows: int
    length: int
    tokens: int
    evaluated: int
    device: DeviceKind
    learned: int = 0
    texts: int = 1
    held_below: bool = False


def questions_of(strategy: Strategy, spec: ModelSpec, data: DataSpec, machine: Machine) -> tuple[Question, ...]:
    """The largest step of every stage of a training."""
    least = min(cached_depths(strategy, spec))
    return tuple(
        replace(question_of(stage, spec, data, machine), held_below=least < stage.cached_layers(spec))
        for stage in strategy.stages
    )


def question_of(strategy: Strategy, spec: ModelSpec, data: DataSpec, machine: Machine) -> Question:
    """The largest step of a training, of which everything is trained that is trained in any stage."""
    data = data.cut_at(strategy.max_length)
    rows, length = longest_batch(strategy, data)
    return Question(
        spec=spec,
        strategy=strategy,
        task=data.task,
        outputs=data.outputs,
        rows=rows,
        length=length,
        tokens=table_rows(spec, data),
        evaluated=evaluated_rows(data, length),
        device=machine.device.kind,
        learned=learned_tokens(data, length),
        texts=data.texts.most,
    )


def learned_tokens(data: DataSpec, length: int) -> int:
    """Tokens with a loss in the longest row, cut at `length`: all but what the shortest question takes, as if it
    had the longest answer; 0 where rows have the loss."""
    if data.labels_words:
        return length  # as if every token were a word
    if data.answers is None:
        return 0
    return max(1, length - max(1, data.answers.starts.shortest))


def evaluated_rows(data: DataSpec, length: int) -> int:
    """Rows of `length` tokens that an evaluation scores at once: no more than there are."""
    there = max(data.dev_rows, data.test_rows) * data.texts.most
    return max(1, min(there, EVALUATION_TOKENS // length))


def longest_batch(strategy: Strategy, data: DataSpec) -> tuple[int, int]:
    """Rows and padded tokens a row of the largest micro-batch; where the texts of a row are run one by one, each
    is one, and every row is taken to have as many as the one with most. Packed, the mean of the longest rows."""
    most, rows = strategy.max_length, min(strategy.micro_batch, max(1, data.train_rows))
    if strategy.packed:
        tokens = padded_tokens(math.ceil(rows * data.lengths.longest_mean(rows, most)))
        return rows, max(1, math.ceil(tokens / rows))
    length = padded_length(min(most, max(1, data.lengths.longest)), most)
    return rows * data.texts.most, length
