"""Setups of other stacks: counts against the methods' own arithmetic, bytes against what is published or plain."""

from dataclasses import replace

import pytest

from trimtab.estimation.setups import (
    LOSSES,
    METHODS,
    OPTIMIZERS,
    QUANTS,
    SHARDINGS,
    Setup,
    estimate_setup,
    trained,
)
from trimtab.estimation.setups.memory import live_phases, setup_memory
from trimtab.estimation.setups.time import setup_time
from trimtab.hardware import machine_named
from trimtab.methods import Choices, Head, method_named
from trimtab.models.catalogue import shape_named
from trimtab.units import Evidence

LLAMA, SMALL = shape_named("llama-2-7b"), shape_named("llama-3.2-3b")
A100 = machine_named("a100-80g-sxm").device
MODELS = ("llama-2-7b", "qwen2.5-0.5b", "mistral-7b-v0.1", "gpt2", "phi-2", "qwen-7b", "bert-base-chinese")


def phase(setup: Setup, name: str) -> float:
    return next(phase.parts.total_bytes for phase in live_phases(setup) if phase.name == name)


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("roles", [("q", "v"), ("q", "k", "v", "o", "gate", "up", "down")])
def test_lora_counts_are_those_of_the_method(model: str, roles: tuple[str, ...]) -> None:
    spec = shape_named(model)
    setup = Setup(spec=spec, method="lora", rank=16, roles=roles)
    parts = method_named("lora").parts(spec, Choices(rank=16, targets=roles))
    own = sum(part.trainable_parameters(spec, 2) for part in parts if not isinstance(part, Head))
    if any(len(linear.roles) > 1 for linear in spec.linears) and roles == ("q", "v"):
        pytest.skip("a fused matrix has one A in PEFT and one a role in litgpt, which these rows count")
    assert trained(setup).numbers == own


@pytest.mark.parametrize("model", MODELS)
def test_full_and_freeze_train_what_the_model_has(model: str) -> None:
    spec = shape_named(model)
    assert trained(Setup(spec=spec)).numbers == spec.parameters
    half = spec.layers // 2
    frozen = trained(Setup(spec=spec, method="freeze", top_layers=half))
    weights = method_named("freeze").parts(spec, Choices(top_layers=half))[0]
    assert frozen.numbers == weights.trainable_parameters(spec, 2)
    assert frozen.lowest_layer == spec.layers - half


def test_small_methods_count_what_their_papers_say() -> None:
    h, kv, layers = LLAMA.hidden, LLAMA.kv_heads * LLAMA.head_dim, LLAMA.layers
    count = {
        name: trained(Setup(spec=LLAMA, method=name, virtual_tokens=10, bottleneck=64)).numbers for name in METHODS
    }
    assert count["prompt"] == 10 * h
    assert count["prefix"] == 10 * 2 * layers * kv
    assert count["ia3"] == layers * (2 * kv + LLAMA.ffn)
    assert count["adapter"] == layers * 2 * (h * 64 + 64 + 64 * h + h)
    assert count["bitfit"] == 0, "Llama has no biases"
    bert = shape_named("bert-base-uncased")
    assert trained(Setup(spec=bert, method="bitfit")).numbers == 12 * (4 * 768 + 3072 + 768 + 2 * 768)


def test_the_sources_own_count_is_believed_for_what_stands_beside() -> None:
    setup = Setup(spec=SMALL, method="other", roles=("q", "v"), trainable=9_175_040)
    assert trained(setup).numbers == 9_175_040
    assert trained(Setup(spec=SMALL, trainable=5)).numbers == SMALL.parameters, "full tuning trains all there is"


