"""Opening conversations: the same corpus, checks and splits as for labelled rows, of rows that hold turns.

Two rows are the same question where all turns before the last answer are equal: such rows stay on one side of a
cut, and count as overlap. Leaves out: what a template makes of turns (chat_template.py).
"""

from array import array
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from trimtab.data import check
from trimtab.data.chat_forms import ChatForm, Defect, Unfit, detected_form, form_of, prompt_form
from trimtab.data.columns import Columns
from trimtab.data.corpus import Corpus, split_of
from trimtab.data.cut import cut
from trimtab.data.fingerprint import content_hash
from trimtab.data.scan import Scan
from trimtab.data.source import Source, SplitName
from trimtab.data.spec import Conversation, Place, Problem, Task, Turn
from trimtab.data.table import Table, open_table
from trimtab.data.texts import read_texts, text_key
from trimtab.errors import DataError, message

_LEFT_OUT: Mapping[Defect, str] = {
    Defect.NO_ANSWER: "TT-D103",
    Defect.EMPTY: "TT-D104",
    Defect.ROLES: "TT-D105",
}
_PLACES = 5
_Scanned = tuple[Scan, np.ndarray]


def asked_form(table: Table, task: Task | None, text: tuple[str, ...], label: str | None) -> ChatForm | None:
    """How `table` holds conversations, where it is to be read as such: the task is instruct, or none was named and
    nothing else could be meant. Raises as `form_of`."""
    if task == "instruct":
        return form_of(table, text, label)
    return detected_form(table) if task is None and not text and label is None else None


def open_chats(
    found: Source, form: ChatForm, *, seed: int, dev_share: float, test_share: float, keep_overlap: bool
) -> Corpus:
    """As `open_corpus`, of conversations. Raises DataError TT-D102 with the row and column of a cell that holds no
    turns, TT-D042 and TT-D050 where no row is left."""
    scans, problems = _scan_all(found, form)
    problems += check.encodings(found) + check.ignored_files(found) + check.duplicates(scans)
    # What a row teaches is its own answer: from here on no row differs from another by its target.
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
    choices = ("instruct", form.name, form.columns, keep_overlap, *(() if has_dev else (shares, seed)))
    return _corpus(found, form, train, by_name, problems=problems, choices=repr(choices))


def open_chat_rows(tables: Sequence[Table], form: ChatForm, name: SplitName) -> Scan:
    """All conversations of some files that have an answer, to score a finished model on. Raises as
    `open_chats`."""
    scanned, _ = _scan(name, tables, form)
    return replace(scanned, targets=np.zeros(len(scanned.numbers), np.int64))


def _scan_all(found: Source, form: ChatForm) -> tuple[list[Scan], list[Problem]]:
    """Train and what is held out, without the rows that teach nothing. A test split without any answer (benchmarks
    hide theirs) is left out, and said to be."""
    given: dict[SplitName, tuple[Table, ...]] = {"train": found.train, "dev": found.dev, "test": found.test}
    scanned = [_scan(name, tables, form) for name, tables in given.items() if tables]
    problems: list[Problem] = []
    for scan, defects in scanned:
        if scan.name == "test" and not len(scan):
            files = tuple(path.name for table in found.test for path in table.files)
            note = message("TT-D075", path=", ".join(files), rows=len(defects))
            problems.append(Problem(note, "reported", len(defects), tuple(map(Place, files))))
    used = [(scan, defects) for scan, defects in scanned if scan.name != "test" or len(scan)]
    for defect, code in _LEFT_OUT.items():
        problems += check.finding(code, "repaired", [(s, np.flatnonzero(d == defect)) for s, d in used])
    return [scan for scan, _ in used], problems


def _scan(name: SplitName, tables: Sequence[Table], form: ChatForm) -> _Scanned:
    """One pass: keys are hashes of what comes before the last answer, targets hashes of that answer; and for each
    row what is wrong with it, int8[n]."""
    numbers, keys, answers, defects = array("q"), array("Q"), array("Q"), array("b")
    starts = []
    for table in tables:
        starts.append(len(numbers))
        for number, values in table.rows():
            key = answer = 0
            defect = Defect.NONE
            try:
                talk = form.conversation(values)
                key, answer = _key(talk), text_key((talk.answer,))
            except Unfit as unfit:
                defect = unfit.defect
            except TypeError as error:
                place = table.place(number, form.columns[-1])
                raise DataError("TT-D102", path=place.file, row=place.row, column=place.column) from error
            numbers.append(number)
            keys.append(key)
            answers.append(answer)
            defects.append(defect)
    found = np.array(defects, np.int8)
    scan = Scan(
        name=name,
        tables=tuple(tables),
        columns=Columns(form.columns[:-1] or form.columns, form.columns[-1]),
        numbers=np.array(numbers, np.int64),
        starts=np.array(starts, np.int64),
        keys=np.array(keys, np.uint64),
        codes=np.zeros(len(numbers), np.int32),
        values=np.zeros(len(numbers)),
        empty=np.zeros(len(numbers), np.bool_),
        kept=np.flatnonzero(found == Defect.NONE),
        targets=np.array(answers, np.uint64).view(np.int64),
    )
    return scan, found


def _key(talk: Conversation) -> int:
    return text_key([f"{turn.role}\0{turn.text.strip()}" for turn in talk.prompt])


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
    form: ChatForm,
    train: Scan,
    by_name: Mapping[SplitName, Scan],
    *,
    problems: list[Problem],
    choices: str,
) -> Corpus:
    if not len(by_name["dev"]):
        raise DataError("TT-D050", split="dev")
    files = [Path(path) for table in found.tables for path in table.files]
    names = dict.fromkeys(encoding.name for table in found.tables for _, encoding in table.encodings)
    test = by_name.get("test")
    return Corpus(
        name=found.name,
        task="instruct",
        labels=(),
        columns=train.columns.texts,
        label_column=train.columns.label,
        train=split_of(train, form.example),
        dev=split_of(by_name["dev"], form.example),
        test=split_of(test, form.example) if test is not None and len(test) else None,
        problems=tuple(problems),
        encoding=", ".join(names),
        files=tuple(str(table.path) for table in found.tables),
        fingerprint=content_hash(files, choices),
        form=form.name,
    )


def read_prompts(text: tuple[str, ...], file: str | None, columns: tuple[str, ...]) -> Iterator[tuple[Turn, ...]]:
    """What a chat model is asked, streamed: each of `text`; or of `file` each row, its last answer left out where
    it has one, or each line of a .txt file and of standard input ("-"). `columns` are the prompt columns it was
    trained on, for a file that holds nothing else. Raises DataError TT-D108 for a row that asks nothing."""
    if file is None:
        yield from ((Turn("user", words),) for words in text)
        return
    if file == "-" or file.endswith(".txt") or Path(file).is_dir() or not Path(file).expanduser().exists():
        yield from ((Turn("user", words),) for (words,) in read_texts(file))
        return
    table = open_table(Path(file).expanduser())
    form = prompt_form(table, columns)
    for number, values in table.rows():
        try:
            yield form.prompt(values)
        except (Unfit, TypeError) as error:
            place = table.place(number, form.columns[0])
            raise DataError("TT-D108", path=place.file, row=place.row, column=place.column) from error
