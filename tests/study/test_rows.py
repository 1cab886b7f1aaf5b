"""estimate --rows: a table of setups, each row answered, in order, whatever the others say; and held to published
runs."""

import csv
import os
from pathlib import Path

import pytest

from trimtab.errors import BadInput
from trimtab.estimation.setups import LOSSES, OPTIMIZERS, QUANTS
from trimtab.models import catalogue
from trimtab.study.rows import RowEstimate, estimate_row, estimate_rows, row_facts, setup_of

ROOT = Path(__file__).resolve().parents[2]
RUNS = Path(os.environ.get("TRIMTAB_SHARED", ROOT / "../shared")).resolve() / "facts" / "published_runs.csv"
ROW = {"model_key": "llama-2-7b", "method": "lora", "rank": "8", "target_roles": "q v", "micro_batch": "2"}


def answered(folder: Path, text: str) -> list[RowEstimate]:
    file = folder / "rows.csv"
    file.write_text(text, encoding="utf-8")
    return list(estimate_rows(str(file)))


def test_rows_are_answered_in_order_and_a_bad_one_stops_no_other(tmp_path: Path) -> None:
    found = answered(
        tmp_path,
        "id,model_key,method,micro_batch,mem_kind\n"
        "a,llama-2-7b,lora,1,allocated\n"
        "b,no-such-model,lora,1,\n"
        "c,llama-2-7b,lora,many,\n"
        ",llama-2-7b,magic,1,\n"
        "e,,lora,1,\n"
        "f,llama-2-7b,full,1,nvidia-smi\n",
    )
    assert [row.id for row in found] == ["a", "b", "c", "4", "e", "f"]
    codes = [row.error.code if row.error else None for row in found]
    assert codes == [None, "TT-M001", "TT-W012", "TT-W011", "TT-W010", None]
    assert [row.kind for row in found if row.estimate] == ["allocated", "device"]


def test_a_default_is_taken_and_said() -> None:
    found = estimate_row({"model_key": "llama-2-7b", "method": "lora"}, "1")
    assert {"rank=8", "target_roles=q v", "micro_batch=1", "seq_len=512", "weights_dtype=bf16"} <= set(
        found.assumed
    )
    told = estimate_row({**ROW, "seq_len": "512", "weights_dtype": "bf16"}, "1")
    assert not {"rank=8", "seq_len=512", "weights_dtype=bf16", "micro_batch=2"} & set(told.assumed)


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("micro_batch", "0"), ("micro_batch", "-1"), ("micro_batch", "1.5"), ("micro_batch", "nan"),
        ("seq_len", "inf"), ("seq_len", "1e30"), ("rank", "eight"), ("gpus", "0"), ("mean_seq_len", "-3"),
        ("quant", "q4"), ("weights_dtype", "int3"), ("optimizer", "adam?"), ("attention", "fast"),
        ("grad_checkpointing", "maybe"), ("parallelism", "magic"), ("mem_kind", "vram"),
        ("target_roles", "foo"), ("trained_extra", "junk"),
        ("compile", "maybe"), ("offload", "Yes"), ("loss_kernel", "odd"), ("epochs", "-1"),
    ],
)  # fmt: skip
def test_a_cell_that_cannot_be_is_refused_with_its_column(column: str, value: str) -> None:
    more = {"device": "T4", "examples": "10", column: value}
    error = estimate_row({**ROW, **more}, "1").error
    assert error is not None and error.fact("column") == column and str(error.fact("value")) == value


@pytest.mark.parametrize(("column", "value"), [("epochs", "0"), ("mean_seq_len", "0"), ("mean_seq_len", "600")])
def test_a_number_that_must_be_above_zero_is_told_so(column: str, value: str) -> None:
    error = estimate_row({**ROW, "device": "T4", "examples": "10", column: value}, "1").error
    assert error is not None and error.code == "TT-W013" and "above 0 and up to" in error.text("en")


