"""What serving costs on offers: by hand, by date, and what cannot be told."""

import json
from dataclasses import replace
from datetime import date
from pathlib import Path

import pytest

from trimtab.artifacts import ArtifactFacts, Base, Change, glance
from trimtab.errors import BadInput, ModelError, NothingFits, TrimtabError, UsageError
from trimtab.hardware import Calibration, calibration_key, machine_named, save_calibration, this_machine
from trimtab.hardware.machine import StepCosts, StepWork
from trimtab.hardware.prices import COLUMNS, shipped_offers
from trimtab.methods import Head, Lora, Strategy
from trimtab.models import shape_named
from trimtab.store import VariantRecord, open_store
from trimtab.study import EngineChoice, Pricing, Throughput, Traffic, cost_serve
from trimtab.study.engine_choice import chosen_engine
from trimtab.study.serving_costs import SERVED_ON
from trimtab.units import Evidence, Money

TODAY = date(2026, 11, 25)
DATED = Pricing(today=TODAY)
TALK = Traffic(per_day=100_000, input_tokens=512, output_tokens=128)
TEXT = Traffic(per_day=1_000_000, input_tokens=128)
QWEN, BERT = "qwen2.5-7b", "bert-base-chinese"


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRIMTAB_HOME", str(tmp_path / "home"))


def test_a_month_is_the_machines_at_their_published_price() -> None:
    """3.47 requests a second at the busiest; an A10 at Alibaba's 8.5794 CNY an hour, of 2024-12-31."""
    found = cost_serve(QWEN, TALK, on=("a10",), pricing=DATED)
    best = found.offers[0]
    fleet, price = best.served.fleet, best.money.price
    assert (str(price.hourly), price.as_of, price.is_old) == ("8.58 CNY", "2024-12-31", True)
    assert fleet.devices.value * fleet.per_second.value * 0.7 >= 100_000 / 86_400 * 3
    assert fleet.used == pytest.approx(100_000 / 86_400 * 3 / (fleet.devices.value * fleet.per_second.value))
    assert best.money.monthly.cny.value == pytest.approx(fleet.devices.value * 8.5794 * 720)
    assert best.money.million_tokens.cny.value == pytest.approx(fleet.devices.value * 8.5794 * 720 / (3 * 640))
    (new,) = (one for one in found.offers if one.offer.provider == "lambda")
    assert new.money.monthly.usd.value == pytest.approx(fleet.devices.value * 1.29 * 720)
    costs = [one.money.monthly.cny.value for one in found.offers]
    assert costs == sorted(costs) and found.here is None and found.misfits == ()


def test_every_offer_of_the_machines_people_ask_for_is_there_on_demand_and_spot() -> None:
    found = cost_serve("qwen2.5-3b", TALK, pricing=DATED, choice=EngineChoice(weights="fp16"))
    there = {(one.offer.name, one.spot) for one in found.offers}
    gpus = [one for one in shipped_offers() if one.device in SERVED_ON and one.accelerator_count]
    assert there == {(one.name, False) for one in gpus} | {(one.name, True) for one in gpus if one.spot_hourly}
    assert len({one.offer.provider for one in found.offers}) > 6
    spot = next(one for one in found.offers if one.spot)
    assert spot.money.price.hourly == spot.offer.spot_hourly
    assert {misfit.machine for misfit in found.misfits} >= {"cloud-cpu-16"}  # no engine has fp16 there
    only = cost_serve("qwen2.5-3b", TALK, pricing=DATED, spot=True)
    assert only.offers and all(one.spot for one in only.offers)


