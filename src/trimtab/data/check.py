"""The data check: each function looks for one kind of finding and says where the first few stand.

What cannot be trained on raises; what can be repaired is repaired by the caller; the rest is reported.
"""

from collections.abc import Sequence

import numpy as np

from trimtab.data.labels import MISSING, is_mixed
from trimtab.data.readers import DocumentReader
from trimtab.data.scan import Scan
from trimtab.data.source import Source
from trimtab.data.spec import Place, Problem, Severity
from trimtab.data.table import FileTable
from trimtab.errors import DataError, message

_PLACES = 5
_LISTED_LABELS = 20
_IMBALANCE = 4


def refuse_missing_labels(scans: Sequence[Scan]) -> None:
    """Raises DataError TT-D040 with the first row that has no label."""
    for scan in scans:
        missing = np.flatnonzero(scan.codes == MISSING)
        if len(missing):
            place = scan.place(int(missing[0]), scan.columns.label)
            raise DataError(
                "TT-D040", path=place.file, row=place.row, column=place.column,
                count=len(missing), rows=len(scan.codes),
            )  # fmt: skip


def refuse_infinite_targets(scans: Sequence[Scan]) -> None:
    """Raises DataError TT-D048 with the first row whose label is not a finite number."""
    for scan in scans:
        bad = np.flatnonzero(~np.isfinite(scan.values))
        if len(bad):
            place = scan.place(int(bad[0]), scan.columns.label)
            raise DataError("TT-D048", path=place.file, row=place.row, column=place.column)


def refuse_unknown_labels(scan: Scan, names: Sequence[str], labels: Sequence[str]) -> None:
    """Raises DataError TT-D051 with the first row in use whose label is not one of `labels`, and all labels that
    are not; `names` are the names of the codes. Without `labels` (a regression) there is nothing to refuse."""
    rows = scan.kept[scan.kept_targets == MISSING] if labels else scan.kept[:0]
    if len(rows):
        place = scan.place(int(rows[0]), scan.columns.label)
        strangers = dict.fromkeys(names[code] for code in scan.codes[rows])
        raise DataError(
            "TT-D051", path=place.file, row=place.row, column=place.column,
            labels=_listed(list(strangers)), known=_listed(labels),
        )  # fmt: skip


def refuse_no_rows(train: Scan) -> None:
    """Raises DataError TT-D042 where no train row is left."""
    if not len(train):
        raise DataError("TT-D042", rows=0)


def refuse_one_class(train: Scan, labels: Sequence[str]) -> None:
    """Raises DataError TT-D041 where all train rows have the same label or target."""
    targets = np.unique(train.kept_targets)
    if len(targets) == 1:
        name = labels[int(targets[0])] if labels else f"{targets[0]:g}"
        raise DataError("TT-D041", column=train.columns.label, label=name, rows=len(train))


def encodings(source: Source) -> list[Problem]:
    """Files that are not UTF-8, one finding an encoding, and files with bytes that no character stands
    for."""
    found: dict[str, list[str]] = {}
    problems = []
    for file, encoding in (pair for table in source.tables for pair in table.encodings):
        if encoding.name != "utf-8":
            found.setdefault(encoding.name, []).append(file)
        if encoding.replaced:
            note = message("TT-D071", path=file, encoding=encoding.name, count=encoding.replaced)
            problems.append(Problem(note, "repaired", encoding.replaced, (Place(file),)))
    for name, files in found.items():
        note = message("TT-D070", path=files[0], encoding=name, count=len(files))
        problems.append(Problem(note, "reported", len(files), tuple(map(Place, files[:_PLACES]))))
    return problems


def ignored_files(source: Source) -> list[Problem]:
    if not source.ignored:
        return []
    note = message("TT-D072", files=", ".join(source.ignored))
    return [Problem(note, "reported", len(source.ignored), tuple(map(Place, source.ignored[:_PLACES])))]


def documents(scans: Sequence[Scan]) -> list[Problem]:
    """How many documents the .txt files hold, one finding for each way in which they are parted."""
    found: dict[bool, list[tuple[int, str]]] = {}
    for scan in scans:
        ends = [*scan.starts[1:].tolist(), len(scan.numbers)]
        for table, start, end in zip(scan.tables, scan.starts.tolist(), ends, strict=True):
            if isinstance(table, FileTable) and isinstance(table.reader, DocumentReader):
                found.setdefault(table.reader.apart, []).append((end - start, table.path.name))
    problems = []
    for apart, files in found.items():
        count = sum(documents for documents, _ in files)
        places = tuple(Place(name) for _, name in files[:_PLACES])
        problems.append(
            Problem(message("TT-D162" if apart else "TT-D161", count=count), "reported", count, places)
        )
    return problems


