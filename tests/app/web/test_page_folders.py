"""Which files may be read: none outside the chosen folders, whatever a name looks like."""

from pathlib import Path

import pytest

from trimtab.app.web.folders import Folders
from trimtab.app.web.settings import chosen_folders
from trimtab.errors import UsageError


@pytest.fixture
def places(tmp_path: Path) -> Folders:
    for name in ("in/data", "also", "out"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "in/data/train.csv").write_text("text,label\na,b\n")
    (tmp_path / "in/rows.jsonl").write_text("{}\n")
    (tmp_path / "out/secret.csv").write_text("x\n")
    (tmp_path / "in/link.csv").symlink_to(tmp_path / "out/secret.csv")
    (tmp_path / "in/door").symlink_to(tmp_path / "out")
    (tmp_path / "in/mixed").mkdir()
    (tmp_path / "in/mixed/train.csv").symlink_to(tmp_path / "out/secret.csv")
    (tmp_path / "in/own.csv").symlink_to(tmp_path / "in/rows.jsonl")
    return Folders(chosen_folders((str(tmp_path / "in"), str(tmp_path / "also"))))


@pytest.mark.parametrize("name", ["data", "rows.jsonl", "data/../rows.jsonl", "own.csv", "new/folder"])
def test_what_lies_inside_is_found(places: Folders, name: str) -> None:
    assert places.has(places.inside(name))


def test_the_second_folder_counts_too(places: Folders, tmp_path: Path) -> None:
    assert places.inside(str(tmp_path / "also")) == (tmp_path / "also").resolve()


@pytest.mark.parametrize(
    "name",
    [
        "..",
        "../out/secret.csv",
        "/etc/passwd",
        "link.csv",
        "door",
        "door/secret.csv",
        "mixed",
        "a\0b",
        "x" * 5000,
        "../in2",
    ],
)
def test_what_lies_outside_is_refused(places: Folders, name: str) -> None:
    with pytest.raises(UsageError) as caught:
        places.inside(name)
    assert caught.value.code == "TT-W120"
    assert "secret.csv" not in caught.value.message.text() or "secret" in name, "a refusal tells no names"


def test_a_folder_whose_name_begins_alike_is_another(tmp_path: Path) -> None:
    for name in ("in", "in-other"):
        (tmp_path / name).mkdir()
    with pytest.raises(UsageError):
        Folders(chosen_folders((str(tmp_path / "in"),))).inside("../in-other")


def test_names_are_spoken_so_that_they_mean_the_same_on_a_command_line(places: Folders) -> None:
    first = places.chosen[0]
    assert places.spoken(first / "demo") == "./demo", "demo alone is a model"
    assert places.spoken(first / "data/train.csv") == "data/train.csv"
    assert places.spoken(first / "~x") == "./~x"
    assert places.inside(places.spoken(first / "data")) == first / "data"


def test_what_is_offered_lies_inside(places: Folders) -> None:
    assert set(places.data_sets()) == {"./data", "./rows.jsonl", "./own.csv"}


def test_a_folder_that_is_not_there_is_refused() -> None:
    with pytest.raises(UsageError) as caught:
        chosen_folders(("/nowhere/at/all",))
    assert caught.value.code == "TT-W110"
