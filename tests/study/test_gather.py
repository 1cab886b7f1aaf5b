"""The facts a plan is made from: imagined shapes, and when what was kept is made anew."""

from pathlib import Path

import pytest

from tiny_models import WORDS, tiny_tokenizer
from trimtab.data import open_corpus
from trimtab.errors import DataError, UsageError
from trimtab.models import TokenizerFile
from trimtab.study import Reading, Shape, gather
from trimtab.units import MIB


@pytest.mark.parametrize(
    ("shape", "said"),
    [
        (Shape(examples=0), "--examples must be from 1 to 100,000,000, not 0."),
        (Shape(examples=-5), "--examples"),
        (Shape(length=-1), "--length"),
        (Shape(labels=0), "--labels"),
        (Shape(labels=1), "--labels must be from 2 to 100,000, not 1. Write for example --labels 4, or leave"),
        (Shape(examples=10**8 + 1), "--examples must be from 1 to 100,000,000, not 100000001."),
        (Shape(length=10**30), "--length"),
        (Shape(labels=10**30), "--labels"),
    ],
)
def test_a_shape_no_data_has_is_refused(shape: Shape, said: str) -> None:
    with pytest.raises(UsageError) as caught:
        gather.imagined(shape)
    assert caught.value.code == "TT-U006"
    assert said in str(caught.value)
    assert caught.value.message.text("zh") != caught.value.message.text("en")


def test_conversations_can_be_imagined_half_of_them_answers() -> None:
    facts = gather.imagined(Shape(examples=10, length=100), "instruct")
    assert (facts.task, facts.labels, facts.outputs) == ("instruct", (), 0)
    assert facts.answers is not None and facts.answers.tokens == 500
    assert (
        facts.answers.kept(facts.lengths, 80) == 300
        and facts.answers.lost(50) == 10
        and facts.answers.lost(51) == 0
    )


def test_the_smallest_shape_is_imagined() -> None:
    facts = gather.imagined(Shape(examples=1, length=1, labels=2))
    assert (facts.train_rows, facts.lengths.counts, facts.labels) == (1, (0, 1), ("0", "1"))


def test_a_changed_file_below_home_is_read_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("TRIMTAB_HOME", str(tmp_path / "cache"))

    def labels_of(labels: int) -> int:
        lines = [f"review {i},{i % labels}" for i in range(60)]
        (tmp_path / "a.csv").write_text("\n".join(["text,label", *lines]), encoding="utf-8")
        return len(gather.data_spec("~/a.csv", Reading(), TokenizerFile(None)).labels)

    assert (labels_of(2), labels_of(3)) == (2, 3)


def test_data_that_have_been_checked_are_not_opened_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRIMTAB_HOME", str(tmp_path / "cache"))
    path = tmp_path / "a.csv"
    path.write_text("text,label\n" + "".join(f"review {i},{i % 2}\n" for i in range(60)), encoding="utf-8")
    corpus = gather.checked(str(path), Reading())
    assert corpus is not None
    found = gather.data_spec(str(path), Reading(), TokenizerFile(None), corpus)
    assert gather.checked(str(path), Reading()) is None
    assert gather.data_spec(str(path), Reading(), TokenizerFile(None)) == found
    path.write_text("text,label\n", encoding="utf-8")
    with pytest.raises(DataError):
        gather.checked(str(path), Reading())


@pytest.mark.parametrize(("unreachable", "code"), [("", "TT-D076"), ("https://hub.example", "TT-D078")])
def test_estimated_lengths_say_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, unreachable: str, code: str
) -> None:
    """And the reason of one day is not the reason of the next: each is kept by itself."""
    monkeypatch.setenv("TRIMTAB_HOME", str(tmp_path / "cache"))
    path = tmp_path / "a.csv"
    path.write_text("text,label\n" + "".join(f"review {i},{i % 2}\n" for i in range(60)), encoding="utf-8")
    gather.data_spec(str(path), Reading(), TokenizerFile(None, "https://another.example"))
    (said,) = (
        problem.message
        for problem in gather.data_spec(str(path), Reading(), TokenizerFile(None, unreachable)).problems
        if problem.message.code in ("TT-D076", "TT-D078")
    )
    assert said.code == code
    assert all(unreachable in said.text(language) for language in ("en", "zh"))


def test_a_gpu_is_not_given_the_speed_of_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    from trimtab.hardware import machine_named

    card = machine_named("rtx3060-12g")
    monkeypatch.setattr("trimtab.study.gather.this_machine", lambda: card)
    assert gather.machine_for(None) is card
    assert card.calibration is None


def test_a_plan_finds_tokens_and_a_training_keeps_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRIMTAB_HOME", str(tmp_path / "home"))
    folder = tmp_path / "data"
    folder.mkdir()
    line, rows = " ".join(WORDS[:40]), MIB // 100
    for split, count in {"train": rows, "dev": 10}.items():
        text = "".join(f"{line} {number},{'yn'[number % 2]}\n" for number in range(count))
        (folder / f"{split}.csv").write_text(f"text,label\n{text}")
    tiny_tokenizer("bert").save_pretrained(tmp_path / "model")
    corpus, file = open_corpus(str(folder), keep_overlap=True), TokenizerFile(tmp_path / "model/tokenizer.json")
    kept = tmp_path / "home" / "tokens"
    planned = gather.describe(corpus, file)
    assert not kept.exists()
    assert gather.describe(corpus, file, trains=True) == planned
    (entry,) = kept.iterdir()  # dev is small
    stamp = (entry / "ids.bin").stat().st_mtime_ns
    assert gather.describe(corpus, file) == gather.describe(corpus, file, trains=True) == planned
    assert [path.name for path in kept.iterdir()] == [entry.name]
    assert (entry / "ids.bin").stat().st_mtime_ns == stamp
