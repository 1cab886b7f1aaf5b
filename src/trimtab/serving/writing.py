"""Writer: one chat model that writes many answers at once, each row of its batch with an adapter of its own.

Continuous batching, one step after the other; in each

    1. some of the prompts that wait are read, together or one piece by piece: a bounded number of tokens, so that
       those who write wait a bounded time; what was read before of a like beginning is taken over
    2. a row whose prompt is read joins those that write
    3. all of them write one token in one pass
    4. who is done leaves, and the last row takes its place

What a request gets is what it gets alone, but for rounding: its tokens stand at their own positions, in columns of
their own (`cells`), and it draws from a generator of its own (`sampling`). Leaves out threads and queues' bounds,
which are `Service`'s; models whose attention is held to a window are written within it.
"""

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from transformers import PreTrainedTokenizerBase as Tokenizer

from trimtab.errors import ModelError, UsageError
from trimtab.evaluation.chat import prompt_ids
from trimtab.evaluation.generate import stop_tokens
from trimtab.evaluation.plain_text import open_ids
from trimtab.serving.cells import Cells, Pairs, tokens_of
from trimtab.serving.facts import Finish, Limits, Piece, WriteRequest
from trimtab.serving.forks import Forked
from trimtab.serving.prefixes import DEFAULT_BYTES, WORTH_TOKENS, Prefixes, first, shared_tokens
from trimtab.serving.sampling import Draw, next_tokens
from trimtab.serving.unfolding import Unfolding
from trimtab.training.packing import attention_window

READ_BESIDE = 64  # prompt tokens of a step in which others write
READ_ALONE = 512  # and of one in which nobody does
_PADDED_MORE = 1.5  # padded tokens of prompts read together, over their own


@dataclass(frozen=True, slots=True, eq=False)
class Ticket:
    """A request as the Writer takes it. `prompt`: its tokens; `ends`: tokens that end the answer. Made by
    `ticket`, on any thread."""

    adapter: str
    request: WriteRequest
    tokenizer: Tokenizer
    prompt: tuple[int, ...]
    ends: tuple[int, ...]


def ticket(adapter: str, request: WriteRequest, tokenizer: Tokenizer) -> Ticket:
    """`adapter`: BASE = none. `tokenizer`: the adapter's own. Raises ModelError TT-M040, TT-M041 where a chat
    template breaks; UsageError TT-N202 where no token is asked for."""
    if request.most_tokens < 1:
        raise UsageError("TT-N202", tokens=request.most_tokens)
    if request.turns:
        prompt, ends = prompt_ids(tokenizer, request.turns), stop_tokens(tokenizer)
    else:
        prompt, ends = open_ids(tokenizer, request.text), [int(tokenizer.eos_token_id)]
    return Ticket(adapter, request, tokenizer, tuple(prompt), tuple(ends))


@dataclass(slots=True, eq=False)
class _Row:
    """A request that is read or written. `ids`: its tokens, the prompt's first; of `known` of them the keys and
    values are in the cells, behind those of `ahead` virtual tokens; `most`: ids, at which it ends."""

    ticket: Ticket
    ids: list[int]
    most: int
    ahead: int
    draw: Draw
    text: Unfolding
    known: int = 0
    finish: Finish | None = None

    @property
    def left(self) -> int:
        """Tokens to be run before the next one can be chosen."""
        return len(self.ids) - self.known

    @property
    def columns(self) -> int:
        return self.ahead + self.known

    def write(self, token: int) -> Piece | None:
        """The piece that is known with `token`; None where nothing can be shown yet."""
        self.ids.append(token)
        ended = token in self.ticket.ends
        shown = "" if ended else self.text.add(token)
        if ended or self.text.stopped:
            self.finish = "stop"
        elif len(self.ids) >= self.most:
            self.finish = "length"
        if self.finish:
            shown += self.text.end()
        return self._piece(shown) if shown or self.finish else None

    def _piece(self, text: str) -> Piece:
        read = len(self.ticket.prompt)
        return Piece(text=text, finish=self.finish, prompt_tokens=read, tokens=len(self.ids) - read)


@dataclass(slots=True)
class _Batch:
    """Rows and their cells, row i in place i."""

    cells: Cells
    rows: list[_Row] = field(default_factory=list)

    def add(self, row: _Row, *known: Pairs) -> None:
        """`known`: one behind the other, the columns of the row that are computed."""
        self.cells.put(len(self.rows), known)
        self.rows.append(row)

    def remove(self, row: _Row) -> None:
        """The last row takes its place."""
        place, last = self.rows.index(row), self.rows.pop()
        if last is not row:
            self.rows[place] = last
            self.cells.move(len(self.rows), place)
        self.cells.clear(len(self.rows))

    def seen(self, row: _Row) -> Pairs:
        """Keys and values of the tokens of a row that are known, without virtual ones."""
        return self.cells.seen(self.rows.index(row), row.ahead, row.columns)


