"""Rows from the token store against rows from texts, for every task; what is never found again; what a kill, a
full disk and a torn file leave."""

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from tiny_chat import chat_model, write_talks
from tiny_embed import write_ranked, write_scored
from tiny_models import WORDS, tiny_tokenizer
from tiny_tagging import write_tags
from tiny_text import write_documents
from tiny_training import write_data
from trimtab.data import Corpus, Prefixes, count_tokens, open_corpus
from trimtab.data.token_rows import TextTokenizer, kept_tokens
from trimtab.data.token_store import Tokens, TokenStore, let_go
from trimtab.errors import DataError
from trimtab.evaluation import OBJECTIVES
from trimtab.evaluation.stored import SplitReader, same_rows
from trimtab.home import make_room
from trimtab.models import ModelSource

LONG, SHORT = 512, 9


def several(folder: Path) -> Path:
    rows = [{"text": " ".join(WORDS[n : n + 9]), "labels": [[], ["a"], ["b", "a", "c"]][n % 3]} for n in range(40)]
    folder.mkdir(parents=True)
    (folder / "data.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return folder / "data.jsonl"


def numbers(folder: Path) -> Path:
    rows = [{"text": " ".join(WORDS[n : n + 2 + n % 9]), "score": n / 7} for n in range(40)]
    folder.mkdir(parents=True)
    (folder / "data.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return folder / "data.jsonl"


CASES: dict[str, tuple[Callable[[Path], Path], str | None, str]] = {
    "classify": (write_data, None, "bert"),
    "classify-left": (write_data, None, "llama"),
    "pair": (lambda folder: write_data(folder, pair=True), None, "bert"),
    "pair-untyped": (lambda folder: write_data(folder, pair=True), None, "roberta"),
    "multilabel": (several, None, "bert"),
    "regress": (numbers, None, "bert"),
    "tag": (write_tags, None, "bert"),
    "instruct": (write_talks, None, "chat"),
    "ranked": (write_ranked, "embed", "bert"),
    "scored": (write_scored, "embed", "bert"),
    "text": (write_documents, "text", "chat"),
}


def model_of(folder: Path, family: str) -> ModelSource:
    if family == "chat":
        return chat_model(folder)
    tiny_tokenizer(family).save_pretrained(folder)
    return ModelSource(folder=folder, name=str(folder))


def opened(folder: Path, case: str) -> tuple[Corpus, ModelSource]:
    write, task, family = CASES[case]
    text = ("first", "second") if case.startswith("pair") else ()
    return open_corpus(str(write(folder / "data")), task=task, text=text), model_of(folder / "model", family)


def reader(corpus: Corpus, source: ModelSource, length: int, store: TokenStore | None) -> SplitReader:
    objective = OBJECTIVES[corpus.task]
    return SplitReader(objective=objective, tokenizer=objective.tokenizer(source), max_length=length, store=store)


def entries(store: TokenStore) -> list[str]:
    return sorted(path.name for path in store.folder.iterdir()) if store.folder.is_dir() else []


def assert_same_batches(left: SplitReader, mine, theirs) -> None:
    objective = left.objective
    collator = objective.collator(left.tokenizer, left.max_length)
    draw = np.random.default_rng(0)
    for _ in range(5):
        rows = draw.permutation(len(mine))[: min(7, len(mine))]
        ours, others = collator.batch(mine, rows), collator.batch(theirs, rows)
        assert ours.keys() == others.keys()
        assert all(torch.equal(ours[name], others[name]) for name in ours)
        assert torch.equal(objective.targets(mine, collator, rows), objective.targets(theirs, collator, rows))
        assert objective.weight(mine, rows) == objective.weight(theirs, rows)


@pytest.mark.parametrize("length", [LONG, SHORT], ids=["whole", "cut"])
@pytest.mark.parametrize("case", CASES)
def test_rows_of_the_store_are_those_of_the_texts(tmp_path: Path, case: str, length: int) -> None:
    corpus, source = opened(tmp_path, case)
    store = TokenStore(tmp_path / "tokens", least_bytes=0)
    stored, plain = reader(corpus, source, length, store), reader(corpus, source, length, None)
    for split in (corpus.train, corpus.dev, *([corpus.test] if corpus.test else [])):
        (mine, note), (theirs, _) = stored.read(split), plain.read(split)
        assert note is None
        assert same_rows(mine, theirs)
        assert (mine.labels.dtype, mine.starts.dtype) == (theirs.labels.dtype, theirs.starts.dtype)
        assert mine.ids.dtype == np.uint8  # 64 words
        assert mine.distinct_tokens(0).tolist() == theirs.distinct_tokens(0).tolist()
        assert_same_batches(stored, mine, theirs)
        assert int(mine.lengths.max()) <= length or corpus.task == "embed"
    made = entries(store)
    again, note = reader(corpus, source, length, replace(store, builds=False)).read(corpus.train)
    assert note is None and entries(store) == made
    assert isinstance(base_of(again.ids), np.memmap) and same_rows(again, plain.read(corpus.train)[0])


def base_of(array: np.ndarray) -> object:
    """What an array is a view of."""
    while isinstance(array.base, np.ndarray):
        array = array.base
    return array


@pytest.mark.parametrize("case", CASES)
def test_what_a_plan_counts_is_what_a_training_reads(tmp_path: Path, case: str) -> None:
    corpus, source = opened(tmp_path, case)
    store, file = TokenStore(tmp_path / "tokens", least_bytes=0), source.folder / "tokenizer.json"
    without = count_tokens(corpus.train, file)
    assert count_tokens(corpus.train, file, store=replace(store, builds=False)) == without
    assert entries(store) == []
    assert count_tokens(corpus.train, file, batch=7, store=store) == without
    assert count_tokens(corpus.train, file, store=store) == without
    found, _ = reader(corpus, source, LONG, replace(store, builds=False)).read(corpus.train)
    assert len(entries(store)) == 1 and isinstance(base_of(found.ids), np.memmap)


def keys(corpus: Corpus, source: ModelSource) -> str:
    return TextTokenizer.of_file(source.folder / "tokenizer.json", corpus.train.kind).key(corpus.train)


def test_nothing_stale_has_the_same_key(tmp_path: Path) -> None:
    corpus, source = opened(tmp_path, "classify")
    assert keys(open_corpus(str(tmp_path / "data")), source) == keys(corpus, source)
    other = json.loads((source.folder / "tokenizer.json").read_text())
    other["normalizer"] = {"type": "Lowercase"}
    lower = shutil.copytree(source.folder, tmp_path / "lower")
    (lower / "tokenizer.json").write_text(json.dumps(other))
    found = {keys(corpus, source), keys(corpus, ModelSource(folder=lower, name="lower"))}
    found.add(TextTokenizer.of_file(source.folder / "tokenizer.json", "labelled").key(corpus.dev))
    (tmp_path / "data" / "test.csv").unlink()  # which decided which rows overlap
    found.add(keys(open_corpus(str(tmp_path / "data")), source))
    train = tmp_path / "data" / "train.csv"
    train.write_text(train.read_text().replace("good", "fine"))
    found.add(keys(open_corpus(str(tmp_path / "data")), source))
    assert len(found) == 5


def test_a_prefix_and_a_template_are_part_of_the_key(tmp_path: Path) -> None:
    write_ranked(tmp_path / "ranked")
    source = chat_model(tmp_path / "model")
    corpora = [open_corpus(str(tmp_path / "ranked"), prefixes=Prefixes(query)) for query in ("", "query: ")]
    assert len({keys(corpus, source) for corpus in corpora}) == 2
    talks = open_corpus(str(write_talks(tmp_path / "talks")))
    before = keys(talks, source)
    (source.folder / "chat_template.jinja").write_text(
        "{% for m in messages %}{{ m['content'] + eos_token }}{% endfor %}"
    )
    assert keys(talks, source) != before


def test_a_file_that_changes_meanwhile_is_refused(tmp_path: Path) -> None:
    corpus, source = opened(tmp_path, "classify")
    by = TextTokenizer.of_file(source.folder / "tokenizer.json", "labelled")
    store = TokenStore(tmp_path / "tokens", least_bytes=0)
    blocks = by.blocks(corpus.train, 20)
    next(blocks)
    os.utime(tmp_path / "data" / "train.csv", (1, 1))
    with pytest.raises(DataError, match=r"train\.csv"):
        store.build("key", blocks, 60, 0)
    assert entries(store) == []


@pytest.mark.parametrize("damage", ["torn", "flipped", "lost", "facts"])
def test_what_is_damaged_is_made_again(tmp_path: Path, damage: str) -> None:
    corpus, source = opened(tmp_path, "pair")
    by = TextTokenizer.of_file(source.folder / "tokenizer.json", "labelled")
    store = TokenStore(tmp_path / "tokens", least_bytes=0)
    right = kept_tokens(corpus.train, by, store)
    assert right is not None
    (folder,) = store.folder.iterdir()
    name = {"torn": "starts.bin", "flipped": "ids.bin", "lost": "seconds.bin", "facts": "facts.json"}[damage]
    raw = bytearray((folder / name).read_bytes())
    expected = {known: array.copy() for known, array in right.arrays()}
    del right
    if damage == "lost":
        (folder / name).unlink()
    else:
        raw[5] ^= 1
        beside = tmp_path / name  # not through the file that is mapped
        beside.write_bytes(raw[:-8] if damage == "torn" else raw)
        beside.replace(folder / name)
    assert store.find(folder.name) is None and not folder.exists()
    again = kept_tokens(corpus.train, by, store)
    assert again is not None
    assert all(np.array_equal(array, expected[known]) for known, array in again.arrays())


CHILD = """
import sys, time
import numpy as np
from pathlib import Path
from trimtab.data.token_store import Tokens, TokenStore, let_go
def blocks():
    for number in range(10**6):
        yield Tokens(ids=np.arange(1000), starts=np.array([0, 1000]))
        if number == 50:
            print("half", flush=True)
            time.sleep(60)
TokenStore(Path(sys.argv[1])).build("key", blocks(), 1000, 0)
"""


def test_a_kill_in_the_middle_leaves_nothing_usable(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", CHILD, tmp_path], stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None and child.stdout.readline() == "half\n"
        child.kill()
    assert child.returncode == -signal.SIGKILL
    store = TokenStore(tmp_path)
    (beside,) = tmp_path.iterdir()
    assert beside.name.startswith(".key") and list(beside.iterdir())
    assert store.find("key") is None
    made = store.build("key", [Tokens(ids=np.arange(3), starts=np.array([0, 3]))], 3, 0)
    assert made.ids.tolist() == [0, 1, 2] and beside.exists()  # somebody could still be at it
    old = time.time() - 25 * 3600
    for path in (*beside.iterdir(), beside):
        os.utime(path, (old, old))
    store.build("other", [], 3, 0)
    assert entries(store) == ["key", "other"]


FULL = """
import resource, signal, sys
import numpy as np
from pathlib import Path
from trimtab.data.token_store import Tokens, TokenStore
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
block = Tokens(ids=np.arange(1000), starts=np.array([0, 1000]))
try:
    TokenStore(Path(sys.argv[1])).build("key", [block] * 1000, 1000, 0)
except OSError as error:
    print(error.errno, list(Path(sys.argv[1]).iterdir()))
"""


def test_a_disk_that_is_full_half_way_leaves_nothing(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", FULL, tmp_path], capture_output=True, text=True, check=True)
    assert done.stdout == f"{errno.EFBIG} []\n"


def test_where_nothing_can_be_kept_rows_are_held_in_memory(tmp_path: Path) -> None:
    corpus, source = opened(tmp_path, "classify")
    (tmp_path / "file").write_text("")
    store = TokenStore(tmp_path / "file" / "tokens", least_bytes=0)
    rows, note = reader(corpus, source, LONG, store).read(corpus.train)
    assert note is not None and note.code == "TT-D180"
    assert same_rows(rows, reader(corpus, source, LONG, None).read(corpus.train)[0])
    file = source.folder / "tokenizer.json"
    assert count_tokens(corpus.train, file, store=store) == count_tokens(corpus.train, file)


def test_a_full_disk_is_said_before_it_is_full(tmp_path: Path) -> None:
    store = TokenStore(tmp_path / "tokens")
    with pytest.raises(OSError) as failed:
        store.build("key", [], 3, 1 << 60)
    assert failed.value.errno == errno.ENOSPC and entries(store) == []


def test_a_tokenizer_that_does_more_is_noticed(tmp_path: Path) -> None:
    corpus, source = opened(tmp_path, "classify")
    plain = reader(corpus, source, LONG, None)

    class Doubling(type(plain.tokenizer)):
        def __call__(self, texts, *rest, **how):
            return super().__call__([f"{text} {text}" for text in texts], *rest, **how)

    plain.tokenizer.__class__ = Doubling
    store = TokenStore(tmp_path / "tokens", least_bytes=0)
    rows, note = replace(plain, store=store).read(corpus.train)
    assert note is not None and note.code == "TT-D181"
    assert same_rows(rows, plain.read(corpus.train)[0])


def test_small_files_and_rows_of_no_file_are_not_kept(tmp_path: Path) -> None:
    corpus, _ = opened(tmp_path, "classify")
    assert not TokenStore(tmp_path).takes(corpus.train)
    assert TokenStore(tmp_path, least_bytes=100).takes(corpus.train)
    more = replace(corpus.train, further=list(corpus.dev))
    assert not TokenStore(tmp_path, least_bytes=0).takes(more)
    assert not TokenStore(tmp_path, least_bytes=0).takes(replace(corpus.train, key=""))


def test_what_was_used_last_is_kept(tmp_path: Path) -> None:
    now = time.time()
    for number, age in enumerate((100, 10, 200, 30 * 24 * 3600)):
        (tmp_path / f"{number}").mkdir()
        (tmp_path / f"{number}" / "facts.json").write_text("x" * 100)
        os.utime(tmp_path / f"{number}", (now - age, now - age))
    make_room(tmp_path, 0, facts="facts.json", most_bytes=1000, most_seconds=7 * 24 * 3600)
    assert sorted(os.listdir(tmp_path)) == ["0", "1", "2"]
    make_room(tmp_path, 100, facts="facts.json", most_bytes=250)
    assert os.listdir(tmp_path) == ["1"]


REAL = [
    ("sst2", "all-minilm-l6-v2", "labelled"),
    ("afqmc", "multilingual-e5-small", "labelled"),
    ("wnut17", "multilingual-e5-small", "words"),
    ("alpaca_zh", "smollm2-135m-instruct", "conversation"),
]


@pytest.mark.model
@pytest.mark.parametrize(("data", "model", "kind"), REAL, ids=[f"{case[0]}-{case[1]}" for case in REAL])
def test_real_rows_of_real_tokenizers(
    shared: Callable[[str], str],
    real_model: Callable[[str], Path],
    tmp_path: Path,
    data: str,
    model: str,
    kind: str,
) -> None:
    corpus = open_corpus(shared(data))
    few = replace(corpus.dev, in_use=corpus.dev.in_use & (np.arange(len(corpus.dev.in_use)) < 200))
    few = replace(few, labels=few.labels[: few.in_use.sum()])
    assert few.kind == kind and 20 < len(few) <= 200
    source, store = ModelSource(folder=real_model(model), name=model), TokenStore(tmp_path, least_bytes=0)
    longest = count_tokens(few, source.folder / "tokenizer.json", store=store).lengths.longest
    whole = reader(corpus, source, longest, store)
    for stored in (whole, replace(whole, max_length=24)):
        (mine, note), (theirs, _) = stored.read(few), replace(stored, store=None).read(few)
        assert note is None and same_rows(mine, theirs)
        assert len(entries(store)) == 1 + (stored is not whole)  # what was counted, and a cut of it
        assert_same_batches(stored, mine, theirs)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="measured by /proc")
def test_what_has_been_read_does_not_stay_in_memory(tmp_path: Path) -> None:
    ids = np.arange(1 << 24) % 50_000
    block = Tokens(ids=ids, starts=np.array([0, len(ids)]))
    made = TokenStore(tmp_path).build("key", [block], 50_000, 0)
    before = mapped_bytes()
    assert int(made.ids.sum(dtype=np.int64)) == int(ids.sum())
    assert mapped_bytes() - before > 30e6  # of 32 MiB
    let_go(made.part(0, 1).ids)
    assert mapped_bytes() - before < 2e6
    assert int(made.ids.sum(dtype=np.int64)) == int(ids.sum())


def mapped_bytes() -> int:
    words = Path("/proc/self/status").read_text().split()
    return 1024 * int(words[words.index("RssFile:") + 1])
