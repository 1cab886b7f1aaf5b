"""A folder of artifacts: what is listed, what a name leads to, what may be deleted. No weights are read."""

import json
from pathlib import Path

import pytest

from trimtab.artifacts import (
    ArtifactFacts,
    Base,
    artifact_named,
    default_folder,
    delete_artifact,
    stored_artifacts,
)
from trimtab.errors import ArtifactError
from trimtab.methods import Head, Lora, Strategy


def written(folder: Path, *, size: int = 100) -> Path:
    """A folder that looks like an adapter; its weights are `size` zeros."""
    folder.mkdir(parents=True)
    (folder / "adapter_model.safetensors").write_bytes(bytes(size))
    facts = ArtifactFacts(
        adapter=True,
        task="classify",
        labels=("bad", "good"),
        columns=("text",),
        label_column="label",
        outputs=2,
        base=Base(name="m", hub_id="org/m", revision="", family="bert", weights_sha256="0" * 64),
        strategy=Strategy(method="lora", parts=(Lora(), Head())),
        trimtab_version="0",
    )
    facts.write(folder)
    return folder


def code_of(error: pytest.ExceptionInfo[ArtifactError]) -> str:
    assert error.value.exit_code == 5
    return error.value.code


def test_a_list_names_what_is_there_and_what_is_wrong_with_it(tmp_path: Path) -> None:
    place = tmp_path / "cards"
    written(place / "mood", size=1000)
    (place / "damaged").mkdir()
    (place / "damaged" / "artifact.json").write_text("{")
    (place / "peft").mkdir()
    (place / "peft" / "adapter_config.json").write_text("{}")
    (place / "notes").mkdir()
    written(tmp_path / "elsewhere")
    (place / "link").symlink_to(tmp_path / "elsewhere")
    written(place / ".hidden")
    found = {one.name: one for one in stored_artifacts(place)}
    assert list(found) == ["damaged", "mood", "peft"]
    assert found["mood"].facts is not None and found["mood"].facts.labels == ("bad", "good")
    assert found["mood"].size_bytes == sum(p.stat().st_size for p in (place / "mood").iterdir()) > 1000
    assert (found["damaged"].facts, found["damaged"].damage and found["damaged"].damage.code) == (None, "TT-A002")
    assert found["peft"].damage is not None and found["peft"].damage.code == "TT-A021"
    assert [one.name for one in stored_artifacts(place / "mood")] == ["mood"]


def test_the_default_folder_need_not_be_there_and_another_must(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("TRIMTAB_HOME", str(tmp_path / "home"))
    assert default_folder() == tmp_path / "home" / "adapters"
    assert stored_artifacts() == () and not (tmp_path / "home").exists()
    written(default_folder() / "mood")
    assert [one.name for one in stored_artifacts()] == ["mood"]
    with pytest.raises(ArtifactError) as error:
        stored_artifacts(tmp_path / "nowhere")
    assert code_of(error) == "TT-A022"


@pytest.mark.parametrize("word", ["other", "../secret", "link", ".", ""])
def test_a_name_leads_to_a_folder_inside_or_nowhere(word: str, tmp_path: Path, monkeypatch) -> None:
    place = tmp_path / "cards"
    written(place / "mood")
    written(tmp_path / "secret")
    (place / "link").symlink_to(tmp_path / "secret")
    monkeypatch.chdir(tmp_path / "cards" / "mood")
    assert artifact_named("mood", place) == place / "mood"
    assert artifact_named(str(tmp_path / "secret"), place) == tmp_path / "secret"
    assert artifact_named(".").resolve() == place / "mood"
    with pytest.raises(ArtifactError) as error:
        artifact_named(word, place)
    assert code_of(error) == "TT-A023" and "mood" in str(error.value)


def test_only_an_artifact_is_deleted_and_all_of_it(tmp_path: Path) -> None:
    kept, gone = written(tmp_path / "kept"), written(tmp_path / "gone")
    for name in ("report.json", "report.html", "README.md"):
        (gone / name).write_text("x")
    (gone / "checkpoints").mkdir()
    (gone / "checkpoints" / "step").write_text("x")
    assert delete_artifact(gone).name == "gone"
    assert [path.name for path in tmp_path.iterdir()] == ["kept"] and len(list(kept.iterdir())) == 2


def test_what_is_not_ours_is_not_deleted(tmp_path: Path) -> None:
    strange = written(tmp_path / "strange")
    (strange / "thesis.docx").write_text("years of work")
    plain = tmp_path / "plain"
    plain.mkdir()
    (plain / "model.safetensors").write_text("x")
    target = written(tmp_path / "target")
    link = tmp_path / "link"
    link.symlink_to(target)
    for folder, code in ((strange, "TT-A025"), (plain, "TT-A001"), (link, "TT-A024")):
        with pytest.raises(ArtifactError) as error:
            delete_artifact(folder)
        assert code_of(error) == code
    names = {"strange", "plain", "target", "link"}
    assert {path.name for path in tmp_path.iterdir()} == names and len(list(target.iterdir())) == 2


def test_a_link_inside_is_removed_and_what_it_leads_to_stays(tmp_path: Path) -> None:
    folder = written(tmp_path / "a")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "data.csv").write_text("x")
    (folder / "checkpoints").symlink_to(tmp_path / "mine")
    delete_artifact(folder)
    assert (tmp_path / "mine" / "data.csv").read_text() == "x" and not folder.exists()


