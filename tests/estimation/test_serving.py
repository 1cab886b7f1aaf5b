"""What one device answers: by hand, beside published figures, and what cannot be."""

from dataclasses import replace

import pytest

from trimtab.errors import Message, UsageError
from trimtab.estimation.serving import (
    ENGINES,
    Capacity,
    Deployment,
    Measured,
    StoredAs,
    Workload,
    adapter_bytes,
    capacity,
    engine_named,
    pace,
    published_servings,
    refusal,
)
from trimtab.hardware import Calibration, Machine, machine_named
from trimtab.hardware.machine import StepCosts, StepWork
from trimtab.models import ModelSpec, shape_named
from trimtab.serving.limits import Limits
from trimtab.units import GIB, Evidence

LLAMA, BERT = shape_named("llama-2-7b"), shape_named("bert-base-uncased")
TALK = Workload(input_tokens=256, output_tokens=128)
TEXT = Workload(input_tokens=128)


def deployed(spec: ModelSpec, device: str | Machine, engine: str, weights: StoredAs, **more: int) -> Deployment:
    machine = machine_named(device) if isinstance(device, str) else device
    return Deployment(spec=spec, machine=machine, engine=engine_named(engine), weights=weights, **more)


def known(deployment: Deployment, workload: Workload, measured: Measured | None = None) -> Capacity:
    found = capacity(deployment, workload, measured)
    assert isinstance(found, Capacity), found
    return found


def test_a_decoder_reads_by_its_rate_and_writes_by_its_bandwidth() -> None:
    """Llama-2-7B in fp16 on an A10G: 32 layers of 4096, inner 11008, 32,000 tokens; 70 TFLOPS, 600.2 GB/s."""
    matrices = 4 * 4096**2 + 3 * 4096 * 11008
    layers = 32 * (matrices + 2 * 4096)  # two norms
    table = 32_000 * 4096

    def flop(length: float) -> float:
        return 32 * (2 * matrices + 4 * length * 4096)

    rate, bandwidth = 0.50 * 70e12, 0.75 * 600.2e9
    prompt = (256 * flop(256) + 2 * table) / rate
    read = 2 * (layers + table) / bandwidth
    row = (256 + 64) * (2 * 32 * 32 * 128 * 2) / bandwidth  # keys and values of 320 tokens
    token = (flop(320) + 2 * table) / rate
    found, evidence = pace(deployed(LLAMA, "a10g", "vllm", "fp16"), TALK)
    assert evidence is Evidence.FORMULA and found.joins
    for rows in (1, 8, 400):
        seconds = rows * prompt + 128 * max(read + rows * row, rows * token)
        assert found.seconds(rows) == pytest.approx(seconds)
        assert found.per_second(rows) == pytest.approx(rows / seconds)


