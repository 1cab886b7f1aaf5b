"""Bad input: the right exit code, a code, a next step, no traceback, and nothing half-written."""

import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from sentences import UNSEEN, topics, write_csv
from small_bert import small_bert
from terminal import SHORT, Outcome, Terminal

CHINESE = re.compile("[一-鿿]")


def assert_refused(refused: Outcome, exit_code: int, code: str) -> None:
    """Two lines on stderr: what, with its code, and what next."""
    assert refused.code == exit_code, refused.err
    what, following = refused.err.splitlines()
    assert what.startswith(f"{code}: ") and len(what) > len(code) + 10
    assert following.startswith("-> ") and len(following) > 10
    assert "Traceback" not in refused.err and "Unexpected" not in refused.err


def write_data(folder: Path) -> None:
    """A file for each way in which data can be bad."""
    rows = list(topics())
    (folder / "empty.csv").touch()
    write_csv(folder / "header.csv", ("text", "label"), [])
    write_csv(folder / "nan.csv", ("text", "label"), [*rows[:50], (rows[50][0], "NaN"), *rows[51:]])
    write_csv(folder / "one.csv", ("text", "label"), [(text, "the same") for text, _ in rows])
    write_csv(folder / "scores.csv", ("text", "score"), [(text, f"{len(text) / 7:.2f}") for text, _ in rows])
    (folder / "rows.pkl").write_bytes(b"\x80\x04.")


def write_models(folder: Path, bert: Path) -> None:
    """Model folders that must not be opened."""
    pickled, coded = (Path(shutil.copytree(bert, folder / name)) for name in ("pickled", "coded"))
    (pickled / "model.safetensors").rename(pickled / "pytorch_model.bin")
    config = json.loads((coded / "config.json").read_text(encoding="utf-8"))
    config["auto_map"] = {"AutoModel": "modeling.Evil"}
    (coded / "config.json").write_text(json.dumps(config), encoding="utf-8")
    (coded / "modeling.py").write_text("open('ran', 'w')\n", encoding="utf-8")


