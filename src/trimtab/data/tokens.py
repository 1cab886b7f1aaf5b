"""How long the texts of a corpus are in tokens, and the DataSpec that comes of it."""

from collections.abc import Iterator
from itertools import chain, islice
from pathlib import Path

import numpy as np

from trimtab.data.corpus import Corpus, Split
from trimtab.data.spec import DataSpec, LengthHistogram, Problem, TokenCount
from trimtab.errors import DataError, message

_LETTERS_PER_TOKEN = 4.0
_SPECIAL_TOKENS = 2


def count_tokens(split: Split, tokenizer_file: Path, batch: int = 1024) -> TokenCount:
    """Tokens of every example, special tokens included, nothing cut or padded; and the different ones among them.

    `tokenizer_file` is a tokenizer.json. Streams `batch` examples at a time. Raises DataError TT-D077 where
    the file is no tokenizer.
    """
    from tokenizers import Tokenizer

    try:
        tokenizer = Tokenizer.from_file(str(tokenizer_file))
    except Exception as error:  # the library raises bare Exception
        raise DataError("TT-D077", path=str(tokenizer_file)) from error
    tokenizer.no_truncation()
    tokenizer.no_padding()
    counts = np.zeros(1, np.int64)
    seen = np.zeros(tokenizer.get_vocab_size(with_added_tokens=True), dtype=bool)
    for texts in _batches(split, batch):
        inputs = [pair if len(pair) == 2 else pair[0] for pair in texts]
        rows = [encoded.ids for encoded in tokenizer.encode_batch_fast(inputs)]
        counts = _add(counts, [len(row) for row in rows])
        ids = np.fromiter(chain.from_iterable(rows), dtype=np.int64)
        if ids.max(initial=0) >= len(seen):  # ids may have gaps
            seen = np.pad(seen, (0, int(ids.max()) + 1 - len(seen)))
        seen[ids] = True
    return TokenCount(LengthHistogram(tuple(counts.tolist())), int(seen.sum()))


def approximate_tokens(split: Split, batch: int = 1024) -> TokenCount:
    """Lengths by rule, for a model whose tokenizer is not at hand: a token for every four characters of text
    and for each character beyond U+2E7F (Chinese, Japanese, Korean), and two special tokens, three for a
    pair."""
    counts = np.zeros(1, np.int64)
    for texts in _batches(split, batch):
        counts = _add(counts, [_SPECIAL_TOKENS - 1 + sum(1 + _rule(text) for text in row) for row in texts])
    return TokenCount(LengthHistogram(tuple(counts.tolist())))


def describe(corpus: Corpus, tokens: TokenCount, *, approximate: bool = False, unreachable: str = "") -> DataSpec:
    """The facts of a corpus. `tokens` are those of its train split; `approximate` says that they come from
    `approximate_tokens`, which is then one of the problems. `unreachable`: the hub that did not give the
    tokenizer, where that is why."""
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
    )


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


def _add(counts: np.ndarray, lengths: list[int]) -> np.ndarray:
    more = np.bincount(lengths, minlength=len(counts))
    more[: len(counts)] += counts
    return more


def _rule(text: str) -> int:
    wide = sum(character > "\u2e7f" for character in text)
    return wide + round((len(text) - wide) / _LETTERS_PER_TOKEN)
