"""Rows to tokens, block by block, by the tokenizer's own library: one function a kind of row. Nothing is cut.

The same below the torch line and above it: what a plan has counted is what a training reads, as long as both have
the same tokenizer, which `key` tells. Leaves out cutting and padding (`evaluation.stored`).
"""

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, islice, pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from trimtab.data.chat_template import Render, TurnEnd, learned, marked, template_of, turn_end
from trimtab.data.corpus import RowKind, Split
from trimtab.data.spec import Example, Turn
from trimtab.data.token_store import Tokens, TokenStore
from trimtab.errors import DataError, ModelError

if TYPE_CHECKING:
    from tokenizers import Tokenizer

_LAYOUT = "1"  # of what is made here: another one where the same rows give other arrays
_BLOCK = 1024
_PROBE = (Turn("system", "S"), Turn("user", "U"), Turn("assistant", "A"), Turn("user", "V"))


@dataclass(frozen=True, kw_only=True, slots=True)
class TextTokenizer:
    """A tokenizer that neither cuts nor pads, with what it needs beside: of conversations how they are written
    (`render`, made of `template`) and which token ends an answer, of documents the id of the end of text, None =
    it has none."""

    tokenizer: "Tokenizer"
    template: str = ""
    render: Render | None = None
    turn_end: TurnEnd | None = None
    end_id: int | None = None

    @classmethod
    def of_file(cls, file: Path, kind: RowKind) -> "TextTokenizer":
        """Of a tokenizer.json, with the template beside it. Raises DataError TT-D077 where the file is no
        tokenizer, ModelError TT-M040 and TT-M041 for a template that cannot be used."""
        tokenizer = open_tokenizer(file)
        if kind == "conversation":
            template = template_of(file.parent)
            special = [token.content for token in tokenizer.get_added_tokens_decoder().values()]
            end = turn_end(template.render, special, template.end_of_text)
            return cls(tokenizer=tokenizer, template=template.source, render=template.render, turn_end=end)
        if kind == "plain":
            return cls(tokenizer=tokenizer, end_id=tokenizer.token_to_id(template_of(file.parent).end_of_text))
        return cls(tokenizer=tokenizer)

    def key(self, split: Split) -> str:
        """What the tokens of `split` are kept under."""
        import tokenizers

        said = [_LAYOUT, tokenizers.__version__, split.key, split.kind, str(self.end_id), repr(self.turn_end)]
        if self.render is not None:
            said += [self.template, *(_written(self.render, _PROBE[first:]) for first in (0, 1))]
        digest = hashlib.sha256("\0".join(said).encode())
        digest.update(self.tokenizer.to_str().encode())
        return digest.hexdigest()[:40]

    @property
    def largest_id(self) -> int:
        return max(self.tokenizer.get_vocab(with_added_tokens=True).values(), default=0)

    def blocks(self, split: Split, size: int = _BLOCK) -> Iterator[Tokens]:
        """All rows of `split`, `size` at a time. Raises DataError where a file has changed since it was opened,
        also while it was read."""
        examples, make = iter(split), _MAKERS[split.kind]
        while block := list(islice(examples, size)):
            yield make(self, block)
        for table in split.tables:
            table.rows()  # looks at the file once more


def kept_tokens(split: Split, by: TextTokenizer, store: TokenStore) -> Tokens | None:
    """The tokens of a split as `store` keeps them, made now where it makes any; None where it keeps none of such
    rows. Raises OSError where they cannot be kept, and as `TextTokenizer.blocks`."""
    if not store.takes(split):
        return None
    key = by.key(split)
    found = store.find(key)
    if found is None and store.builds:
        found = store.build(key, by.blocks(split), by.largest_id, split.file_bytes)
    return found


def open_tokenizer(file: Path) -> "Tokenizer":
    """A tokenizer.json, which neither cuts nor pads. Raises DataError TT-D077."""
    from tokenizers import Tokenizer

    try:
        tokenizer = Tokenizer.from_file(str(file))
    except Exception as error:  # the library raises bare Exception
        raise DataError("TT-D077", path=str(file)) from error
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


def sequence_key(ids: np.ndarray) -> int:
    """64 bits, equal for equal tokens whatever whole numbers they are kept in."""
    raw = ids.astype(np.int32).tobytes()
    return int.from_bytes(hashlib.blake2b(raw, digest_size=8).digest(), "little", signed=True)