def test_a_device_of_odd_digits_stops_no_other_row(tmp_path: Path) -> None:
    found = answered(tmp_path, f"model_key,device\ngpt2,{'9' * 5000}xT4\ngpt2,T4\n")
    assert [row.error for row in found] == [None, None] and found[0].estimate and found[0].estimate.time is None


def test_a_count_in_the_name_and_one_beside_it() -> None:
    two = setup_of({**ROW, "device": "2xT4"})
    assert two.devices == setup_of({**ROW, "device": "T4", "gpus": "2"}).devices == 2
    error = estimate_row({**ROW, "device": "2xT4", "gpus": "4"}, "1").error
    assert error is not None and error.code == "TT-H002"


def test_a_processor_has_no_time_by_a_gpus_formula() -> None:
    found = estimate_row({**ROW, "device": "laptop-16g"}, "1")
    assert found.estimate is not None and found.estimate.time is None and "device=none" in found.assumed


@pytest.mark.parametrize("model", ["albert-base-v2", "t5-base"])
def test_families_that_cannot_be_predicted_are_refused(model: str) -> None:
    error = estimate_row({**ROW, "model_key": model}, "1").error
    assert error is not None and error.code == "TT-W022"


def test_a_quantised_base_is_not_trained() -> None:
    error = estimate_row({**ROW, "method": "full", "quant": "nf4"}, "1").error
    assert error is not None and error.code == "TT-W023"


def test_all_parts_are_there_for_every_model_of_the_catalogue() -> None:
    for spec in catalogue():
        for method, quant in (("full", "none"), ("lora", "none"), ("qlora4", "nf4"), ("prefix", "int8")):
            row = {"model_key": spec.name, "method": method, "quant": quant}
            found = estimate_row(row, "1")
            if found.estimate is not None:
                parts = found.estimate.memory.parts
                assert min(getattr(parts, name) for name in parts.__dataclass_fields__) >= 0, (spec.name, method)


def test_a_prefix_adds_no_tokens_and_a_prompt_does() -> None:
    tokens = {
        m: setup_of({**ROW, "method": m, "virtual_tokens": "100"}).tokens for m in ("prompt", "prefix", "lora")
    }
    assert tokens["prompt"] == tokens["lora"] + 2 * 100 and tokens["prefix"] == tokens["lora"]


def test_epochs_may_be_part_of_one() -> None:
    row = {**ROW, "device": "T4", "examples": "10", "micro_batch": "8"}
    seconds = {e: estimate_row({**row, "epochs": e}, "1").train_seconds for e in ("1", "2.5", "3")}
    one, part, three = (seconds[e].value for e in ("1", "2.5", "3"))  # type: ignore[union-attr]
    assert part == pytest.approx(2.5 * one) and three == pytest.approx(3 * one), "two steps an epoch"


def test_a_broken_file_of_prices_takes_no_memory_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRIMTAB_HOME", str(tmp_path))
    (tmp_path / "prices.csv").write_text("junk\n", encoding="utf-8")
    (found,) = answered(tmp_path, "model_key,method,device,examples\nllama-2-7b,lora,T4,10\n")
    assert found.estimate is not None and found.train_seconds is not None and found.money is None


def test_more_layers_than_there_are_is_refused() -> None:
    error = estimate_row({**ROW, "method": "freeze", "trainable_layers": "33"}, "1").error
    assert error is not None and error.fact("most") == 32


def test_words_of_the_row_decide_the_setup() -> None:
    setup = setup_of(
        {
            **ROW,
            "method": "qlora4", "quant": "nf4", "double_quant": "yes", "targets": "all-linear", "target_roles": "",
            "optimizer": "adamw", "optimizer_detail": "bnb PagedAdamW 32-bit", "grad_checkpointing": "yes",
            "loss_kernel": "litgpt chunked lm_head and CE (128 tokens)", "adapter_dtype": "bf16",
        }
    )  # fmt: skip
    assert setup.quant is QUANTS["nf4-double"] and setup.optimizer is OPTIMIZERS["adamw-paged"]
    assert setup.loss is LOSSES["litgpt"] and setup.recompute
    assert setup.roles == ("q", "k", "v", "o", "gate", "up", "down")
    named = setup_of({**ROW, "target_roles": "", "targets": "q_proj up_proj lm_head"})
    assert named.roles == ("q", "up", "head")


