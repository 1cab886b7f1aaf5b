"""The store on a real SQLite file: what goes in comes out, in every process, also after a kill."""

import os
import signal
import sqlite3
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import sqlalchemy

from trimtab.errors import TrimtabError
from trimtab.metrics.score import Metric, Score
from trimtab.store import LedgerEntry, RunRecord, VariantRecord, migrations, open_store, tables
from trimtab.units import Evidence

ENTRY = LedgerEntry(
    quantity="memory",
    method="lora",
    strategy='{"method": "lora"}',
    model="北京'; DROP TABLE ledger;--",
    family="bert",
    device="cpu",
    device_kind="cpu",
    precision="fp32",
    batch=32,
    micro_batch=8,
    max_length=128,
    trainable_parameters=1000,
    total_parameters=8_000_000_000,
    predicted=2.5e9,
    low=2e9,
    high=3e9,
    evidence=Evidence.DRY_RUN,
    measured=2.6e9,
    versions=(("torch", "2.13.0"), ("numpy", "2.4.6")),
)
RUN = RunRecord(
    model="bge-small",
    data="reviews.csv",
    machine="laptop",
    goal="balanced",
    method="lora",
    strategy="{}",
    plan="{}",
    run='{"loss": 0.1}',
    seed=2**40,
    seconds=12.5,
    peak_memory_bytes=3 * 2**30,
    folder="out",
    scores=(
        Score(
            split="dev",
            n=100,
            loss=0.4,
            metrics=(
                Metric(name="accuracy", value=0.9, low=0.83, high=0.95),
                Metric(name="macro_f1", value=0.88, low=0.8, high=0.94),
            ),
        ),
        Score(split="test", n=50, loss=0.5, metrics=(Metric(name="accuracy", value=0.86, low=0.7, high=0.9),)),
    ),
)


@pytest.fixture(autouse=True)
def ledger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TRIMTAB_HOME", str(tmp_path / "home"))
    return tmp_path / "home" / "ledger.db"


def test_an_entry_comes_back_as_it_went_in() -> None:
    kept = open_store().record(ENTRY)
    assert kept.id and kept.created_at.endswith("+00:00")
    assert replace(kept, id="", created_at="") == ENTRY
    assert open_store().entries() == (kept,)


def test_filters_agree_with_every_word_given() -> None:
    store = open_store()
    store.record(ENTRY)
    store.record(replace(ENTRY, quantity="time", method="full"))
    store.record(replace(ENTRY, device_kind="gpu"))
    assert len(store.entries()) == 3
    assert [entry.method for entry in store.entries(quantity="time")] == ["full"]
    assert len(store.entries(method="lora", device_kind="cpu")) == 1
    assert store.entries(family="llama") == ()


def test_a_run_with_its_scores_and_entries() -> None:
    store = open_store()
    kept = store.record_run(RUN, (ENTRY, replace(ENTRY, quantity="time")))
    assert store.runs() == (kept,)
    assert replace(kept, id="", created_at="") == RUN
    assert [entry.run_id for entry in store.entries()] == [kept.id] * 2


def test_runs_of_one_model_data_and_machine_are_one_study(ledger: Path) -> None:
    store = open_store()
    store.record_run(RUN)
    store.record_run(replace(RUN, seed=1))
    store.record_run(replace(RUN, data_fingerprint="other"))
    assert len(store.runs(model="bge-small")) == 3
    assert store.runs(model="another") == ()
    with sqlite3.connect(ledger) as connection:
        assert connection.execute("SELECT COUNT(*) FROM studies").fetchone() == (2,)


VARIANT = VariantRecord(
    parent="out",
    folder="small",
    steps=("distill --layers 3", "quantize --to q8"),
    model="bge-small",
    machine="laptop",
    seconds=60.5,
    weight_bytes_before=90_000_000,
    weight_bytes=17_000_000,
    predicted_bytes=17_100_000,
    text_tokens=32,
    text_seconds=0.002,
    split="test",
    rows=50,
    metric="accuracy",
    before=0.86,
    after=0.85,
    low=-0.03,
    high=0.01,
    changes='[{"step": "distill"}]',
)


def test_a_smaller_model_is_of_the_study_of_what_it_was_made_of(ledger: Path) -> None:
    store = open_store()
    store.record_run(RUN)
    first = store.record_variant(VARIANT)
    second = store.record_variant(replace(VARIANT, parent="small", folder="smaller"))
    elsewhere = store.record_variant(replace(VARIANT, parent="copied from elsewhere", folder=""))
    with sqlite3.connect(ledger) as connection:
        (study,) = connection.execute("SELECT id FROM studies").fetchone()
    assert (first.study_id, second.study_id, elsewhere.study_id) == (study, study, "")
    assert replace(first, id="", created_at="", study_id="") == VARIANT
    assert store.variants() == (first, second, elsewhere)
    assert store.variants(study_id=study) == (first, second)


