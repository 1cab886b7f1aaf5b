"""trimtab adapters: lists and pages in words and as JSON, and a deletion that asks."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tiny_artifacts import TEXTS, moved_artifact, tiny_base
from trimtab.artifacts import default_folder


@pytest.fixture
def cards(tmp_path: Path, monkeypatch) -> Path:
    """The default folder with an adapter "law" and a bottleneck "mood" in it, "law" with a report."""
    monkeypatch.setenv("TRIMTAB_HOME", str(tmp_path / "home"))
    source = tiny_base(tmp_path)
    moved_artifact(default_folder() / "law", source, labels=("civil", "criminal", "labour"))
    moved_artifact(default_folder() / "mood", source, "adapter")
    metrics = [{"name": "accuracy", "value": 0.875, "low": 0.8, "high": 0.9}]
    report = {"created_at": "2026-11-27T10:00:00+00:00", "scores": {"dev": {}, "test": {"split": "test"}}}
    report["scores"]["test"]["metrics"] = metrics  # type: ignore[index]
    (default_folder() / "law" / "report.json").write_text(json.dumps(report))
    return default_folder()


def test_list(tt, cards: Path) -> None:
    law, mood = json.loads(tt("adapters", "list", "--json").out)
    assert (law["name"], law["method"], law["task"], law["labels"]) == (
        "law", "lora", "classify", ["civil", "criminal", "labour"],
    )  # fmt: skip
    assert (law["metric"], law["score"], law["split"], law["trained_at"][:10]) == (
        "accuracy", 0.875, "test", "2026-11-27",
    )  # fmt: skip
    assert law["size_bytes"] == sum(path.stat().st_size for path in (cards / "law").iterdir())
    assert len(law["base_weights_sha256"]) == 64 and law["base_weights_sha256"] == mood["base_weights_sha256"]
    assert (mood["method"], mood["score"], mood["adapter"]) == ("adapter", None, True)
    assert json.loads(tt("adapters", "list", str(cards), "--json").out) == [law, mood]
    shown = tt("adapters", "list").out
    assert (
        "accuracy 0.8750" in shown
        and "civil, criminal, labour" in shown
        and law["base_weights_sha256"][:12] in shown
    )
    assert "适配器" in tt("adapters", "list", "--lang", "zh").out


def test_an_empty_list_says_where_it_looked(tt) -> None:
    shown = tt("adapters", "list")
    assert shown.code == 0 and str(default_folder()) in shown.out.replace("\n", "")
    assert json.loads(tt("adapters", "list", "--json").out) == []
    assert (tt("adapters", "list", "nowhere").code, tt("adapters", "list", "nowhere").err[:7]) == (5, "TT-A022")


def test_a_damaged_artifact_is_listed_with_its_reason(tt, cards: Path) -> None:
    (cards / "law" / "artifact.json").write_text("{")
    shown = tt("adapters", "list")
    assert shown.code == 0 and "mood" in shown.out and "law: TT-A002" in shown.err
    assert json.loads(tt("adapters", "list", "--json").out)[0]["damage"]["code"] == "TT-A002"


def test_show(tt, cards: Path) -> None:
    view = json.loads(tt("adapters", "show", "law", "--json").out)
    assert view["facts"]["strategy"]["parts"][0]["part"] == "lora" and view["unmergeable"] is None
    places = {entry["name"]: entry for entry in view["trained"]}
    assert places["bert.encoder.layer.{0-1}.attention.self.query.lora_A.weight"]["count"] == 2
    assert places["classifier.weight"]["shape"] == [3, 32]
    shown = tt("adapters", "show", str(cards / "mood")).out
    assert "bneck_down" in shown and "not linear" in shown
    assert tt("adapters", "show", "nothing").err.startswith("TT-A023")
    (cards / "mood" / "tokenizer.json").write_text("{}")
    assert tt("adapters", "show", "mood").err.startswith("TT-A003")


def test_a_list_and_a_page_load_no_torch(cards: Path) -> None:
    tail = "; import sys; sys.exit('torch' in sys.modules or 'peft' in sys.modules)"
    code = "import os; from trimtab.app.cli import run; run(['adapters', 'list'], os.environ); "
    code += "run(['adapters', 'show', 'law'], os.environ); run(['adapters', 'delete', 'law', '--yes'], os.environ)"
    subprocess.run([sys.executable, "-c", code + tail], check=True, capture_output=True)
    assert not (cards / "law").exists()


def test_delete_asks_and_takes_only_a_yes(tt, cards: Path, monkeypatch) -> None:
    refused = tt("adapters", "delete", "law")
    assert (refused.code, refused.err[:7]) == (2, "TT-U104") and (cards / "law").is_dir()

    class Terminal:
        def __init__(self, line: str) -> None:
            self.line = line

        def isatty(self) -> bool:
            return True

        def readline(self) -> str:
            return self.line

    for line in ("\n", "n\n", ""):
        monkeypatch.setattr(sys, "stdin", Terminal(line))
        kept = tt("adapters", "delete", "law")
        assert kept.code == 1 and "Delete" in kept.err and kept.out == "" and (cards / "law").is_dir()
    monkeypatch.setattr(sys, "stdin", Terminal("y\n"))
    assert tt("adapters", "delete", "law", "--json").code == 2, "JSON is read by a program"
    gone = tt("adapters", "delete", "law")
    assert gone.code == 0 and "Deleted" in gone.out and not (cards / "law").exists()
    assert json.loads(tt("adapters", "delete", "mood", "--yes", "--json").out)["name"] == "mood"
    assert list(cards.iterdir()) == []


def test_merge_prints_its_figures_and_the_result_answers(tt, cards: Path, tmp_path: Path) -> None:
    out = tmp_path / "whole"
    merged = tt("adapters", "merge", "law", "--out", str(out))
    assert merged.code == 0 and "On 32 rows" in merged.out, merged.err
    apart = [tt("predict", str(folder), "--text", TEXTS[0], "--json").out for folder in (cards / "law", out)]
    said = [json.loads(line) for line in apart]
    assert said[0]["label"] == said[1]["label"] in ("civil", "criminal", "labour")
    assert said[0]["probability"] == pytest.approx(said[1]["probability"], abs=1e-5)
    view = json.loads(tt("adapters", "show", str(out), "--json").out)
    assert (view["row"]["origin"], view["row"]["adapter"], view["row"]["score"]) == ("merged", False, 0.875)
    refused = tt("adapters", "merge", "mood", "--out", str(tmp_path / "other"))
    assert (refused.code, refused.err[:7]) == (5, "TT-T071") and not (tmp_path / "other").exists()
