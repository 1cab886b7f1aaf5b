"""A smaller vocabulary: the content of a tokenizer.json in, which tokens stay, and that of a smaller one out.

Whatever stays, a text whose tokens all stay is cut into the same tokens: scores, merges and their order are left
as they are, and with a token stays what it is merged from. Pure: no files, no torch. Leaves out counting tokens
and cutting the model's table (tuning.tokens).
"""

import json
import unicodedata
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np

from trimtab.errors import ModelError
from trimtab.models.config_keys import CONFIG_TABLES
from trimtab.models.spec import ModelSpec

Json = Mapping[str, Any]  # the content of a tokenizer.json, or a part of it
SCRIPT_SHARE = 0.001  # of all characters: letters of a script with fewer are strays in the data
MAIN_SHARE = 0.1  # of all characters: a script with fewer is foreign words in the data
_MARK = "▁"  # SentencePiece's, before a word


class Vocabulary:
    """The tokens of a tokenizer.json. Final.

    Raises ModelError TT-C300 for a kind of tokenizer that is not known here. `name` is what errors call it."""

    def __init__(self, plain: Json, name: str = "") -> None:
        self.plain, model = plain, plain["model"]
        kind = _KINDS.get(model.get("type") or "")
        if kind is None or model.get("end_of_word_suffix"):
            known = ", ".join(_KINDS)
            raise ModelError("TT-C300", name=name, kind=str(model.get("type")), known=known)
        self._model = kind(model, _has(plain, "ByteLevel"))

    @cached_property
    def pieces(self) -> Mapping[int, str]:
        """Every token by its id, added ones included."""
        added = {token["id"]: token["content"] for token in self.plain["added_tokens"]}
        return self._model.pieces | added

    @cached_property
    def required(self) -> frozenset[int]:
        """What the tokenizer needs, whatever the texts: added and special tokens, the unknown token, bytes."""
        added = (token["id"] for token in self.plain["added_tokens"])
        padding = (self.plain.get("padding") or {}).get("pad_id")
        named = {*added, *_processor_ids(self.plain.get("post_processor")), *self._model.required}
        return frozenset(named if padding is None else {*named, padding}) & self.pieces.keys()

    def kept(
        self, counts: np.ndarray, *, always: Iterable[int] = (), up_to: int = -1, whole_scripts: bool = False
    ) -> tuple[int, ...]:
        """Ids that stay, ascending, of a model that is to read texts in which tokens occur `counts` times, int64
        by id (0 beyond its end): those, the ones that are `required`, `always` and all ids to `up_to` (which need
        be no token); of every script of the texts all single characters, within words and at their beginning; with
        `whole_scripts` all tokens that are written in the main ones; and what they are merged from."""
        letters = self._letters(counts)
        single = _scripts(letters, SCRIPT_SHARE)
        whole = _scripts(letters, MAIN_SHARE) if whole_scripts else frozenset()
        stay = {*np.flatnonzero(counts).tolist(), *self.required, *always} & self.pieces.keys()
        for number, text in self._model.texts:
            scripts = single if len(text) == 1 else whole
            if self._model.is_part(number) or all(script_of(letter) in scripts for letter in text):
                stay.add(number)
        return tuple(sorted(self._model.closed(stay) | set(range(up_to + 1))))

    def _letters(self, counts: np.ndarray) -> Counter[str]:
        """Characters that were read, by script."""
        added = {token["id"] for token in self.plain["added_tokens"]}
        letters: Counter[str] = Counter()
        for number, text in self._model.texts:
            if number < len(counts) and counts[number] and number not in added:
                for letter in text:
                    letters[script_of(letter)] += int(counts[number])
        return letters

    def trimmed(self, kept: tuple[int, ...]) -> dict[str, Any]:
        """The tokenizer.json with the tokens `kept`, ascending: each has its place there as its new id."""
        number_of = numbers(kept)
        plain = dict(self.plain)
        plain["added_tokens"] = [token | {"id": number_of[token["id"]]} for token in plain["added_tokens"]]
        plain["post_processor"] = _renumbered_processor(plain.get("post_processor"), number_of)
        if plain.get("padding"):
            padding = plain["padding"]
            plain["padding"] = padding | {"pad_id": number_of[padding["pad_id"]]}
        plain["model"] = dict(plain["model"]) | self._model.cut(number_of)
        return plain


