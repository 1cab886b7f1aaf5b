"""Checkpoints: whole or passed over, and nothing else is resumed than what was begun."""

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from plain_chinese import english_in
from tiny_training import assert_equal, run, run_until, tiny_job, tiny_strategy, trained
from trimtab.artifacts import facts
from trimtab.data import Corpus
from trimtab.errors import BadInput, Message, TrimtabError
from trimtab.training import Job, Notice, Saved, Started, Training, checkpoint
from trimtab.training.checkpoint import Checkpoints, Progress


def begun(folder: Path, **changed: object) -> tuple[Job, Corpus]:
    """A training dropped after step 10, with checkpoints of steps 5 and 10."""
    job, corpus = tiny_job(folder, save_steps=5, **changed)
    run_until(job, corpus, Saved, count=2)
    assert [path.name for path in sorted(job.checkpoints.iterdir())] == ["step-00000005", "step-00000010"]
    return replace(job, resume=True), corpus


def refusal(job: Job, corpus: Corpus) -> Message:
    with pytest.raises(BadInput) as caught:
        run(job, corpus)
    assert caught.value.exit_code == 5
    return caught.value.message


def _truncate(file: Path) -> None:
    os.truncate(file, file.stat().st_size // 2)


def _flip_a_bit(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(bytes(content))


damages = [
    (name, hurt)
    for hurt in (_truncate, _flip_a_bit, Path.unlink)
    for name in ("state.safetensors", "best.safetensors", "progress.json", "manifest.json")
    if (name, hurt) != ("manifest.json", _flip_a_bit)  # below: a bit of a name, not of a hash, may not matter
]


@pytest.mark.parametrize(("name", "hurt"), damages)
def test_a_damaged_checkpoint_is_passed_over(name: str, hurt: Callable[[Path], None], tmp_path: Path) -> None:
    folder = tmp_path / "checkpoints"
    tensors = {"master/a": torch.arange(100.0)}
    for step in (5, 10):
        Checkpoints(folder).save(Progress(micro_batch=4, step=step), {}, tensors, tensors)
    hurt(folder / "step-00000010" / name)
    found, notes = Checkpoints(folder).newest()
    assert found is not None and found.progress.step == 5
    assert [(note.code, note.fact("path")) for note in notes] == [("TT-T020", str(folder / "step-00000010"))]
    assert all(name in notes[0].text(language) for language in ("en", "zh"))
    assert english_in(notes[0], str(folder / "step-00000010"), name) == []


def test_a_training_goes_on_from_the_checkpoint_before_a_damaged_one(tmp_path: Path) -> None:
    job, corpus = begun(tmp_path)
    _, straight = run(replace(job, folder=tmp_path / "straight", resume=False), corpus)
    _truncate(job.checkpoints / "step-00000010" / "state.safetensors")
    events, resumed = run(job, corpus)
    assert [event.message.code for event in events if isinstance(event, Notice)] == ["TT-T020"]
    assert next(event for event in events if isinstance(event, Started)).resumed_step == 5
    assert_equal(trained(resumed), trained(straight))


def test_damage_to_the_best_weights_is_not_certified_by_the_next_checkpoint(tmp_path: Path) -> None:
    """The best weights are linked from checkpoint to checkpoint; their hash is the one they were written with."""
    tensors = {"master/a": torch.arange(100.0)}
    first = Checkpoints(tmp_path).save(Progress(micro_batch=4, step=5), {}, tensors, tensors)
    _flip_a_bit(checkpoint.best_file(first))
    Checkpoints(tmp_path).save(Progress(micro_batch=4, step=10), {}, tensors, checkpoint.best_file(first))
    found, notes = Checkpoints(tmp_path).newest()
    assert found is None
    assert len(notes) == 2


def test_with_all_checkpoints_damaged_training_starts_over(tmp_path: Path) -> None:
    job, corpus = begun(tmp_path)
    for path in job.checkpoints.iterdir():
        (path / "progress.json").unlink()
    events, _ = run(job, corpus)
    codes = [event.message.code for event in events if isinstance(event, Notice)]
    assert codes == ["TT-T020", "TT-T020", "TT-T023"]


def test_a_checkpoint_without_an_optimiser_state_is_refused(tmp_path: Path) -> None:
    job, corpus = begun(tmp_path)
    shutil.rmtree(job.checkpoints / "step-00000005")
    path = job.checkpoints / "step-00000010"
    found, _ = Checkpoints(job.checkpoints).newest()
    assert found is not None
    lost = "exp_avg/classifier.weight"
    tensors = {name: tensor for name, tensor in found.tensors.items() if name != lost}
    assert len(tensors) == len(found.tensors) - 1
    Checkpoints(job.checkpoints).save(found.progress, found.identity, tensors, checkpoint.load_best(path))
    said = refusal(job, corpus)
    assert said.code == "TT-T024"
    assert lost in said.text("en") and english_in(said, str(path), lost) == []


changes = {
    "data": lambda job: replace(job, data=replace(job.data, fingerprint="other")),
    "model": lambda job: replace(job, spec=replace(job.spec, fingerprint="other")),
    "strategy": lambda job: replace(job, strategy=replace(job.strategy, batch=8)),
    "seed": lambda job: replace(job, strategy=replace(job.strategy, seed=8)),
}


@pytest.mark.parametrize("what", changes)
def test_another_training_is_refused_unless_allowed(what: str, tmp_path: Path) -> None:
    job, corpus = begun(tmp_path)
    said = refusal(changes[what](job), corpus)
    assert said.code == "TT-T021"
    assert ("strategy" if what == "seed" else what) in said.text("en")
    assert {"data": "数据（", "model": "模型（"}.get(what, "策略（") in said.text("zh")
    if what in ("data", "model"):
        events, _ = run(replace(changes[what](job), allow_changed=True), corpus)
        assert next(event for event in events if isinstance(event, Started)).resumed_step == 10


def test_another_version_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    job, corpus = begun(tmp_path)
    monkeypatch.setattr("trimtab.training.session.versions", lambda: (("torch", "1.0"),))
    said = refusal(job, corpus)
    assert (said.code, "torch version (" in said.text("en")) == ("TT-T021", True)
    assert "torch 版本（" in said.text("zh")


def test_another_method_is_refused_even_where_change_is_allowed(tmp_path: Path) -> None:
    job, corpus = begun(tmp_path)
    lora = tiny_strategy(job.source, "lora")
    said = refusal(replace(job, strategy=lora, allow_changed=True), corpus)
    assert said.code == "TT-T024"


def test_an_unfinished_training_is_not_written_over(tmp_path: Path) -> None:
    job, corpus = begun(tmp_path)
    said = refusal(replace(job, resume=False), corpus)
    assert (said.code, said.fact("step")) == ("TT-T022", 10)


def test_the_two_newest_are_kept_and_what_a_kill_left_is_swept(tmp_path: Path) -> None:
    tensors = {"master/a": torch.zeros(3)}
    (tmp_path / ".step-00000001.tmp").mkdir(parents=True)
    (tmp_path / ".step-00000001.tmp" / "state.safetensors").write_bytes(b"half")
    for step in (2, 3, 4):
        Checkpoints(tmp_path).save(Progress(micro_batch=1, step=step), {}, tensors, tensors)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step-00000003", "step-00000004"]


def test_a_damaged_checkpoint_is_not_one_of_the_two_that_are_kept(tmp_path: Path) -> None:
    """Steps 8 and 9 are damaged; the training goes on from step 5 and saves step 6 again, then 7."""
    tensors = {"master/a": torch.arange(100.0)}
    before, resumed = Checkpoints(tmp_path), Checkpoints(tmp_path)
    for step in (8, 9):
        before.save(Progress(micro_batch=1, step=step), {}, tensors, tensors)
        _flip_a_bit(tmp_path / f"step-0000000{step}" / "state.safetensors")
    kept = {}
    for step in (5, 6, 7):
        resumed.save(Progress(micro_batch=1, step=step), {}, tensors, tensors)
        kept[step] = [path.name[-1] for path in sorted(tmp_path.iterdir())]
    assert kept == {5: ["5", "8", "9"], 6: ["5", "6", "8", "9"], 7: ["6", "7", "8", "9"]}
    found, _ = Checkpoints(tmp_path).newest()
    assert found is not None and found.progress.step == 7


@pytest.fixture
def read_through(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The tensor files that have been read to be hashed, as "step-00000005/state.safetensors"."""
    seen: list[str] = []

    def sha256_of(path: Path) -> str:
        if path.suffix == ".safetensors":
            seen.append(f"{path.parent.name}/{path.name}")
        return facts.sha256_of(path)

    monkeypatch.setattr(checkpoint, "sha256_of", sha256_of)
    return seen


def test_a_process_does_not_read_again_what_it_has_written(tmp_path: Path, read_through: list[str]) -> None:
    tensors = {"master/a": torch.arange(100.0)}
    own = Checkpoints(tmp_path)
    first = own.save(Progress(micro_batch=1, step=1), {}, tensors, tensors)
    for step in (2, 3, 4):
        own.save(Progress(micro_batch=1, step=step), {}, tensors, checkpoint.best_file(first))
        first = tmp_path / f"step-0000000{step}"
    assert sorted(path.name[-1] for path in tmp_path.iterdir()) == ["3", "4"]
    assert read_through == []


def test_what_another_process_left_is_read_once(tmp_path: Path, read_through: list[str]) -> None:
    tensors = {"master/a": torch.arange(100.0)}
    for step in (1, 2):
        Checkpoints(tmp_path).save(Progress(micro_batch=1, step=step), {}, tensors, tensors)
    read_through.clear()
    resumed = Checkpoints(tmp_path)
    found, _ = resumed.newest()
    assert found is not None and found.progress.step == 2
    for step in (3, 4):
        resumed.save(Progress(micro_batch=1, step=step), {}, tensors, tensors)
    assert read_through == ["step-00000002/state.safetensors", "step-00000002/best.safetensors"]


def test_what_has_lost_a_file_since_it_was_written_is_not_whole(tmp_path: Path) -> None:
    tensors = {"master/a": torch.arange(100.0)}
    own = Checkpoints(tmp_path)
    for step in (1, 2):
        own.save(Progress(micro_batch=1, step=step), {}, tensors, tensors)
    _truncate(tmp_path / "step-00000002" / "state.safetensors")
    own.save(Progress(micro_batch=1, step=3), {}, tensors, tensors)
    assert sorted(path.name[-1] for path in tmp_path.iterdir()) == ["1", "2", "3"]


def test_a_checkpoint_reads_back_as_it_was_written(tmp_path: Path) -> None:
    tensors = {
        "master/a": torch.randn(5, 3),
        "steps/a": torch.tensor(7.0),
        "random/cpu": torch.get_rng_state(),
        "half/b": torch.randn(3).to(torch.bfloat16),
        "turned": torch.randn(4, 2).T,
        "empty": torch.zeros(0, 3),
    }
    progress = Progress(micro_batch=3, step=7, tokens=10**12, best_metric=0.1 + 0.2, stopped_early=True)
    path = Checkpoints(tmp_path).save(progress, {"data": "x"}, tensors, {"master/a": tensors["master/a"]})
    found, notes = Checkpoints(tmp_path).newest()
    assert found is not None and notes == ()
    assert (found.progress, dict(found.identity)) == (progress, {"data": "x"})
    assert_equal(found.tensors, tensors)
    assert_equal(load_file(path / "state.safetensors"), tensors)


def test_the_writer_writes_what_the_library_reads_as_its_own(tmp_path: Path) -> None:
    """Same tensors, same bytes a tensor: the library's file of them opens to the same."""
    tensors = {"b": torch.randn(3).half(), "a": torch.randn(2, 2), "c": torch.ones(3, dtype=torch.uint8)}
    Checkpoints(tmp_path / "ours").save(Progress(micro_batch=1, step=1), {}, tensors, tensors)
    save_file(tensors, tmp_path / "theirs")
    ours = tmp_path / "ours" / "step-00000001" / "state.safetensors"
    assert_equal(load_file(ours), load_file(tmp_path / "theirs"))


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of four MiB; skips where mounting is not allowed."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(folder)]
    if not shutil.which("mount") or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("mounting a small file system is not allowed here")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def disk_full(job: Job, corpus: Corpus) -> TrimtabError:
    with pytest.raises(TrimtabError) as caught:
        list(Training(job, corpus))
    assert (caught.value.code, caught.value.exit_code) == ("TT-T025", 1)
    return caught.value


def test_a_full_disk_leaves_the_checkpoint_before_whole(tmp_path: Path, tiny_disk: Path) -> None:
    job, corpus = tiny_job(tmp_path, save_steps=5)
    job = replace(job, folder=tiny_disk / "out")
    run_until(job, corpus, Saved)
    used = sum(file.stat().st_size for file in job.folder.rglob("*") if file.is_file())
    (tiny_disk / "ballast").write_bytes(b"0" * ((4 << 20) - used - (1 << 16)))
    error = disk_full(replace(job, resume=True), corpus)
    assert "No space left" in error.message.text("en") and "磁盘空间不足" in error.message.text("zh")
    assert [path.name for path in job.checkpoints.iterdir()] == ["step-00000005"]
    (tiny_disk / "ballast").unlink()
    events, resumed = run(replace(job, resume=True), corpus)
    assert next(event for event in events if isinstance(event, Started)).resumed_step == 5
    _, straight = run(replace(job, folder=tmp_path / "straight"), corpus)
    assert_equal(trained(resumed), trained(straight))


def test_only_our_own_checkpoints_are_deleted(tmp_path: Path) -> None:
    folder = tmp_path / "checkpoints"
    (folder / "step-00000003").mkdir(parents=True)
    (folder / "mine").mkdir()
    checkpoint.remove_all(folder)
    assert [path.name for path in folder.iterdir()] == ["mine"]
    (folder / "mine").rmdir()
    checkpoint.remove_all(folder)
    assert not folder.exists()
