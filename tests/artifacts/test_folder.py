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
    if word == ".":
        assert artifact_named(word, place).resolve() == place / "mood"
        return
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
