"""Why the operating system refused something, in both languages: errors of the system speak English only.

Leaves out what to do about it: that is said by the sentence the reason stands in.
"""

import errno
import re
import socket

from trimtab.errors.message import Message, message

_REASONS = {
    getattr(errno, "EDQUOT", errno.ENOSPC): "TT-O006",  # Windows has none
    errno.ENOSPC: "TT-O001",
    errno.EACCES: "TT-O002",
    errno.EPERM: "TT-O002",
    errno.EROFS: "TT-O003",
    errno.ENOENT: "TT-O004",
    errno.EISDIR: "TT-O005",
    errno.EIO: "TT-O007",
    errno.ECONNREFUSED: "TT-O008",
    errno.ENETUNREACH: "TT-O009",
    socket.EAI_NONAME: "TT-O010",
    socket.EAI_AGAIN: "TT-O010",
}
# Libraries pass an error of the system on in words: Python's "[Errno 28] ...", Rust's "... (os error 28)".
_NUMBER = re.compile(r"\[Errno (-?\d+)\]|\(os error (\d+)\)")
_LONGEST = 160  # characters of a system's own words


def system_reason(error: BaseException) -> Message:
    """The reason of an OSError, or of a library's error that passes one on."""
    number = error.errno if isinstance(error, OSError) else None
    words = str(error).strip().partition("\n")[0]
    told = _NUMBER.search(words)
    if number is None and told:
        number = int(told[1] or told[2])
    if number in _REASONS:
        return message(_REASONS[number])
    own_words = (error.strerror if isinstance(error, OSError) else None) or words or type(error).__name__
    return message("TT-O099", text=own_words[:_LONGEST])
