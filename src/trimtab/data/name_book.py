"""The names that rows of several labels, or words, have: met one by one, numbered when all are known."""

from collections.abc import Callable, Iterable, Sequence

from trimtab.errors import DataError

_LISTED = 20


class NameBook:
    """Names in the order met, then by number. Final; filled by the scan, settled after it."""

    def __init__(self) -> None:
        self._names: dict[str, int] = {}
        self._index: dict[str, int] = {}

    def enter(self, names: Iterable[str]) -> None:
        self._names.update(dict.fromkeys(names, 0))

    def settle(
        self, known: tuple[str, ...], in_order: Callable[[Iterable[str]], Sequence[str]]
    ) -> tuple[str, ...]:
        """All names: those a finished model has, `known`, or else those met, `in_order`. Raises DataError TT-D133
        where some were met that the model does not know."""
        strangers = sorted(self._names.keys() - set(known)) if known else []
        if strangers:
            raise DataError("TT-D133", labels=_listed(strangers), known=_listed(known))
        names = known or tuple(in_order(self._names))
        self._index = {name: number for number, name in enumerate(names)}
        return names

    def numbers(self, names: Iterable[str]) -> tuple[int, ...]:
        """What stands for each of `names`, once they are settled."""
        return tuple(self._index[name] for name in names)


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:_LISTED]) + (", …" if len(names) > _LISTED else "")
