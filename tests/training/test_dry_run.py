"""The dry run against itself in full depth, and against the formula, its instant twin."""

from dataclasses import replace

import pytest

from trimtab.data.spec import DataSpec, LengthHistogram
from trimtab.estimation.estimate import Phase
from trimtab.estimation.memory import live_phases
from trimtab.estimation.question import Question, question_of, questions_of
from trimtab.hardware.machine import Device, DeviceKind, Machine
from trimtab.methods import METHODS, Choices, Precision, Strategy, method_named, stages_from
from trimtab.models import shape_named
from trimtab.models.layer_shapes import LayerShape, LayerShapes
from trimtab.models.pruned import with_shapes
from trimtab.models.spec import ModelSpec
from trimtab.training.dry_run import dry_run, traced

FORMULA_ERROR = 0.06  # of the peak, over the grid below
ROUNDING = 1e-4  # storages are counted in whole units of 512 bytes on a GPU, which is no straight line


def small(name: str, layers: int = 7) -> ModelSpec:
    """A published shape in small: as many parts, fewer numbers."""
    published = shape_named(name)
    return replace(
        published,
        layers=layers, hidden=64, heads=4, kv_heads=4 * published.kv_heads // published.heads or 1, head_dim=16,
        ffn=160, vocab=700, max_positions=128, stored_bytes=0,
    )  # fmt: skip


def case(
    spec: ModelSpec,
    method: str,
    precision: Precision,
    *,
    device: DeviceKind = "cpu",
    rows: int = 4,
    batch: int = 4,
    length: int = 32,
    choices: Choices = Choices(),
    recompute: bool = False,
) -> tuple[Strategy, DataSpec, Machine, Question]:
    counts = [0] * length + [1000]
    data = DataSpec(
        name="d", task="classify", columns=("text",), label_column="label", labels=("a", "b"), label_counts=(),
        train_rows=1000, dev_rows=10, test_rows=0, lengths=LengthHistogram(tuple(counts)), vocabulary=400,
    )  # fmt: skip
    machine = Machine(name=device, device=Device(name=device, kind=device, memory_bytes=2**40, usable_bytes=2**40))
    preset = method_named(method)
    strategy = Strategy(
        method=method, parts=preset.parts(spec, choices), base_precision=preset.base_precision, batch=batch,
        precision=precision, micro_batch=rows, max_length=length, recompute=recompute,
    )  # fmt: skip
    return strategy, data, machine, question_of(strategy, spec, data, machine)


def totals(phases: tuple[Phase, ...]) -> dict[str, int]:
    return {phase.name: phase.parts.total_bytes for phase in phases}


def worst_by_phase(sites: tuple[Phase, ...]) -> dict[str, int]:
    """Sites of a full trace, gathered by hand."""
    phase_of = {"collect": "optimizer", "clip": "optimizer", "update": "optimizer", "evaluate": "evaluate"}
    found: dict[str, int] = {}
    for site in sites:
        if site.name != "load":
            name = phase_of.get(site.name, "forward-backward")
            found[name] = max(found.get(name, 0), site.parts.total_bytes)
    return found


@pytest.mark.parametrize("recompute", [False, True])
@pytest.mark.parametrize(
    ("name", "method", "choices"),
    [
        ("bert-base-uncased", "full", Choices()),
        ("bert-base-uncased", "lora", Choices()),
        ("bert-base-uncased", "lora", Choices(top_layers=4)),
        ("bert-base-uncased", "qlora", Choices()),
        ("bert-base-uncased", "freeze", Choices(top_layers=3)),
        ("bert-base-uncased", "adapter", Choices(placement="pfeiffer")),
        ("bert-base-uncased", "ia3", Choices(top_layers=4)),
        ("bert-base-uncased", "bitfit", Choices()),
        ("bert-base-uncased", "prompt", Choices()),
        ("distilbert-base-uncased", "full", Choices()),
        ("qwen2-0.5b", "full", Choices()),
        ("qwen2-0.5b", "lora", Choices()),
        ("qwen2-0.5b", "freeze", Choices(top_layers=4)),
        ("qwen2-0.5b", "adapter", Choices(top_layers=4)),
        ("qwen2-0.5b", "ia3", Choices()),
        ("qwen2-0.5b", "prefix", Choices()),
        ("qwen2-0.5b", "ptuning", Choices(virtual_tokens=20)),
    ],
)
def test_a_straight_line_through_shallow_models_meets_the_full_depth(
    name: str, method: str, choices: Choices, recompute: bool
) -> None:
    for precision, device in (("fp32", "cpu"), ("bf16", "gpu")):
        *_, question = case(small(name), method, precision, device=device, choices=choices, recompute=recompute)
        assert totals(dry_run(question)) == pytest.approx(worst_by_phase(traced(question)), rel=ROUNDING)


def in_stages(strategy: Strategy, spec: ModelSpec, text: str) -> Strategy:
    stages = stages_from(text, strategy.lowest_layer(spec), spec.layers, 2)
    return replace(strategy, schedule=replace(strategy.schedule, stages=stages))


@pytest.mark.parametrize(
    ("name", "method", "text"),
    [
        pytest.param("bert-base-uncased", "full", "layers=embeddings-2", marks=pytest.mark.soak),
        ("bert-base-uncased", "full", "layers=4-6"),
        pytest.param("bert-base-uncased", "lora", "layers=3-5", marks=pytest.mark.soak),
        pytest.param("qwen2-0.5b", "qlora", "layers=0-4", marks=pytest.mark.soak),
        pytest.param("qwen2-0.5b", "adapter", "layers=4-8", marks=pytest.mark.soak),
    ],
)
def test_the_line_meets_the_full_depth_of_a_stage_too(name: str, method: str, text: str) -> None:
    """Frozen layers below the trained ones, and frozen layers above them, through which gradients pass."""
    spec = small(name, layers=10)
    for precision, device in (("fp32", "cpu"), ("bf16", "gpu")):
        strategy, data, machine, _ = case(spec, method, precision, device=device)
        (question,) = questions_of(in_stages(strategy, spec, text), spec, data, machine)
        assert totals(dry_run(question)) == pytest.approx(worst_by_phase(traced(question)), rel=ROUNDING)


