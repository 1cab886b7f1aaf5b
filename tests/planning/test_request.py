"""What is refused before anything loads."""

from dataclasses import replace

import pytest
from planning_cases import MINILM, cpu, data, gpu

from trimtab.errors import ModelError, UsageError
from trimtab.methods import Choices
from trimtab.models import ModelSpec, catalogue, shape_named
from trimtab.planning import Limits, plan
from trimtab.planning.request import Request, Settings, refuse_untrained
from trimtab.units import Money

QWEN = shape_named("qwen2.5-0.5b")  # 14 heads of queries, 2 of keys and values

CHATS = replace(data(), task="instruct", labels=(), label_counts=())
NF4 = Settings(base_precision="nf4")
NPU = replace(gpu(), device=replace(gpu().device, kind="npu"))


def _name(spec: ModelSpec) -> str:
    return spec.name


@pytest.mark.parametrize(
    ("code", "changes", "said"),
    [
        ("TT-U010", {"method": "lore"}, 'did you mean "lora"'),
        ("TT-P005", {"goal": "cheap"}, "Goals: balanced, quality, memory, time, money"),
        ("TT-P006", {"settings": Settings(epochs=0)}, "--epochs must be greater than 0, not 0"),
        ("TT-P006", {"choices": Choices(top_layers=-1)}, "--top-layers"),
        ("TT-P007", {"method": "full", "choices": Choices(rank=8)}, "Methods that take --rank: lora, qlora."),
        (
            "TT-P007",
            {"method": "head", "choices": Choices(top_layers=2)},
            "lora, qlora, adapter, ia3, bitfit, freeze",
        ),
        ("TT-P090", {"choices": Choices(lora_variant="pissa")}, "one of: dora, rslora"),
        ("TT-P062", {"settings": Settings(layer_decay=1.5)}, "--layer-decay"),
        (
            "TT-P091",
            {"method": "head", "settings": Settings(layer_decay=0.9)},
            "full, lora, qlora, adapter, ia3, bitfit, freeze; or leave --layer-decay out",
        ),
        (
            "TT-P091",
            {"method": "head", "settings": Settings(stages="top-down")},
            "--stages speaks of layers, and head trains nothing inside them",
        ),
        ("TT-P093", {"method": "freeze", "settings": Settings(stages="layers=0-2")}, "it trains layers 4-5"),
        ("TT-P093", {"method": "lora", "settings": Settings(stages="layers=embeddings")}, "trains the embeddings"),
        (
            "TT-P094",
            {"method": "full", "settings": Settings(stages="layers=0-2", epochs=3)},
            "Leave --epochs out",
        ),
        ("TT-P095", {"method": "staged", "settings": Settings(epochs=1)}, "staged would train everything at once"),
        ("TT-P095", {"method": "staged", "choices": Choices(top_layers=1)}, "two layers"),
        ("TT-U095", {"method": "full", "settings": Settings(stages="layers=5-3")}, '"layers=5-3"'),
        ("TT-U095", {"method": "full", "settings": Settings(stages="layers=1,lr=-1")}, '"lr=-1"'),
        ("TT-U095", {"method": "full", "settings": Settings(stages="layers=1,epoch=2")}, '"epoch"'),
        ("TT-U096", {"method": "full", "settings": Settings(stages="topdown")}, "top-down, bottom-up"),
        ("TT-U096", {"method": "full", "settings": Settings(stages="layers=1; epochs=1")}, "does not say its"),
        ("TT-U097", {"method": "full", "settings": Settings(stages="layers=3-6")}, "the highest layer is 5"),
        ("TT-P074", {"choices": Choices(placement="side")}, 'placement "side"'),
        ("TT-P066", {"settings": Settings(packed=True)}, "of the task classify"),
        (
            "TT-P067",
            {"spec": QWEN, "data": CHATS, "method": "prefix", "settings": Settings(packed=True)},
            "prefix puts virtual tokens before every row",
        ),
        ("TT-P065", {"method": "lora", "settings": Settings(optimizer="adafactor")}, "what lora adds starts at 0"),
        ("TT-P006", {"choices": Choices(bottleneck=0)}, "--bottleneck must be greater than 0, not 0"),
        ("TT-P007", {"method": "lora", "choices": Choices(bottleneck=8)}, "take --bottleneck: adapter."),
        ("TT-P007", {"method": "ia3", "choices": Choices(placement="houlsby")}, "take --placement: adapter."),
        (
            "TT-P070",
            {"choices": Choices(bottleneck=385)},
            "attention.output.dense of all-MiniLM-L6-v2 gives 384 numbers. Ask for at most 384",
        ),
        ("TT-P016", {"choices": Choices(rank=385)}, "attention.self.query is 384 x 384. Ask for at most 384"),
        (
            "TT-P016",
            {"spec": QWEN, "method": "lora", "choices": Choices(rank=129)},
            "self_attn.k_proj is 896 x 128",
        ),
        ("TT-P016", {"choices": Choices(rank=10**7)}, "384 x 384. Ask for at most 384"),
        (
            "TT-U100",
            {"method": "lora", "choices": Choices(targets=("q", "gate"))},
            "q (attention.self.query), k (",
        ),
        ("TT-U100", {"method": "lora", "choices": Choices(targets=("query",))}, 'did you mean "q"?'),
        ("TT-U100", {"method": "lora", "choices": Choices(targets=("(a+)+$",) * 9)}, "patterns are not matched"),
        ("TT-P007", {"method": "full", "choices": Choices(targets=("q",))}, "take --targets: lora, qlora."),
        ("TT-P006", {"choices": Choices(virtual_tokens=0)}, "--virtual-tokens must be greater than 0, not 0"),
        ("TT-P007", {"method": "lora", "choices": Choices(virtual_tokens=8)}, "prompt, prefix, ptuning."),
        ("TT-P007", {"method": "prefix", "choices": Choices(init_text="x")}, "take --init-text: prompt."),
        ("TT-P083", {"method": "prompt", "choices": Choices(init_text=" ")}, "no token"),
        ("TT-P081", {"method": "prompt", "choices": Choices(virtual_tokens=505)}, "at most 504"),
        (
            "TT-P080",
            {"method": "prefix", "settings": Settings(max_length=505)},
            "--max-length 505 and 8 virtual tokens before it are more than all-MiniLM-L6-v2 can read: 512 tokens",
        ),
        (
            "TT-P080",
            {"choices": Choices(virtual_tokens=100), "settings": Settings(max_length=500)},
            "Ask for at most 412",
        ),
        ("TT-P008", {"choices": Choices(top_layers=7)}, "6 layers"),
        ("TT-P009", {"settings": Settings(max_length=513)}, "512 tokens"),
        ("TT-P010", {"settings": Settings(precision="fp16")}, "It can train in: fp32, bf16."),
        ("TT-P010", {"settings": Settings(precision="bf16"), "machine": gpu(("fp32", 1e13))}, "a GPU"),
        ("TT-P019", {"settings": Settings(precision="int8"), "machine": gpu(("int8", 1e13))}, "fp32, bf16, fp16"),
        ("TT-P019", {"settings": Settings(precision="tf32"), "machine": gpu(("tf32", 1e13))}, '"tf32"'),
        ("TT-P043", {"settings": Settings(base_precision="int3")}, "Known: nf4, int8"),
        ("TT-P040", {"method": "full", "settings": NF4}, "full trains every matrix"),
        ("TT-P040", {"method": "freeze", "choices": Choices(top_layers=6), "settings": NF4}, "freeze trains"),
        ("TT-P041", {"method": "qlora", "machine": replace(cpu(), quantises=False)}, "trimtab[quant]"),
        ("TT-P041", {"settings": NF4, "machine": replace(cpu(), quantises=False)}, "trimtab[quant]"),
        ("TT-P042", {"method": "qlora", "machine": NPU}, "CPUs and GPUs only"),
        (
            "TT-P044",
            {"method": "qlora", "spec": shape_named("gpt2")},
            "gpt2 (gpt2) stores its matrices transposed",
        ),
        ("TT-P012", {"settings": Settings(max_length=7)}, "--max-length must be at least 8, not 7"),
        (
            "TT-P015",
            {"goal": "money", "machine": gpu()},
            "--goal money needs the price of an hour, and box has none",
        ),
        ("TT-P015", {"limits": Limits(money=Money(50, "CNY")), "machine": gpu()}, "--money 50.00 CNY needs"),
    ],
)
def test_the_impossible_is_refused(code: str, changes: dict[str, object], said: str) -> None:
    asked = {"spec": MINILM, "data": data(), "machine": cpu()} | changes
    with pytest.raises(UsageError) as caught:
        Request(**asked).check()
    assert caught.value.code == code
    assert said in str(caught.value)
    assert caught.value.message.text("zh") != caught.value.message.text("en")


