"""A split as the rows of a training, from the token store where it keeps such rows, else tokenised in memory.

What is kept is whole. Rows that are longer than a training reads are tokenised once more, as ever, and kept beside
under a key of their own; conversations and documents are cut as they lie. The first rows are always tokenised and
compared: a tokenizer of another kind (with code of its own) is then noticed, and nothing of the store is used.
Leaves out slow tokenizers, which do not say what they are, and rows that stand in no file.
"""

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import islice
from typing import TYPE_CHECKING

import numpy as np
import transformers
from transformers import PreTrainedTokenizerBase as Tokenizer

from trimtab.data import Split
from trimtab.data.corpus import RowKind
from trimtab.data.spec import Example
from trimtab.data.token_rows import TextTokenizer, kept_tokens
from trimtab.data.token_store import Tokens, TokenStore, moved
from trimtab.errors import Message, message, system_reason
from trimtab.evaluation.chat import end_of_turn, renderer
from trimtab.evaluation.encode import Apart, Encoded, Words, spans

if TYPE_CHECKING:
    from trimtab.evaluation.objective import Objective

_COMPARED_ROWS = 64


@dataclass(frozen=True, kw_only=True, slots=True)
class SplitReader:
    """Reads splits for one training: as `objective` has them, each row cut at `max_length` tokens. `store` None =
    all in memory."""

    objective: "Objective"
    tokenizer: Tokenizer
    max_length: int
    store: TokenStore | None = None

    def read(self, split: Split) -> tuple[Encoded, Message | None]:
        """The rows, and why they are not kept where they could be. Raises DataError, ModelError."""
        store = self.store
        if store is None or not self.tokenizer.is_fast or not store.takes(split):
            return self._encode(split), None
        try:
            found = self._stored(split, store)
        except OSError as error:
            return self._encode(split), message("TT-D180", folder=str(store.folder), why=system_reason(error))
        if found is None:
            return self._encode(split), None
        if not self._agrees(found, split):
            return self._encode(split), message("TT-D181", tokenizer=type(self.tokenizer).__name__)
        return found, None

    def _encode(self, examples: Iterable[Example]) -> Encoded:
        return self.objective.encode(examples, self.tokenizer, self.max_length)

    def _stored(self, split: Split, store: TokenStore) -> Encoded | None:
        """None where the store has none, and makes none. Raises OSError where it cannot keep them."""
        by = self._by(split.kind)
        whole = kept_tokens(split, by, store)
        if whole is None:
            return None
        if split.kind == "plain" or int(np.diff(whole.starts).max(initial=0)) <= self.max_length:
            return self._encoded(whole, split)
        name = self._cut_key(by.key(split))
        cut = store.find(name)
        if cut is None and store.builds:
            cut = store.build(name, self._cut(whole, split), by.largest_id, split.file_bytes)
        return None if cut is None else self._encoded(cut, split)

    def _cut_key(self, whole: str) -> str:
        """Of rows that transformers has cut; `whole`: of the same rows before."""
        side, kind = self.tokenizer.truncation_side, type(self.tokenizer)
        said = (whole, self.max_length, side, kind.__module__, kind.__qualname__, transformers.__version__)
        return hashlib.sha256(repr(said).encode()).hexdigest()[:40]

    def _by(self, kind: RowKind) -> TextTokenizer:
        tokenizer = self.tokenizer.backend_tokenizer
        tokenizer.no_truncation()  # transformers sets both anew whenever it is called
        tokenizer.no_padding()
        if kind == "conversation":
            return TextTokenizer(
                tokenizer=tokenizer,
                template=str(self.tokenizer.chat_template),
                render=renderer(self.tokenizer),
                turn_end=end_of_turn(self.tokenizer),
            )
        return TextTokenizer(tokenizer=tokenizer, end_id=self.tokenizer.eos_token_id if kind == "plain" else None)

    def _agrees(self, found: Encoded, split: Split) -> bool:
        """Whether the first rows are what the tokenizer makes of them now; labels are the split's own."""
        now = self._encode(islice(split, _COMPARED_ROWS))
        if split.kind == "plain":
            return np.array_equal(now.ids, found.ids[: len(now.ids)])
        kept = found.first(len(now))
        return same_rows(replace(now, labels=now.starts), replace(kept, labels=kept.starts))

    def _cut(self, whole: Tokens, split: Split) -> Iterator[Tokens]:
        """`whole` with no row longer than is read. Rows that are too long are tokenised again, but for those of
        which that only takes away the end."""
        examples = iter(split)
        for part in whole.parts():
            if part.learned is not None:
                at, starts = spans(part.starts, np.arange(len(part)), self.max_length)
                yield Tokens(ids=part.ids[at], starts=starts, learned=part.learned[at])
                continue
            long = _longest(part) > self.max_length
            again = [one for one, is_long in zip(islice(examples, len(part)), long, strict=True) if is_long]
            yield _spliced(part, _tokens(self._encode(again)), np.flatnonzero(long)) if again else part

    def _encoded(self, tokens: Tokens, split: Split) -> Encoded:
        """As arrays of a training: nothing is copied that is as long as there are tokens."""
        if split.kind == "plain":
            return _blocks(tokens.ids, self.max_length)
        seconds = tokens.seconds if "token_type_ids" in self.tokenizer.model_input_names else None
        apart = words = None
        if tokens.rows is not None and tokens.keys is not None:
            apart = Apart(tokens.starts, tokens.rows, tokens.keys)
        if tokens.places is not None and tokens.labels is not None and tokens.firsts is not None:
            words = Words(tokens.labels, tokens.places, tokens.firsts)
        return Encoded(
            ids=tokens.ids,
            starts=tokens.starts if tokens.rows is None else tokens.starts[tokens.rows],
            seconds=np.zeros(len(tokens), np.int32) if seconds is None else seconds,
            labels=_several(tokens) if words is None and tokens.labels is not None else _labels(split),
            learned=tokens.learned,
            apart=apart,
            words=words,
        )