def numbers(kept: Iterable[int]) -> dict[int, int]:
    """Old id -> new id."""
    return {old: new for new, old in enumerate(kept)}


def tokenizer_text(plain: Json) -> str:
    """As `tokenizers` writes it into tokenizer.json."""
    return json.dumps(plain, ensure_ascii=False, indent=2)


def named_ids(config: Json) -> frozenset[int]:
    """Ids that a config.json has for the beginning and the end of a text, for padding, and the like."""
    found = (value for key, value in config.items() if key.endswith("_token_id"))
    listed = (value if isinstance(value, list) else [value] for value in found)
    return frozenset(number for numbers in listed for number in numbers if number is not None)


def fixed_ids(spec: ModelSpec) -> int:
    """The last id that has to keep its number; -1 = there is none. Where positions are counted from the padding
    id, it is that."""
    padding = spec.pad_token_id
    return -1 if padding is None or not CONFIG_TABLES[spec.family].positions_after_padding else padding


def renumbered_config(plain: Json, kept: tuple[int, ...]) -> dict[str, Any]:
    """A tokenizer_config.json that goes with it."""
    number_of, key = numbers(kept), "added_tokens_decoder"
    if key not in plain:
        return dict(plain)
    known = {int(old): token for old, token in plain[key].items()}
    return dict(plain) | {key: {str(number_of[old]): token for old, token in known.items() if old in number_of}}


def script_of(letter: str) -> str:
    """The script of a letter or a mark ("CJK", "LATIN"), by the first word of its name; of anything else its
    general category ("Po", "Nd")."""
    category = unicodedata.category(letter)
    if category[0] not in "LM":
        return category
    return unicodedata.name(letter, "?").partition(" ")[0]


def _scripts(letters: Counter[str], share: float) -> frozenset[str]:
    """Scripts that are at least that share of all characters; of what is no letter, all kinds that occur."""
    least = share * letters.total()
    return frozenset(script for script, count in letters.items() if count >= least or len(script) == 2)


# ------------------------------------------------------------------ kinds of tokenizers


@dataclass(frozen=True)
class _Model(ABC):
    """The part "model" of a tokenizer.json. `byte_level`: its pieces are written in the 256 letters that stand for
    bytes."""

    plain: Json
    byte_level: bool

    @cached_property
    @abstractmethod
    def pieces(self) -> dict[int, str]:
        """Token by id."""

    @cached_property
    def required(self) -> frozenset[int]:
        """Ids without which it would cut other texts otherwise."""
        ids = {piece: number for number, piece in self.pieces.items()}
        names = [self.plain.get("unk_token")]
        if self.plain.get("byte_fallback"):
            names += [f"<0x{byte:02X}>" for byte in range(256)]
        return frozenset(ids[name] for name in names if name in ids)

    @cached_property
    def texts(self) -> tuple[tuple[int, str], ...]:
        """Id and what is written, without the mark of a word: empty where it is the mark alone."""
        return tuple((number, self.text(piece)) for number, piece in self.pieces.items())

    def text(self, piece: str) -> str:
        return piece.removeprefix(_MARK)

    def is_part(self, number: int) -> bool:
        """Whether it is the mark of a word alone, or stands for a byte: a part of texts of every script."""
        return not self.text(self.pieces[number]) or (self.byte_level and len(self.pieces[number]) == 1)

    def closed(self, stay: set[int]) -> set[int]:
        """With what those are merged from."""
        return stay

    @abstractmethod
    def cut(self, number_of: Mapping[int, int]) -> dict[str, Any]:
        """Its keys that change where only those tokens stay."""


class _Unigram(_Model):
    """The best sum of scores. The lowest score decides what an unknown character costs, so it stays."""

    @cached_property
    def pieces(self) -> dict[int, str]:
        return {number: piece for number, (piece, _) in enumerate(self.plain["vocab"])}

    @cached_property
    def required(self) -> frozenset[int]:
        vocab, unknown = self.plain["vocab"], self.plain.get("unk_id")
        lowest = min(range(len(vocab)), key=lambda number: vocab[number][1])
        return super().required | {lowest} | (set() if unknown is None else {unknown})

    def cut(self, number_of: Mapping[int, int]) -> dict[str, Any]:
        vocab, unknown = self.plain["vocab"], self.plain.get("unk_id")
        stay = [vocab[old] for old in number_of if old < len(vocab)]
        return {"vocab": stay, "unk_id": None if unknown is None else number_of[unknown]}