def test_an_unknown_device_has_memory_and_no_time() -> None:
    found = estimate_row({**ROW, "device": "GPU with 24 GB VRAM"}, "1")
    assert found.estimate is not None and found.estimate.time is None
    assert "device=none" in found.assumed
    known = estimate_row({**ROW, "device": "A100-80GB-SXM"}, "1")
    assert known.estimate is not None and known.estimate.time is not None


def test_a_line_of_output_has_what_a_program_needs() -> None:
    facts = row_facts(estimate_row({**ROW, "id": "x", "device": "T4", "mem_kind": "allocated"}, "1"), lambda _: {})
    memory = facts["memory"]
    assert facts["id"] == "x" and facts["evidence"] == "formula"
    assert memory["low"] < memory["allocated"] < memory["high"]
    assert sum(memory["parts"].values()) == memory["allocated"]
    assert facts["step_seconds"] > 0 and facts["tokens_per_second"] > 0
    wrong = row_facts(estimate_row({"model_key": ""}, "7"), lambda said: {"code": said.code})
    assert wrong == {"id": "7", "error": {"code": "TT-W010"}}


def test_odd_files(tmp_path: Path) -> None:
    assert len(answered(tmp_path, "\ufeffmodel_key,method\nllama-2-7b,full\n")) == 1, "a byte-order mark"
    assert answered(tmp_path, "model_key,method\nllama-2-7b\n")[0].estimate, "a short row takes defaults"
    assert answered(tmp_path, "model_key,method\nllama-2-7b,full,,,more\n")[0].estimate, "a long one is cut"
    assert answered(tmp_path, 'model_key,note\ngpt2,"two\nlines"\ngpt2,\n')[1].id == "2"
    assert answered(tmp_path, "model_key\n") == []
    spaced = answered(tmp_path, "model_key, rank, method\nllama-2-7b,64,lora\n")[0]
    assert spaced.estimate is not None and spaced.estimate.trainable_parameters < 1e8, (
        "a name with a blank before it"
    )


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (b"", "TT-W002"),
        (b"name,method\nx,y\n", "TT-W002"),
        (b"model_key\n\xff\xfe\n", "TT-W003"),
        (b'model_key\n"open\n', "TT-W004"),
        (b"model_key,rank,rank\ngpt2,1,2\n", "TT-W005"),
    ],
)
def test_a_file_that_is_no_table(tmp_path: Path, content: bytes, code: str) -> None:
    file = tmp_path / "rows.csv"
    file.write_bytes(content)
    with pytest.raises(BadInput) as caught:
        list(estimate_rows(str(file)))
    assert caught.value.code == code


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    for path in (tmp_path / "none.csv", tmp_path):
        with pytest.raises(BadInput) as caught:
            list(estimate_rows(str(path)))
        assert caught.value.code == "TT-W001"


# -------------------------------------------------------------------- published runs


def published() -> list[dict[str, str]]:
    if not RUNS.is_file():
        pytest.skip("the table of published runs is not at hand (TRIMTAB_SHARED)")
    with RUNS.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_every_published_row_is_answered() -> None:
    rows = published()
    found = [estimate_row(row, "") for row in rows]
    known = {row["id"]: answer for row, answer in zip(rows, found, strict=True) if answer.estimate}
    codes = {answer.error.code for answer in found if answer.error}
    expected = {"TT-M001", "TT-W010", "TT-W012", "TT-W022", "TT-W023"}
    assert codes <= expected, "no such model, none named, a micro-batch of 0, T5, a trained 4-bit base"
    assert {row["id"] for row in rows if row["grade"] == "A"} - {
        row["id"] for row in rows if row["model_key"].startswith("flux")
    } <= set(known)