def same_rows(left: Encoded, right: Encoded) -> bool:
    """Whether two hold the same numbers, whatever whole numbers they are kept in."""
    if (left.apart is None, left.words is None) != (right.apart is None, right.words is None):
        return False
    return all(
        mine is theirs if mine is None or theirs is None else np.array_equal(mine, theirs)
        for mine, theirs in zip(left.arrays(), right.arrays(), strict=True)
    )


def _blocks(ids: np.ndarray, max_length: int) -> Encoded:
    """Documents as blocks of `max_length` tokens; of a single token, which nothing predicts, there is none."""
    ids = ids[:-1] if len(ids) % max_length == 1 else ids
    starts = np.append(np.arange(0, len(ids), max_length, dtype=np.int64), len(ids))
    rows = len(starts) - 1
    learned = np.broadcast_to(np.True_, len(ids))
    return Encoded(ids, starts, np.zeros(rows, np.int32), np.zeros(rows, np.int64), learned=learned)


def _labels(split: Split) -> np.ndarray:
    """Of rows that have one: an index, or a number."""
    return split.labels.astype(np.float32) if split.labels.dtype == np.float64 else split.labels


def _several(tokens: Tokens) -> np.ndarray:
    """Of rows that have any number of labels: int64 (rows, most), filled up with -1."""
    assert tokens.labels is not None and tokens.firsts is not None
    counts = np.diff(tokens.firsts)
    filled = np.full((len(counts), max(1, int(counts.max(initial=0)))), -1, np.int64)
    rows = np.repeat(np.arange(len(counts)), counts)
    filled[rows, np.arange(len(rows)) - np.repeat(tokens.firsts[:-1], counts)] = tokens.labels
    return filled


def _longest(tokens: Tokens) -> np.ndarray:
    """Tokens of each row, or of the longest of its texts, int64."""
    lengths = np.diff(tokens.starts)
    return lengths if tokens.rows is None else np.maximum.reduceat(lengths, tokens.rows[:-1])


def _tokens(rows: Encoded) -> Tokens:
    apart, words = rows.apart, rows.words
    return Tokens(
        ids=rows.ids,
        starts=rows.starts if apart is None else apart.starts,
        rows=None if apart is None else apart.rows,
        keys=None if apart is None else apart.keys,
        seconds=rows.seconds,
        firsts=None if words is None else words.starts,
        places=None if words is None else words.places,
    )


def _spliced(part: Tokens, again: Tokens, long: np.ndarray) -> Tokens:
    """`part` with `again` in the places of its rows `long`. Labels stay: a cut takes none away."""
    order = np.arange(len(part))
    order[long] = len(part) + np.arange(len(long))
    texts, rows = order, None
    if part.rows is not None and again.rows is not None:
        texts, rows = spans(np.concatenate([part.rows, again.rows[1:] + part.rows[-1]]), order)
    of_texts = np.concatenate([part.starts, again.starts[1:] + part.starts[-1]])
    at, starts = spans(of_texts, texts)
    return replace(
        part,
        ids=np.concatenate([part.ids, again.ids])[at],
        starts=starts,
        rows=rows,
        keys=_picked(part.keys, again.keys, texts),
        seconds=_picked(part.seconds, again.seconds, order),
        places=_places(part, again, order, starts[:-1] - of_texts[order]) if part.places is not None else None,
    )


def _picked(of_part: np.ndarray | None, of_again: np.ndarray | None, order: np.ndarray) -> np.ndarray | None:
    if of_part is None or of_again is None:
        return None
    return np.concatenate([of_part, of_again])[order]


def _places(part: Tokens, again: Tokens, order: np.ndarray, by: np.ndarray) -> np.ndarray:
    """Where words begin, once the tokens of row i stand `by[i]` further on than in `part` and `again` laid end to
    end."""
    assert part.places is not None and part.firsts is not None
    assert again.places is not None and again.firsts is not None
    places = np.concatenate([part.places, moved(again.places, int(part.starts[-1]))])
    words, begins = spans(np.concatenate([part.firsts, again.firsts[1:] + part.firsts[-1]]), order)
    return moved(places[words], np.repeat(by, np.diff(begins)))
