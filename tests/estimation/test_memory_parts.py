"""The memory estimate as arithmetic: parts add up, the worst phase is taken, more work never needs less."""

from dataclasses import replace
from itertools import pairwise

import pytest

from trimtab.data.spec import DataSpec, LengthHistogram
from trimtab.estimation.estimate import MemoryParts
from trimtab.estimation.memory import live_phases, memory
from trimtab.hardware.machine import Calibration, Device, Machine
from trimtab.methods import METHODS, Choices, Schedule, Strategy, method_named
from trimtab.models import shape_named
from trimtab.units import GIB, MIB, Evidence

BERT, QWEN = shape_named("bert-base-uncased"), shape_named("qwen2-0.5b")
RUNTIME = 500 * MIB
WORKING = 81 * MIB + 20 * 40 * 30_522  # threads, arenas, kernels; a tokenizer by rule: its file is not at hand


def machine(kind: str = "cpu", runtime: int = RUNTIME) -> Machine:
    device = Device(name=kind, kind=kind, memory_bytes=64 * GIB, usable_bytes=64 * GIB)
    probe = Calibration(key="k", matmul_rates=(), threads=1, runtime_bytes=runtime)
    return Machine(name=kind, device=device, calibration=probe if runtime else None)


def data(rows: int = 5000, longest: int = 200) -> DataSpec:
    counts = [0] * (longest + 1)
    counts[longest] = rows
    return DataSpec(
        name="d",
        task="classify",
        columns=("text",),
        label_column="label",
        labels=("a", "b", "c"),
        label_counts=(rows, 0, 0),
        train_rows=rows,
        dev_rows=10,
        test_rows=10,
        lengths=LengthHistogram(tuple(counts)),
    )


def strategy(spec=BERT, method: str = "full", choices: Choices = Choices(), **changed) -> Strategy:
    preset = method_named(method)
    made = Strategy(method=method, parts=preset.parts(spec, choices), base_precision=preset.base_precision)
    return replace(made, **changed)


def peak(made: Strategy, spec=BERT, on: Machine | None = None, facts: DataSpec | None = None) -> float:
    return memory(made, spec, facts or data(), on or machine()).peak_bytes.value


def live(phase: str, made: Strategy, facts: DataSpec | None = None) -> MemoryParts:
    """Live tensors of one phase, before a process adds its own."""
    return next(p.parts for p in live_phases(made, BERT, facts or data(), machine()) if p.name == phase)


@pytest.mark.parametrize("kind", ["cpu", "gpu"])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("method", [method.name for method in METHODS if method.stages is None])
@pytest.mark.parametrize("spec", [BERT, QWEN], ids=["bert", "qwen"])
def test_the_parts_add_up(spec, method: str, precision, kind: str) -> None:
    estimate = memory(strategy(spec, method, precision=precision), spec, data(), machine(kind))
    parts = estimate.parts
    assert parts.total_bytes == estimate.peak_bytes.value
    assert parts.total_bytes == sum(getattr(parts, name) for name in parts.__slots__)
    assert min(getattr(parts, name) for name in parts.__slots__) >= 0
    assert estimate.peak_bytes.low < estimate.peak_bytes.value < estimate.peak_bytes.high
    assert estimate.kind == {"cpu": "rss", "gpu": "device"}[kind]


def test_full_tuning_of_bert_by_hand() -> None:
    """A batch of one short row: weights, gradients and two moments of 109,484,547 fp32 parameters."""
    parameters = 109_482_240 + 3 * 768 + 3
    parts = live("optimizer", strategy(micro_batch=1, batch=1, max_length=1))
    table = 30_522 * 768  # every row may be read: the tokens have not been counted
    assert parts.weights_bytes == 4 * parameters + 4 * table
    assert parts.gradients_bytes == 4 * parameters
    assert parts.optimizer_bytes == 8 * parameters
    assert memory(strategy(), BERT, data(), machine()).parts.runtime_bytes == RUNTIME + WORKING


@pytest.mark.parametrize(("counted", "rows"), [(7_000, 7_001), (40_000, 30_522)])
def test_rows_that_no_text_reads_have_no_gradient_and_no_states(counted: int, rows: int) -> None:
    facts = replace(data(), vocabulary=counted)
    parts = live("optimizer", strategy(micro_batch=1, batch=1, max_length=1), facts)
    parameters, table = 109_482_240 + 3 * 768 + 3, rows * 768
    updated = parameters - (30_522 - rows) * 768
    assert parts.weights_bytes == 4 * parameters + 4 * table
    assert (parts.gradients_bytes, parts.optimizer_bytes) == (4 * updated, 8 * updated)