class Writer:
    """Writes with the model of `forked`, a language model of a class of transformers', and the adapters on it. For
    one thread.

    `prefix_bytes`: of keys and values that are kept of texts read before; 0 = none.
    """

    def __init__(self, forked: Forked, limits: Limits | None = None, *, prefix_bytes: int = DEFAULT_BYTES) -> None:
        self._forked, self._model = forked, forked.model
        self._limits = limits or Limits()
        self._device = next(self._model.parameters()).device
        self._prefixes = Prefixes(prefix_bytes)
        self._openings: dict[str, Pairs] = {}
        self._waiting: deque[Ticket] = deque()
        self._reading: deque[_Batch] = deque()
        self._writing = self._batch(self._limits.chats)
        self.read_tokens = self.written_tokens = 0

    # ---------------------------------------------------------------- requests

    @property
    def context_tokens(self) -> int:
        """Prompt and answer together, virtual tokens too: what is allowed and the model can look back over."""
        own = getattr(self._model.config, "max_position_embeddings", None) or self._limits.context_tokens
        return int(min(self._limits.context_tokens, own, attention_window(self._model)))

    @property
    def idle(self) -> bool:
        """Whether a step would do nothing."""
        return not (self._waiting or self._reading or self._writing.rows)

    @property
    def tickets(self) -> tuple[Ticket, ...]:
        """All that wait, are read, or are written."""
        return (*self._waiting, *(row.ticket for row in self._rows()))

    def admit(self, ticket: Ticket) -> None:
        """Let a request wait for its turn. Raises ModelError TT-N200 where its prompt leaves no room to answer."""
        tokens = len(ticket.prompt) + self._ahead(ticket.adapter)
        if tokens >= self.context_tokens:
            raise ModelError("TT-N200", tokens=tokens, most=self.context_tokens)
        self._waiting.append(ticket)

    @torch.inference_mode()
    def drop(self, ticket: Ticket) -> None:
        """Write a request no further; nothing where it is done."""
        self._waiting = deque(one for one in self._waiting if one is not ticket)
        for batch in (*self._reading, self._writing):
            for row in [row for row in batch.rows if row.ticket is ticket]:
                batch.remove(row)
        self._reading = deque(batch for batch in self._reading if batch.rows)

    def open_with(self, adapter: str, pairs: Pairs) -> None:
        """Let every text under `adapter` stand behind these keys and values (`openings`)."""
        self._openings[adapter] = pairs

    def forget(self, adapter: str) -> None:
        """Keep nothing of an adapter that goes, or is another by now; none of its requests may be left."""
        self._prefixes.forget(adapter)
        self._openings.pop(adapter, None)

    @property
    def cache_bytes(self) -> int:
        """Memory of keys and values."""
        return self._prefixes.nbytes + sum(batch.cells.nbytes for batch in (*self._reading, self._writing))

    # ---------------------------------------------------------------- steps

    @torch.inference_mode()
    def step(self) -> list[tuple[Ticket, Piece]]:
        """Read a little, write a token of each; the pieces that can be shown now, the last of a request with its
        `finish`, after which its ticket is no more."""
        pieces = [*self._read(), *self._write()]
        if not self._writing.rows and self._writing.cells.nbytes:
            self._writing = self._batch(self._limits.chats)
        return pieces

    def _read(self) -> Iterator[tuple[Ticket, Piece]]:
        """Read prompts while there are seats and the tokens of this step last; several long ones by turns."""
        most = room = READ_BESIDE if self._writing.rows else READ_ALONE
        while room > most // 2:  # a pass of few tokens costs nearly what one of many does
            if seated := self._seated(room):
                self._reading.append(seated)
            if not self._reading:
                return
            batch = self._reading.popleft()
            tokens = min(room, max(row.left for row in batch.rows))
            room -= tokens * len(batch.rows)
            for row, piece in self._run(batch, tokens):
                if row.finish is None:
                    self._writing.add(row, batch.cells.seen(batch.rows.index(row), 0, row.columns))
                self._leave(batch, row)
                yield from _told(row, piece)
            if batch.rows:
                self._reading.append(batch)

    def _write(self) -> Iterator[tuple[Ticket, Piece]]:
        """One token of every row that writes."""
        for row, piece in self._run(self._writing, 1) if self._writing.rows else ():
            if row.finish:
                self._leave(self._writing, row)
            yield from _told(row, piece)

    def _leave(self, batch: _Batch, row: _Row) -> None:
        if row.finish:
            ids = np.array(row.ids[: row.known], np.int32)
            self._prefixes.keep(row.ticket.adapter, ids, batch.seen(row))
        batch.remove(row)

    def _run(self, batch: _Batch, tokens: int) -> list[tuple[_Row, Piece | None]]:
        """Up to `tokens` more of every row through the model. A row that is at its end writes its next token:
        those, and what they show."""
        counts = [min(tokens, row.left) for row in batch.rows]
        logits = self._logits(batch, counts)
        for row, count in zip(batch.rows, counts, strict=True):
            row.known += count
        at_end = [place for place, row in enumerate(batch.rows) if row.left == 0]
        rows = [batch.rows[place] for place in at_end]
        chosen = next_tokens(logits if len(rows) == len(logits) else logits[at_end], [row.draw for row in rows])
        self.written_tokens += len(rows)
        return [(row, row.write(token)) for row, token in zip(rows, chosen, strict=True)]

    def _logits(self, batch: _Batch, counts: Sequence[int]) -> torch.Tensor:
        """Run the next `counts` tokens of each row; logits behind the last of them, (rows, vocabulary)."""
        longest, device = max(counts), self._device
        ids = [row.ids[row.known : row.known + count] for row, count in zip(batch.rows, counts, strict=True)]
        padded = torch.tensor([one + [0] * (longest - len(one)) for one in ids], device=device)
        starts = torch.tensor([[row.columns] for row in batch.rows], device=device)
        last = torch.tensor([[count - 1] for count in counts], device=device)
        columns = starts + torch.arange(longest, device=device)
        behind, places = last[:, 0].unique(return_inverse=True)
        with self._forked.use([row.ticket.adapter for row in batch.rows]):
            found = self._model(
                input_ids=padded,
                attention_mask=self._mask(batch.cells.aim(columns)),
                position_ids=torch.minimum(columns, starts + last),
                past_key_values=batch.cells,
                use_cache=True,
                logits_to_keep=behind,
            )
        self.read_tokens += sum(counts)
        logits: torch.Tensor = found.logits
        return logits[torch.arange(len(logits), device=device), places]

    def _mask(self, seen: torch.Tensor) -> torch.Tensor:
        """As the model's attention takes it: torch's own asks what is seen, others add to the scores."""
        if self._model.config._attn_implementation == "sdpa":
            return seen
        lowest = torch.finfo(self._model.dtype).min
        return torch.zeros_like(seen, dtype=self._model.dtype).masked_fill_(~seen, lowest)

    # ---------------------------------------------------------------- who is read next, and what is known of it

    def _seated(self, room: int) -> _Batch | None:
        """The next that wait, as many as have a seat and can be read at once in `room` tokens without much
        padding; one where there is a seat."""
        seats = self._limits.chats - len(self._rows())
        batch = self._batch(min(seats, len(self._waiting)))
        lengths: list[int] = []
        for ticket in list(self._waiting)[: max(0, seats)]:
            known = self._known(ticket)
            lengths.append(len(ticket.prompt) - tokens_of(known))
            padded = max(lengths) * len(lengths)
            if batch.rows and padded > min(room, _PADDED_MORE * sum(lengths)):
                break
            self._waiting.popleft()
            batch.add(self._row(ticket, tokens_of(known)), self._openings.get(ticket.adapter, ()), known)
        return batch if batch.rows else None

    def _row(self, ticket: Ticket, known: int) -> _Row:
        ahead, request = self._ahead(ticket.adapter), ticket.request
        return _Row(
            ticket=ticket,
            ids=list(ticket.prompt),
            most=min(len(ticket.prompt) + request.most_tokens, self.context_tokens - ahead),
            ahead=ahead,
            draw=Draw.of(request.sampling),
            text=Unfolding(ticket.tokenizer, request.stop, strips=bool(request.turns)),
            known=known,
        )

    def _known(self, ticket: Ticket) -> Pairs:
        """Keys and values of the beginning of a prompt, of a text that is kept or is being written; the last token
        of a prompt is never known, as what follows it is asked."""
        ids = np.array(ticket.prompt[:-1], np.int32)
        kept = self._prefixes.found(ticket.adapter, ids)
        alike = [row for row in self._writing.rows if row.ticket.adapter == ticket.adapter]
        shared = [
            (shared_tokens(np.array(row.ids[: row.known], np.int32), ids), at) for at, row in enumerate(alike)
        ]
        tokens, at = max(shared, default=(0, 0))
        if tokens < WORTH_TOKENS or tokens <= tokens_of(kept):
            return kept
        return first(self._writing.seen(alike[at]), tokens)

    def _ahead(self, adapter: str) -> int:
        return tokens_of(self._openings.get(adapter, ()))

    def _batch(self, rows: int) -> _Batch:
        return _Batch(Cells(self._model.config.num_hidden_layers, rows, self._device))

    def _rows(self) -> list[_Row]:
        return [row for batch in (*self._reading, self._writing) for row in batch.rows]


def _told(row: _Row, piece: Piece | None) -> Iterator[tuple[Ticket, Piece]]:
    if piece is not None:
        yield row.ticket, piece
