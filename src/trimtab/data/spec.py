"""DataSpec: what a data set is. Task, labels, rows, how long its texts are in tokens, what is wrong with
it."""

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np

from trimtab.errors import Message

Task = Literal["classify", "pair", "regress"]
TASKS: tuple[Task, ...] = ("classify", "pair", "regress")
Severity = Literal["fatal", "repaired", "reported"]
_ROUNDING = 1e-6  # 0.7 x 10 is a little more than 7 in binary


@dataclass(frozen=True, slots=True)
class Example:
    """One row, ready for a tokenizer. `texts` holds one text, or two for a pair; `label` is the index into
    `DataSpec.labels` (int), or the target itself (float) in a regression."""

    texts: tuple[str, ...]
    label: int | float | None


@dataclass(frozen=True, slots=True)
class Place:
    """Where in the user's files something stands. `row` counts from 1, the first row of data; 0 = whole
    file."""

    file: str
    row: int = 0
    column: str = ""


@dataclass(frozen=True, slots=True)
class Problem:
    """One kind of finding of the data check: how many rows have it and where the first few stand."""

    message: Message
    severity: Severity
    count: int
    places: tuple[Place, ...] = ()


EVALUATION_TOKENS = 4096  # the most padded tokens that an evaluation runs at once, where one row is not longer


def padded_length(length: int, most: int) -> int:
    """The width a batch is padded to: `length` rounded up to a multiple of 4; above 64 tokens of 8, above 128
    of 16. Not beyond `most`, at which texts are cut: a model may have no position for more.

    On a CPU oneDNN compiles and keeps about a dozen kernels for every width it meets, megabytes in all; few widths
    keep that small. At most an eighth is added above 32 tokens.
    """
    grain = 4 if length <= 64 else 8 if length <= 128 else 16
    return min(length + -length % grain, most)


@dataclass(frozen=True)
class LengthHistogram:
    """How many examples have how many tokens (special tokens included, before any truncation).

    `counts[n]` is the number of examples with exactly n tokens; a pair counts as the one sequence it becomes.
    """

    counts: tuple[int, ...]

    @cached_property
    def _array(self) -> np.ndarray:
        return np.asarray(self.counts, dtype=np.int64)

    @property
    def examples(self) -> int:
        return int(self._array.sum())

    @property
    def longest(self) -> int:
        return len(self.counts) - 1

    def quantile(self, share: float) -> int:
        """The smallest length that at least `share` of the examples do not exceed."""
        needed = math.ceil(share * self.examples - _ROUNDING)
        return int(np.searchsorted(np.cumsum(self._array), needed))

    def share_longer_than(self, length: int) -> float:
        """Share of examples that truncation at `length` would cut."""
        return float(self._array[length + 1 :].sum() / max(self.examples, 1))

    def tokens(self, cap: int) -> int:
        """Tokens of all examples, each cut at `cap`."""
        lengths = np.minimum(np.arange(len(self.counts)), cap)
        return int((self._array * lengths).sum())

    def mean(self, cap: int) -> float:
        return self.tokens(cap) / max(self.examples, 1)

    def batch_widths(self, batch: int, cap: int) -> tuple[np.ndarray, np.ndarray]:
        """Padded widths of the batches when examples are batched in order of length, each cut at `cap`: the
        different widths, ascending, and how many batches have each, both int64. The last batch may be a short one.
        """
        within = np.cumsum(self._array)  # examples of at most so many tokens
        whole = within // batch  # batches of nothing longer
        whole[within == self.examples] = -(-self.examples // batch)
        batches = np.diff(whole, prepend=0)
        lengths = np.flatnonzero(batches)
        padded = [padded_length(min(int(length), cap), cap) for length in lengths]
        widths, where = np.unique(np.array(padded, np.int64), return_inverse=True)
        return widths, np.bincount(where, batches[lengths], len(widths)).astype(np.int64)


@dataclass(frozen=True, slots=True)
class TokenCount:
    """What a tokenizer makes of texts: their lengths, and how many different tokens they hold (0 = unknown)."""

    lengths: LengthHistogram
    vocabulary: int = 0


@dataclass(frozen=True, kw_only=True)
class DataSpec:
    """Facts of a data set after checking and splitting. Row counts are what is left for use.

    `columns` are the text columns, in order. `labels` are the label names in their order of index, empty for
    a regression. `label_counts` counts train rows per label. `fingerprint` is a hash of the files' bytes and
    of every choice that decides which rows are used (task, columns, split seed). `vocabulary` is how many
    different tokens the train texts hold; 0 = not counted.
    """

    name: str
    task: Task
    columns: tuple[str, ...]
    label_column: str
    labels: tuple[str, ...]
    label_counts: tuple[int, ...]
    train_rows: int
    dev_rows: int
    test_rows: int
    lengths: LengthHistogram
    vocabulary: int = 0
    problems: tuple[Problem, ...] = ()
    encoding: str = "utf-8"
    fingerprint: str = ""
    files: tuple[str, ...] = ()

    @property
    def outputs(self) -> int:
        """How many numbers the head gives: one a label, or one for a regression."""
        return len(self.labels) if self.labels else 1