def test_bf16_holds_low_weights_and_an_fp32_master_of_what_is_trained() -> None:
    full = memory(strategy(precision="bf16", micro_batch=1, max_length=1), BERT, data(), machine()).parts
    parameters = 109_482_240 + 3 * 768 + 3
    assert full.weights_bytes == (2 + 4) * parameters


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_an_average_is_four_bytes_more_for_each_number_that_is_updated(precision) -> None:
    facts = replace(data(), vocabulary=7_000)
    updated = 109_482_240 + 3 * 768 + 3 - (30_522 - 7_001) * 768
    for phase in ("load", "forward-backward", "optimizer", "evaluate", "save"):
        plain = live(phase, strategy(precision=precision), facts)
        averaged = live(phase, strategy(precision=precision, ema_decay=0.999), facts)
        assert averaged.weights_bytes - plain.weights_bytes == 4 * updated, phase


def test_loading_may_be_the_peak() -> None:
    """The mapped file of fp32 weights and their bf16 copy are there until the last one is cast, with the fp32
    masters of pooler and head."""
    estimate = memory(strategy(method="head", precision="bf16", max_length=1), BERT, data(), machine())
    trained = 768 * 768 + 768 + 3 * 768 + 3
    assert estimate.phase == "load"
    assert estimate.parts.weights_bytes == (4 + 2) * (109_482_240 + 3 * 768 + 3) + 4 * trained


def test_a_gpu_casts_weights_one_by_one_and_opens_nothing_again() -> None:
    estimate = memory(strategy(method="head", precision="bf16", max_length=1), BERT, data(), machine("gpu"))
    trained = 768 * 768 + 768 + 3 * 768 + 3
    assert estimate.phase == "load"
    cast = 2 * 30_522 * 768
    assert estimate.parts.weights_bytes == 4 * (109_482_240 + 3 * 768 + 3) + 4 * trained + cast


def test_an_adapter_is_opened_again_on_its_whole_base() -> None:
    """The mapped file and its cast copy, as at loading, at the end beside the kernels of the training."""
    small = strategy(method="lora", precision="bf16", max_length=1, choices=Choices(top_layers=1))
    estimate = memory(small, BERT, data(), machine())
    stored_and_cast = (4 + 2) * small.total_parameters(BERT, 3)
    assert estimate.phase == "save"
    assert estimate.parts.weights_bytes == stored_and_cast


def test_a_tokenizer_is_held_on_a_cpu_and_costs_a_gpu_nothing() -> None:
    large, small = replace(BERT, tokenizer_bytes=16 * MIB), replace(BERT, tokenizer_bytes=1 * MIB)
    more = [memory(strategy(), large, data(), machine(kind)).parts.runtime_bytes for kind in ("cpu", "gpu")]
    less = [memory(strategy(), small, data(), machine(kind)).parts.runtime_bytes for kind in ("cpu", "gpu")]
    assert [a - b for a, b in zip(more, less, strict=True)] == [20 * 15 * MIB, 0]


def test_an_evaluation_may_be_the_peak() -> None:
    """4,096 tokens go through at once, or as many as there are, whatever the micro-batch: two arrays of the inner
    width, three of the outer."""
    estimate = memory(strategy(method="head", micro_batch=1, max_length=128), BERT, data(), machine())
    assert estimate.phase == "evaluate"
    assert estimate.parts.temporaries_bytes == 10 * 128 * 4 * (2 * 3072 + 3 * 768)
    many = replace(data(), dev_rows=1000)
    assert live("evaluate", strategy(max_length=128), many).temporaries_bytes == 4096 * 4 * (2 * 3072 + 3 * 768)


def test_the_phase_moves_from_the_optimiser_to_the_activations() -> None:
    small = memory(strategy(micro_batch=1, batch=1, max_length=8), BERT, data(), machine("gpu"))
    large = memory(strategy(micro_batch=32, max_length=200), BERT, data(), machine("gpu"))
    assert (small.phase, large.phase) == ("optimizer", "forward-backward")
    assert large.parts.largest == "activations"