@pytest.mark.parametrize(
    ("options", "exit_code", "code", "said"),
    [
        (("--data", "missing.csv"), 5, "TT-D001", "missing.csv"),
        (("--data", "empty.csv"), 5, "TT-D006", "empty.csv"),
        (("--data", "header.csv"), 5, "TT-D006", "header.csv"),
        (("--data", "rows.pkl"), 5, "TT-D002", "rows.pkl"),
        (("--data", "topics.csv", "--text", "nosuch"), 5, "TT-D032", "Columns: text, label"),
        (("--data", "nan.csv"), 5, "TT-D040", "row 51, column label"),
        (("--data", "one.csv"), 5, "TT-D041", "the same"),
        (("--data", "topics.csv", "--task", "pair"), 5, "TT-D045", "--text A --text B"),
        (("--data", "topics.csv", "--method", "loar"), 2, "TT-U010", 'did you mean "lora"'),
        (("--data", "topics.csv", "--epochs", "-1"), 2, "TT-P006", "--epochs must be greater than 0, not -1"),
        (("--data", "topics.csv", "--lr", "0"), 2, "TT-P006", "--lr must be greater than 0"),
        (("--data", "topics.csv", "--lr", "nan"), 2, "TT-P006", "--lr must be greater than 0, not nan"),
        (("--data", "topics.csv", "--seed", "-1"), 2, "TT-P011", "--seed"),
        (("--data", "topics.csv", "--max-length", "600"), 2, "TT-P009", "512"),
        (("--data", "topics.csv", "--method", "head", "--rank", "4"), 2, "TT-P007", "--rank"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else str(value)[:20],
)
def test_a_training_that_cannot_be_is_refused(
    tt: Terminal, demo_model: None, options: tuple[str, ...], exit_code: int, code: str, said: str
) -> None:
    write_data(tt.folder)
    refused = tt("train", "demo", *options, "--out", "out")
    assert_refused(refused, exit_code, code)
    assert said in refused.err
    assert refused.out == ""
    assert not (tt.folder / "out").exists()


@pytest.mark.parametrize(
    ("model", "code"),
    [("pickled", "TT-M009"), ("coded", "TT-M016"), ("./nowhere", "TT-M002"), ("bert-bse-chinese", "TT-M001")],
)
def test_a_model_that_is_not_to_be_trusted_is_refused(tt: Terminal, bert: Path, model: str, code: str) -> None:
    write_models(tt.folder, bert)
    refused = tt("train", model, "--data", "topics.csv", "--out", "out")
    assert_refused(refused, 5, code)
    assert not (tt.folder / "out").exists() and not (tt.folder / "ran").exists()


def test_refusals_speak_chinese(tt: Terminal, bert: Path) -> None:
    refused = tt("train", str(bert), "--data", "missing.csv", "--out", "out", "--lang", "zh")
    assert_refused(refused, 5, "TT-D001")
    assert all(CHINESE.search(line) for line in refused.err.splitlines())


def test_what_does_not_fit_is_told_with_the_nearest_miss(tt: Terminal, demo_model: None) -> None:
    refused = tt("train", "demo", "--data", "topics.csv", "--memory", "50MiB", "--out", "out")
    assert_refused(refused, 3, "TT-P020")
    assert "The nearest is" in refused.err and "your limit is 50.0 MiB" in refused.err
    assert refused.err.splitlines()[1].startswith("-> --memory ")
    assert "lora" in refused.out and "✗" in refused.out  # the table of what was tried
    assert not (tt.folder / "out").exists()


def test_the_advice_that_comes_with_it_is_true(tt: Terminal, demo_model: None) -> None:
    refused = tt("plan", "demo", "--data", "topics.csv", "--memory", "50MiB", "--json")
    assert (refused.code, refused.json["plan"]["chosen"]) == (3, None)
    advised = json.loads(refused.err)["error"]["next"]
    size = re.search(r"--memory (\d+MiB)", advised)
    assert size and tt("plan", "demo", "--data", "topics.csv", "--memory", size[1]).code == 0


def test_a_flipped_byte_is_seen(tt: Terminal, full_artifact: Path) -> None:
    out = shutil.copytree(full_artifact, tt.folder / "out")
    weights = out / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[len(content) // 2] ^= 1
    weights.write_bytes(content)
    refused = tt("predict", "out", "--text", UNSEEN[0])
    assert_refused(refused, 5, "TT-A003")
    assert "model.safetensors" in refused.err and refused.out == ""


def test_labels_the_model_does_not_know_are_refused(tt: Terminal, full_artifact: Path) -> None:
    """All of them by name, in a file and in the split of a folder that is scored."""
    rows = [(UNSEEN[0], "sports"), (UNSEEN[1], "gardening"), (UNSEEN[2], "travel")]
    write_csv(tt.folder / "other.csv", ("text", "label"), rows)
    (tt.folder / "splits").mkdir()
    for name, some in (("train", list(topics())), ("test", rows)):
        write_csv(tt.folder / "splits" / f"{name}.csv", ("text", "label"), some)
    for data, place in (("other.csv", "other.csv"), ("splits", "test.csv")):
        refused = tt("evaluate", str(full_artifact), "--data", data)
        assert_refused(refused, 5, "TT-D051")
        assert f"{place} has" in refused.err and "row 2" in refused.err
        assert "gardening, travel." in refused.err and refused.out == ""


def test_splits_that_are_not_scored_may_hold_what_they_like(tt: Terminal, full_artifact: Path) -> None:
    """A label the model does not know in train, a label that is missing in dev: neither is asked for."""
    rows = list(topics())
    (tt.folder / "splits").mkdir()
    strange = {"train": [*rows[::2], (UNSEEN[0], "gardening")], "dev": [(UNSEEN[1], "")], "test": rows[1::2]}
    for name, some in strange.items():
        write_csv(tt.folder / "splits" / f"{name}.csv", ("text", "label"), some)
    score = tt.done("evaluate", str(full_artifact), "--data", "splits", "--json").json
    assert (score["split"], score["n"]) == ("test", 60)


def test_some_of_the_models_labels_are_enough_to_score_it(tt: Terminal, full_artifact: Path) -> None:
    rows = [(text, topic) for text, topic in topics() if topic != "cooking"]
    (tt.folder / "splits").mkdir()
    for name, some in (("train", rows[::2]), ("test", rows[1::2])):
        write_csv(tt.folder / "splits" / f"{name}.csv", ("text", "label"), some)
    score = tt.done("evaluate", str(full_artifact), "--data", "splits", "--json").json
    rows_of = {entry["label"]: entry["support"] for entry in score["classes"]}
    assert score["n"] == 40 and (rows_of["sports"], rows_of["weather"]) == (20, 20)
    assert score["metrics"][0]["value"] > 0.5


def test_an_adapter_whose_base_has_changed_is_refused(tt: Terminal) -> None:
    small_bert(tt.folder / "base", seed=0)
    tt.done("train", "base", "--data", "topics.csv", "--method", "lora", *SHORT, "--out", "out")
    small_bert(tt.folder / "base", seed=1)
    refused = tt("predict", "out", "--text", UNSEEN[0])
    assert_refused(refused, 5, "TT-A004")
    assert "base" in refused.err and refused.out == ""


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A mounted file system of 256 KiB. Skips where this user may not mount one."""
    disk = tmp_path / "disk"
    disk.mkdir()
    if not (Path("/bin/mount").exists() and os.geteuid() == 0 and mount(disk, "size=256k")):
        pytest.skip("a full disk needs a file system of its own, which only root may mount")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


def mount(disk: Path, options: str) -> bool:
    command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(disk)]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def test_a_full_disk_costs_no_finished_step(tt: Terminal, bert: Path, small_disk: Path) -> None:
    """First the checkpoint does not fit, then the artifact; with --resume it goes on each time."""
    out = small_disk / "out"
    command = ("train", str(bert), "--data", "topics.csv", "--method", "full", *SHORT, "--out", str(out))
    assert_stopped(tt(*command), "TT-T025")
    assert not list((out / "checkpoints").iterdir())

    weights_bytes = (bert / "model.safetensors").stat().st_size
    # Room for masters, two states of AdamW and the best weights, but not for the weights once more.
    assert mount(small_disk, f"remount,size={4 * weights_bytes + weights_bytes // 2}")
    assert_stopped(tt(*command, "--resume"), "TT-T027")
    assert not (out / "artifact.json").exists()

    assert mount(small_disk, "remount,size=64m")
    resumed = tt.done(*command, "--resume")
    assert "going on after step 12" in resumed.err
    assert (out / "report.html").exists() and not (out / "checkpoints").exists()


def assert_stopped(stopped: Outcome, code: str) -> None:
    assert stopped.code == 1, stopped.err
    *_, what, following = stopped.err.splitlines()
    assert what.startswith(f"{code}: ") and "No space left on device" in what and "--resume" in following
    assert "Traceback" not in stopped.err


def test_torch_is_not_what_a_refusal_waits_for(tt: Terminal, bert: Path) -> None:
    """Nothing heavy is imported before the request has been looked at."""
    script = (
        "import sys; sys.argv[1:] = ['train', sys.argv[1], '--data', 'missing.csv', '--out', 'out']\n"
        "from trimtab.app.cli import run\n"
        "assert run(sys.argv[1:], {}) == 5 and 'torch' not in sys.modules"
    )
    python = tt.python("-c", script, str(bert))
    assert python.code == 0, python.err


def test_a_folder_of_somebody_else_is_left_alone(tt: Terminal) -> None:
    theirs = tt.folder / "project"
    (theirs / "checkpoints" / "step-500").mkdir(parents=True)
    (theirs / "README.md").write_text("mine", encoding="utf-8")
    refused = tt("train", "demo", "--data", "topics.csv", "--out", "project")
    assert refused.code == 5 and "TT-T028" in refused.err and "new or empty folder" in refused.err
    assert "TT-T029" in tt("train", "demo", "--data", "topics.csv", "--out", "topics.csv").err
    assert (theirs / "README.md").read_text(encoding="utf-8") == "mine"
    assert {path.name for path in theirs.rglob("*")} == {"checkpoints", "README.md", "step-500"}