def empty_texts(scans: Sequence[Scan]) -> list[Problem]:
    found = [(scan, scan.kept[scan.empty[scan.kept]]) for scan in scans]
    return finding("TT-D060", "repaired", found)


def duplicates(scans: Sequence[Scan]) -> list[Problem]:
    """Rows whose texts and label both occur earlier in the same split."""
    found = []
    for scan in scans:
        rows = _repeated(scan)
        keys, targets = scan.keys[rows], scan.targets[rows]
        order = np.lexsort((rows, targets, keys))
        again = (np.diff(keys[order]) == 0) & (np.diff(targets[order]) == 0)
        found.append((scan, np.sort(rows[order[1:][again]])))
    return finding("TT-D061", "reported", found)


def conflicts(scans: Sequence[Scan]) -> list[Problem]:
    """Rows whose texts occur with another label in the same split."""
    found = []
    for scan in scans:
        rows = _repeated(scan)
        keys, targets = scan.keys[rows], scan.targets[rows]
        order = np.lexsort((targets, keys))
        disagree = (np.diff(keys[order]) == 0) & (np.diff(targets[order]) != 0)
        found.append((scan, rows[np.isin(keys, keys[order[1:][disagree]])]))
    return finding("TT-D062", "reported", found)


def _repeated(scan: Scan) -> np.ndarray:
    """The kept rows whose texts occur more than once, ascending: few, so that what follows is done on few."""
    keys = scan.kept_keys
    order = np.argsort(keys)
    same = np.diff(keys[order]) == 0
    repeated = np.zeros(len(keys), np.bool_)
    repeated[order[1:][same]] = repeated[order[:-1][same]] = True
    return scan.kept[repeated]


def overlap(train: Scan, others: Sequence[Scan], *, dropped: bool) -> tuple[np.ndarray, list[Problem]]:
    """Mask over the kept train rows whose texts do not stand in dev or test, and the finding about the
    others."""
    held_out = np.concatenate([np.empty(0, np.uint64), *(other.kept_keys for other in others)])
    fresh = ~np.isin(train.kept_keys, held_out)
    found = [(train, train.kept[~fresh])]
    return fresh, finding("TT-D063" if dropped else "TT-D064", "repaired" if dropped else "reported", found)


def dev_in_test(dev: Scan | None, test: Scan | None) -> list[Problem]:
    if dev is None or test is None:
        return []
    return finding("TT-D065", "reported", [(dev, dev.kept[np.isin(dev.kept_keys, test.kept_keys)])])


def imbalance(labels: Sequence[str], counts: Sequence[int]) -> list[Problem]:
    """The largest label has more than four times the rows of the smallest that occurs in train."""
    present = [(count, label) for count, label in zip(counts, labels, strict=True) if count]
    if not present:
        return []
    (small, rare), (large, common) = min(present), max(present)
    if large <= _IMBALANCE * small:
        return []
    share, ratio = large / sum(counts), f"{large / small:.1f}"
    note = message("TT-D066", common=common, large=large, share=share, rare=rare, small=small, ratio=ratio)
    return [Problem(note, "reported", large)]


def unseen_labels(scans: Sequence[Scan], labels: Sequence[str], counts: Sequence[int]) -> list[Problem]:
    """Rows of dev and test whose label no train row has: they cannot but count as errors."""
    unseen = np.flatnonzero(np.asarray(counts) == 0)
    if not len(unseen):
        return []
    found = [(scan, scan.kept[np.isin(scan.kept_targets, unseen)]) for scan in scans]
    return finding("TT-D067", "reported", found, labels=", ".join(labels[code] for code in unseen[:_PLACES]))


def mixed_labels(names: Sequence[str]) -> list[Problem]:
    if not is_mixed(names):
        return []
    return [Problem(message("TT-D069", labels=", ".join(sorted(names)[:10])), "reported", len(names))]


def _listed(labels: Sequence[str]) -> str:
    return ", ".join(labels[:_LISTED_LABELS]) + (", …" if len(labels) > _LISTED_LABELS else "")


def finding(
    code: str, severity: Severity, found: Sequence[tuple[Scan, np.ndarray]], **facts: object
) -> list[Problem]:
    """One Problem over all splits, or none. `found` pairs a scan with the indexes of the rows concerned."""
    count = sum(len(indexes) for _, indexes in found)
    if not count:
        return []
    column_of = {id(scan): _column(code, scan) for scan, _ in found}
    places = [scan.place(int(i), column_of[id(scan)]) for scan, indexes in found for i in indexes[:_PLACES]]
    return [Problem(message(code, count=count, **facts), severity, count, tuple(places[:_PLACES]))]


def _column(code: str, scan: Scan) -> str:
    about_labels = code in ("TT-D062", "TT-D067")
    return scan.columns.label if about_labels else ", ".join(scan.columns.texts)
