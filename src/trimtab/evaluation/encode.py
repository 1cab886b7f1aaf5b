"""Texts to token arrays, and token arrays to padded batches: no Python objects per token.

A split becomes one flat array of token ids with the start of each row, 4 bytes a token, filled in blocks while
the split streams by.
"""

import itertools
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, fields, replace
from itertools import islice

import numpy as np
import torch
from transformers import PreTrainedTokenizerBase as Tokenizer

from trimtab.data.spec import Example, padded_length, padded_tokens
from trimtab.data.token_rows import sequence_key
from trimtab.data.token_store import let_go
from trimtab.evaluation.states import States
from trimtab.methods import Strategy
from trimtab.tuning.upper_part import STATES

NO_LABEL, NO_LABELS = -1, -2  # of a row that has none, where a row has one label, and where it has several
_BLOCK = 1024
_PIECE = 1 << 20  # tokens that are looked at together


@dataclass(frozen=True, slots=True)
class Apart:
    """Where the texts of rows stand that are run one by one. `starts` int64 (texts + 1): the first token of each;
    `rows` int64 (rows + 1): the first text of each row; `keys` int64 (texts): equal for equal tokens."""

    starts: np.ndarray
    rows: np.ndarray
    keys: np.ndarray

    @property
    def texts(self) -> np.ndarray:
        """Texts of every row, int64."""
        return np.diff(self.rows)

    def texts_of(self, rows: np.ndarray) -> np.ndarray:
        """Texts of some rows, int64."""
        return self.rows[rows + 1] - self.rows[rows]

    def order(self, rows: np.ndarray) -> np.ndarray:
        """The texts of `rows`: the first of each row, then the second of each, then all others, row by row;
        int64."""
        first, texts = self.rows[rows], self.texts_of(rows)
        others = [np.arange(start + 2, start + count) for start, count in zip(first, texts, strict=True)]
        return np.concatenate([first, first[texts > 1] + 1, *others]).astype(np.int64)


@dataclass(frozen=True, slots=True)
class Words:
    """The words of tagged sentences, sentence by sentence. `tags` int64 (words); `places` int64 (words): which of
    `Encoded.ids` a word begins with, -1 where it was cut off or is no token at all; `starts` int64 (rows + 1)."""

    tags: np.ndarray
    places: np.ndarray
    starts: np.ndarray

    def first(self, rows: int) -> "Words":
        """The words of the first `rows` sentences."""
        end = self.starts[rows]
        return Words(self.tags[:end], self.places[:end], self.starts[: rows + 1])