class _Named(_Model):
    """Ids by name."""

    @cached_property
    def pieces(self) -> dict[int, str]:
        return {number: piece for piece, number in self.plain["vocab"].items()}

    def cut(self, number_of: Mapping[int, int]) -> dict[str, Any]:
        return {"vocab": {self.pieces[old]: new for old, new in number_of.items() if old in self.pieces}}


class _WordPiece(_Named):
    """The longest piece first."""

    def text(self, piece: str) -> str:
        return piece.removeprefix(self.plain["continuing_subword_prefix"])


class _WordLevel(_Named):
    """Whole words: there are no parts of them to keep."""

    def text(self, piece: str) -> str:
        return piece


class _Bpe(_Named):
    """Merges, the earliest first. A token comes out of a text by the merges that it comes out of alone, since none
    of them goes beyond it: with what these make it is made again, and nothing that stays is merged earlier."""

    def text(self, piece: str) -> str:
        if not self.byte_level:
            return super().text(piece)
        from tokenizers import decoders

        return str(decoders.ByteLevel().decode([piece])).removeprefix(" ")

    @cached_property
    def _merges(self) -> list[tuple[str, str]]:
        written = (merge.split(" ") if isinstance(merge, str) else merge for merge in self.plain["merges"])
        return [(left, right) for left, right in written]

    def closed(self, stay: set[int]) -> set[int]:
        rank_of = {merge: rank for rank, merge in reversed(list(enumerate(self._merges)))}
        ids = {piece: number for number, piece in self.pieces.items()}
        made = (part for number in stay if number in self.pieces for part in _made(self.pieces[number], rank_of))
        return stay | {ids[part] for part in made if part in ids}

    def cut(self, number_of: Mapping[int, int]) -> dict[str, Any]:
        stay = {self.pieces[old] for old in number_of if old in self.pieces}
        merges = [
            [left, right] for left, right in self._merges if {left, right, left + right} <= stay
        ]  # fmt: skip
        return super().cut(number_of) | {"merges": merges}


def _made(piece: str, rank_of: Mapping[tuple[str, str], int]) -> Iterator[str]:
    """Letters of a piece and whatever merging makes of it on the way, itself at the end."""
    parts = list(piece)
    yield from parts
    while True:
        ranked = [(rank_of[pair], place) for place, pair in enumerate(pairwise(parts)) if pair in rank_of]
        if not ranked:
            return
        _, place = min(ranked)
        parts[place : place + 2] = [parts[place] + parts[place + 1]]
        yield parts[place]


_KINDS: Mapping[str, type[_Model]] = {
    "Unigram": _Unigram,
    "WordPiece": _WordPiece,
    "BPE": _Bpe,
    "WordLevel": _WordLevel,
}


# ------------------------------------------------------------------ around them


def _has(plain: Json, kind: str) -> bool:
    """Whether a pre-tokenizer or a decoder of that kind is among its parts."""
    return any(part.get("type") == kind for key in ("pre_tokenizer", "decoder") for part in _parts(plain.get(key)))


def _parts(component: Json | None) -> Iterator[Json]:
    if component is None:
        return
    yield component
    for key in ("pretokenizers", "decoders", "processors"):
        for part in component.get(key) or ():
            yield from _parts(part)


def _processor_ids(processor: Json | None) -> Iterator[int]:
    """Ids that a post-processor puts around texts."""
    for part in _parts(processor):
        for token in (part.get("special_tokens") or {}).values():
            yield from token["ids"]
        for key in ("cls", "sep"):
            if key in part:
                yield part[key][1]


def _renumbered_processor(processor: Json | None, number_of: Mapping[int, int]) -> dict[str, Any] | None:
    if processor is None:
        return None
    plain = dict(processor)
    if "processors" in plain:
        plain["processors"] = [_renumbered_processor(part, number_of) for part in plain["processors"]]
    if plain.get("special_tokens"):
        plain["special_tokens"] = {
            name: token | {"ids": [number_of[number] for number in token["ids"]]}
            for name, token in plain["special_tokens"].items()
        }
    ends = {key: [plain[key][0], number_of[plain[key][1]]] for key in ("cls", "sep") if key in plain}
    return plain | ends
