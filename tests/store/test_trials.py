"""Claims of trials on a real SQLite file, by processes of their own too."""

import multiprocessing
from dataclasses import replace
from pathlib import Path

import pytest

from trimtab.errors import UsageError
from trimtab.store import open_store
from trimtab.store.trials import LEASE_SECONDS


def test_a_trial_is_one_workers_until_it_is_released(tmp_path: Path):
    url = f"sqlite:///{tmp_path / 'store.db'}"
    one, two = open_store(url).trials("b"), open_store(url).trials("b")
    assert one.claim("t1") and not two.claim("t1") and not one.claim("t1")
    two.release("t1")  # not its own
    assert not two.claim("t1")
    one.release("t1")
    assert two.claim("t1")
    assert not one.finish("t1", "{}") and two.finish("t1", '{"a": 1}')
    assert not one.claim("t1")
    assert [(record.trial, record.outcome) for record in one] == [("t1", '{"a": 1}')]


def test_other_bake_offs_are_others(tmp_path: Path):
    store = open_store(f"sqlite:///{tmp_path / 'store.db'}")
    assert store.trials("a").claim("t") and store.trials("b").claim("t")
    assert len(list(store.trials("a"))) == 1


def test_a_claim_that_nobody_renews_is_taken_over(tmp_path: Path):
    now = [1000.0]
    store = open_store(f"sqlite:///{tmp_path / 'store.db'}")
    killed = replace(store.trials("b"), clock=lambda: now[0])
    other = replace(store.trials("b"), clock=lambda: now[0])
    assert killed.claim("t")
    now[0] += LEASE_SECONDS - 1
    assert not other.claim("t")
    killed.renew("t")
    now[0] += LEASE_SECONDS - 1
    assert not other.claim("t")
    now[0] += 2
    assert other.claim("t")
    assert not killed.finish("t", "late") and other.finish("t", "done")


def _claim_all(url: str, names: list[str], won) -> None:
    trials = open_store(url).trials("b")
    won.put([name for name in names if trials.claim(name)])


def test_processes_at_once_never_have_the_same(tmp_path: Path):
    url, names = f"sqlite:///{tmp_path / 'store.db'}", [f"t{number}" for number in range(20)]
    open_store(url)
    context = multiprocessing.get_context("fork")
    won = context.Queue()
    workers = [context.Process(target=_claim_all, args=(url, names, won)) for _ in range(4)]
    for worker in workers:
        worker.start()
    claimed = [name for _ in workers for name in won.get(timeout=60)]
    for worker in workers:
        worker.join()
    assert sorted(claimed) == sorted(names)


@pytest.mark.parametrize("url", ["nonsense://x", "zzz"])
def test_what_is_no_database_is_the_users_to_mend(url: str):
    with pytest.raises(UsageError, match="TT-S005"):
        open_store(url)
