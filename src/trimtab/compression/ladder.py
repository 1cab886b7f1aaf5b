"""The ladder: which steps a machine calls for, the gentlest first. Pure.

A rung is a list of steps, and what their result is predicted to take. Bytes are by the model's shape (outlook.py);
seconds are the work of a forward pass over that of the whole model, times what the whole model takes in int8 where
that was measured. Leaves out carrying them out, and whether the metric holds: that is measured.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from trimtab.compression.outlook import Outlook, Trimmed
from trimtab.compression.wanted import Bits, Browser, Floor, Lesson, Quantize, Wanted
from trimtab.errors import UsageError
from trimtab.models.pruned import prunable

_MUCH = 1 / 3  # of a model, for its table of tokens to be made smaller
_GENTLY, _HARDER = 0.25, 0.4  # shares of heads and neurons


@dataclass(frozen=True, kw_only=True, slots=True)
class Target:
    """A machine and what may be asked of a model on it: `bytes_at_most` of weights and tokenizer,
    `seconds_at_most` for one text, and what the metric on dev may lose. None = as it comes. `page`: it runs in a
    page of a browser."""

    name: str
    floor: Floor
    bytes_at_most: int | None = None
    seconds_at_most: float | None = None
    page: bool = False


TARGETS: Mapping[str, Target] = {
    target.name: target
    for target in (
        Target(name="server-cpu", floor=Floor(points=0.5)),
        Target(name="laptop", floor=Floor(points=1.0)),
        Target(name="phone", floor=Floor(points=2.0), bytes_at_most=40_000_000),
        Target(name="browser", floor=Floor(points=3.0), bytes_at_most=20_000_000, page=True),
    )
}


def target_named(name: str) -> Target:
    """Raises UsageError TT-C017."""
    if name not in TARGETS:
        raise UsageError("TT-C017", option="for", typed=name, known=", ".join(TARGETS))
    return TARGETS[name]


@dataclass(frozen=True, kw_only=True, slots=True)
class Rung:
    """Steps one after the other, and what comes of them: bytes of weights and of tokenizer.json, and the share of
    the whole model's work in a forward pass."""

    steps: tuple[Wanted, ...]
    weight_bytes: int
    tokenizer_bytes: int
    work_share: float

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(" ".join((step.step, *step.words[:2])) for step in self.steps)

    @property
    def bytes(self) -> int:
        return self.weight_bytes + self.tokenizer_bytes

    def fits(self, target: Target, whole_seconds: float | None = None) -> bool:
        """Whether it is predicted to do. `whole_seconds`: what the whole model takes in int8, None = not known."""
        seconds = target.seconds_at_most
        if target.bytes_at_most is not None and self.bytes > target.bytes_at_most:
            return False
        return seconds is None or whole_seconds is None or whole_seconds * self.work_share <= seconds


def calls_for_trim(whole: Outlook, target: Target) -> bool:
    """Whether the whole model in int8 takes more bytes than it may, and much of it is its table of tokens."""
    return whole.table_share > _MUCH and not _small(whole, "q8", target)


def rungs(
    whole: Outlook,
    lesson: Lesson,
    target: Target,
    *,
    tokens: int,
    fewer_tokens: Sequence[Trimmed] = (),
    prunes: bool = True,
) -> Iterator[Rung]:
    """From the gentlest on: all of the model in int8; pruned, where it can be and `prunes`; students of ever fewer
    of its layers, half of them first; at last all of these in int4, but for a page, which runs int8 alone. Each
    with as many tokens as fit: all, or one of `fewer_tokens`, the most first. `tokens`: of a text, whose work
    counts."""
    formats: tuple[Bits, ...] = ("q8",) if target.page else ("q8", "q4")
    models = tuple(_models(whole, lesson, prunes=prunes and prunable(whole.spec)))
    for bits in formats:
        for model in models:
            choices = (model, *map(model.trimmed, fewer_tokens))
            made = next((one for one in choices if _small(one, bits, target)), choices[-1])
            yield Rung(
                steps=(*made.steps, Browser() if target.page else Quantize(bits=bits)),
                weight_bytes=made.weight_bytes(bits),
                tokenizer_bytes=made.tokenizer_bytes,
                work_share=made.work(tokens) / whole.work(tokens),
            )


def _small(model: Outlook, bits: Bits, target: Target) -> bool:
    return target.bytes_at_most is None or model.bytes(bits) <= target.bytes_at_most


def _models(whole: Outlook, lesson: Lesson, *, prunes: bool) -> Iterator[Outlook]:
    """Whole models, then students, as they are and pruned."""
    yield whole
    yield from (whole.pruned(share, lesson) for share in (_GENTLY, _HARDER) if prunes)
    for number, layers in enumerate(_fewer(whole.spec.layers)):
        student = whole.with_layers(layers, lesson)
        yield student
        if number == 0 and prunes:
            yield student.pruned(_GENTLY, lesson)


def _fewer(layers: int) -> list[int]:
    """Half of the layers, then a third, then one."""
    return [depth for depth in dict.fromkeys((layers // 2, layers // 3, 1)) if 0 < depth < layers]
