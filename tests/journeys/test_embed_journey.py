"""An encoder taught to find texts, from a jsonl file to its vectors, on real processes."""

import json
import math
from pathlib import Path

import pytest
from terminal import Terminal

from tiny_embed import write_ranked, write_scored
from tiny_models import tiny_model

OPTIONS = ("--method", "full", "--precision", "fp32", "--epochs", "8", "--batch", "8", "--lr", "3e-3")
PREFIXES = ("--temperature", "0.2", "--prefix", "a : ", "--passage-prefix", "the : ")


@pytest.fixture(scope="module")
def taught(tmp_path_factory: pytest.TempPathFactory, home: Path) -> Terminal:
    """A terminal with a tiny encoder that was taught, in its folder "out"."""
    tt = Terminal(tmp_path_factory.mktemp("embed"), home)
    tiny_model(tt.folder / "model", dropout=0.0)
    write_ranked(tt.folder / "pairs")
    write_scored(tt.folder / "scored")
    tt.done("train", "model", "--data", "pairs", *OPTIONS, *PREFIXES, "--out", "out")
    return tt


def test_the_report_says_what_was_learned(taught: Terminal) -> None:
    out = taught.folder / "out"
    report = json.loads((out / "report.json").read_text(encoding="utf-8"))
    assert (report["data"]["task"], report["data"]["form"]) == ("embed", "ranked")
    dev = report["scores"]["dev"]
    assert [m["name"] for m in dev["metrics"]] == ["mrr", "recall@1", "recall@5", "recall@10"]
    assert dev["metrics"][0]["value"] > report["run"]["untrained_metric"]
    assert "--prefix 'a : ' --passage-prefix 'the : '" in report["command"]
    assert "pooling" in (out / "report.html").read_text(encoding="utf-8")
    assert 'pipeline_tag: "sentence-similarity"' in (out / "README.md").read_text(encoding="utf-8")
    assert (out / "1_Pooling" / "config.json").is_file() and (out / "modules.json").is_file()


def test_it_gives_vectors_and_is_scored_on_the_other_form(taught: Terminal) -> None:
    query = json.loads((taught.folder / "pairs" / "test.jsonl").read_text().splitlines()[0])["query"]
    plain, told, of_table, scored = taught.together(
        ("predict", "out", "--text", query),
        ("predict", "out", "--text", query, "--text", "good film", "--json"),
        ("predict", "out", "--file", "pairs/test.jsonl", "--passages"),
        ("evaluate", "out", "--data", "scored/test.jsonl", "--json"),
    )
    vector = json.loads(plain.out)
    assert len(vector) == 32 and math.hypot(*vector) == pytest.approx(1, abs=1e-5)
    answers = [json.loads(line)["vector"] for line in told.lines]
    assert answers[0] == pytest.approx(vector, abs=1e-5) and len(answers) == 2
    assert len(of_table.lines) == 12 and json.loads(of_table.lines[0]) != pytest.approx(vector, abs=1e-3)
    assert (scored.json["n"], scored.json["metrics"][0]["name"]) == (12, "spearman")


def test_plans_say_what_they_take_for_granted_and_refuse_what_cannot_be(taught: Terminal) -> None:
    plan = taught.done("plan", "model", "--data", "pairs")
    assert "TT-M068" in plan.out + plan.err or "mean over its tokens" in plan.out + plan.err
    head, decoder, warm, imagined = (
        taught("plan", "model", "--data", "pairs", "--method", "head"),
        taught("plan", "qwen2.5-0.5b", "--data", "pairs"),
        taught("plan", "model", "--data", "scored", "--temperature", "0.1"),
        taught("estimate", "bert-base-chinese", "--method", "lora", "--task", "embed", "--examples", "5000"),
    )
    assert head.code == 2 and "TT-P022" in head.err
    assert decoder.code == 2 and "TT-M065" in decoder.err
    assert warm.code == 2 and "TT-D147" in warm.err
    assert imagined.code == 0, imagined.err
    stray = taught("plan", "model", "--data", "scored", "--prefix", "query: ")
    assert stray.code == 2 and "TT-D147" in stray.err
