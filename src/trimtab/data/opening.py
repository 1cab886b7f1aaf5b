"""Opening a corpus: find the files, choose columns and task, check every row, repair, split. Opening labelled
rows for a finished model, a file or the held-out split of a folder: all of them, as the model understands them."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import NoReturn

import numpy as np

from trimtab.data import check
from trimtab.data.columns import Columns, choose_columns
from trimtab.data.corpus import Corpus, Split, keyed, split_of
from trimtab.data.cut import cut
from trimtab.data.fingerprint import content_hash
from trimtab.data.formed import RowForm, open_formed, open_formed_rows, settled
from trimtab.data.forms import asked_form, form_for_model
from trimtab.data.labels import MISSING, LabelBook, decide_task, sorted_labels
from trimtab.data.readers import PLAIN_SUFFIXES, SUFFIXES
from trimtab.data.scan import Scan, scan
from trimtab.data.scored_pairs import scored_columns, scored_corpus, scored_split
from trimtab.data.source import Source, SplitName, find_source, held_out
from trimtab.data.spec import Place, Prefixes, Problem, Task
from trimtab.data.table import Table, open_table
from trimtab.errors import DataError, UsageError, message

_NUMBERS: tuple[Task, ...] = ("regress", "embed")  # tasks whose labels are numbers


@dataclass(frozen=True, kw_only=True)
class _Splits:
    train: Scan
    dev: Scan | None
    test: Scan | None

    @property
    def given(self) -> list[Scan]:
        return [split for split in (self.train, self.dev, self.test) if split is not None]

    @property
    def held_out(self) -> list[Scan]:
        return self.given[1:]

    @property
    def scored(self) -> Scan:
        """The split a finished model is scored on."""
        return self.test or self.dev or self.train

    def with_targets(self, labels: tuple[str, ...], book: LabelBook) -> "_Splits":
        return self._with(*(split.with_targets(labels, book) for split in self.given))

    def without_empty_texts(self) -> "_Splits":
        return self._with(*(split.without_empty_texts() for split in self.given))

    def with_known_labels(self) -> "_Splits":
        return self._with(*(split.keep(split.kept_targets != MISSING) for split in self.given))

    def _with(self, *scans: Scan) -> "_Splits":
        by_name = {split.name: split for split in scans}
        return _Splits(train=by_name["train"], dev=by_name.get("dev"), test=by_name.get("test"))


def open_corpus(
    source: str,
    *,
    task: Task | None = None,
    text: tuple[str, ...] = (),
    label: str | None = None,
    labels: tuple[str, ...] = (),
    seed: int = 0,
    dev_share: float = 0.1,
    test_share: float = 0.1,
    keep_overlap: bool = False,
    prefixes: Prefixes = Prefixes(),
) -> Corpus:
    """Open a file, a folder of splits or "demo", check it and split it.

    `text` names one or two text columns, `label` the label column; without them they are inferred, and so is the
    task. Conversations (task instruct) are read as `chats` says; there `text` and `label` name the columns of
    prompt and answer; of embed `text` names query, positive and negatives, or with `label` two texts and their
    score, and `prefixes` stand before each text. `labels` are those of a finished model that the rows are for; the
    data may lack some. The split it is scored on (test, else dev) must have no others; rows of other splits with
    others are left out. A missing dev split is cut from train (`dev_share` of its texts); a test split is cut only
    where the source is a single file. Train rows whose text stands in dev or test are dropped unless
    `keep_overlap`.

    Raises DataError with file, row and column for data that cannot be used, UsageError for a request that
    cannot be met. Everything repaired or worth knowing is in `Corpus.problems`.
    """
    if not (0 < dev_share < 1 and 0 <= test_share < 1 and dev_share + test_share < 1):
        raise UsageError("TT-D049", dev=f"{dev_share:g}", test=f"{test_share:g}")
    found = find_source(source, _suffixes(task))
    form = asked_form(found.train[0], task, text, label, prefixes)
    if form is not None:
        formed = open_formed(
            found,
            form,
            seed=seed,
            dev_share=dev_share,
            test_share=test_share,
            keep_overlap=keep_overlap,
            labels=labels,
        )
        return keyed(formed, prefixes)
    if task == "embed":
        read = open_corpus(
            source, task="regress", text=text, label=label, seed=seed, dev_share=dev_share, test_share=test_share,
            keep_overlap=keep_overlap,
        )  # fmt: skip
        return keyed(scored_corpus(read, prefixes), prefixes)
    columns = choose_columns(found.train[0], text, label)
    book = LabelBook()
    splits, problems = _scan_all(found, columns, book)
    check.refuse_missing_labels(splits.given)
    names = _used_names(splits, book)
    decided = decide_task(task, len(columns.texts), names, sum(map(len, splits.given)))
    _refuse_unusable_labels(decided, splits.given, book)
    inferred = not labels
    if inferred and decided != "regress":
        labels = sorted_labels(names)
    problems += check.encodings(found) + check.ignored_files(found) + check.mixed_labels(labels)

    splits = splits.with_targets(labels, book)
    problems += check.empty_texts(splits.given)
    splits = splits.without_empty_texts()
    problems += check.duplicates(splits.given) + check.conflicts(splits.given)
    fresh, overlapping = check.overlap(splits.train, splits.held_out, dropped=not keep_overlap)
    problems += overlapping + check.dev_in_test(splits.dev, splits.test)
    if not keep_overlap:
        splits = replace(splits, train=splits.train.keep(fresh))
    check.refuse_no_rows(splits.train)
    if inferred:
        check.refuse_one_class(splits.train, labels)
    shares = (dev_share, test_share if len(found.tables) == 1 else 0.0)
    splits, cuts = _cut_missing(splits, shares, seed)
    if not inferred:
        check.refuse_unknown_labels(splits.scored, book.names, labels)
        splits = splits.with_known_labels()
    choices = repr(
        (decided, columns.texts, columns.label, keep_overlap, shares if cuts else (), seed if cuts else 0)
    )
    return keyed(_corpus(found, splits, labels, decided, problems=problems + cuts, choices=choices))


@dataclass(frozen=True, slots=True)
class _TrainedOn:
    """How the rows were read that a model was trained on: so those are read that it is scored on."""

    task: Task
    columns: tuple[str, ...]
    label_column: str
    labels: tuple[str, ...]
    prefixes: Prefixes


def open_labelled(
    source: str,
    *,
    task: Task,
    columns: tuple[str, ...],
    label_column: str,
    labels: tuple[str, ...],
    prefixes: Prefixes = Prefixes(),
) -> Split:
    """All labelled rows of one file, to evaluate a finished model on: nothing is cut or inferred, and no row left
    out but those with an empty text.

    The arguments after `source` are those the model was trained with; a row's label is its index in `labels`.
    Raises DataError: a column that is absent, a missing or infinite label, a label the model does not know.
    """
    trained = _TrainedOn(task, columns, label_column, labels, prefixes)
    path = Path(source).expanduser()
    if not path.exists():
        raise DataError("TT-D001", path=source)
    table = open_table(path, _suffixes(task))
    form = _form_for_model(table, trained)
    if form is not None:
        return _formed_split("test", (table,), form, trained) or _no_rows(path.name)
    found = _columns_for_model(table, trained)
    _require_columns(table, (*found.texts, found.label))
    book = LabelBook()
    rows = _for_model(scan("test", (table,), found, book), trained, book)
    return _split(rows, trained) if len(rows) else _no_rows(path.name)


def open_held_out(
    folder: str,
    *,
    task: Task,
    columns: tuple[str, ...],
    label_column: str,
    labels: tuple[str, ...],
    prefixes: Prefixes = Prefixes(),
) -> Split | None:
    """As `open_labelled`, the test split of a folder or, where that has no labels or no rows, its dev split; no
    other split is read. None where that must be: there is neither, and what was held out was cut from train."""
    trained = _TrainedOn(task, columns, label_column, labels, prefixes)
    for name, tables in held_out(Path(folder).expanduser(), _suffixes(task)):
        form = _form_for_model(tables[0], trained)
        if form is not None:
            if (split := _formed_split(name, tables, form, trained)) is not None:
                return split
            continue
        found = _columns_for_model(tables[0], trained)
        for table in tables:
            _require_columns(table, found.texts if name == "test" else (*found.texts, found.label))
        book = LabelBook()
        rows = scan(name, tables, found, book)
        if name == "test" and len(np.unique(rows.codes)) == 1:
            if not trained.labels:
                return None  # one target for all: whether it stands for none is told by train and dev
            if rows.codes[0] < 0 or book.names[rows.codes[0]] not in trained.labels:
                continue
        rows = _for_model(rows, trained, book)
        if len(rows):
            return _split(rows, trained)
    return None


def _suffixes(task: Task | None) -> tuple[str, ...]:
    """Of the files that are read for a task."""
    return PLAIN_SUFFIXES if task == "text" else SUFFIXES


def _form_for_model(table: Table, trained: _TrainedOn) -> RowForm | None:
    return form_for_model(table, trained.task, trained.columns, trained.label_column, trained.prefixes)


def _formed_split(name: SplitName, tables: tuple[Table, ...], form: RowForm, trained: _TrainedOn) -> Split | None:
    """Rows that have what the task asks for; None where there is none."""
    rows = open_formed_rows(tables, form, name)
    settled(form, trained.labels)
    return split_of(rows, form.example, form.kind) if len(rows) else None


def _columns_for_model(table: Table, trained: _TrainedOn) -> Columns:
    if trained.task == "embed":
        return scored_columns(table, trained.columns, trained.label_column)
    return Columns(trained.columns, trained.label_column)


def _split(rows: Scan, trained: _TrainedOn) -> Split:
    split = split_of(rows)
    return scored_split(split, trained.prefixes) if trained.task == "embed" else split


def _no_rows(name: str) -> NoReturn:
    raise DataError("TT-D050", split=name)


def _for_model(rows: Scan, trained: _TrainedOn, book: LabelBook) -> Scan:
    """Rows of one split with the targets the model has for them. Raises DataError for a label that is missing,
    infinite, or not one that the model has."""
    check.refuse_missing_labels([rows])
    _refuse_unusable_labels(trained.task, [rows], book)
    rows = rows.with_targets(trained.labels, book)
    check.refuse_unknown_labels(rows, book.names, trained.labels)
    return rows.without_empty_texts()


def _scan_all(found: Source, columns: Columns, book: LabelBook) -> tuple[_Splits, list[Problem]]:
    """Read every split once; a test split without labels is left out, and said to be."""
    for table in found.tables:
        needed = columns.texts if table in found.test else (*columns.texts, columns.label)
        _require_columns(table, needed)
    train = scan("train", found.train, columns, book)
    dev = scan("dev", found.dev, columns, book) if found.dev else None
    seen_labels = len(book.names)
    test = scan("test", found.test, columns, book) if found.test else None
    splits = _words_for_missing(_Splits(train=train, dev=dev, test=test), book)
    if splits.test is None or not _is_hidden(splits.test, seen_labels):
        return splits, []
    files = tuple(path.name for table in found.test for path in table.files)
    note = message("TT-D075", path=", ".join(files), rows=len(splits.test))
    return replace(splits, test=None), [Problem(note, "reported", len(splits.test), tuple(map(Place, files)))]


def _require_columns(table: Table, names: tuple[str, ...]) -> None:
    for name in names:
        if name not in table.columns:
            file = table.place(1, "").file
            raise DataError("TT-D032", path=file, column=name, columns=", ".join(table.columns))


def _refuse_unusable_labels(task: Task, scans: list[Scan], book: LabelBook) -> None:
    """Raises DataError: a target that is not finite, or more classes than are told apart (TT-D047)."""
    if task in _NUMBERS:
        check.refuse_infinite_targets(scans)
    elif any(scan.overflowed for scan in scans):
        # Those beyond the book were not counted: there is at least one.
        raise DataError("TT-D047", count=len(book.names) + 1, rows=sum(map(len, scans)))


def _words_for_missing(splits: _Splits, book: LabelBook) -> _Splits:
    """Codes of words that turn out to mean "no label" become MISSING."""
    words = book.missing_codes()
    if not words:
        return splits
    marked = (
        replace(split, codes=np.where(np.isin(split.codes, words), MISSING, split.codes)) for split in splits.given
    )
    return splits._with(*marked)


def _is_hidden(test: Scan, seen_labels: int) -> bool:
    """No row has a label, or all have one that train and dev never use: benchmarks write -1 for a hidden
    label."""
    return bool((test.codes == MISSING).all()) or (
        bool((test.codes == test.codes[0]).all()) and int(test.codes[0]) >= seen_labels
    )


def _used_names(splits: _Splits, book: LabelBook) -> list[str]:
    codes = np.unique(np.concatenate([split.codes for split in splits.given]))
    names = book.names
    return [names[code] for code in codes if code >= 0]


def _cut_missing(splits: _Splits, shares: tuple[float, float], seed: int) -> tuple[_Splits, list[Problem]]:
    """Cut test (where its share is not zero) and then dev, if missing, from train."""
    dev_share, test_share = shares
    train, dev, test = splits.train, splits.dev, splits.test
    whole = len(train)
    if dev is not None:
        return splits, []
    if test_share:
        train, test = _taken("test", train, test_share, seed)
    train, dev = _taken("dev", train, dev_share / (1 - test_share), seed)
    cut_splits = _Splits(train=train, dev=dev, test=test)
    if test_share:
        note = message("TT-D074", dev=len(dev), test=len(test or ()), train=len(train), rows=whole, seed=seed)
    else:
        note = message("TT-D073", dev=len(dev), train=len(train), rows=whole, seed=seed)
    return cut_splits, [Problem(note, "reported", whole - len(train))]


def _taken(name: SplitName, train: Scan, share: float, seed: int) -> tuple[Scan, Scan]:
    rest, taken = cut(train, share, seed)
    return train.keep(rest), replace(train.keep(taken), name=name)


def _corpus(
    found: Source,
    splits: _Splits,
    labels: tuple[str, ...],
    task: Task,
    *,
    problems: list[Problem],
    choices: str,
) -> Corpus:
    assert splits.dev is not None, "a missing dev split has been cut"
    if not len(splits.dev):
        raise DataError("TT-D050", split="dev")
    files = tuple(path for table in found.tables for path in table.files)
    columns = splits.train.columns
    names = dict.fromkeys(encoding.name for table in found.tables for _, encoding in table.encodings)
    corpus = Corpus(
        name=found.name,
        task=task,
        labels=labels,
        columns=columns.texts,
        label_column=columns.label,
        train=split_of(splits.train),
        dev=split_of(splits.dev),
        test=split_of(splits.test) if splits.test is not None and len(splits.test) else None,
        problems=tuple(problems),
        encoding=", ".join(names),
        files=tuple(str(table.path) for table in found.tables),
        fingerprint=content_hash(files, choices),
    )
    if not labels:
        return corpus
    counts = corpus.label_counts
    late = check.imbalance(labels, counts) + check.unseen_labels(splits.held_out, labels, counts)
    return replace(corpus, problems=(*corpus.problems, *late))