@pytest.mark.parametrize("method", [None, "head"])
def test_a_model_that_training_refuses_is_not_planned_for(method: str | None) -> None:
    """ALBERT: tests/exams holds the training's own refusal."""
    spec = replace(MINILM, name="albert-base-v2", family="albert", embedding_size=128)
    with pytest.raises(ModelError) as caught:
        plan(spec, data(), cpu(), method=method)
    assert (caught.value.code, caught.value.exit_code) == ("TT-P014", 5)
    assert "albert-base-v2 (albert)" in str(caught.value) and "6 layers" in str(caught.value)


@pytest.mark.parametrize("spec", [shape for shape in catalogue() if not shape.can_be_trained], ids=_name)
def test_what_no_training_can_run_is_refused_by_name(spec: ModelSpec) -> None:
    with pytest.raises(ModelError) as caught:
        refuse_untrained(spec)
    codes = {"albert": "TT-P014", "t5": "TT-P018"}
    assert caught.value.code == codes.get(spec.family, "TT-P017")
    assert f"{spec.name} " in str(caught.value) and spec.family in str(caught.value)
    known = str(dict(caught.value.message.facts).get("known", "")).split(", ")
    assert not {"albert", "granite", spec.family} & set(known)


@pytest.mark.parametrize("spec", [shape for shape in catalogue() if shape.can_be_trained], ids=_name)
def test_what_a_training_can_run_is_planned_for(spec: ModelSpec) -> None:
    refuse_untrained(spec)


