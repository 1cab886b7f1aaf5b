"""Opening rows that are read in a form: the same corpus, checks and splits as for labelled rows, of rows that are
turns, a query with its positive and its negatives, or a plain text.

What a form says of a row: two keys, of what keeps rows on one side of a cut (and counts as overlap) and of what
the row teaches besides; or why the row is left out. Leaves out: the forms themselves (chat_forms.py,
embed_forms.py, plain_text.py)."""

from array import array
from collections.abc import Mapping, Sequence
from dataclasses import replace
from enum import IntEnum
from pathlib import Path
from typing import ClassVar, NamedTuple, Protocol, runtime_checkable

import numpy as np

from trimtab.data import check
from trimtab.data.columns import Columns
from trimtab.data.corpus import Corpus, RowKind, Split, split_of
from trimtab.data.cut import cut
from trimtab.data.fingerprint import content_hash
from trimtab.data.scan import Scan
from trimtab.data.source import Source, SplitName
from trimtab.data.spec import Example, Place, Problem, Task
from trimtab.data.table import Table
from trimtab.errors import DataError, message

_NOTHING = 0
_LISTED = 10


class RowKeys(NamedTuple):
    """What a form says of a row: 64-bit hashes of what a cut goes by (rows with the same stay on one side) and of
    the rest; and an entry of the form's own list of remarks, 0 = none."""

    cut: int
    rest: int = 0
    remark: int = _NOTHING


class _Scanned(NamedTuple):
    """A scan, and for each row what is wrong with it and what there is to remark, int8[n]."""

    scan: Scan
    defects: np.ndarray
    remarks: np.ndarray


class Unfit(ValueError):
    """A row that is left out for its `defect`, an entry of its form's own list. Final."""

    def __init__(self, defect: IntEnum) -> None:
        super().__init__(defect.name)
        self.defect = defect


class RowForm(Protocol):
    """How one table holds rows of a task. `columns` are the text columns, `label_column` that of the answer, empty
    where there is none. `left_out` and `remarked`: the finding for each defect and each remark; `broken`: the
    error for a cell of another kind."""

    task: ClassVar[Task]
    kind: ClassVar[RowKind]
    left_out: ClassVar[Mapping[int, str]]
    remarked: ClassVar[Mapping[int, str]]
    broken: ClassVar[str]

    @property
    def name(self) -> str: ...

    @property
    def text_columns(self) -> tuple[str, ...]: ...

    @property
    def label_column(self) -> str: ...

    def keys(self, values: Mapping[str, object]) -> RowKeys:
        """Raises Unfit, and TypeError for a cell of another kind."""
        ...

    def example(self, values: Mapping[str, object], target: int | float) -> Example: ...


@runtime_checkable
class NamedForm(RowForm, Protocol):
    """A form of rows that have several labels, met as `keys` is asked for."""

    def settle(self, known: tuple[str, ...]) -> tuple[str, ...]:
        """The labels by number, once all rows have been scanned; from then on `example` can be asked. `known`:
        those of a finished model. Raises DataError where labels cannot be used."""
        ...

    def problems(self) -> list[Problem]:
        """What there is to say of them."""
        ...


def settled(form: RowForm, known: tuple[str, ...] = ()) -> tuple[str, ...]:
    """The labels of a form whose rows have been scanned; none where rows have none."""
    return form.settle(known) if isinstance(form, NamedForm) else ()


def open_formed(
    found: Source,
    form: RowForm,
    *,
    seed: int,
    dev_share: float,
    test_share: float,
    keep_overlap: bool,
    labels: tuple[str, ...] = (),
) -> Corpus:
    """As `open_corpus`, of rows in a form. Raises DataError with the row and column of a cell that the form cannot
    read, TT-D042 and TT-D050 where no row is left."""
    scans, problems = _scan_all(found, form)
    labels = settled(form, labels)
    problems += form.problems() if isinstance(form, NamedForm) else []
    problems += check.documents(scans) + check.encodings(found) + check.ignored_files(found)
    problems += check.duplicates(scans)
    # What a row teaches is its own: from here on no row differs from another by its target.
    train, *held_out = [replace(scan, targets=np.zeros(len(scan.numbers), np.int64)) for scan in scans]
    fresh, overlapping = check.overlap(train, held_out, dropped=not keep_overlap)
    by_name: dict[SplitName, Scan] = {scan.name: scan for scan in held_out}
    problems += overlapping + check.dev_in_test(by_name.get("dev"), by_name.get("test"))
    if not keep_overlap:
        train = train.keep(fresh)
    check.refuse_no_rows(train)
    shares = (dev_share, test_share if len(found.tables) == 1 else 0.0)
    has_dev = "dev" in by_name
    if not has_dev:
        whole = len(train)
        if shares[1]:
            train, by_name["test"] = _taken("test", train, shares[1], seed)
        train, by_name["dev"] = _taken("dev", train, dev_share / (1 - shares[1]), seed)
        problems.append(_told(train, by_name, whole, seed))
    columns = (*form.text_columns, form.label_column)
    choices = (form.task, form.name, columns, keep_overlap, *(() if has_dev else (shares, seed)))
    return _corpus(found, form, train, by_name, labels=labels, problems=problems, choices=repr(choices))


def open_formed_rows(tables: Sequence[Table], form: RowForm, name: SplitName) -> Scan:
    """All rows of some files that have what the task asks for, to score a finished model on. Raises as
    `open_formed`."""
    scan = _scan(name, tables, form).scan
    return replace(scan, targets=np.zeros(len(scan.numbers), np.int64))


