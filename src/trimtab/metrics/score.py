"""Score: one evaluation, with n and an interval."""

from dataclasses import dataclass

from trimtab.errors import Message


@dataclass(frozen=True, kw_only=True, slots=True)
class Metric:
    """One metric of one evaluation; [low, high] is its 95 % interval. `note` says where the value is a
    convention, such as the correlation of predictions that are all the same."""

    name: str
    value: float
    low: float
    high: float
    note: Message | None = None
    lower_is_better: bool = False

    def is_better_than(self, other: float) -> bool:
        """Whether this value is better than `other`, of the same metric."""
        return self.value < other if self.lower_is_better else self.value > other


@dataclass(frozen=True, kw_only=True, slots=True)
class ClassScore:
    """Precision, recall and F1 of one label. `support` = rows with that label."""

    label: str
    precision: float
    recall: float
    f1: float
    support: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Score:
    """One evaluation over `n` examples. The first metric is the one that decides (early stop, comparison).
    `left_out`: examples that could not be scored, answers beyond the tokens that are read."""

    split: str
    n: int
    loss: float
    metrics: tuple[Metric, ...]
    classes: tuple[ClassScore, ...] = ()
    left_out: int = 0

    @property
    def main(self) -> Metric:
        return self.metrics[0]