@pytest.mark.parametrize(
    ("name", "method", "text"),
    [
        pytest.param("bert-base-uncased", "full", "bottom-up", marks=pytest.mark.soak),
        ("bert-base-uncased", "lora", "layers=4-7"),
        pytest.param("qwen2-0.5b", "full", "top-down", marks=pytest.mark.soak),
        pytest.param("qwen2-0.5b", "adapter", "bottom-up", marks=pytest.mark.soak),
    ],
)
def test_the_formula_is_near_the_dry_run_of_every_stage(name: str, method: str, text: str) -> None:
    spec = shape_named(name)
    for precision, device in (("fp32", "cpu"), ("bf16", "gpu")):
        strategy, data, machine, _ = case(spec, method, precision, device=device, rows=8, batch=8, length=128)
        staged = in_stages(strategy, spec, text)
        for stage, question in zip(staged.stages, questions_of(staged, spec, data, machine), strict=True):
            counted, formula = totals(dry_run(question)), totals(live_phases(stage, spec, data, machine))
            peak = max(formula[name] for name in counted)
            assert peak == pytest.approx(max(counted.values()), rel=FORMULA_ERROR), (stage.span, formula, counted)


@pytest.mark.parametrize("name", ["bert-base-uncased", pytest.param("qwen2-0.5b", marks=pytest.mark.soak)])
def test_the_formula_is_near_the_dry_run_of_dora(name: str) -> None:
    spec = shape_named(name)
    for precision, device in (("fp32", "cpu"), ("bf16", "gpu")):
        for rows, length in ((8, 128), (1, 16)):  # with few tokens the lengths of rows are all there is
            strategy, data, machine, question = case(
                spec, "lora", precision, device=device, rows=rows, batch=rows, length=length,
                choices=Choices(lora_variant="dora"),
            )  # fmt: skip
            counted, formula = totals(dry_run(question)), totals(live_phases(strategy, spec, data, machine))
            peak = max(formula[name] for name in counted)
            assert peak == pytest.approx(max(counted.values()), rel=FORMULA_ERROR), (rows, formula, counted)


def test_a_head_alone_leaves_the_layers_out_of_backward() -> None:
    *_, question = case(small("bert-base-uncased"), "head", "fp32")
    assert totals(dry_run(question)) == worst_by_phase(traced(question))


@pytest.mark.parametrize(("precision", "device"), [("fp32", "cpu"), ("bf16", "gpu")])
@pytest.mark.parametrize("method", [method.name for method in METHODS if method.stages is None])
@pytest.mark.parametrize("name", ["bert-base-uncased", "distilbert-base-uncased", "qwen2-0.5b"])
def test_the_formula_is_near_the_dry_run(name: str, method: str, precision: Precision, device: DeviceKind) -> None:
    """Published shapes, small and large batches, with and without recompute and accumulation."""
    spec = shape_named(name)
    if method_named(method).refusal(spec, Choices()):
        pytest.skip("is refused")
    for recompute, rows, batch, length in ((False, 8, 8, 128), (False, 2, 8, 64), (True, 8, 8, 128)):
        if recompute and method == "head":
            continue
        strategy, data, machine, question = case(
            spec, method, precision, device=device, rows=rows, batch=batch, length=length, recompute=recompute
        )
        counted = totals(dry_run(question))
        formula = totals(live_phases(strategy, spec, data, machine))
        peak = max(formula[name] for name in counted)
        assert peak == pytest.approx(max(counted.values()), rel=FORMULA_ERROR), (recompute, formula, counted)


def test_recompute_of_upper_layers_keeps_nothing_below_them() -> None:
    """transformers lets gradients pass down to the embeddings when it recomputes, whatever is trained."""
    spec = small("bert-base-uncased")
    deeper = replace(spec, layers=spec.layers + 3)
    activations = []
    for model in (spec, deeper):
        *_, question = case(model, "freeze", "fp32", choices=Choices(top_layers=2), rows=32, recompute=True)
        phases = {phase.name: phase.parts for phase in dry_run(question)}
        activations.append(phases["forward-backward"].activations_bytes)
    assert activations[0] == activations[1]


@pytest.mark.parametrize("method", ["full", "lora"])
@pytest.mark.parametrize("even", [True, False])
def test_pruned_layers_are_traced_as_they_are(method: str, even: bool) -> None:
    """Heads of a BERT that its class alone could not have; the formula counts layers that are alike exactly."""
    whole = small("bert-base-uncased")
    shapes = [
        LayerShape(heads=2, kv_heads=2, neurons=96 if even else 32 * (1 + number % 3)) for number in range(7)
    ]
    spec = with_shapes(whole, LayerShapes(layers=tuple(shapes)))
    strategy, data, machine, question = case(spec, method, "fp32")
    found = totals(dry_run(question))
    assert found == pytest.approx(worst_by_phase(traced(question)), rel=ROUNDING)
    if even:
        formula = totals(live_phases(strategy, spec, data, machine))
        assert max(found.values()) == pytest.approx(max(formula.values()), rel=FORMULA_ERROR)
    assert max(found.values()) < max(totals(dry_run(case(whole, method, "fp32")[3])).values())
