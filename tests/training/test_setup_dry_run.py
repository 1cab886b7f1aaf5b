"""The dry run of a Setup against itself in full depth, against counts, and the formula against it."""

from dataclasses import replace

import pytest

from trimtab.errors import UsageError
from trimtab.estimation.estimate import Phase
from trimtab.estimation.setups import LOSSES, OPTIMIZERS, QUANTS, SHARDINGS, Setup, trained
from trimtab.estimation.setups.memory import live_phases
from trimtab.models.catalogue import shape_named
from trimtab.training.setup_dry_run import _phases, setup_dry_run, traced_setup

ALL = ("q", "k", "v", "o", "gate", "up", "down")
QWEN = shape_named("qwen2.5-0.5b")
SIX = replace(QWEN, layers=6, vocab=5000)


def total(phases: tuple[Phase, ...], name: str) -> int:
    return next(phase.parts.total_bytes for phase in phases if phase.name == name)


def peak(phases: tuple[Phase, ...]) -> int:
    return max(phase.parts.total_bytes for phase in phases)


@pytest.mark.parametrize(
    "setup",
    [
        Setup(spec=SIX, length=128),
        Setup(spec=SIX, length=128, recompute=True, micro_batches=2),
        Setup(spec=SIX, method="lora", roles=ALL, rank=8, length=256, adapters="fp32"),
        Setup(spec=SIX, method="freeze", top_layers=3, length=128),
        Setup(spec=SIX, method="qlora4", roles=("q", "v"), quant=QUANTS["nf4"], length=128, recompute=True),
    ],
    ids=["full", "full-recompute", "lora", "freeze", "qlora"],
)
def test_the_line_through_shallow_models_is_the_deep_one(setup: Setup) -> None:
    line, deep = setup_dry_run(setup), _phases(traced_setup(setup))
    assert {phase.name for phase in line} == {phase.name for phase in deep}
    for phase in deep:
        assert total(line, phase.name) == pytest.approx(phase.parts.total_bytes, rel=1e-3), phase.name


def test_what_is_held_is_what_is_counted() -> None:
    setup = Setup(spec=SIX, method="lora", roles=ALL, rank=8, length=64, adapters="fp32")
    parts = next(phase.parts for phase in setup_dry_run(setup) if phase.name == "optimizer")
    numbers = trained(setup).numbers
    assert parts.optimizer_bytes == pytest.approx(8 * numbers, rel=0.01), "two fp32 states"
    assert parts.gradients_bytes == pytest.approx(4 * numbers, rel=0.01)
    assert parts.weights_bytes == pytest.approx(2 * SIX.parameters + 4 * numbers, rel=0.01)
    assert parts.temporaries_bytes == pytest.approx(4 * numbers, rel=0.01), "the foreach step's square roots"


def test_quantised_matrices_have_their_known_size() -> None:
    setup = Setup(spec=SIX, method="qlora4", roles=("q",), rank=4, quant=QUANTS["nf4"], length=64)
    matrices = SIX.layers * sum(linear.inputs * linear.outputs for linear in SIX.linears)
    parts = next(phase.parts for phase in setup_dry_run(setup) if phase.name == "optimizer")
    rest = 2 * (SIX.parameters - matrices) + 2 * trained(setup).numbers
    assert parts.weights_bytes == pytest.approx(0.5625 * matrices + rest, rel=0.01)


MODERN = LOSSES["transformers"]  # what is installed here
GRID = [
    Setup(spec=shape_named("llama-2-7b"), method="lora", roles=("q", "v"), rank=8, micro_batch=2, length=1024),
    Setup(spec=shape_named("llama-2-7b"), method="lora", roles=ALL, rank=64, length=2048, recompute=True),
    Setup(spec=shape_named("llama-3.2-3b"), micro_batch=2, length=1024, optimizer=OPTIMIZERS["adamw"]),
    Setup(spec=shape_named("llama-3.2-3b"), micro_batch=2, length=2048, recompute=True, micro_batches=4),
    Setup(spec=shape_named("llama-3.2-3b"), method="freeze", top_layers=4, micro_batch=4, length=512),
    Setup(spec=QWEN, weights="fp32", compute="fp32", micro_batch=4, length=512),
    Setup(spec=QWEN, method="lora", roles=ALL, rank=16, micro_batch=8, length=512, attention="flash"),
    Setup(spec=QWEN, method="lora", roles=("q", "v"), rank=8, micro_batch=4, length=512, adapters="fp32"),
    Setup(spec=QWEN, method="lora", roles=ALL, rank=8, micro_batch=4, length=512, attention="eager"),
    Setup(spec=shape_named("mistral-7b-v0.1"), method="qlora4", roles=ALL, quant=QUANTS["nf4"], length=1024),
    Setup(spec=shape_named("llama-3.1-8b"), method="lora", roles=("q", "v"), length=2048, loss=LOSSES["fused"]),
    Setup(spec=shape_named("tinyllama-1.1b"), method="lora", roles=ALL, rank=16, micro_batch=4, length=256),
]


@pytest.mark.parametrize("setup", GRID, ids=lambda s: f"{s.spec.name}-{s.method}-{s.micro_batch}x{s.length}")
def test_the_formula_is_held_to_the_dry_run(setup: Setup) -> None:
    if setup.loss is LOSSES["plain"]:
        setup = replace(setup, loss=MODERN)
    formula, counted = peak(live_phases(setup)), peak(setup_dry_run(setup))
    assert formula == pytest.approx(counted, rel=0.08)


@pytest.mark.parametrize(
    ("changed", "word"),
    [
        ({"method": "prompt"}, "prompt"),
        ({"sharding": SHARDINGS["fsdp"]}, "fsdp"),
        ({"compiled": True}, "compile"),
        ({"spec": shape_named("bert-base-chinese")}, "encoder"),
        ({"offloads_weights": True}, "offload"),
    ],
)
def test_what_a_traced_step_does_not_have_is_refused(changed: dict[str, object], word: str) -> None:
    with pytest.raises(UsageError) as caught:
        setup_dry_run(replace(Setup(spec=SIX), **changed))  # type: ignore[arg-type]
    assert word in str(caught.value)
