"""trimtab estimate --rows: a line of JSON a row, a table for a reader, refusals."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

TABLE = """id,model_key,method,rank,micro_batch,seq_len,device,mem_kind
a,llama-2-7b,lora,8,1,2048,A100-80GB-SXM,reserved
b,no-such,lora,8,1,2048,,
c,bert-base-chinese,full,,16,128,T4,allocated
"""


@pytest.fixture
def table(tmp_path: Path) -> str:
    path = tmp_path / "rows.csv"
    path.write_text(TABLE, encoding="utf-8")
    return str(path)


def test_a_line_a_row_in_order(tt, table: str) -> None:
    shown = tt("estimate", "--rows", table, "--json")
    assert (shown.code, shown.err) == (0, "")
    a, b, c = map(json.loads, shown.out.splitlines())
    assert [row["id"] for row in (a, b, c)] == ["a", "b", "c"]
    assert a["memory"]["low"] < a["memory"]["reserved"] < a["memory"]["high"] and a["step_seconds"] > 0
    assert c["memory"]["kind"] == "allocated" and sum(c["memory"]["parts"].values()) == c["memory"]["allocated"]
    assert b["error"]["code"] == "TT-M001" and "memory" not in b


def test_errors_of_rows_are_told_in_the_readers_language(tt, table: str) -> None:
    shown = tt("--lang", "zh", "estimate", "--rows", table, "--json")
    assert "没有" in json.loads(shown.out.splitlines()[1])["error"]["text"]


def test_a_table_for_a_reader(tt, table: str) -> None:
    shown = tt("estimate", "--rows", table)
    assert shown.code == 0 and "GiB" in shown.out and "/s" in shown.out
    assert "b: TT-M001" in shown.err


@pytest.mark.parametrize("words", [("llama-2-7b",), ("--method", "lora"), ("--data", "demo"), ("--epochs", "2")])
def test_nothing_else_may_be_said_beside_a_table(tt, table: str, words: tuple[str, ...]) -> None:
    shown = tt("estimate", "--rows", table, *words)
    assert shown.code == 2 and "TT-U014" in shown.err and shown.out == ""
    assert ("MODEL" if words == ("llama-2-7b",) else words[0]) in shown.err


@pytest.mark.parametrize(("words", "missing"), [((), "MODEL"), (("bert-base-chinese",), "--method")])
def test_without_a_table_model_and_method_are_needed(tt, words: tuple[str, ...], missing: str) -> None:
    shown = tt("estimate", *words)
    assert shown.code == 2 and "TT-U013" in shown.err and missing in shown.err


def test_a_table_that_is_not_there(tt, tmp_path: Path) -> None:
    shown = tt("estimate", "--rows", str(tmp_path / "none.csv"), "--json")
    assert shown.code == 5 and "TT-W001" in shown.err and shown.out == ""


def test_rows_do_not_load_torch(table: str) -> None:
    code = (
        "import sys; from trimtab.app.cli import run; "
        f"code = run(['estimate', '--rows', {table!r}, '--json'], {{}}); "
        "sys.exit(code or any(name in sys.modules for name in ('torch', 'transformers', 'peft')))"
    )
    assert subprocess.run([sys.executable, "-c", code], stdout=subprocess.DEVNULL, check=False).returncode == 0