def test_memory_left_after_the_weights_limits_how_many_are_written_at_once() -> None:
    """0.9 of 22.05 GiB, less 1.4 GiB of context, the weights, and 2,048 tokens of one layer's moment."""
    matrices = 4 * 4096**2 + 3 * 4096 * 11008
    weights = 2 * (32 * (matrices + 2 * 4096) + 2 * 32_000 * 4096 + 4096)
    moment = 2048 * 2 * (3 * 4096 + max(2 * 11008, 4 * 4096))
    request = 384 * (2 * 32 * 32 * 128 * 2) + 4 * 32_000
    deployment = deployed(LLAMA, "a10g", "vllm", "fp16")
    assert deployment.weight_bytes == weights
    assert deployment.row_bytes(TALK) == request
    room = 0.9 * 22.05 * GIB - int(1.4 * GIB) - weights - moment
    assert deployment.most_rows(TALK) == int(room // request) == 30
    with_adapters = replace(deployment, adapters=100, adapter_bytes=adapter_bytes(LLAMA))
    assert adapter_bytes(LLAMA) == 4 * 32 * 2 * 8 * (4096 + 4096)  # queries and values, rank 8, fp32
    assert with_adapters.most_rows(TALK) == int((room - 100 * adapter_bytes(LLAMA)) // request) < 30


def test_weights_in_few_bits_are_smaller_and_are_read_sooner() -> None:
    matrices = 4 * 4096**2 + 3 * 4096 * 11008
    layers, rest = 32 * (matrices + 2 * 4096), 2 * 32_000 * 4096 + 4096
    for weights, number in (("int8", 1.0), ("int4", 0.515625)):
        deployment = deployed(LLAMA, "a10g", "vllm", weights)
        assert deployment.weight_bytes == round(layers * number + 2 * rest)
    four, sixteen = (pace(deployed(LLAMA, "a10g", "vllm", w), TALK)[0] for w in ("int4", "fp16"))
    assert four.read_seconds < 0.4 * sixteen.read_seconds
    assert four.prompt_seconds == sixteen.prompt_seconds  # they are multiplied in 16 bits


def test_an_encoder_is_one_pass_by_the_costs_of_a_step() -> None:
    """BERT-base on 16 virtual cores: 1.38 TFLOPS x 0.70, 20 bytes a number at 51.2 GB/s, 0.7 ms a layer; ONNX
    Runtime twice as fast, in int8 2.05 times that."""
    flop = 12 * (2 * (4 * 768**2 + 2 * 768 * 3072) + 4 * 128 * 768)
    numbers = 12 * (4 * 768 + 2 * 12 * 128 + 4 * 768 + 2 * 3072)
    text = 128 * (flop / (0.70 * 1.38e12) + numbers * 20 / 51.2e9)
    layers = 12 * 0.0007
    plain, evidence = pace(deployed(BERT, "cloud-cpu-16", "trimtab", "fp32"), TEXT)
    assert evidence is Evidence.FORMULA and not plain.joins
    assert plain.seconds(32) == pytest.approx(layers + 32 * text)
    for weights, gain in (("fp32", 2.0), ("int8", 2.0 * 2.05)):
        fast, _ = pace(deployed(BERT, "cloud-cpu-16", "onnx", weights), TEXT)
        assert fast.seconds(32) == pytest.approx((layers + 32 * text) / gain)
    without_vnni, _ = pace(deployed(BERT, "epyc-7763", "onnx", "int8"), TEXT)
    assert without_vnni.seconds(1) == pytest.approx(
        pace(deployed(BERT, "epyc-7763", "onnx", "fp32"), TEXT)[0].seconds(1)
    )


def test_a_decoder_of_trimtabs_own_writes_as_a_teacher_does() -> None:
    """SmolLM2-135M on 16 virtual cores, in fp32: read, layers, and tokens one after the other."""
    spec = shape_named("smollm2-135m")
    width, kv, inner, vocab = spec.hidden, spec.kv_heads * spec.head_dim, spec.ffn, spec.vocab
    matrices = 2 * width * width + 2 * width * kv + 3 * width * inner

    def token(length: float) -> float:
        flop = spec.layers * (2 * matrices + 4 * length * width)
        numbers = spec.layers * (4 * width + 2 * spec.heads * length + 4 * width + 3 * inner)
        return flop / (0.70 * 1.38e12) + numbers * 20 / 51.2e9

    scores, layers = 2 * vocab * width / (0.70 * 1.38e12), spec.layers * 0.0007
    read = 4 * (spec.parameters_of_layers() + vocab * width) / 51.2e9 + layers
    cached = (64 + 16) * 2 * spec.layers * kv * 4 / 51.2e9
    found, _ = pace(deployed(spec, "cloud-cpu-16", "trimtab", "fp32"), Workload(input_tokens=64, output_tokens=32))
    prompt = layers + 64 * token(64) + scores
    for rows in (1, 16):
        assert found.seconds(rows) == pytest.approx(
            rows * prompt + 32 * (read + rows * cached + rows * (token(80) + scores))
        )


@pytest.mark.parametrize("row", published_servings(), ids=lambda row: f"{row.device}-{row.model}-{row.engine}")
def test_the_formula_is_within_a_fifth_of_what_others_have_published(row) -> None:
    assert 0.8 < row.predicted_per_second / row.per_second < 1.2
    assert row.source.startswith("https://")


def test_a_published_figure_of_the_same_card_corrects_the_formula() -> None:
    (row,) = (row for row in published_servings() if row.device == "a10g")
    like = known(deployed(LLAMA, "a10g", "vllm", "fp16"), TALK)
    assert like.basis == "published" and row.source in like.source and row.as_of in like.source
    assert like.per_second().value == pytest.approx(row.per_second)
    other = known(deployed(LLAMA, "a10", "vllm", "fp16"), TALK)
    assert (other.basis, other.source) == ("formula", "")
    far = known(deployed(shape_named("qwen2.5-0.5b"), "a10g", "vllm", "bf16"), TALK)
    assert far.basis == "formula"  # a fourteenth of its size


def test_the_interval_is_as_wide_as_the_figure_is_weak() -> None:
    here = replace(machine_named("cloud-cpu-16"), name="desk", is_here=True)
    costs = StepCosts(dtype="fp32", seconds_each=StepWork(flop=1e-12, frozen_numbers=1e-9, frozen_layers=1e-3))
    probed = replace(here, calibration=Calibration(key="", matmul_rates=(), threads=8, step_costs=(costs,)))
    measured = Measured(per_second=40.0, source="by hand")
    cases = (
        (known(deployed(BERT, here, "trimtab", "fp32"), TEXT), "formula", 2.0, Evidence.FORMULA),
        (known(deployed(BERT, probed, "trimtab", "fp32"), TEXT), "calibrated", 1.6, Evidence.PROBE),
        (known(deployed(BERT, "t4", "tensorrt", "fp16"), TEXT), "published", 1.5, Evidence.FORMULA),
        (known(deployed(BERT, probed, "trimtab", "fp32"), TEXT, measured), "measured", 1.25, Evidence.MEASURED),
    )
    for found, basis, factor, evidence in cases:
        speed = found.per_second()
        assert (found.basis, speed.evidence) == (basis, evidence)
        assert speed.high / speed.value == pytest.approx(factor) == pytest.approx(speed.value / speed.low)
    assert cases[-1][0].per_second().value == pytest.approx(40.0) and cases[-1][0].source == "by hand"
    flop = 12 * (2 * (4 * 768**2 + 2 * 768 * 3072) + 4 * 128 * 768)
    numbers = 12 * (4 * 768 + 2 * 12 * 128 + 4 * 768 + 2 * 3072)
    seconds = 12e-3 + 128 * (flop * 1e-12 + numbers * 1e-9)
    assert cases[1][0].pace.seconds(1) == pytest.approx(seconds)


def test_seconds_of_one_request_are_a_measurement_too() -> None:
    one = Measured(one_seconds=0.25, source="a clock")
    found = known(deployed(BERT, "cloud-cpu-16", "trimtab", "fp32"), TEXT, one)
    assert found.pace.seconds(1) == pytest.approx(0.25)


def test_adapters_together_leave_four_fifths() -> None:
    alone = known(deployed(BERT, "t4", "trimtab", "fp16", adapters=1), TEXT)
    many = known(deployed(BERT, "t4", "trimtab", "fp16", adapters=32), TEXT)
    assert many.per_second().value == pytest.approx(0.8 * alone.per_second().value)


def test_copies_of_a_model_take_their_memory_each() -> None:
    one, eight = (deployed(BERT, "cloud-cpu-16", "onnx", "int8", copies=copies) for copies in (1, 8))
    assert eight.fixed_bytes(TEXT) - one.fixed_bytes(TEXT) == 7 * one.weight_bytes


def test_what_does_not_fit_says_so_in_numbers() -> None:
    found = capacity(deployed(LLAMA, "t4", "vllm", "fp16"), TALK)
    assert isinstance(found, Message) and found.code == "TT-P509"
    need, have = found.fact("need"), found.fact("have")
    assert isinstance(need, int) and isinstance(have, float)
    assert need > have == pytest.approx(0.9 * machine_named("t4").device.usable_bytes)
    assert found.fact("weights") == 13_476_831_232
    for language in ("en", "zh"):
        assert "12.6 GiB" in found.text(language) and "13.1 GiB" in found.text(language)


@pytest.mark.parametrize(
    ("spec", "device", "engine", "weights", "code"),
    [
        (LLAMA, "cloud-cpu-16", "vllm", "bf16", "TT-P502"),
        (BERT, "t4", "vllm", "fp16", "TT-P503"),
        (LLAMA, "a10", "tensorrt", "fp16", "TT-P503"),
        (LLAMA, "a10", "vllm", "fp32", "TT-P504"),
        (LLAMA, "p100-16g-pcie", "vllm", "fp16", "TT-P505"),
        (LLAMA, "t4", "vllm", "bf16", "TT-P506"),
        (LLAMA, "cloud-cpu-16", "trimtab", "fp16", "TT-P506"),
        (LLAMA, "t4", "vllm", "fp16", None),
        (BERT, "cloud-cpu-16", "onnx", "int8", None),
    ],
)
def test_an_engine_says_where_it_cannot_run(
    spec: ModelSpec, device: str, engine: str, weights: StoredAs, code: str | None
) -> None:
    found = refusal(engine_named(engine), spec, machine_named(device).device, weights)
    assert (found and found.code) == code


def test_an_engine_that_there_is_not_is_refused_with_those_there_are() -> None:
    with pytest.raises(UsageError) as caught:
        engine_named("vlm")
    assert caught.value.code == "TT-P501"
    assert all(engine.name in caught.value.message.next_step() for engine in ENGINES)


def test_trimtabs_engine_takes_on_what_its_service_does() -> None:
    limits, own = Limits(), engine_named("trimtab")
    assert (own.pass_tokens, own.most_rows) == (limits.batch_tokens, limits.chats)