@dataclass(frozen=True, slots=True)
class Encoded:
    """Tokenised rows. `ids` whole numbers (tokens), int32 or as the token store keeps them; `starts` int64 (rows
    + 1), `seconds` int32 (rows): where the second text of a pair begins, 0 for a single text; `labels` int64
    or float32 (rows), or where a row has several int64 (rows, most), filled up with -1; of a row without any
    NO_LABEL, NaN or NO_LABELS. `learned` bool (tokens): of conversations, the tokens of answers; `apart`: the
    texts of a row, where they are run one by one; `words`: of sentences whose words have tags; `states`: of every
    token, where a model's frozen part has been run."""

    ids: np.ndarray
    starts: np.ndarray
    seconds: np.ndarray
    labels: np.ndarray
    learned: np.ndarray | None = None
    apart: Apart | None = None
    words: Words | None = None
    states: States | None = None

    def __len__(self) -> int:
        return len(self.starts) - 1

    @property
    def lengths(self) -> np.ndarray:
        """Tokens of every row, int64."""
        return np.diff(self.starts)

    def lengths_of(self, rows: np.ndarray) -> np.ndarray:
        """Tokens of some rows, int64: of a batch, without a look at all others."""
        return self.starts[rows + 1] - self.starts[rows]

    @property
    def widths(self) -> np.ndarray:
        """To how many tokens every row alone would be padded, int64: batches are made of rows of like width."""
        if self.apart is None:
            return self.lengths
        texts = np.diff(self.apart.starts)
        return np.maximum.reduceat(texts, self.apart.rows[:-1]) if len(self) else texts

    @property
    def loads(self) -> np.ndarray:
        """Padded tokens of every row alone, int64: those with most need most memory."""
        return self.widths if self.apart is None else self.widths * self.apart.texts

    @property
    def texts(self) -> "Encoded":
        """The texts that are run one by one, as rows of one text each."""
        assert self.apart is not None, "rows are one sequence each"
        nothing = np.broadcast_to(np.int64(0), len(self.apart.keys))  # no array as long as the data
        return Encoded(self.ids, self.apart.starts, nothing, nothing, states=self.states)

    def first(self, count: int) -> "Encoded":
        """The first `count` rows, or all where there are fewer."""
        rows = min(count, len(self))
        end = self.starts[rows]
        apart = self.apart
        if apart is not None:
            texts = apart.rows[rows]
            apart = Apart(apart.starts[: texts + 1], apart.rows[: rows + 1], apart.keys[:texts])
        return Encoded(
            ids=self.ids[:end],
            starts=self.starts[: rows + 1],
            seconds=self.seconds[:rows],
            labels=self.labels[:rows],
            learned=None if self.learned is None else self.learned[:end],
            apart=apart,
            words=None if self.words is None else self.words.first(rows),
            states=self.states,
        )

    @classmethod
    def joined(cls, parts: "Sequence[Encoded]") -> "Encoded":
        """The rows of several, one after the other, all of one task; without their labels."""
        starts, rows = _one_after_another([part.starts for part in parts]), sum(map(len, parts))
        apart = words = None
        if all(part.apart is not None for part in parts):
            aparts = [part.apart for part in parts if part.apart is not None]
            apart = Apart(
                starts=_one_after_another([one.starts for one in aparts]),
                rows=_one_after_another([one.rows for one in aparts]),
                keys=np.concatenate([one.keys for one in aparts]),
            )
        if all(part.words is not None for part in parts):
            of_words = [(part.words, len(part.ids)) for part in parts if part.words is not None]
            before = np.cumsum([0, *(tokens for _, tokens in of_words)])
            places = [
                np.where(one.places < 0, -1, one.places + first)
                for (one, _), first in zip(of_words, before, strict=False)
            ]
            words = Words(
                tags=np.concatenate([one.tags for one, _ in of_words]),
                places=np.concatenate(places),
                starts=_one_after_another([one.starts for one, _ in of_words]),
            )
        return cls(
            ids=np.concatenate([part.ids for part in parts]),
            starts=starts,
            seconds=np.concatenate([part.seconds for part in parts]),
            labels=np.zeros(rows, np.int64),
            apart=apart,
            words=words,
        )

    def distinct_tokens(self, padding: int) -> np.ndarray:
        """Ids of all tokens in these rows and of the padding token, int64, ascending."""
        seen = np.zeros(max(int(self.ids.max(initial=0)), padding) + 1, dtype=bool)
        seen[padding] = True
        for first in range(0, len(self.ids), _PIECE):
            seen[self.ids[first : first + _PIECE]] = True
            let_go(self.ids)
        return np.flatnonzero(seen)

    def let_go(self) -> None:
        """Give back the memory of what has been read of rows that the token store keeps."""
        for array in self.arrays():
            if array is not None:
                let_go(array)

    def arrays(self) -> list[np.ndarray | None]:
        """All that there is, but for states."""
        apart, words = self.apart, self.words
        found = [self.ids, self.starts, self.seconds, self.labels, self.learned]
        found += [] if apart is None else [apart.starts, apart.rows, apart.keys]
        return found + ([] if words is None else [words.tags, words.places, words.starts])


