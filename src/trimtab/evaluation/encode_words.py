"""Sentences that are given as words, to token arrays."""

from collections.abc import Iterable

import numpy as np
from transformers import PreTrainedTokenizerBase as Tokenizer

from trimtab.data.spec import Example
from trimtab.data.token_rows import first_tokens
from trimtab.evaluation.encode import Encoded, Words, blocks


def encode_words(examples: Iterable[Example], tokenizer: Tokenizer, max_length: int) -> Encoded:
    """Tokenise a stream of sentences that are given as words, each cut at `max_length` tokens. A word's tag stands
    at its first token."""
    ids: list[np.ndarray] = []
    places: list[np.ndarray] = []
    tags: list[np.ndarray] = []
    start = 0
    for block in blocks(examples):
        found = tokenizer(
            [list(example.texts) for example in block],
            is_split_into_words=True,
            truncation=True,
            max_length=max_length,
            padding=False,
            return_attention_mask=False,
        )
        for row, example in enumerate(block):
            ids.append(np.array(found["input_ids"][row], np.int32))
            places.append(first_tokens(found.word_ids(row), len(example.texts), start))
            tags.append(np.array(example.label or (0,) * len(example.texts), np.int64))
            start += len(ids[-1])
    return Encoded(
        ids=np.concatenate(ids) if ids else np.zeros(0, np.int32),
        starts=_starts(ids),
        seconds=np.zeros(len(ids), np.int32),
        labels=np.zeros(len(ids), np.int64),
        words=Words(
            tags=np.concatenate(tags) if tags else np.zeros(0, np.int64),
            places=np.concatenate(places) if places else np.zeros(0, np.int64),
            starts=_starts(tags),
        ),
    )


def _starts(rows: list[np.ndarray]) -> np.ndarray:
    lengths = np.array([len(row) for row in rows], np.int64)
    return np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths)])