def test_pure_bf16_adamw_peaks_at_ten_bytes_a_number() -> None:
    """prediction: 2 weights, 2 gradients, 4 states, and 2 temporaries of the foreach step."""
    setup = Setup(spec=SMALL, micro_batch=1, length=64)
    assert phase(setup, "optimizer") == pytest.approx(10 * SMALL.parameters, rel=1e-6)
    fused = replace(setup, optimizer=OPTIMIZERS["adamw-fused"])
    assert phase(fused, "optimizer") == pytest.approx(8 * SMALL.parameters, rel=1e-6)
    paged = replace(setup, optimizer=OPTIMIZERS["adamw-paged"])
    assert phase(paged, "optimizer") == pytest.approx(4 * SMALL.parameters, rel=1e-6)


def test_eight_bit_states_take_a_quarter_of_fp32_ones() -> None:
    fp32 = Setup(spec=SMALL, weights="fp32", compute="fp32")
    states = {
        name: next(p.parts.optimizer_bytes for p in live_phases(replace(fp32, optimizer=OPTIMIZERS[name])))
        for name in ("adamw", "adamw8bit", "sgd", "lion")
    }
    assert states["adamw8bit"] / states["adamw"] == pytest.approx(0.25, abs=0.01)
    assert states["lion"] == states["adamw"] / 2
    assert states["sgd"] == 0


def test_a_step_in_backward_holds_no_gradients_and_makes_no_copies() -> None:
    setup = Setup(spec=SMALL, length=64, recompute=True, loss=LOSSES["fused"])
    inside = replace(setup, steps_in_backward=True)
    table = SMALL.vocab * SMALL.hidden * 2
    assert phase(inside, "optimizer") == pytest.approx(6 * SMALL.parameters + table, rel=1e-6)
    assert phase(setup, "optimizer") > phase(inside, "optimizer") + 3 * SMALL.parameters


def test_logits_of_a_large_vocabulary() -> None:
    """Batch 8 x 2048 at a vocabulary of 128,256: one bf16 tensor is 4.2 GB, its fp32 copy 8.4 GB."""
    spec = shape_named("llama-3.1-8b")
    setup = Setup(spec=spec, method="lora", roles=("q", "v"), micro_batch=8, length=2048)
    logits = {
        name: next(p.parts.logits_bytes for p in live_phases(replace(setup, loss=LOSSES[name]))) for name in LOSSES
    }
    one = 8 * 2048 * spec.vocab * 2
    assert one == pytest.approx(4.2e9, rel=0.01)
    assert logits["plain"] == one + 3 * 2 * one
    assert logits["transformers"] == 3 * 2 * one
    assert logits["chunked"] == one
    assert logits["fused"] < one < logits["litgpt"] < logits["plain"]


@pytest.mark.parametrize(("name", "number"), [("nf4", 0.5625), ("nf4-double", 0.51587), ("int8", 1.0)])
def test_quantised_weights(name: str, number: float) -> None:
    """Dettmers et al. 2023: 0.5 bits a number of scales, 0.127 with double quantisation."""
    setup = Setup(spec=LLAMA, method="qlora4", roles=("q", "v"), rank=8, quant=QUANTS[name])
    inside = LLAMA.layers * sum(linear.inputs * linear.outputs for linear in LLAMA.linears)
    rest = 2 * (LLAMA.parameters - inside)
    lora = trained(setup).numbers * 2
    weights = next(p.parts.weights_bytes for p in live_phases(setup))
    assert weights == pytest.approx(number * inside + rest + lora, rel=1e-3)


def test_kernels_that_keep_inputs_may_cost_what_four_bits_save() -> None:
    """Published: TinyLlama, micro-batch 8 of 512 tokens, LoRA 13.5 GB and QLoRA 16.2."""
    tiny = shape_named("tinyllama-1.1b")
    lora = Setup(
        spec=tiny, method="lora", rank=32, roles=("q", "v"), micro_batch=8, length=512, loss=LOSSES["litgpt"]
    )
    qlora = replace(lora, method="qlora4", quant=QUANTS["nf4"])
    assert setup_memory(qlora).allocated.value > setup_memory(lora).allocated.value
    short = replace(lora, micro_batch=1), replace(qlora, micro_batch=1)
    assert setup_memory(short[1]).allocated.value < setup_memory(short[0]).allocated.value