def _scan_all(found: Source, form: RowForm) -> tuple[list[Scan], list[Problem]]:
    """Train and what is held out, without the rows that teach nothing. A test split without any answer (benchmarks
    hide theirs) is left out, and said to be."""
    given: dict[SplitName, tuple[Table, ...]] = {"train": found.train, "dev": found.dev, "test": found.test}
    scanned = [_scan(name, tables, form) for name, tables in given.items() if tables]
    problems: list[Problem] = []
    for scan, defects, _ in scanned:
        if scan.name == "test" and not len(scan):
            files = tuple(path.name for table in found.test for path in table.files)
            note = message("TT-D075", path=", ".join(files), rows=len(defects))
            problems.append(Problem(note, "reported", len(defects), tuple(map(Place, files))))
    used = [one for one in scanned if one.scan.name != "test" or len(one.scan)]
    for defect, code in form.left_out.items():
        rows = [(one.scan, np.flatnonzero(one.defects == defect)) for one in used]
        problems += check.finding(code, "repaired", rows)
    for remark, code in form.remarked.items():
        rows = [(one.scan, np.flatnonzero(one.remarks == remark)) for one in used]
        problems += check.finding(code, "reported", rows)
    return [one.scan for one in used], problems


def _scan(name: SplitName, tables: Sequence[Table], form: RowForm) -> _Scanned:
    """One pass: keys as the form has them, the rest of each row in the place of its target."""
    numbers, keys, answers = array("q"), array("Q"), array("Q")
    defects, remarks = array("b"), array("b")
    starts = []
    for table in tables:
        starts.append(len(numbers))
        for number, values in table.rows():
            found, defect = RowKeys(0), _NOTHING
            try:
                found = form.keys(values)
            except Unfit as unfit:
                defect = unfit.defect
            except TypeError as error:
                place = table.place(number, form.label_column or form.text_columns[-1])
                raise DataError(form.broken, path=place.file, row=place.row, column=place.column) from error
            numbers.append(number)
            keys.append(found.cut)
            answers.append(found.rest)
            defects.append(defect)
            remarks.append(found.remark)
    wrong = np.array(defects, np.int8)
    scan = Scan(
        name=name,
        tables=tuple(tables),
        columns=Columns(form.text_columns, form.label_column),
        numbers=np.array(numbers, np.int64),
        starts=np.array(starts, np.int64),
        keys=np.array(keys, np.uint64),
        codes=np.zeros(len(numbers), np.int32),
        values=np.zeros(len(numbers)),
        empty=np.zeros(len(numbers), np.bool_),
        kept=np.flatnonzero(wrong == _NOTHING),
        targets=np.array(answers, np.uint64).view(np.int64),
    )
    return _Scanned(scan, wrong, np.array(remarks, np.int8))


def _taken(name: SplitName, train: Scan, share: float, seed: int) -> tuple[Scan, Scan]:
    rest, taken = cut(train, share, seed)
    return train.keep(rest), replace(train.keep(taken), name=name)


def _told(train: Scan, by_name: Mapping[SplitName, Scan], whole: int, seed: int) -> Problem:
    """What has been cut from train."""
    dev, test = len(by_name["dev"]), len(by_name.get("test", ()))
    code = "TT-D074" if test else "TT-D073"
    facts = {"dev": dev, "train": len(train), "rows": whole, "seed": seed} | ({"test": test} if test else {})
    return Problem(message(code, **facts), "reported", whole - len(train))


def _corpus(
    found: Source,
    form: RowForm,
    train: Scan,
    by_name: Mapping[SplitName, Scan],
    *,
    labels: tuple[str, ...],
    problems: list[Problem],
    choices: str,
) -> Corpus:
    if not len(by_name["dev"]):
        raise DataError("TT-D050", split="dev")
    files = [Path(path) for table in found.tables for path in table.files]
    names = dict.fromkeys(encoding.name for table in found.tables for _, encoding in table.encodings)
    test = by_name.get("test")
    rows = split_of(train, form.example, form.kind)
    counts = _counts(rows, len(labels))
    return Corpus(
        name=found.name,
        task=form.task,
        labels=labels,
        columns=train.columns.texts,
        label_column=train.columns.label,
        train=rows,
        dev=split_of(by_name["dev"], form.example, form.kind),
        test=split_of(test, form.example, form.kind) if test is not None and len(test) else None,
        problems=(*problems, *_never_learned(labels, counts)),
        encoding=", ".join(names),
        files=tuple(str(table.path) for table in found.tables),
        fingerprint=content_hash(files, choices),
        form=form.name,
        counts=counts,
    )


def _counts(rows: Split, labels: int) -> tuple[int, ...]:
    """How often each label stands in train: read once more, since which rows are used has just been decided."""
    if not labels:
        return ()
    counts = np.zeros(labels, np.int64)
    for example in rows:
        assert isinstance(example.label, tuple), "a named form gives the numbers of its names"
        counts += np.bincount(np.array(example.label, np.int64), minlength=labels)
    return tuple(counts.tolist())


def _never_learned(labels: tuple[str, ...], counts: tuple[int, ...]) -> list[Problem]:
    """Labels that dev or test have, and train has not."""
    missing = [label for label, count in zip(labels, counts, strict=True) if not count]
    if not missing:
        return []
    note = message("TT-D139", count=len(missing), labels=", ".join(missing[:_LISTED]))
    return [Problem(note, "reported", len(missing))]
