"""Three Chinese tasks as adapters on one base, each by another method: trained, listed, switched in one process,
each scoring what it scores alone, to the last digit; and one of them merged.

Long, and reads what users do not have: part of `make soak`.
"""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from terminal import Terminal

import trimtab
from trimtab.data import Split, open_held_out
from trimtab.evaluation import ArtifactFacts

pytestmark = pytest.mark.soak

MODEL = "multilingual-e5-small"
# data set -> method, epochs
TASKS = {
    "chnsenticorp": ("lora", "1"),
    "tnews": ("adapter", "2"),
    "medical_department": ("bitfit", "2"),
}
SHORT = ("--top-layers", "6", "--max-length", "48", "--precision", "fp32", "--batch", "16")
# rows of each split, evenly over it; None = all
SIZES = {"some": {"train": 400, "dev": 80, "test": 150}, "all": {"train": None, "dev": None, "test": None}}


@pytest.fixture(scope="module", params=list(SIZES))
def cards(
    request: pytest.FixtureRequest,
    shared: Callable[[str], str],
    real_model: Callable[[str], Path],
    tmp_path_factory: pytest.TempPathFactory,
) -> Terminal:
    """A terminal in a folder with the data of each task in "data" and an adapter of it in "cards"."""
    folder = tmp_path_factory.mktemp("three")
    tt = Terminal(folder, folder / "home", patience_seconds=3600)
    for name, (method, epochs) in TASKS.items():
        write_rows(Path(shared(name)), folder / "data" / name, SIZES[request.param])
        options = ("--method", method, "--epochs", epochs, *SHORT)
        tt.done("train", str(real_model(MODEL)), "--data", f"data/{name}", *options, "--out", f"cards/{name}")
    return tt


def write_rows(source: Path, folder: Path, sizes: dict[str, int | None]) -> None:
    folder.mkdir(parents=True)
    for split, rows in sizes.items():
        lines = (source / f"{split}.jsonl").read_text(encoding="utf-8").splitlines()
        step = max(1, len(lines) // (rows or len(lines)))
        (folder / f"{split}.jsonl").write_text("\n".join(lines[::step][:rows]) + "\n", encoding="utf-8")


def held_out(data: str, facts: ArtifactFacts) -> Split:
    found = open_held_out(
        data, task=facts.task, columns=facts.columns, label_column=facts.label_column, labels=facts.labels
    )
    assert found is not None
    return found


def test_three_adapters_on_one_base_score_what_they_score_alone(cards: Terminal) -> None:
    rows = {row["name"]: row for row in cards.done("adapters", "list", "cards", "--json").json}
    assert rows.keys() == TASKS.keys() and len({row["base_weights_sha256"] for row in rows.values()}) == 1
    evaluate = {name: ("evaluate", f"cards/{name}", "--data", f"data/{name}", "--json") for name in TASKS}
    alone = {name: cards.done(*words).json for name, words in evaluate.items()}
    adapters = trimtab.AdapterSet()
    for name in TASKS:
        adapters.load(name, cards.folder / "cards" / name)
    for name in (*TASKS, *reversed(TASKS)):
        score = adapters.score(held_out(str(cards.folder / "data" / name), adapters.artifact(name).facts), name)
        told = {metric["name"]: metric["value"] for metric in alone[name]["metrics"]}
        assert {metric.name: metric.value for metric in score.metrics} == told
        assert (score.n, score.loss) == (alone[name]["n"], alone[name]["loss"])
        assert score.main.value == rows[name]["score"]
        print(name, rows[name]["method"], score.n, told, rows[name]["size_bytes"], adapters.own_bytes(name))
    sentence = "房间很干净，服务员态度也好，下次还会来住。"
    adapters.switch("chnsenticorp")
    assert adapters.predict([sentence])[0].label in ("positive", "negative")
    assert adapters.predict([sentence], "tnews")[0].label in rows["tnews"]["labels"]
    own = sum(adapters.own_bytes(name) for name in TASKS)
    assert own < 0.1 * 4 * 118e6, "three adapters take less than a tenth of the base"


def test_one_of_them_merged_scores_the_same(cards: Terminal) -> None:
    merged = cards.done("adapters", "merge", "chnsenticorp", "--in", "cards", "--out", "whole", "--json").json
    assert merged["difference"] <= merged["allowed"]
    apart, whole = (
        cards.done("evaluate", folder, "--data", "data/chnsenticorp", "--json").json["metrics"][0]["value"]
        for folder in ("cards/chnsenticorp", "whole")
    )
    print("merged", json.dumps(merged), apart, whole)
    assert whole == pytest.approx(apart, abs=0.01)
