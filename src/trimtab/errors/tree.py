"""The classes of the error tree. A class decides the exit code; the sentence comes from the catalogue."""

from typing import ClassVar

from trimtab.errors.message import Message, message


class TrimtabError(Exception):
    """Something failed, said in one sentence with numbers and one next step.

    >>> raise DataError("TT-D001", path="reviews.csv")      # doctest: +SKIP
    """

    exit_code: ClassVar[int] = 1

    def __init__(self, code: str, **facts: object) -> None:
        self.message: Message = message(code, **facts)
        super().__init__(code, facts)

    @property
    def code(self) -> str:
        return self.message.code

    def __str__(self) -> str:
        return f"{self.code}: {self.message.text()} {self.message.next_step()}".rstrip()


class Busy(TrimtabError):
    """A service takes no more now (TT-N001 with `queued`, `most`, `retry_seconds`; TT-N003: it is closing), or
    gave a request up (TT-N002 with `seconds`)."""


class UsageError(TrimtabError):
    exit_code = 2


class NothingFits(TrimtabError):
    exit_code = 3


class Diverged(TrimtabError):
    exit_code = 4


class BadInput(TrimtabError):
    exit_code = 5


class DataError(BadInput):
    pass


class ModelError(BadInput):
    pass


class ArtifactError(BadInput):
    pass


class Interrupted(TrimtabError):
    """Stopped from outside; `exit_status` is 130 after Ctrl-C and 143 after SIGTERM."""

    exit_code = 130

    def __init__(self, code: str, *, exit_status: int, **facts: object) -> None:
        super().__init__(code, **facts)
        self.exit_status = exit_status