def spans(starts: np.ndarray, rows: np.ndarray, most: int | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Of rows that begin at `starts` in a flat array: the places of all numbers of `rows`, row after row, of each
    at most the first `most`; and where each of them begins among those. Both int64."""
    lengths = starts[rows + 1] - starts[rows]
    lengths = lengths if most is None else np.minimum(lengths, most)
    begins = np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths)])
    return np.arange(begins[-1]) + np.repeat(starts[rows] - begins[:-1], lengths), begins


def _one_after_another(starts: Sequence[np.ndarray]) -> np.ndarray:
    """Starts of the parts of several arrays, each from 0 to its length, in the arrays joined."""
    ends = np.cumsum([0, *(part[-1] for part in starts)])
    return np.concatenate(
        [np.zeros(1, np.int64), *(part[1:] + end for part, end in zip(starts, ends, strict=False))]
    )


@dataclass(frozen=True, slots=True)
class Collator:
    """What padding needs to know of a tokenizer, and the length at which texts were cut."""

    max_length: int
    pad_token_id: int
    token_types: bool
    left: bool

    @classmethod
    def of(cls, tokenizer: Tokenizer, max_length: int) -> "Collator":
        return cls(
            max_length=max_length,
            pad_token_id=int(tokenizer.pad_token_id),
            token_types="token_type_ids" in tokenizer.model_input_names,
            left=tokenizer.padding_side == "left",
        )

    def laid(self, strategy: Strategy) -> "Collator":
        """As rows are trained on: end to end where `strategy` packs them."""
        return EndToEnd(**{f.name: getattr(self, f.name) for f in fields(self)}) if strategy.packed else self

    def beside(self, strategy: Strategy) -> "Collator":
        """As `strategy` needs it: padded on the right where virtual tokens stand before the texts. Padding between
        them would move a text away from its virtual tokens, by the other rows of its batch."""
        return replace(self, left=self.left and not strategy.positions)

    def batch(self, encoded: Encoded, rows: np.ndarray) -> dict[str, torch.Tensor]:
        """Model inputs of `rows`, padded to `padded_length` of the longest: input_ids, attention_mask and,
        where the tokenizer has them, token_type_ids; each int64 (rows, width). Of rows whose texts are run one by
        one, those texts in the order of `Apart.order`."""
        if encoded.apart is not None:
            rows, encoded = encoded.apart.order(rows), encoded.texts
        columns, mask = self._places(encoded, rows)
        ids = np.full(mask.shape, self.pad_token_id, dtype=np.int64)
        ids[mask] = encoded.ids[(encoded.starts[rows][:, None] + columns)[mask]]
        inputs = {"input_ids": ids, "attention_mask": mask.astype(np.int64)}
        if self.token_types:
            seconds = encoded.seconds[rows][:, None]
            inputs["token_type_ids"] = (mask & (seconds > 0) & (columns >= seconds)).astype(np.int64)
        batch = {name: torch.from_numpy(array) for name, array in inputs.items()}
        if encoded.states is not None:
            lengths, places = encoded.lengths_of(rows), mask.argmax(axis=1) + np.arange(len(rows)) * mask.shape[1]
            pieces = zip(encoded.starts[rows].tolist(), lengths.tolist(), places.tolist(), strict=True)
            batch[STATES] = encoded.states.laid_out(pieces, (len(rows), mask.shape[1]))
        return batch

    def next_tokens(self, encoded: Encoded, rows: np.ndarray) -> torch.Tensor:
        """The learned tokens of a batch of `rows`, int64 (2, tokens): the place before each in the flattened
        batch, whose output predicts it, and its id. The first token of a row has nothing before it."""
        assert encoded.learned is not None, "only conversations have learned tokens"
        columns, mask = self._places(encoded, rows)
        learned = np.zeros(mask.shape, np.bool_)
        at = encoded.starts[rows][:, None] + columns
        learned[mask] = encoded.learned[at[mask]]
        learned &= columns > 0
        return torch.from_numpy(np.stack([np.flatnonzero(learned) - 1, encoded.ids[at[learned]].astype(np.int64)]))

    def tagged_words(self, encoded: Encoded, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The words of `rows` that have a token, row by row: which of all words each is, and the place of its
        first token in the flattened batch; int64 (words) both."""
        assert encoded.words is not None, "only sentences have tagged words"
        words, begins = spans(encoded.words.starts, rows)
        row = np.repeat(np.arange(len(rows)), np.diff(begins))
        there = encoded.words.places[words] >= 0
        row, words = row[there], words[there]
        columns, _ = self._places(encoded, rows)
        first = columns[row, 0]  # of a row padded on the left below zero
        column = encoded.words.places[words] - encoded.starts[rows][row] - first
        return words, row * columns.shape[1] + column

    def _places(self, encoded: Encoded, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Which token of its row stands at each place of a padded batch, (rows or 1, width), and where there is
        one, bool (rows, width)."""
        lengths = encoded.lengths_of(rows)
        width = padded_length(int(lengths.max()), self.max_length)
        columns = np.arange(width) - (width - lengths[:, None] if self.left else 0)
        columns = np.broadcast_to(columns, (len(rows), width))
        return columns, (columns >= 0) & (columns < lengths[:, None])


class EndToEnd(Collator):
    """Lays the rows of a batch end to end in one sequence, without padding between them."""

    def batch(self, encoded: Encoded, rows: np.ndarray) -> dict[str, torch.Tensor]:
        """Model inputs of `rows`, as `end_to_end` gives them."""
        starts, ends = encoded.starts[rows], encoded.starts[rows + 1]
        whole = (encoded.ids[start:end].astype(np.int64) for start, end in zip(starts, ends, strict=True))
        texts = [torch.from_numpy(row) for row in whole]
        batch = end_to_end(texts, self.pad_token_id)
        if encoded.states is not None:
            lengths = encoded.lengths_of(rows)
            places = np.cumsum(lengths) - lengths
            pieces = zip(starts.tolist(), lengths.tolist(), places.tolist(), strict=True)
            batch[STATES] = encoded.states.laid_out(pieces, (1, batch["input_ids"].shape[1]))
        return batch

    def next_tokens(self, encoded: Encoded, rows: np.ndarray) -> torch.Tensor:
        """As of a padded batch, with places in the one sequence."""
        assert encoded.learned is not None, "only conversations have learned tokens"
        at, _ = spans(encoded.starts, rows)
        learned = encoded.learned[at] & ~np.isin(at, encoded.starts[rows])
        return torch.from_numpy(np.stack([np.flatnonzero(learned) - 1, encoded.ids[at[learned]].astype(np.int64)]))


def end_to_end(rows: Sequence[torch.Tensor], pad_token_id: int) -> dict[str, torch.Tensor]:
    """Rows of tokens as one sequence of `padded_tokens`: input_ids and position_ids, which begin anew with every
    row, int64 (1, width); cu_seq_lens_q, where rows begin and the last ends, int32. What fills up the width is a
    row of its own."""
    lengths = [len(row) for row in rows]
    width = padded_tokens(sum(lengths))
    if width > sum(lengths):
        lengths.append(width - sum(lengths))
    ids = torch.full((1, width), pad_token_id, dtype=torch.int64)
    ids[0, : sum(map(len, rows))] = torch.cat(list(rows))
    positions = torch.cat([torch.arange(length) for length in lengths])
    ends = torch.tensor([0, *itertools.accumulate(lengths)], dtype=torch.int32)
    return {"input_ids": ids, "position_ids": positions[None], "cu_seq_lens_q": ends}


def encode(examples: Iterable[Example], tokenizer: Tokenizer, max_length: int) -> Encoded:
    """Tokenise a stream of examples, each cut at `max_length` tokens (the longer text of a pair first)."""
    ids: list[np.ndarray] = []
    lengths: list[int] = []
    seconds: list[int] = []
    labels: list[float | tuple[int, ...] | None] = []
    for block in blocks(examples):
        rows, types = _tokenise(block, tokenizer, max_length)
        ids.append(np.fromiter((token for row in rows for token in row), dtype=np.int32))
        lengths += [len(row) for row in rows]
        seconds += [row.index(1) if 1 in row else 0 for row in types] if types else [0] * len(rows)
        labels += [example.label for example in block]
    starts = np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)]) if lengths else np.zeros(1, np.int64)
    return Encoded(
        ids=np.concatenate(ids) if ids else np.zeros(0, np.int32),
        starts=starts.astype(np.int64),
        seconds=np.asarray(seconds, dtype=np.int32),
        labels=_label_array(labels),
    )


def encode_apart(examples: Iterable[Example], tokenizer: Tokenizer, max_length: int) -> Encoded:
    """Tokenise a stream of examples whose texts are run one by one, each cut at `max_length` tokens. `labels`
    float32 where every row has one, else int64 zeros."""
    ids: list[np.ndarray] = []
    lengths: list[int] = []
    texts: list[int] = []
    labels: list[float | tuple[int, ...] | None] = []
    for block in blocks(examples):
        found = tokenizer(
            [text for example in block for text in example.texts],
            truncation=True,
            max_length=max_length,
            padding=False,
            return_attention_mask=False,
        )["input_ids"]
        ids += [np.array(row, np.int32) for row in found]
        lengths += map(len, found)
        texts += [len(example.texts) for example in block]
        labels += [example.label for example in block]
    starts = np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)]).astype(np.int64)
    rows = np.concatenate([[0], np.cumsum(texts, dtype=np.int64)]).astype(np.int64)
    scored = bool(labels) and None not in labels
    return Encoded(
        ids=np.concatenate(ids) if ids else np.zeros(0, np.int32),
        starts=starts[rows],
        seconds=np.zeros(len(texts), np.int32),
        labels=np.array(labels, np.float32) if scored else np.zeros(len(texts), np.int64),
        apart=Apart(starts, rows, np.array([sequence_key(row) for row in ids], np.int64)),
    )


def _label_array(labels: list[float | tuple[int, ...] | None]) -> np.ndarray:
    if any(isinstance(label, tuple) for label in labels):
        sets = [label if isinstance(label, tuple) else (NO_LABELS,) for label in labels]
        filled = np.full((len(sets), max(1, *map(len, sets))), -1, np.int64)
        for row, several in zip(filled, sets, strict=True):
            row[: len(several)] = several
        return filled
    if any(isinstance(label, float) for label in labels):
        return np.array([math.nan if label is None else label for label in labels], np.float32)
    return np.array([NO_LABEL if label is None else label for label in labels], np.int64)


def _tokenise(
    block: list[Example], tokenizer: Tokenizer, max_length: int
) -> tuple[list[list[int]], list[list[int]]]:
    texts = [example.texts[0] for example in block]
    pairs = [example.texts[1] for example in block] if len(block[0].texts) == 2 else None
    encoding = tokenizer(
        texts, pairs, truncation=True, max_length=max_length, padding=False, return_attention_mask=False
    )
    return encoding["input_ids"], encoding.get("token_type_ids", []) if pairs else []


def blocks(examples: Iterable[Example]) -> Iterator[list[Example]]:
    iterator = iter(examples)
    while block := list(islice(iterator, _BLOCK)):
        yield block