def test_waiting_gradients_are_counted_only_when_the_batch_is_cut() -> None:
    cut = memory(strategy(batch=64, micro_batch=32), BERT, data(), machine()).parts
    whole = memory(strategy(batch=32, micro_batch=32), BERT, data(), machine()).parts
    assert (whole.gradients_bytes, cut.gradients_bytes) == (4 * 30_522 * 768, 4 * 109_484_547)
    assert cut.activations_bytes == whole.activations_bytes


def rising(values: list[float]) -> bool:
    return all(left < right for left, right in pairwise(values))


def test_more_rows_tokens_rank_and_layers_never_need_less() -> None:
    assert rising([peak(strategy(micro_batch=rows)) for rows in (8, 16, 32, 64)])
    assert rising([peak(strategy(max_length=length)) for length in (64, 100, 150, 200)])
    assert rising([peak(strategy(method="lora", choices=Choices(rank=r))) for r in (1, 8, 64, 256)])
    assert rising([peak(strategy(method="freeze", choices=Choices(top_layers=n))) for n in (1, 4, 8, 12)])
    assert peak(strategy(method="head")) < peak(strategy(method="lora")) < peak(strategy())


def test_rows_and_tokens_beyond_the_data_cost_nothing() -> None:
    few = data(rows=8, longest=32)
    assert peak(strategy(micro_batch=32), facts=few) == peak(strategy(micro_batch=8, batch=8), facts=few)
    assert peak(strategy(max_length=128), facts=few) == peak(strategy(max_length=32), facts=few)


def test_recompute_keeps_an_input_a_layer_and_one_layer_whole() -> None:
    whole = memory(strategy(method="lora"), BERT, data(), machine()).parts.activations_bytes
    less = memory(strategy(method="lora", recompute=True), BERT, data(), machine()).parts.activations_bytes
    assert less == pytest.approx(whole / 12 + 12 * 32 * 128 * 768 * 4, abs=16)


def test_the_heap_loses_the_same_with_recompute_and_nothing_below_what_is_trained() -> None:
    """Holes stand among the temporaries: a share of what the layers that gradients pass through would keep."""

    def beyond_live(**changed: object) -> float:
        chosen = strategy(**changed)
        whole = memory(chosen, BERT, data(), machine()).parts.temporaries_bytes
        return whole - live("forward-backward", chosen).temporaries_bytes

    whole = beyond_live(method="lora")
    assert whole > 0 and beyond_live(method="lora", recompute=True) == pytest.approx(whole, rel=1e-6)
    half = beyond_live(method="freeze", choices=Choices(top_layers=6))
    assert half < whole and beyond_live(method="freeze", choices=Choices(top_layers=3)) == pytest.approx(
        half / 2, rel=0.01
    )


def test_the_heap_loses_less_where_the_largest_batch_seldom_runs() -> None:
    """Live tensors are the same: they are those of the largest batch."""
    alike, long = data(rows=640, longest=200), data(rows=640, longest=200)
    few = [0] * 201
    few[40], few[200] = 632, 8
    one_long = replace(long, lengths=LengthHistogram(tuple(few)))
    made = strategy(method="lora", batch=16, micro_batch=16, schedule=Schedule(epochs=1))
    seldom, often = peak(made, facts=one_long), peak(made, facts=alike)
    assert live("forward-backward", made, one_long) == live("forward-backward", made, alike)
    assert seldom < often
    twelve = replace(made, schedule=Schedule(epochs=12))
    assert peak(twelve, facts=alike) == pytest.approx(often, rel=1e-6)
    assert peak(twelve, facts=one_long) > often, "what smaller batches cut up does not serve the largest"


def test_a_calibrated_runtime_is_taken_and_a_rule_says_so() -> None:
    measured = memory(strategy(), BERT, data(), machine(runtime=RUNTIME))
    guessed = memory(strategy(), BERT, data(), machine(runtime=0))
    assert measured.parts.runtime_bytes == RUNTIME + WORKING != guessed.parts.runtime_bytes
    assert measured.peak_bytes.evidence is Evidence.FORMULA

    def width(figure) -> float:
        return (figure.high - figure.low) / figure.value

    assert width(guessed.peak_bytes) > width(measured.peak_bytes)