def test_recompute_keeps_one_input_a_layer() -> None:
    setup = Setup(spec=LLAMA, method="lora", roles=("q", "v"), micro_batch=2, length=1024, recompute=True)
    kept = next(p.parts.activations_bytes for p in live_phases(setup) if p.name == "head")
    assert kept == 2 * 1024 * LLAMA.hidden * 2 * (LLAMA.layers + 1)
    assert setup_memory(setup).allocated.value < setup_memory(replace(setup, recompute=False)).allocated.value


def test_accumulated_gradients_wait_while_the_next_micro_batch_runs() -> None:
    setup = Setup(spec=SMALL, micro_batch=2, length=2048)
    several = replace(setup, micro_batches=4)
    assert phase(several, "backward begins") == phase(setup, "backward begins") + 2 * SMALL.parameters


def test_sharding_divides_what_it_says() -> None:
    alone = Setup(spec=LLAMA, length=64, recompute=True)
    shared = replace(alone, devices=4, sharding=SHARDINGS["fsdp"])
    layers = 2 * 2 * LLAMA.parameters / LLAMA.layers  # two of them gathered
    assert phase(shared, "optimizer") == pytest.approx(phase(alone, "optimizer") / 4 + layers, rel=1e-3)
    data_parallel = replace(alone, devices=4, sharding=SHARDINGS["ddp"])
    assert phase(data_parallel, "optimizer") == phase(alone, "optimizer")


def test_an_encoder_has_no_vocabulary_to_predict() -> None:
    bert = shape_named("bert-large-uncased")
    parts = [
        p.parts for p in live_phases(Setup(spec=bert, weights="fp32", compute="fp32", length=512, micro_batch=8))
    ]
    assert all(part.logits_bytes < 1e6 for part in parts)


def test_the_three_kinds_of_memory_and_their_interval() -> None:
    memory = setup_memory(Setup(spec=LLAMA, method="lora", roles=("q", "v")))
    assert memory.allocated.value < memory.reserved.value < memory.device.value
    for figure in (memory.allocated, memory.reserved, memory.device):
        assert figure.low < figure.value < figure.high <= 1.3 * figure.value
        assert figure.evidence is Evidence.FORMULA
    assert memory.parts.total_bytes == memory.allocated.value


@pytest.mark.parametrize("method", METHODS)
def test_every_method_has_an_answer(method: str) -> None:
    spec = shape_named("phi-2") if method == "bitfit" else SMALL  # Llama has no biases
    trainable = 1000 if method == "other" else None
    setup = Setup(spec=spec, method=method, roles=("q", "v"), rank=8, device=A100, trainable=trainable)
    found = estimate_setup(setup)
    assert found.trainable_parameters > 0 and found.time is not None
    assert found.memory.allocated.value > 2 * spec.parameters
    assert found.time.tokens_per_second.value * found.time.step_seconds.value == pytest.approx(setup.tokens)


def test_time_grows_with_work_once_there_is_enough_of_it() -> None:
    setup = Setup(spec=LLAMA, method="lora", roles=("q", "v"), recompute=True, device=A100)

    def step(**changed: object) -> float:
        found = setup_time(replace(setup, **changed))  # type: ignore[arg-type]
        assert found is not None
        return found.step_seconds.value

    assert step(length=64) == step(length=128), "so little work waits for its launches"
    assert step(length=4096) == pytest.approx(2 * step(length=2048), rel=0.1)
    assert step(length=2048, micro_batches=8) == pytest.approx(8 * step(length=2048), rel=0.01)
    assert step(length=2048, method="full", roles=()) > step(length=2048) > step(length=2048, recompute=False)
    assert step(length=256, quant=QUANTS["nf4"], method="qlora4") > step(length=256)


def test_no_device_no_time() -> None:
    assert setup_time(Setup(spec=LLAMA)) is None
