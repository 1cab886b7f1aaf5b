"""Candidates: every strategy worth estimating for a request, one variant (method and depth) at a time.

Leaves out: whether a strategy fits (feasible.py) and which is best (rank.py).
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import product

from trimtab.data.spec import DataSpec
from trimtab.hardware.machine import Machine
from trimtab.methods import (
    DEFAULT_TEMPERATURE,
    AdamW,
    AdamW8bit,
    BasePrecision,
    Choices,
    Method,
    Part,
    Precision,
    Schedule,
    Strategy,
    UpdateRule,
    balanced_weights,
    update_rule_named,
)
from trimtab.models.spec import ModelSpec
from trimtab.planning.once import runs_once
from trimtab.planning.request import Request, can_compute, can_update

DEFAULT_BATCH = 32
# The default cap on tokens a row; a user may ask for more, up to what the model reads. Attention and kept
# activations grow with length, while a text's topic is usually clear from its beginning.
LENGTH_CAPS = {"encoder": 512, "decoder": 1024, "encoder-decoder": 512}
# Three epochs are the custom of BERT fine-tuning; few rows need more steps (Mosbach et al. 2021, arXiv
# 2006.04884, train small sets for up to 20 epochs). We stop at ten: the best evaluation is restored anyway.
DEFAULT_EPOCHS = 3
MOST_EPOCHS = 10
FEWEST_STEPS = 200
# bf16 must be at least this much faster than fp32 to be worth its rounding.
WORTHWHILE_GAIN = 1.05


@dataclass(frozen=True, slots=True)
class Variant:
    """A method at one depth, on a base of one precision: one row of the plan's table."""

    method: Method
    parts: tuple[Part, ...]
    base_precision: BasePrecision = "same"


def variants(request: Request) -> tuple[Variant, ...]:
    """Every method of the request at every depth worth comparing, without duplicates (on a base in NF4, LoRA and
    QLoRA are the same)."""
    found: dict[tuple[tuple[Part, ...], BasePrecision], Variant] = {}
    for method in request.methods:
        base = request.base_precision_of(method)
        for choices in _depths(method, request):
            parts = request.parts(method, choices)
            found.setdefault((parts, base), Variant(method, parts, base))
    return tuple(found.values())


def strategies(variant: Variant, request: Request, rule: UpdateRule | None = None) -> Iterator[Strategy]:
    """The variant in every precision, with and without recompute, cut into every micro-batch size. The global
    batch, and with it the result, is the same in all of them. `rule`: None = the one asked for."""
    spec, settings = request.spec, request.settings
    rule = rule or asked_rule(request)
    base = Strategy(
        method=variant.method.name,
        parts=variant.parts,
        base_precision=variant.base_precision,
        optimizer=rule,
        schedule=_schedule(variant, request, rule),
        batch=settings.batch or DEFAULT_BATCH,
        max_length=settings.max_length or _max_length(variant, request),
        packed=settings.packed,
        ema_decay=settings.ema,
        label_smoothing=settings.label_smoothing or 0.0,
        class_weights=balanced_weights(request.data.label_counts) if settings.class_weights else (),
        temperature=settings.temperature or DEFAULT_TEMPERATURE,
        seed=settings.seed,
    )
    something_below = base.lowest_layer(spec) < spec.layers
    recomputes = [False, True] if settings.recompute is None else [settings.recompute]
    if not something_below:
        recomputes = [False]  # no layer keeps anything for backward, so nothing can be computed again
    for precision, recompute, micro_batch in product(
        precisions(request.machine, settings.precision), recomputes, cuts(base.batch)
    ):
        cut = replace(base, precision=precision, recompute=recompute, micro_batch=micro_batch)
        yield replace(cut, prefix_cache=runs_once(cut, spec, request.data, request.machine, settings.prefix_cache))


def asked_rule(request: Request) -> UpdateRule:
    """The update rule that the user named, else AdamW."""
    return AdamW() if request.settings.optimizer is None else update_rule_named(request.settings.optimizer)


def thrifty_rule(request: Request) -> UpdateRule | None:
    """AdamW's steps with less memory, where the user leaves the choice and the machine can."""
    rule = AdamW8bit()
    return rule if request.settings.optimizer is None and can_update(request.machine, rule) else None


def cuts(batch: int) -> tuple[int, ...]:
    """Micro-batch sizes that divide `batch`, by halving: 24 -> 24, 12, 6, 3, 1."""
    sizes = [batch]
    while sizes[-1] > 1:
        sizes.append(sizes[-1] // 2 if sizes[-1] % 2 == 0 else 1)
    return tuple(sizes)


def precisions(machine: Machine, wanted: Precision | None) -> tuple[Precision, ...]:
    """fp32 always; bf16 where it is faster here; fp16 on accelerators that have no bf16."""
    if wanted is not None:
        return (wanted,)
    found: list[Precision] = ["fp32"]
    if can_compute(machine, "bf16"):
        if _rate(machine, "bf16") > WORTHWHILE_GAIN * _rate(machine, "fp32"):
            found.append("bf16")
    elif can_compute(machine, "fp16"):
        found.append("fp16")
    return tuple(found)


def default_max_length(spec: ModelSpec, data: DataSpec) -> int:
    """The longest row, rounded up to a multiple of 8 for the sake of the hardware, below the caps."""
    longest = -(-max(data.longest_row, 1) // 8) * 8
    return min(longest, LENGTH_CAPS[spec.kind], spec.longest_text or longest)


def _max_length(variant: Variant, request: Request) -> int:
    """As `default_max_length`, within what virtual tokens leave of the model's positions."""
    length, most = default_max_length(request.spec, request.data), request.most_text(variant.method)
    return min(length, most) if most else length


def default_epochs(rows: int, batch: int) -> int:
    """Three; more where that would be under 200 steps, up to ten."""
    steps_an_epoch = max(1, -(-rows // batch))
    return min(MOST_EPOCHS, max(DEFAULT_EPOCHS, -(-FEWEST_STEPS // steps_an_epoch)))


def _depths(method: Method, request: Request) -> Iterator[Choices]:
    """The user's depth; else, for a method asked for by name, that method's own; else each of its depths."""
    choices, layers = request.choices, request.spec.layers
    if choices.top_layers is not None or request.method is not None or not method.depths:
        yield choices
        return
    for share in method.depths:
        # The small term keeps a third of 9 layers at 3 in floating point.
        yield replace(choices, top_layers=None if share == 1 else max(1, int(share * layers + 1e-9)))


def _schedule(variant: Variant, request: Request, rule: UpdateRule) -> Schedule:
    settings, method = request.settings, variant.method
    batch = settings.batch or DEFAULT_BATCH
    length = settings.max_length or default_max_length(request.spec, request.data)
    epochs = settings.epochs or default_epochs(request.data.cut_at(length).train_rows, batch)
    stages = request.stages(method, variant.parts, epochs)
    return Schedule(
        epochs=sum(stage.epochs for stage in stages) if stages else epochs,
        stages=stages,
        learning_rate=settings.learning_rate or method.learning_rate * rule.rate_share,
        decay=settings.decay or Schedule().decay,
        layer_decay=settings.layer_decay or Schedule().layer_decay,
    )


def _rate(machine: Machine, dtype: str) -> float:
    """FLOP/s measured here, else the printed peak; 0 where neither is known."""
    measured = machine.calibration.rate(dtype) if machine.calibration else None
    return measured or machine.device.peak(dtype) or 0.0
