"""Where the time of a training step goes: self time of torch's operators, by what they are for, and the share of
the machine's measured matmul peak that useful work reaches. Run by `train_vs_trainer.py profile`.

Self time is that of the main thread, which waits for the others. What no operator accounts for is Python, the
autograd engine and, since all is in one process, the profiler. Useful FLOP are those of the formula
(docs/formulas.md, "Work"), of tokens that are no padding.
"""

from dataclasses import dataclass

from torch.autograd.profiler_util import EventList

from trimtab.data.spec import DataSpec
from trimtab.estimation.work import training_flop
from trimtab.hardware.machine import Machine
from trimtab.methods import Strategy
from trimtab.models.spec import ModelSpec

# The first kind that has a word of an operator's name counts it.
KINDS: dict[str, tuple[str, ...]] = {
    "optimiser": ("_fused_adam", "foreach", "vector_norm", "clamp", "reciprocal"),
    "attention": ("bmm", "softmax", "masked_fill", "scaled_dot_product", "bitwise_not"),
    "matmul": ("mm", "linear", "matmul"),
    "activation": ("gelu", "silu", "relu", "tanh", "sigmoid"),
    "norm": ("norm",),
    "dropout": ("random", "::ge", "neg", "bitwise_and", "dropout", "bernoulli"),
    "copies and casts": ("copy", "contiguous", "clone", "_to", "cat", "empty", "zero", "fill"),
    "sums and scales": ("add", "mul", "div", "sub", "sum", "pow", "sqrt"),
    "views": ("view", "transpose", "reshape", "expand", "slice", "select", "as_strided", "permute", "::t"),
}
_OTHER, _REST = "other operators", "Python and the engine"


@dataclass(frozen=True, kw_only=True, slots=True)
class Spent:
    """Milliseconds a step by kind, and of the slowest operators, with their calls."""

    by_kind: dict[str, float]
    slowest: tuple[tuple[str, float, float], ...]


def kind_of(operator: str) -> str:
    found = (kind for kind, words in KINDS.items() if any(word in operator for word in words))
    return next(found, _OTHER)


def spent(events: EventList, steps: int, step_seconds: float, most: int = 25) -> Spent:
    """Of `steps` steps that took `step_seconds` each; the `most` slowest operators with their calls a step."""
    own = [(event.key, event.self_cpu_time_total / 1e3 / steps, event.count / steps) for event in events]
    by_kind = dict.fromkeys((*KINDS, _OTHER), 0.0)
    for name, milliseconds, _ in own:
        by_kind[kind_of(name)] += milliseconds
    by_kind[_REST] = 1e3 * step_seconds - sum(by_kind.values())
    slowest = sorted(own, key=lambda one: -one[1])[:most]
    return Spent(by_kind=by_kind, slowest=tuple(slowest))


def share_of_peak(
    strategy: Strategy, spec: ModelSpec, data: DataSpec, machine: Machine, step_seconds: float
) -> float:
    """Useful FLOP a second of a mean step, over the rate of a matmul that the calibration has measured in the
    training's precision."""
    length = data.lengths.mean(strategy.max_length)
    assert machine.calibration is not None, "this machine has been calibrated"
    peak = machine.calibration.rate(strategy.precision)
    assert peak is not None, "in every precision that is planned"
    return training_flop(strategy, spec, length) * length * strategy.batch / step_seconds / peak


def lines(found: Spent) -> list[str]:
    whole = sum(found.by_kind.values())
    table = [
        f"  {kind:24} {milliseconds:7.2f} ms {100 * milliseconds / whole:5.1f} %"
        for kind, milliseconds in sorted(found.by_kind.items(), key=lambda one: -one[1])
    ]
    table += [
        f"    {name:48} {milliseconds:7.2f} ms {calls:6.1f} calls" for name, milliseconds, calls in found.slowest
    ]
    return table