def _labelled(by: TextTokenizer, block: list[Example]) -> Tokens:
    pairs = len(block[0].texts) == 2
    found = by.tokenizer.encode_batch_fast([one.texts if pairs else one.texts[0] for one in block])
    ids, starts = _flat([row.ids for row in found])
    seconds = np.array([_second(row.type_ids) for row in found], np.int32) if pairs else None
    several = [one.label for one in block if isinstance(one.label, tuple)]
    labels, firsts = _flat(several) if len(several) == len(block) else (None, None)
    return Tokens(ids=ids, starts=starts, seconds=seconds, labels=labels, firsts=firsts)


def _apart(by: TextTokenizer, block: list[Example]) -> Tokens:
    found = by.tokenizer.encode_batch_fast([text for one in block for text in one.texts])
    ids, starts = _flat([row.ids for row in found])
    keys = [sequence_key(ids[start:end]) for start, end in pairwise(starts)]
    rows = _ends([len(one.texts) for one in block])
    return Tokens(ids=ids, starts=starts, rows=rows, keys=np.array(keys, np.int64))


def _conversations(by: TextTokenizer, block: list[Example]) -> Tokens:
    assert by.render is not None and by.turn_end is not None, "conversations are written by a template"
    talks = [one.conversation for one in block if one.conversation is not None]
    texts = [marked(talk, by.render, by.turn_end) for talk in talks]
    found = by.tokenizer.encode_batch([text.text for text in texts], add_special_tokens=False)
    ids, starts = _flat([row.ids for row in found])
    learns = [learned(*_places(row.offsets), text.answers) for row, text in zip(found, texts, strict=True)]
    return Tokens(ids=ids, starts=starts, learned=np.concatenate(learns) if learns else np.zeros(0, np.bool_))


def _documents(by: TextTokenizer, block: list[Example]) -> Tokens:
    """Each with the end of text behind it, which the tokenizer may write itself."""
    end = by.end_id
    found = [row.ids for row in by.tokenizer.encode_batch_fast([one.texts[0] for one in block])]
    ids, starts = _flat([row if row and row[-1] == end else [*row, end or 0] for row in found])
    return Tokens(ids=ids, starts=starts)


def _words(by: TextTokenizer, block: list[Example]) -> Tokens:
    found = by.tokenizer.encode_batch([list(one.texts) for one in block], is_pretokenized=True)
    ids, starts = _flat([row.ids for row in found])
    firsts = _ends([len(one.texts) for one in block])
    places = [
        first_tokens(row.word_ids, len(one.texts), int(start))
        for row, one, start in zip(found, block, starts[:-1], strict=True)
    ]
    tags = [one.label if isinstance(one.label, tuple) else (0,) * len(one.texts) for one in block]
    return Tokens(ids=ids, starts=starts, labels=_flat(tags)[0], firsts=firsts, places=np.concatenate(places))


_MAKERS: Mapping[RowKind, Callable[[TextTokenizer, list[Example]], Tokens]] = {
    "labelled": _labelled,
    "conversation": _conversations,
    "apart": _apart,
    "plain": _documents,
    "words": _words,
}


def first_tokens(word_ids: Sequence[int | None], words: int, start: int) -> np.ndarray:
    """For each word of a sentence the place of its first token, counted from `start`; -1 where it has none."""
    of_token = np.array([-1 if word is None else word for word in word_ids], np.int64)
    found, first = np.unique(of_token, return_index=True)
    places = np.full(words, -1, np.int64)
    places[found[found >= 0]] = start + first[found >= 0]
    return places


def _flat(rows: Sequence[Sequence[int]]) -> tuple[np.ndarray, np.ndarray]:
    """All numbers one after the other, int64, and where each row begins."""
    ends = _ends([len(row) for row in rows])
    return np.fromiter(chain.from_iterable(rows), np.int64, int(ends[-1])), ends


def _ends(lengths: list[int]) -> np.ndarray:
    return np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths, dtype=np.int64)])


def _second(types: list[int]) -> int:
    return types.index(1) if 1 in types else 0


def _places(offsets: list[tuple[int, int]]) -> tuple[np.ndarray, np.ndarray]:
    places = np.array(offsets, np.int64).reshape(-1, 2)
    return places[:, 0], places[:, 1]


def _written(render: Render, turns: Sequence[Turn]) -> str:
    """What a template makes of some turns with the tokens (and the date) it knows, or why it refuses them."""
    try:
        return render(turns, True)
    except ModelError as error:
        return str(error)