def test_an_encoder_decoder_is_not_even_estimated() -> None:
    """Its decoder is not in what the parts count."""
    with pytest.raises(ModelError) as caught:
        Request(spec=shape_named("t5-small"), data=data(), machine=cpu(), method="full").check()
    assert caught.value.code == "TT-P018"


def test_a_method_that_has_nothing_to_train_is_refused_and_does_not_compete() -> None:
    llama = shape_named("tinyllama-1.1b")
    asked = Request(spec=llama, data=data(), machine=cpu(), method="bitfit")
    with pytest.raises(ModelError) as caught:
        asked.check()
    assert (caught.value.code, caught.value.exit_code) == ("TT-P071", 5)
    assert "none of the matrices and norms in the layers of tinyllama-1.1b (llama) has a bias" in str(caught.value)
    others = [method.name for method in replace(asked, method=None).methods]
    assert str(caught.value).endswith(f"Methods that can train this model: {', '.join(others)}.")
    assert "bitfit" not in others and {"full", "lora", "adapter", "ia3"} <= set(others)
    Request(spec=QWEN, data=data(), machine=cpu(), method="bitfit").check()  # q, k and v have one


def test_a_placement_that_a_model_has_no_matrix_for_is_refused() -> None:
    """The networks of a mixture of experts are not matrices."""
    mixture = replace(QWEN, family="mixtral", experts=8, experts_per_token=2)
    asked = Request(spec=mixture, data=data(), machine=cpu(), choices=Choices(placement="pfeiffer"))
    with pytest.raises(ModelError) as caught:
        asked.check()
    assert caught.value.code == "TT-P071" and "placement pfeiffer" in str(caught.value)
    replace(asked, choices=Choices(placement="houlsby")).check()  # attention has one


@pytest.mark.parametrize("placement", ["houlsby", "pfeiffer"])
def test_an_adapter_as_wide_as_the_model_is_planned_with(placement: str) -> None:
    choices = Choices(bottleneck=384, placement=placement)
    Request(spec=MINILM, data=data(), machine=cpu(), method="adapter", choices=choices).check()


@pytest.mark.parametrize(("spec", "rank"), [(MINILM, 384), (QWEN, 128)], ids=lambda value: str(value)[:9])
def test_the_highest_rank_is_planned_with(spec: ModelSpec, rank: int) -> None:
    Request(spec=spec, data=data(), machine=cpu(), method="lora", choices=Choices(rank=rank)).check()


def test_the_shortest_length_is_planned_with() -> None:
    Request(spec=MINILM, data=data(), machine=cpu(), settings=Settings(max_length=8)).check()


def test_methods_that_cannot_pack_do_not_compete_where_it_is_asked_for() -> None:
    asked = Request(spec=QWEN, data=CHATS, machine=cpu(), settings=Settings(packed=True))
    names = {method.name for method in asked.methods}
    assert {"full", "lora"} <= names and not names & {"prompt", "prefix", "ptuning"}
    assert {"prompt", "prefix", "ptuning"} & {
        method.name for method in replace(asked, settings=Settings()).methods
    }
    assert all(
        row.estimate.strategy.packed for row in plan(QWEN, CHATS, cpu(), settings=Settings(packed=True)).candidates
    )
