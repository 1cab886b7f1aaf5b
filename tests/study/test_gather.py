"""The facts a plan is made from: imagined shapes, and when what was kept is made anew."""

from pathlib import Path

import pytest

from trimtab.errors import UsageError
from trimtab.study import Reading, Shape, gather


@pytest.mark.parametrize(
    ("shape", "said"),
    [
        (Shape(rows=0), "--rows must be from 1 to 100,000,000, not 0."),
        (Shape(rows=-5), "--rows"),
        (Shape(length=-1), "--length"),
        (Shape(labels=0), "--labels"),
        (Shape(labels=1), "--labels must be from 2 to 100,000, not 1. Write for example --labels 4, or leave"),
        (Shape(rows=10**8 + 1), "--rows must be from 1 to 100,000,000, not 100000001."),
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


def test_the_smallest_shape_is_imagined() -> None:
    facts = gather.imagined(Shape(rows=1, length=1, labels=2))
    assert (facts.train_rows, facts.lengths.counts, facts.labels) == (1, (0, 1), ("0", "1"))


def test_a_changed_file_below_home_is_read_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("TRIMTAB_HOME", str(tmp_path / "cache"))

    def labels_of(labels: int) -> int:
        lines = [f"review {i},{i % labels}" for i in range(60)]
        (tmp_path / "a.csv").write_text("\n".join(["text,label", *lines]), encoding="utf-8")
        return len(gather.data_spec("~/a.csv", Reading(), None).labels)

    assert (labels_of(2), labels_of(3)) == (2, 3)


def test_a_gpu_is_not_given_the_speed_of_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    from trimtab.hardware import machine_named

    card = machine_named("rtx3060-12g")
    monkeypatch.setattr("trimtab.study.gather.this_machine", lambda: card)
    assert gather.machine_for(None) is card
    assert card.calibration is None