def test_a_machine_of_eight_is_paid_whole_and_used_whole(tmp_path: Path) -> None:
    rows = ("shop,here,one,a10,1,,,1,,CNY,2026-11-20,", "shop,here,eight,a10,8,,,8,,CNY,2026-11-20,")
    pricing = prices(tmp_path, *rows)
    traffic = Traffic(per_day=1_000_000, input_tokens=512, output_tokens=128)
    mine = [one for one in cost_serve(QWEN, traffic, on=("a10",), pricing=pricing).offers if is_mine(one)]
    one, eight = sorted(mine, key=lambda found: found.offer.accelerator_count)
    devices = one.served.fleet.devices.value
    assert devices > 8 and one.money.machines.value == devices
    assert eight.money.machines.value == -(-devices // 8)
    assert eight.money.monthly.cny.value == pytest.approx(-(-devices // 8) * 8 * 720)


def prices(tmp_path: Path, *rows: str) -> Pricing:
    path = tmp_path / "prices.csv"
    path.write_text("\n".join([",".join(COLUMNS), *rows]) + "\n", encoding="utf-8")
    return Pricing(file=str(path), today=TODAY)


def is_mine(one) -> bool:
    return one.offer.provider == "shop"


def test_what_does_not_fit_does_not_stop_the_others() -> None:
    found = cost_serve(QWEN, TALK, pricing=DATED)
    reasons = {misfit.machine: misfit.reason for misfit in found.misfits}
    assert reasons["t4"].code == "TT-P509" and "13.1 GiB" in reasons["t4"].text()
    assert {one.served.machine for one in found.offers} == {
        "a10", "a10g", "a100-40g-sxm", "a100-80g-pcie", "a100-80g-sxm",
    }  # fmt: skip
    four = cost_serve(QWEN, TALK, on=("t4",), choice=EngineChoice(weights="int4"), pricing=DATED)
    assert four.offers[0].served.weights == "int4" and four.misfits == ()


def test_a_published_figure_is_named_with_its_date() -> None:
    found = cost_serve("llama-2-7b", TALK, on=("a10g",), pricing=DATED)
    served = found.offers[0].served
    assert served.basis == "published" and "3.84/s, nm-vllm 0.2.0, 2024-05-08: https://" in served.source


def test_a_latency_is_kept_or_refused_with_the_numbers() -> None:
    free = cost_serve(QWEN, TALK, on=("a10",), pricing=DATED).offers[0].served.fleet
    quick = Traffic(per_day=100_000, input_tokens=512, output_tokens=128, latency_seconds=6.0)
    fleet = cost_serve(QWEN, quick, on=("a10",), pricing=DATED).offers[0].served.fleet
    assert fleet.devices.value > free.devices.value and fleet.seconds.value <= 6.0
    hurried = Traffic(per_day=100_000, input_tokens=512, output_tokens=128, latency_seconds=0.5)
    with pytest.raises(NothingFits) as caught:
        cost_serve(QWEN, hurried, on=("a10",), pricing=DATED)
    assert (caught.value.code, caught.value.exit_code) == ("TT-P520", 3)
    assert "500 ms" in caught.value.message.text() and caught.value.message.fact("why").code == "TT-P510"


def test_a_second_is_a_steady_load_and_a_day_has_a_peak() -> None:
    steady, daily = Traffic(per_second=2.0).load(), Traffic(per_day=172_800).load()
    assert (steady.mean, steady.busiest) == (2.0, 2.0)
    assert (daily.mean, daily.busiest) == (2.0, 6.0)
    assert Traffic(per_second=2.0, peak=5).load(0.5).busiest == 5.0


def test_this_machine_is_told_by_its_calibration_or_by_what_was_measured() -> None:
    found = cost_serve("demo", TEXT, pricing=DATED)
    assert found.here is not None and found.here.money is None
    assert (found.here.served.machine, found.here.served.engine) == (this_machine().name, "onnx")
    assert found.here.served.basis in ("calibrated", "formula")
    said = Throughput(per_second=20.0, source="a load test")
    told = cost_serve("demo", TEXT, throughput=said, price=Money(2, "CNY"), pricing=DATED).here
    assert told is not None and told.money is not None
    fleet = told.served.fleet
    assert (told.served.basis, told.served.source) == ("measured", "a load test")
    assert fleet.per_second.value == pytest.approx(20.0) and fleet.per_second.evidence is Evidence.MEASURED
    assert fleet.devices.value == 3  # 34.7 a second at the busiest; 14 carried by each
    machines = -(-3 // this_machine().count)
    assert told.money.monthly.cny.value == pytest.approx(machines * 2 * 720)


def test_a_measurement_of_a_named_machine_takes_the_place_of_the_formula() -> None:
    said = Throughput(per_second=100.0)
    (served,) = {one.served for one in cost_serve(BERT, TEXT, on=("t4",), throughput=said, pricing=DATED).offers}
    assert served.basis == "measured" and served.fleet.devices.value == 1
    assert served.fleet.used == pytest.approx(1_000_000 / 86_400 * 3 / 100)


def artifact(folder: Path, *, engine: str = "onnx", adapter: bool = False, size: int = 23_000_000) -> Path:
    """A folder that looks like an artifact of MiniLM; its weights are zeros."""
    folder.mkdir(parents=True)
    shape = shape_named("minilm-l6-h384")
    config = {
        "model_type": "bert", "architectures": ["BertModel"], "num_hidden_layers": shape.layers,
        "hidden_size": shape.hidden, "num_attention_heads": shape.heads, "intermediate_size": shape.ffn,
        "vocab_size": shape.vocab, "max_position_embeddings": 512, "type_vocab_size": 2,
    }  # fmt: skip
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    (folder / ("adapter_model.safetensors" if adapter else "model.onnx")).write_bytes(bytes(size))
    change = Change(
        step="quantize",
        settings=(),
        parent="p",
        parent_sha256="0" * 64,
        weight_bytes_before=1,
        weight_bytes_after=1,
        seconds=1.0,
    )
    ArtifactFacts(
        adapter=adapter,
        task="classify",
        labels=("bad", "good"),
        columns=("text",),
        label_column="label",
        outputs=2,
        base=Base(name="minilm-l6-h384", hub_id="", revision="", family="bert", weights_sha256="0" * 64),
        strategy=Strategy(method="lora", parts=(Lora(), Head())),
        trimtab_version="0",
        engine=engine,  # type: ignore[arg-type]
        changes=() if adapter else (change,),
    ).write(folder)
    return folder


def test_an_artifact_is_served_as_it_lies(tmp_path: Path) -> None:
    folder = artifact(tmp_path / "small")
    found = cost_serve(str(folder), TEXT, on=("cloud-cpu-16",), pricing=DATED)
    served = found.offers[0].served
    assert (found.artifact, found.model.layers) == (str(folder.resolve()), 6)
    assert (served.engine, served.weights, served.weight_bytes) == ("onnx", "int8", 23_000_000)
    with pytest.raises(NothingFits, match="onnx does not run on T4"):
        cost_serve(str(folder), TEXT, on=("t4",), pricing=DATED)


def test_adapters_stand_beside_one_base(tmp_path: Path) -> None:
    folder = artifact(tmp_path / "card", engine="transformers", adapter=True, size=5_000_000)
    found = cost_serve(str(folder), TEXT, adapters=32, on=("t4",), pricing=DATED)
    alone = cost_serve("minilm-l6-h384", TEXT, on=("t4",), pricing=DATED).offers[0].served
    served = found.offers[0].served
    assert (served.engine, served.adapters, found.adapters) == ("trimtab", 32, 32)
    assert served.fleet.per_second.value == pytest.approx(0.8 * alone.fleet.per_second.value)
    with pytest.raises(UsageError) as caught:
        cost_serve(str(folder), TEXT, adapters=32, choice=EngineChoice(engine="onnx"), pricing=DATED)
    assert caught.value.code == "TT-P522"


def test_what_the_store_holds_of_a_folder_is_a_measurement_of_this_machine(tmp_path: Path) -> None:
    """64 tokens took 4 ms; 128 take as much longer as this machine's costs have it: 1 ms a layer, 1e-12 s a FLOP
    and 1e-9 s a number, of six layers of 384."""
    costs = StepCosts(dtype="fp32", seconds_each=StepWork(flop=1e-12, frozen_numbers=1e-9, frozen_layers=1e-3))
    key = calibration_key(this_machine())
    assert save_calibration(Calibration(key=key, matmul_rates=(("fp32", 1e12),), threads=1, step_costs=(costs,)))

    def seconds(tokens: int) -> float:
        flop = 6 * (2 * (4 * 384**2 + 2 * 384 * 1536) + 4 * tokens * 384)
        numbers = 6 * (4 * 384 + 2 * 12 * tokens + 4 * 384 + 2 * 1536)
        return 6e-3 + tokens * (flop * 1e-12 + numbers * 1e-9)

    folder = artifact(tmp_path / "small")
    record = VariantRecord(
        parent="p",
        folder=str(folder.resolve()),
        steps=("quantize",),
        model="m",
        machine=this_machine().name,
        seconds=1.0,
        weight_bytes_before=1,
        weight_bytes=1,
        text_tokens=64,
        text_seconds=0.004,
    )
    open_store().record_variant(record)
    same = cost_serve(str(folder), Traffic(per_second=1.0, input_tokens=64), pricing=DATED).here
    double = cost_serve(str(folder), Traffic(per_second=1.0, input_tokens=128), pricing=DATED).here
    assert same is not None and double is not None
    assert same.served.basis == double.served.basis == "measured"
    assert same.served.source.startswith("variants: 1 x 64, 4 ms, 20")
    busy = same.served.fleet
    assert busy.rows == 1 and busy.seconds.value == pytest.approx(0.004 + 0.004 * 0.004 / 0.996)
    longer = 0.004 * seconds(128) / seconds(64)
    assert double.served.fleet.seconds.value == pytest.approx(longer + longer * longer / (1 - longer))
    far = cost_serve(str(folder), Traffic(per_second=1.0, input_tokens=500), pricing=DATED).here
    assert far is not None and far.served.basis != "measured"


@pytest.mark.parametrize(
    ("model", "device", "adapters", "engine", "weights"),
    [
        (QWEN, "a10", 0, "vllm", "bf16"),
        (QWEN, "t4", 0, "vllm", "fp16"),
        (QWEN, "p100-16g-pcie", 0, "trimtab", "fp16"),
        (QWEN, "cloud-cpu-16", 0, "trimtab", "fp32"),
        (BERT, "t4", 0, "trimtab", "fp16"),
        (BERT, "cloud-cpu-16", 0, "onnx", "int8"),
        (BERT, "cloud-cpu-16", 8, "trimtab", "fp32"),
    ],
)
def test_an_engine_is_chosen_for_each_machine(
    model: str, device: str, adapters: int, engine: str, weights: str
) -> None:
    taken = chosen_engine(EngineChoice(), shape_named(model), None, machine_named(device).device, adapters)
    assert (taken.engine.name, taken.weights) == (engine, weights)  # type: ignore[union-attr]


@pytest.mark.parametrize(("method", "engine"), [("lora", "vllm"), ("qlora", "vllm"), ("prefix", "trimtab")])
def test_vllm_is_left_out_where_it_loads_no_such_adapter(tmp_path: Path, method: str, engine: str) -> None:
    facts = glance(artifact(tmp_path / "card", engine="transformers", adapter=True, size=1000))
    facts = replace(facts, strategy=replace(facts.strategy, method=method))
    taken = chosen_engine(EngineChoice(), shape_named(QWEN), facts, machine_named("a10").device, 1)
    assert taken.engine.name == engine  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("model", "traffic", "asked", "error", "code"),
    [
        (BERT, Traffic(), {}, UsageError, "TT-P511"),
        (BERT, Traffic(per_day=1, per_second=1), {}, UsageError, "TT-P511"),
        (BERT, Traffic(per_day=0), {}, UsageError, "TT-P512"),
        (BERT, Traffic(per_day=float("nan")), {}, UsageError, "TT-P512"),
        (BERT, Traffic(per_day=1, target=1.0), {}, UsageError, "TT-P513"),
        (BERT, Traffic(per_day=1, peak=0.5), {}, UsageError, "TT-P514"),
        ("t5-base", Traffic(per_day=1), {}, ModelError, "TT-P515"),
        (BERT, Traffic(per_day=1, output_tokens=5), {}, UsageError, "TT-P516"),
        (BERT, Traffic(per_day=1, input_tokens=513), {}, UsageError, "TT-P517"),
        (BERT, TEXT, {"on": ("t4", "a10"), "throughput": Throughput(per_second=1.0)}, UsageError, "TT-P518"),
        (BERT, TEXT, {"on": ("t4",), "throughput": Throughput(per_second=-1.0)}, UsageError, "TT-P512"),
        (BERT, TEXT, {"on": ("t4",), "price": Money(1, "CNY")}, UsageError, "TT-P519"),
        (BERT, TEXT, {"choice": EngineChoice(weights="fp8")}, UsageError, "TT-P521"),
        (BERT, TEXT, {"choice": EngineChoice(engine="vlm")}, UsageError, "TT-P501"),
        (BERT, TEXT, {"adapters": -1}, UsageError, "TT-U006"),
        (BERT, Traffic(per_day=1, input_tokens=0), {}, UsageError, "TT-U006"),
        (BERT, TEXT, {"on": ("laptop-16g",)}, UsageError, "TT-U007"),
        (BERT, TEXT, {"on": ("t4",), "spot": True}, UsageError, "TT-U008"),
        (BERT, TEXT, {"pricing": Pricing(file="missing.csv")}, BadInput, "TT-H031"),
        ("bert-base-chines", TEXT, {}, ModelError, "TT-M001"),
    ],
)
def test_what_cannot_be_told_is_refused_with_a_way_on(
    model: str, traffic: Traffic, asked: dict[str, object], error: type[TrimtabError], code: str
) -> None:
    with pytest.raises(error) as caught:
        cost_serve(model, traffic, **asked)
    assert caught.value.code == code
    assert caught.value.message.text("zh") and caught.value.message.next_step("en")


@pytest.mark.parametrize(
    ("traffic", "code"),
    [
        (Traffic(per_day=1e-300), "TT-P527"),
        (Traffic(per_second=3e-7), "TT-P527"),
        (Traffic(per_second=1e9, peak=1e9), "TT-P528"),
        (Traffic(per_second=1e8, peak=11), "TT-P528"),
    ],
)
def test_a_load_that_is_a_slip_is_refused(traffic: Traffic, code: str) -> None:
    with pytest.raises(UsageError, match=code):
        cost_serve(BERT, traffic, on=("t4",), pricing=DATED)


def test_one_request_a_month_has_a_price() -> None:
    found = cost_serve(BERT, Traffic(per_second=4e-7), on=("t4",), pricing=DATED)
    assert 0 < found.offers[0].money.million_requests.cny.value < float("inf")