def test_a_folder_that_cannot_be_moved_is_whole(tmp_path: Path, monkeypatch) -> None:
    folder = written(tmp_path / "a")

    def refuse(self: Path, target: Path) -> Path:
        raise PermissionError(13, "no", str(self))

    monkeypatch.setattr(Path, "rename", refuse)
    with pytest.raises(PermissionError):
        delete_artifact(folder)
    assert len(list(folder.iterdir())) == 2 and [path.name for path in tmp_path.iterdir()] == ["a"]


def test_facts_written_before_there_were_origins_are_read(tmp_path: Path) -> None:
    folder = written(tmp_path / "a")
    plain = json.loads((folder / "artifact.json").read_text())
    del plain["origin"]
    (folder / "artifact.json").write_text(json.dumps(plain))
    (one,) = stored_artifacts(tmp_path)
    assert one.facts is not None and one.facts.origin == "trained"


def test_a_name_in_a_folder_is_not_what_lies_in_the_working_folder(tmp_path: Path, monkeypatch) -> None:
    place, here = tmp_path / "cards", tmp_path / "here"
    for folder in (place / "mood", here / "mood", here / "other"):
        written(folder)
    monkeypatch.chdir(here)
    assert artifact_named("mood", place) == place / "mood"
    assert artifact_named("mood") == Path("mood") and artifact_named("./mood", place) == Path("mood")
    with pytest.raises(ArtifactError) as error:
        artifact_named("other", place)
    assert code_of(error) == "TT-A023"


def test_every_name_that_is_listed_can_be_used(tmp_path: Path) -> None:
    for name in ("my law", "法律", "-x", "a" * 80, "v1+2"):
        written(tmp_path / name)
    listed = [one.name for one in stored_artifacts(tmp_path)]
    assert len(listed) == 5
    assert [artifact_named(name, tmp_path) for name in listed] == [tmp_path / name for name in listed]
    assert artifact_named("my law", tmp_path / "my law") == tmp_path / "my law"


def test_the_working_folder_can_be_deleted(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(written(tmp_path / "a"))
    assert delete_artifact(Path(".")).name == "a" and list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("said", "name"),
    [
        ({"labels": [0, 1]}, "labels"),
        ({"origin": "found"}, "origin"),
        ({"task": "translate"}, "task"),
        ({"task": ["classify"]}, "task"),
        ({"outputs": 2.5}, "outputs"),
        ({"files": [["adapter_model.safetensors", float("inf"), ""]]}, "files"),
        ({"base": dict.fromkeys(("name", "hub_id", "revision", "family", "weights_sha256"), 1)}, "name"),
    ],
)
def test_a_list_goes_on_past_values_that_are_none(said: dict[str, object], name: str, tmp_path: Path) -> None:
    written(tmp_path / "good")
    path = written(tmp_path / "bad") / "artifact.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | said))
    bad, good = stored_artifacts(tmp_path)
    assert good.facts is not None and bad.facts is None and bad.damage is not None
    assert bad.damage.code == "TT-A002" and str(tmp_path / "bad") in bad.damage.text()
    assert f"the value of {name} is none" in bad.damage.text()
