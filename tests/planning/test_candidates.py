"""Which strategies are worth estimating."""

from dataclasses import replace

import pytest
from planning_cases import MINILM, cpu, data, gpu

from trimtab.methods import Choices, Lora
from trimtab.planning.candidates import (
    cuts,
    default_epochs,
    default_max_length,
    precisions,
    strategies,
    variants,
)
from trimtab.planning.request import Request, Settings


def request(**changes: object) -> Request:
    return replace(Request(spec=MINILM, data=data(), machine=cpu()), **changes)


def depths(of: Request) -> list[tuple[str, int | None]]:
    """(method, depth) of every variant; -1 where the method has no depth."""
    return [(v.method.name, getattr(v.parts[0], "top_layers", -1)) for v in variants(of)]


def test_every_method_at_every_depth_worth_comparing() -> None:
    assert depths(request()) == [
        ("full", None), ("lora", None), ("lora", 3), ("qlora", None), ("adapter", None), ("ia3", None),
        ("bitfit", None), ("prompt", -1), ("prefix", -1), ("ptuning", -1),
        ("freeze", 2), ("freeze", 1), ("freeze", 3), ("head", -1),
    ]  # fmt: skip


def test_a_model_of_one_layer_has_no_duplicate_depths() -> None:
    one_layer = replace(MINILM, layers=1)
    assert depths(request(spec=one_layer)) == [
        ("full", None), ("lora", None), ("lora", 1), ("qlora", None), ("adapter", None), ("ia3", None),
        ("bitfit", None), ("prompt", -1), ("prefix", -1), ("ptuning", -1), ("freeze", 1), ("head", -1),
    ]  # fmt: skip


def test_a_method_asked_for_keeps_its_own_depth() -> None:
    assert depths(request(method="freeze")) == [("freeze", 2)]
    assert depths(request(method="lora")) == [("lora", None)]


def test_a_choice_narrows_the_methods_to_those_that_take_it() -> None:
    assert depths(request(choices=Choices(top_layers=4))) == [
        ("lora", 4), ("qlora", 4), ("adapter", 4), ("ia3", 4), ("bitfit", 4), ("freeze", 4),
    ]  # fmt: skip
    found = variants(request(choices=Choices(rank=4)))
    assert {v.method.name for v in found} == {"lora", "qlora"}
    assert all(isinstance(v.parts[0], Lora) and v.parts[0].rank == 4 for v in found)


def test_a_base_in_few_bits_is_tried_where_the_library_runs() -> None:
    assert {v.base_precision for v in variants(request(method="qlora"))} == {"nf4"}
    without = request(machine=replace(cpu(), quantises=False))
    npu = request(machine=replace(cpu(), device=replace(cpu().device, kind="npu")))
    for machine in (without, npu):
        assert "qlora" not in {v.method.name for v in variants(machine)}


def test_a_base_precision_asked_for_is_every_candidate_s() -> None:
    found = variants(request(settings=Settings(base_precision="nf4")))
    assert {v.base_precision for v in found} == {"nf4"}
    assert "full" not in {v.method.name for v in found}, "it leaves no matrix to quantise"
    assert "qlora" not in {v.method.name for v in found}, "the same as LoRA there"
    (eight,) = variants(request(method="qlora", settings=Settings(base_precision="int8")))
    assert (eight.method.name, eight.base_precision) == ("qlora", "int8")


def test_the_cut_never_changes_the_global_batch() -> None:
    for variant in variants(request(settings=Settings(batch=24))):
        found = list(strategies(variant, request(settings=Settings(batch=24))))
        assert {s.batch for s in found} == {24}
        assert {s.micro_batch for s in found} == {24, 12, 6, 3, 1}
        assert all(s.micro_batch * s.accumulation == 24 for s in found)


@pytest.mark.parametrize(("batch", "sizes"), [(1, (1,)), (32, (32, 16, 8, 4, 2, 1)), (10, (10, 5, 1))])
def test_cuts_divide_the_batch(batch: int, sizes: tuple[int, ...]) -> None:
    assert cuts(batch) == sizes


def test_recompute_is_tried_only_where_a_layer_is_trained() -> None:
    for variant in variants(request()):
        tried = {s.recompute for s in strategies(variant, request())}
        assert tried == ({False} if variant.method.name == "head" else {False, True})


def test_precisions_are_those_the_machine_gains_from() -> None:
    slow_bf16 = cpu(rates=(("fp32", 1e11), ("bf16", 0.5e11)))
    fast_bf16 = cpu(rates=(("fp32", 1e11), ("bf16", 3e11)))
    assert precisions(slow_bf16, None) == ("fp32",)
    assert precisions(fast_bf16, None) == ("fp32", "bf16")
    assert precisions(gpu(("fp32", 8e12), ("fp16", 65e12)), None) == ("fp32", "fp16")
    assert precisions(gpu(("fp32", 1e13), ("bf16", 1e14), ("fp16", 1e14)), None) == ("fp32", "bf16")
    assert precisions(slow_bf16, "bf16") == ("bf16",)


def test_the_default_length_holds_the_longest_text_up_to_the_caps() -> None:
    assert default_max_length(MINILM, data(length=61)) == 64
    assert default_max_length(MINILM, data(length=64)) == 64
    assert default_max_length(MINILM, data(length=3000)) == 512
    assert default_max_length(replace(MINILM, max_positions=100), data(length=3000)) == 100
    assert default_max_length(replace(MINILM, kind="decoder", max_positions=8192), data(length=3000)) == 1024


@pytest.mark.parametrize(("rows", "epochs"), [(320, 10), (640, 10), (960, 7), (2144, 3), (100_000, 3), (0, 10)])
def test_few_rows_get_more_epochs(rows: int, epochs: int) -> None:
    # 960 rows are 30 steps an epoch; 200 steps take 6.7 epochs. 2,144 rows are 67 steps; 201 in three.
    assert default_epochs(rows, 32) == epochs


def test_wishes_are_kept() -> None:
    asked = request(settings=Settings(epochs=2, learning_rate=1e-3, max_length=32, recompute=True, seed=7))
    for variant in variants(asked):
        for s in strategies(variant, asked):
            assert (s.schedule.epochs, s.schedule.learning_rate, s.max_length, s.seed) == (2, 1e-3, 32, 7)
            assert s.recompute == (variant.method.name != "head")


def test_a_rule_that_leaves_zeros_where_they_are_is_no_match_for_adapters() -> None:
    found = {variant.method.name for variant in variants(request(settings=Settings(optimizer="adafactor")))}
    assert found == {"full", "prompt", "prefix", "ptuning", "freeze", "head"}  # virtual tokens start elsewhere


def test_virtual_tokens_leave_less_room_for_a_text() -> None:
    """Texts are cut a little earlier where something stands before them; a method that has no room for texts as
    long as asked for does not compete."""
    long = request(data=data(length=3000))
    lengths = {variant.method.name: next(iter(strategies(variant, long))).max_length for variant in variants(long)}
    assert (lengths["lora"], lengths["prompt"], lengths["prefix"]) == (512, 504, 504)
    asked = replace(long, settings=Settings(max_length=512))
    assert not {"prompt", "prefix", "ptuning"} & {method.name for method in asked.methods}