def test_a_folder_written_twice_is_what_was_written_last(ledger: Path) -> None:
    store = open_store()
    store.record_run(replace(RUN, data="old.csv"))
    store.record_run(replace(RUN, data="new.csv"))
    study = store.record_variant(VARIANT).study_id
    with sqlite3.connect(ledger) as connection:
        assert connection.execute("SELECT data FROM studies WHERE id = ?", (study,)).fetchone() == ("new.csv",)


def test_a_store_of_the_first_format_goes_on(ledger: Path) -> None:
    ledger.parent.mkdir(parents=True)
    with sqlite3.connect(ledger) as connection:
        for statement in migrations.MIGRATIONS[0]:
            connection.execute(statement)
        connection.execute("CREATE TABLE migrations (number INTEGER PRIMARY KEY, applied_at VARCHAR(32) NOT NULL)")
        connection.execute("INSERT INTO migrations VALUES (1, 'yesterday')")
    store = open_store()
    store.record_run(RUN)
    assert store.record_variant(VARIANT).study_id


def test_a_run_is_kept_whole_or_not_at_all() -> None:
    store = open_store()
    twice = (replace(ENTRY, id="same"), replace(ENTRY, id="same"))
    with pytest.raises(TrimtabError):
        store.record_run(RUN, twice)
    assert store.runs() == () and store.entries() == ()


def test_queries_see_the_tables_that_migrations_make(ledger: Path) -> None:
    open_store()
    made = sqlalchemy.inspect(sqlalchemy.create_engine(f"sqlite:///{ledger}"))
    assert set(made.get_table_names()) == {*tables.metadata.tables, "migrations"}
    for name, table in tables.metadata.tables.items():
        assert {column["name"] for column in made.get_columns(name)} == {column.name for column in table.c}


def test_opening_again_changes_nothing(ledger: Path) -> None:
    open_store().record(ENTRY)
    open_store()
    with sqlite3.connect(ledger) as connection:
        assert connection.execute("SELECT number FROM migrations").fetchall() == [(1,), (2,), (3,)]


def test_a_newer_format_is_left_alone(ledger: Path) -> None:
    open_store().record(ENTRY)
    with sqlite3.connect(ledger) as connection:
        connection.execute("INSERT INTO migrations VALUES (99, 'tomorrow')")
    with pytest.raises(TrimtabError) as caught:
        open_store()
    assert caught.value.code == "TT-S003"


def test_a_file_that_is_no_database_is_told_and_kept(ledger: Path) -> None:
    ledger.parent.mkdir()
    ledger.write_bytes(b"this is not a database, it is a diary\n" * 100)
    before = ledger.read_bytes()
    with pytest.raises(TrimtabError) as caught:
        open_store()
    assert caught.value.code == "TT-S001"
    assert "ledger.db" in caught.value.message.text() and caught.value.message.next_step()
    assert ledger.read_bytes() == before


def test_damaged_pages_are_told_when_they_are_read(ledger: Path) -> None:
    store = open_store()
    for _ in range(60):
        store.record(ENTRY)
    with sqlite3.connect(ledger) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    content = bytearray(ledger.read_bytes())
    content[4096:] = b"\xff" * (len(content) - 4096)
    ledger.write_bytes(content)
    with pytest.raises(TrimtabError) as caught:
        open_store().entries()
    assert caught.value.code == "TT-S001"


def test_a_place_that_cannot_be_written(ledger: Path) -> None:
    ledger.parent.write_text("a file where the folder should be")
    with pytest.raises(TrimtabError) as caught:
        open_store()
    assert caught.value.code == "TT-S004"


def test_a_password_in_the_url_is_not_told(tmp_path: Path) -> None:
    store = open_store(f"sqlite:///{tmp_path}/other.db")
    assert store.record(ENTRY).id and (tmp_path / "other.db").exists()
    assert "other.db" in store.place


WRITER = """
import sys
sys.path.insert(0, sys.argv[2])
from test_database import ENTRY
from trimtab.store import open_store
store = open_store()
for _ in range(int(sys.argv[1])):
    print(store.record(ENTRY).id, flush=True)
"""


def writer(count: int) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", WRITER, str(count), str(Path(__file__).parent)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def test_several_processes_open_and_write_at_once() -> None:
    """None of them finds a store: they make it together as well."""
    writers = [writer(15) for _ in range(4)]
    told = [line for process in writers for line in process.communicate(timeout=120)[0].split()]
    assert [process.returncode for process in writers] == [0] * 4
    assert len(told) == 60
    assert {entry.id for entry in open_store().entries()} == set(told)


@pytest.mark.skipif(os.name == "nt", reason="SIGKILL is POSIX")
def test_what_was_recorded_survives_a_kill_in_the_middle() -> None:
    victim, witness = writer(100_000), writer(20)
    assert victim.stdout is not None
    told = [victim.stdout.readline().strip() for _ in range(25)]
    victim.send_signal(signal.SIGKILL)
    told += victim.communicate(timeout=60)[0].split()[:-1]  # the last line may be cut off
    told += witness.communicate(timeout=120)[0].split()
    assert witness.returncode == 0
    kept = {entry.id for entry in open_store().entries()}
    assert set(told) <= kept
    assert len(kept) <= len(told) + 2  # committed and not yet told
    open_store().record(ENTRY)
