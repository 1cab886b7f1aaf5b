"""Unfolding: the text of tokens as they come, no character of it shown before it is certain.

Held back are: the bytes of an unfinished character; what may be the beginning of a text to stop at; and, where the
whole is stripped of white space, as answers are, white space at both ends. All that is shown together is what
decoding all tokens at once gives.

A few tokens are decoded at a time, with those before them for context: how a token is written depends on its
neighbours, not on what stands far before.
"""

from collections.abc import Sequence

from transformers import PreTrainedTokenizerBase as Tokenizer

_WINDOW = 48  # tokens decoded anew with each further one, at most
_CONTEXT = 16  # of them known before
_UNFINISHED = "\N{REPLACEMENT CHARACTER}"


class Unfolding:
    """`stops`: texts at which the answer ends, which are not shown. `strips`: white space at the ends is left
    out."""

    def __init__(self, tokenizer: Tokenizer, stops: Sequence[str] = (), *, strips: bool = False) -> None:
        self._tokenizer, self._strips = tokenizer, strips
        self._stops = tuple(stop for stop in stops if stop)
        self._ids: list[int] = []  # the window: the last tokens
        self._past = 0  # characters of its text that are shown, or left out
        self._begun = not strips
        self.stopped = False

    def add(self, token: int) -> str:
        """What can be shown now that `token` is known."""
        self._ids.append(token)
        text = self._decoded()
        stop = min((at for stop in self._stops if (at := text.find(stop, self._past)) >= 0), default=None)
        if stop is not None:
            self.stopped = True
            return self._stripped(text[self._past : stop])
        shown = self._show(text)
        self._move_on(text[self._past :])
        return shown

    def end(self) -> str:
        """What is left when no token follows."""
        return "" if self.stopped else self._stripped(self._decoded()[self._past :])

    def _decoded(self) -> str:
        return str(self._tokenizer.decode(self._ids, skip_special_tokens=True))

    def _stripped(self, rest: str) -> str:
        rest = rest if self._begun else rest.lstrip()
        return rest.rstrip() if self._strips else rest

    def _show(self, text: str) -> str:
        certain = self._certain(text[self._past :])
        self._past += len(certain)
        shown = certain if self._begun else certain.lstrip()
        self._begun = self._begun or bool(shown)
        return shown

    def _certain(self, text: str) -> str:
        """The beginning of `text` that no further token changes, or ends before."""
        text = text.rstrip(_UNFINISHED)
        begun = (n for stop in self._stops for n in range(len(stop) - 1, 0, -1) if text.endswith(stop[:n]))
        text = text[: len(text) - max(begun, default=0)]
        return text.rstrip() if self._strips else text

    def _move_on(self, pending: str) -> None:
        """Let the window begin later, where what is not shown lies within the rest of it."""
        if len(self._ids) < _WINDOW:
            return
        whole, self._ids = self._ids, self._ids[-_CONTEXT:]
        text = self._decoded()
        if text.endswith(pending):
            self._past = len(text) - len(pending)
        else:
            self._ids = whole
