"""A training on rows of the token store is the training on rows from texts: the same losses, the same weights, the
same after a resume."""

from dataclasses import replace
from pathlib import Path

import pytest

from tiny_chat import chat_job
from tiny_embed import embed_job
from tiny_tagging import tag_job
from tiny_text import text_job
from tiny_training import assert_equal, run, run_until, tiny_job, trained
from trimtab.data.token_store import TokenStore
from trimtab.training import Notice, Saved, Step

JOBS = {"classify": tiny_job, "tag": tag_job, "instruct": chat_job, "embed": embed_job, "text": text_job}


def losses(events) -> list[float]:
    return [event.loss for event in events if isinstance(event, Step)]


def stored(job, folder: Path, **changed):
    return replace(job, folder=folder / "stored", tokens=TokenStore(folder / "tokens", least_bytes=0), **changed)


@pytest.mark.parametrize("task", JOBS)
def test_the_loss_curve_is_bit_equal(tmp_path: Path, task: str) -> None:
    job, corpus = JOBS[task](tmp_path)
    plain, whole = run(job, corpus)
    kept, session = run(stored(job, tmp_path), corpus)
    assert list((tmp_path / "tokens").iterdir())
    assert losses(kept) == losses(plain) and len(losses(kept)) > 5
    assert [event for event in kept if isinstance(event, Notice)] == []
    assert_equal(trained(session), trained(whole))


def test_packed_rows_and_a_frozen_part_read_the_same(tmp_path: Path) -> None:
    job, corpus = chat_job(tmp_path, packed=True)
    assert losses(run(stored(job, tmp_path), corpus)[0]) == losses(run(job, corpus)[0])


def test_a_frozen_part_is_found_whatever_its_tokens_are_kept_in(tmp_path: Path) -> None:
    job, corpus = tiny_job(tmp_path, method="head", prefix_cache=True)
    job = replace(job, prefix_folder=tmp_path / "prefix")
    plain = losses(run(job, corpus)[0])
    kept = sorted(path.name for path in (tmp_path / "prefix").iterdir())
    assert losses(run(stored(job, tmp_path), corpus)[0]) == plain
    assert sorted(path.name for path in (tmp_path / "prefix").iterdir()) == kept


def test_a_resumed_run_ends_with_the_same_bits(tmp_path: Path) -> None:
    job, corpus = tiny_job(tmp_path, max_length=12)  # some rows are cut
    straight = trained(run(job, corpus)[1])
    broken = stored(job, tmp_path, save_steps=2)
    run_until(broken, corpus, Saved, 2)
    resumed = trained(run(replace(broken, resume=True), corpus)[1])
    assert_equal(resumed, straight)
