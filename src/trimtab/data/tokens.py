"""How long the texts of a corpus are in tokens, and the DataSpec that comes of it.

Conversations are counted as the model's chat template writes them, turn markers included: exactly, where its files
lie beside the tokenizer; by the default template where they do not.
"""

import contextlib
from collections.abc import Iterator
from itertools import chain, islice
from pathlib import Path

import numpy as np

from trimtab.data.corpus import Corpus, RowKind, Split
from trimtab.data.spec import (
    AnswerTokens,
    Conversation,
    DataSpec,
    LengthHistogram,
    Problem,
    RowTexts,
    TokenCount,
)
from trimtab.data.token_rows import TextTokenizer, kept_tokens, open_tokenizer
from trimtab.data.token_store import Tokens, TokenStore
from trimtab.errors import message

_LETTERS_PER_TOKEN = 4.0
_SPECIAL_TOKENS = 2
_TURN_TOKENS = 5  # markers of a turn, its role, line ends; SmolLM2, Qwen and Llama 3 write four or five


def count_tokens(
    split: Split, tokenizer_file: Path, batch: int = 1024, store: TokenStore | None = None
) -> TokenCount:
    """Tokens of every example, special tokens included, nothing cut or padded; and the different ones among them.

    `tokenizer_file` is a tokenizer.json; conversations are written by the template beside it. Streams `batch`
    examples at a time. `store`: where tokens are looked for, and kept for a training. Raises DataError TT-D077
    where the file is no tokenizer, ModelError TT-M040 and TT-M041 for a template that cannot be used."""
    by = TextTokenizer.of_file(tokenizer_file, split.kind)
    kept = None
    if store is not None:
        with contextlib.suppress(OSError):  # what cannot be kept costs time, nothing else
            kept = kept_tokens(split, by, store)
    counter = _Counter(by)
    for block in by.blocks(split, batch) if kept is None else kept.parts():
        counter.add(block)
    return counter.count(split.kind)


def count_ids(split: Split, tokenizer_file: Path, batch: int = 1024) -> np.ndarray:
    """How often each token occurs in all texts of a split, special tokens around them included, int64 by id, 0
    beyond its end. Not of conversations, which a template writes. Raises DataError TT-D077."""
    tokenizer, counts = open_tokenizer(tokenizer_file), np.zeros(1, np.int64)
    words = split.kind == "words"
    for texts in _batches(split, batch):
        rows = list(chain.from_iterable(texts)) if split.kind == "apart" else _inputs(texts, words=words)
        found = tokenizer.encode_batch_fast(rows, is_pretokenized=words)
        counts = _add(counts, list(chain.from_iterable(encoded.ids for encoded in found)))
    return counts


def _inputs(texts: list[tuple[str, ...]], *, words: bool) -> list:
    """As `tokenizers` takes rows of words, of one text, or of a pair."""
    return texts if words else [pair if len(pair) == 2 else pair[0] for pair in texts]


class _Counter:
    """What there is to count of tokens that come block by block. Final."""

    def __init__(self, by: TextTokenizer) -> None:
        self._seen = np.zeros(by.largest_id + 1, np.bool_)
        self._lengths = self._before = np.zeros(1, np.int64)
        self._learned, self._apart = 0, _ApartLengths()

    def add(self, block: Tokens) -> None:
        self._seen[block.ids] = True
        if block.rows is not None:
            self._apart.add(np.diff(block.rows).tolist(), np.diff(block.starts).tolist())
            return
        self._lengths = _add(self._lengths, np.diff(block.starts))
        if block.learned is not None:
            self._before = _add(self._before, _before_learned(block.learned, block.starts))
            self._learned += int(block.learned.sum())

    def count(self, kind: RowKind) -> TokenCount:
        seen = int(self._seen.sum())
        if kind == "apart":
            return self._apart.count(seen)
        before = LengthHistogram(tuple(self._before.tolist()))
        answers = AnswerTokens(self._learned, before) if kind == "conversation" else None
        return TokenCount(LengthHistogram(tuple(self._lengths.tolist())), seen, answers)


def _before_learned(learned: np.ndarray, starts: np.ndarray) -> np.ndarray:
    """How many tokens stand before the first learned one of each row, all where there is none; int64 (rows)."""
    found = np.diff(starts)
    at = np.flatnonzero(learned)[::-1]
    rows = np.searchsorted(starts, at, side="right") - 1
    found[rows] = at - starts[rows]  # the last one written is the first of its row
    return found


def _approximate_documents(split: Split, batch: int) -> TokenCount:
    counts = np.zeros(1, np.int64)
    for texts in _batches(split, batch):
        counts = _add(counts, [1 + _rule(text) for (text,) in texts])
    return TokenCount(LengthHistogram(tuple(counts.tolist())))


class _ApartLengths:
    """Of rows whose texts are run one by one: the longest text of each row, and how many there are. Final."""

    def __init__(self) -> None:
        self._counts = np.zeros(1, np.int64)
        self._texts = self._rows = self._most = 0

    def add(self, texts: list[int], lengths: list[int]) -> None:
        """`texts` of each row, and the lengths of all of them, row by row."""
        starts = np.cumsum([0, *texts[:-1]])
        longest = np.maximum.reduceat(np.array(lengths), starts)
        self._counts = _add(self._counts, longest.tolist())
        self._texts, self._rows = self._texts + sum(texts), self._rows + len(texts)
        self._most = max(self._most, *texts)

    def count(self, vocabulary: int) -> TokenCount:
        texts = RowTexts(self._texts / max(1, self._rows), max(1, self._most))
        return TokenCount(LengthHistogram(tuple(self._counts.tolist())), vocabulary, texts=texts)


