"""What a report shows of single rows: the worst examples, which labels are confused, answers a model has
written."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class WorstExample:
    """An evaluated example with high loss. `expected` and `predicted` are label names, or numbers as text."""

    texts: tuple[str, ...]
    expected: str
    predicted: str
    loss: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Confusion:
    """`counts[i][j]` examples of label i were predicted as label j."""

    labels: tuple[str, ...]
    counts: tuple[tuple[int, ...], ...]

    def most_confused(self, most: int) -> tuple[tuple[str, str, int], ...]:
        """(true label, predicted label, examples) off the diagonal, most frequent first, at most `most`."""
        pairs = [
            (self.labels[true], self.labels[predicted], count)
            for true, row in enumerate(self.counts)
            for predicted, count in enumerate(row)
            if true != predicted and count
        ]
        return tuple(sorted(pairs, key=lambda pair: -pair[2])[:most])


@dataclass(frozen=True, kw_only=True, slots=True)
class Sample:
    """An answer written to the `prompt` of an evaluated conversation. `ended`: the model ended its turn itself.
    `exact` and `rouge_l` compare it with the `expected` answer."""

    prompt: str
    expected: str
    written: str
    tokens: int
    ended: bool
    exact: bool
    rouge_l: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Findings:
    """All that is shown of one split; what a task has none of is empty."""

    worst: tuple[WorstExample, ...] = ()
    confusion: Confusion | None = None
    samples: tuple[Sample, ...] = ()
