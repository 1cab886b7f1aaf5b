"""Labels as they stand in files: which are missing, which are numbers, and which task they make."""

import math
import re
from collections.abc import Sequence

from trimtab.data.spec import Task
from trimtab.data.texts import cell_text
from trimtab.errors import DataError

MISSING = -1
OVERFLOW = -2
MOST_LABELS = 65_536
"""Distinct labels remembered by name. More of them can only be targets of a regression."""

_MISSING_WORDS = frozenset(("", "nan", "null", "<na>", "#n/a"))
_MISSING_AMONG_NUMBERS = frozenset(("none", "na", "n/a", "-"))
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
_WHOLE = re.compile(r"([+-]?\d+)\.0*")
_FEW_VALUES = 20
_MANY_LABELS = 50


def label_name(value: object) -> str | None:
    """A label as text, the same for 1, 1.0, "1" and " 1 ", cleaned as the texts are; None where there is none
    (null, NaN, empty).

    Raises TypeError for a list or an object, which no single label can be.
    """
    text = cell_text(value).strip()
    if text.lower() in _MISSING_WORDS:
        return None
    whole = _WHOLE.fullmatch(text)
    return whole[1] if whole else text


def label_number(name: str) -> float:
    """The number a label name is, NaN where it is none."""
    return float(name) if _NUMBER.fullmatch(name) else math.nan


class LabelBook:
    """Gives every distinct label a code in the order met, over all splits of a corpus. Final; filled by the
    scan."""

    def __init__(self) -> None:
        self._codes: dict[str, int] = {}
        self._met: dict[str, tuple[int, float]] = {}  # cells as they stand in the file: most say what others said

    @property
    def names(self) -> tuple[str, ...]:
        """Label names by code."""
        return tuple(self._codes)

    def enter(self, value: object) -> tuple[int, float]:
        """Code and number of one label: (MISSING, nan) without a label, OVERFLOW beyond `MOST_LABELS` names.
        Raises TypeError as `label_name`."""
        if not isinstance(value, str):
            return self._enter(value)
        found = self._met.get(value)
        if found is None:
            found = self._enter(value)
            if len(self._met) < MOST_LABELS:
                self._met[value] = found
        return found

    def _enter(self, value: object) -> tuple[int, float]:
        name = label_name(value)
        if name is None:
            return MISSING, math.nan
        code = self._codes.get(name)
        if code is None:
            code = len(self._codes) if len(self._codes) < MOST_LABELS else OVERFLOW
            if code != OVERFLOW:
                self._codes[name] = code
        return code, label_number(name)

    def missing_codes(self) -> list[int]:
        """Codes of words such as "None" that mean no label where every other label is a number, but are a
        class like any other beside words ("favour", "against", "none")."""
        words = [name for name in self._codes if math.isnan(label_number(name))]
        if len(words) == len(self._codes) or any(word.lower() not in _MISSING_AMONG_NUMBERS for word in words):
            return []
        return [self._codes[word] for word in words]


def is_mixed(names: Sequence[str]) -> bool:
    """True where some labels are numbers and others words."""
    return len({math.isnan(label_number(name)) for name in names}) == 2


def sorted_labels(names: Sequence[str]) -> tuple[str, ...]:
    """Whole numbers in order of size, anything else in order of code points."""
    if all(re.fullmatch(r"[+-]?\d+", name) for name in names):
        return tuple(sorted(names, key=int))
    return tuple(sorted(names))


def decide_task(forced: Task | None, text_columns: int, names: Sequence[str], rows: int) -> Task:
    """The task, inferred or checked against the columns and labels there are. More than fifty labels with
    less than two rows each are refused as no classes.

    `names` are the distinct labels (the first `MOST_LABELS`), `rows` the number of labelled rows. Raises
    DataError where a forced task cannot be.
    """
    numbers = [label_number(name) for name in names]
    numeric = bool(numbers) and not any(map(math.isnan, numbers))
    fractional = [name for name, number in zip(names, numbers, strict=True) if number % 1 != 0] if numeric else []
    if forced == "regress":
        if not numeric:
            word = next(name for name, number in zip(names, numbers, strict=True) if math.isnan(number))
            raise DataError("TT-D043", label=word)
        return "regress"
    if forced is None and numeric and (fractional or _is_scale(numbers, rows)):
        return "regress"
    if forced is not None and fractional:
        raise DataError("TT-D044", task=forced, label=fractional[0], count=len(names))
    if forced == "pair" and text_columns == 1:
        raise DataError("TT-D045")
    if forced == "classify" and text_columns == 2:
        raise DataError("TT-D046")
    if len(names) > _MANY_LABELS and 2 * len(names) > rows:
        raise DataError("TT-D047", count=len(names), rows=rows)
    return "pair" if text_columns == 2 else "classify"


def _is_scale(numbers: Sequence[float], rows: int) -> bool:
    """Whole numbers are a scale (an age, a price) rather than classes when there are many of them and they
    are not the ids 0..k-1 or 1..k, each used several times."""
    low, high = min(numbers), max(numbers)
    ids = low in (0, 1) and len(numbers) >= 0.9 * (high - low + 1) and rows >= 2 * len(numbers)
    return len(numbers) > _FEW_VALUES and not ids