def approximate_tokens(split: Split, batch: int = 1024) -> TokenCount:
    """Lengths by rule, for a model whose tokenizer is not at hand: a token for every four characters of text
    and for each character beyond U+2E7F (Chinese, Japanese, Korean), and two special tokens, three for a
    pair. A turn of a conversation takes five more than its text."""
    if split.kind == "conversation":
        return _approximate_conversations(split, batch)
    if split.kind == "apart":
        return _approximate_apart(split, batch)
    if split.kind == "plain":
        return _approximate_documents(split, batch)
    counts = np.zeros(1, np.int64)
    rule = _words_rule if split.kind == "words" else _texts_rule
    for texts in _batches(split, batch):
        counts = _add(counts, list(map(rule, texts)))
    return TokenCount(LengthHistogram(tuple(counts.tolist())))


def _approximate_apart(split: Split, batch: int) -> TokenCount:
    lengths = _ApartLengths()
    for rows in _batches(split, batch):
        texts = chain.from_iterable(rows)
        lengths.add([len(row) for row in rows], [_SPECIAL_TOKENS + _rule(text) for text in texts])
    return lengths.count(0)


def _approximate_conversations(split: Split, batch: int) -> TokenCount:
    counts = starts = np.zeros(1, np.int64)
    learns = 0
    for talks in _conversations(split, batch):
        turns = [[_TURN_TOKENS + _rule(turn.text) for turn in talk.turns] for talk in talks]
        answered = [[turn.role == "assistant" for turn in talk.turns] for talk in talks]
        counts = _add(counts, [sum(row) for row in turns])
        starts = _add(starts, [sum(row[: said.index(True)]) for row, said in zip(turns, answered, strict=True)])
        learns += sum(int(np.dot(row, said)) for row, said in zip(turns, answered, strict=True))
    answers = AnswerTokens(learns, LengthHistogram(tuple(starts.tolist())))
    return TokenCount(LengthHistogram(tuple(counts.tolist())), answers=answers)


def describe(
    corpus: Corpus,
    tokens: TokenCount,
    *,
    dev: TokenCount | None = None,
    approximate: bool = False,
    unreachable: str = "",
) -> DataSpec:
    """The facts of a corpus. `tokens` are those of its train split, `dev` those of dev; `approximate` says that
    they come from `approximate_tokens`, which is then one of the problems. `unreachable`: the hub that did not
    give the tokenizer, where that is why."""
    problems, lengths = corpus.problems, tokens.lengths
    if approximate:
        mean = round(lengths.mean(lengths.longest))
        why = message("TT-D078", mean=mean, hub=unreachable) if unreachable else message("TT-D076", mean=mean)
        problems += (Problem(why, "reported", 0),)
    return DataSpec(
        name=corpus.name,
        task=corpus.task,
        columns=corpus.columns,
        label_column=corpus.label_column,
        labels=corpus.labels,
        label_counts=corpus.label_counts,
        train_rows=len(corpus.train),
        dev_rows=len(corpus.dev),
        test_rows=len(corpus.test) if corpus.test is not None else 0,
        lengths=lengths,
        vocabulary=tokens.vocabulary,
        problems=problems,
        encoding=corpus.encoding,
        fingerprint=corpus.fingerprint,
        files=corpus.files,
        form=corpus.form,
        answers=tokens.answers,
        texts=tokens.texts,
        dev_lengths=None if dev is None else dev.lengths,
    )


def lost_answers_problem(answers: AnswerTokens, max_length: int) -> Problem | None:
    """Conversations of which truncation at `max_length` tokens leaves no answer, or None where there are none."""
    count = answers.lost(max_length)
    if not count:
        return None
    share = count / answers.starts.examples
    note = message("TT-D106", count=count, share=share, length=max_length, longest=answers.starts.longest)
    return Problem(note, "reported", count)


def truncation_problem(lengths: LengthHistogram, max_length: int) -> Problem | None:
    """What truncation at `max_length` tokens cuts, or None where it cuts nothing."""
    share = lengths.share_longer_than(max_length)
    if not share:
        return None
    count = round(share * lengths.examples)
    note = message("TT-D068", count=count, share=share, length=max_length, longest=lengths.longest)
    return Problem(note, "reported", count)


def _batches(split: Split, size: int) -> Iterator[list[tuple[str, ...]]]:
    texts = (example.texts for example in split)
    while batch := list(islice(texts, size)):
        yield batch


def _conversations(split: Split, size: int) -> Iterator[list[Conversation]]:
    talks = (example.conversation for example in split if example.conversation is not None)
    while batch := list(islice(talks, size)):
        yield batch


def _add(counts: np.ndarray, lengths: list[int] | np.ndarray) -> np.ndarray:
    more = np.bincount(lengths, minlength=len(counts))
    more[: len(counts)] += counts
    return more


def _texts_rule(texts: tuple[str, ...]) -> int:
    return _SPECIAL_TOKENS - 1 + sum(1 + _rule(text) for text in texts)


def _words_rule(words: tuple[str, ...]) -> int:
    """A word is one token at least."""
    return _SPECIAL_TOKENS + sum(max(1, _rule(word)) for word in words)


def _rule(text: str) -> int:
    wide = sum(character > "\u2e7f" for character in text)
    return wide + round((len(text) - wide) / _LETTERS_PER_TOKEN)
