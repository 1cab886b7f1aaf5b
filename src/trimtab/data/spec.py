"""DataSpec: what a data set is. Task, labels, rows, how long its texts are in tokens, what is wrong with
it."""

import math
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal

import numpy as np

from trimtab.data.words import Sentence
from trimtab.errors import Message

Task = Literal["classify", "pair", "multilabel", "regress", "tag", "instruct", "embed", "text"]
TASKS: tuple[Task, ...] = ("classify", "pair", "multilabel", "regress", "tag", "instruct", "embed", "text")
_HEADLESS: tuple[Task, ...] = ("instruct", "embed", "text")  # what gives their numbers belongs to the model
_OF_WORDS: tuple[Task, ...] = ("tag",)  # labels are those of words, and not of rows
Speaker = Literal["system", "user", "assistant"]
Severity = Literal["fatal", "repaired", "reported"]
_ROUNDING = 1e-6  # 0.7 x 10 is a little more than 7 in binary


@dataclass(frozen=True, slots=True)
class Turn:
    """What one side of a conversation says at once. `role` is the word that chat templates use."""

    role: Speaker
    text: str


@dataclass(frozen=True, slots=True)
class Conversation:
    """Turns in order: a system turn or none, then user and assistant by turns. What is learned is every turn of
    the assistant; the last turn is one."""

    turns: tuple[Turn, ...]

    @property
    def prompt(self) -> tuple[Turn, ...]:
        """All that is said before the last answer."""
        return self.turns[:-1]

    @property
    def answer(self) -> str:
        """The last answer."""
        return self.turns[-1].text


@dataclass(frozen=True, slots=True)
class Example:
    """One row, ready for a tokenizer. `texts` holds one text, or two for a pair; of `embed` two and more, which
    are read one by one; of `tag` the words of a sentence. `label` is the index into `DataSpec.labels` (int), or
    the indexes of several (multilabel) or of each word's (tag), or the target itself (float) in a regression and
    of a scored pair. A row of `instruct` has a `conversation` in the place of both. `sentence`: where its words
    stand in the text that is asked about."""

    texts: tuple[str, ...]
    label: int | float | tuple[int, ...] | None
    conversation: Conversation | None = None
    sentence: Sentence | None = None


@dataclass(frozen=True, slots=True)
class Prefixes:
    """What is put before every text that becomes a vector, as some encoders were trained ("query: " of E5):
    `query` before queries and before both texts of a scored pair, `passage` before what is found; None = as before
    queries."""

    query: str = ""
    passage: str | None = None

    def put(self, query: str, *passages: str) -> tuple[str, ...]:
        before = self.query if self.passage is None else self.passage
        return (self.query + query, *(before + text for text in passages))


@dataclass(frozen=True, slots=True)
class RowTexts:
    """How many texts of a row are run, each by itself: on average and at most. One where they are one sequence."""

    mean: float = 1.0
    most: int = 1


@dataclass(frozen=True, slots=True)
class Place:
    """Where in the user's files something stands. `row` counts from 1, the first row of data; 0 = whole
    file."""

    file: str
    row: int = 0
    column: str = ""


@dataclass(frozen=True, slots=True)
class Problem:
    """One kind of finding of the data check: how many rows have it and where the first few stand."""

    message: Message
    severity: Severity
    count: int
    places: tuple[Place, ...] = ()


WRITING_TOKENS = 8192  # of prompts and answers at once, where a model writes: of each, keys and values are kept
EVALUATION_TOKENS = 4096  # the most padded tokens that an evaluation runs at once, where one row is not longer
_CHUNK_NUMBERS = 1 << 24
_CHUNK_GRAIN = 32
_SEQUENCE_GRAIN = 64


def vocabulary_chunk(vocab: int) -> int:
    """Positions whose scores over a vocabulary are there at once: as many as take 64 MiB in fp32, in steps of 32,
    at least 32: 320 of SmolLM2's 49,152 entries, 128 of 128,256. Fewer would leave matmuls too thin, and no more
    are needed to fill a machine."""
    return max(_CHUNK_GRAIN, _CHUNK_NUMBERS // vocab // _CHUNK_GRAIN * _CHUNK_GRAIN)


def padded_positions(positions: int, vocab: int) -> int:
    """How many are computed where `positions` are wanted: the next multiple of 32, a chunk at most. Of every
    number of rows oneDNN keeps kernels, as of every width (`padded_length`): 1.2 MiB for the matmuls of a head."""
    return min(max(1, -(-positions // _CHUNK_GRAIN)) * _CHUNK_GRAIN, vocabulary_chunk(vocab))


def padded_length(length: int, most: int) -> int:
    """The width a batch is padded to: `length` rounded up to a multiple of 4; above 64 tokens of 8, above 128
    of 16. Not beyond `most`, at which texts are cut: a model may have no position for more.

    On a CPU oneDNN compiles and keeps about a dozen kernels for every width it meets, megabytes in all; few widths
    keep that small. At most an eighth is added above 32 tokens.
    """
    grain = 4 if length <= 64 else 8 if length <= 128 else 16
    return min(length + -length % grain, most)


def padded_tokens(tokens: int) -> int:
    """The width of a sequence of `tokens` that several rows share: the next multiple of 64, so that few widths
    occur."""
    return tokens + -tokens % _SEQUENCE_GRAIN


@dataclass(frozen=True)
class LengthHistogram:
    """How many examples have how many tokens (special tokens included, before any truncation).

    `counts[n]` is the number of examples with exactly n tokens; a pair counts as the one sequence it becomes.
    """

    counts: tuple[int, ...]

    @cached_property
    def _array(self) -> np.ndarray:
        return np.asarray(self.counts, dtype=np.int64)

    @property
    def examples(self) -> int:
        return int(self._array.sum())

    @property
    def longest(self) -> int:
        return len(self.counts) - 1

    @property
    def shortest(self) -> int:
        return int(np.flatnonzero(self._array)[0]) if self.examples else 0

    def quantile(self, share: float) -> int:
        """The smallest length that at least `share` of the examples do not exceed."""
        needed = math.ceil(share * self.examples - _ROUNDING)
        return int(np.searchsorted(np.cumsum(self._array), needed))

    def share_longer_than(self, length: int) -> float:
        """Share of examples that truncation at `length` would cut."""
        return float(self._array[length + 1 :].sum() / max(self.examples, 1))

    def tokens(self, cap: int) -> int:
        """Tokens of all examples, each cut at `cap`."""
        lengths = np.minimum(np.arange(len(self.counts)), cap)
        return int((self._array * lengths).sum())

    def longest_mean(self, examples: int, cap: int) -> float:
        """Mean length of so many of the longest examples, each cut at `cap`."""
        within = np.cumsum(self._array[::-1])  # from the longest down
        taken = np.diff(np.minimum(within, examples), prepend=0)[::-1]
        lengths = np.minimum(np.arange(len(self.counts)), cap)
        return float((taken * lengths).sum() / max(taken.sum(), 1))

    def mean(self, cap: int) -> float:
        return self.tokens(cap) / max(self.examples, 1)

    def batch_widths(self, batch: int, cap: int) -> tuple[np.ndarray, np.ndarray]:
        """Padded widths of the batches when examples are batched in order of length, each cut at `cap`: the
        different widths, ascending, and how many batches have each, both int64. The last batch may be a short one.
        """
        within = np.cumsum(self._array)  # examples of at most so many tokens
        whole = within // batch  # batches of nothing longer
        whole[within == self.examples] = -(-self.examples // batch)
        batches = np.diff(whole, prepend=0)
        lengths = np.flatnonzero(batches)
        padded = [padded_length(min(int(length), cap), cap) for length in lengths]
        widths, where = np.unique(np.array(padded, np.int64), return_inverse=True)
        return widths, np.bincount(where, batches[lengths], len(widths)).astype(np.int64)


@dataclass(frozen=True, slots=True)
class AnswerTokens:
    """The tokens of conversations that are learned, ends of turns included. `tokens`: in all rows together, uncut;
    `starts`: how many tokens stand before the first of them in a row."""

    tokens: int
    starts: LengthHistogram

    def kept(self, lengths: LengthHistogram, cap: int) -> int:
        """How many are left where rows of `lengths` are cut at `cap` tokens: what is cut off is taken to be
        answer, which it is but for rows cut before the last question."""
        return max(0, self.tokens - (lengths.tokens(lengths.longest) - lengths.tokens(cap)))

    def lost(self, cap: int) -> int:
        """Rows of which such a cut leaves no answer at all."""
        return round(self.starts.share_longer_than(cap - 1) * self.starts.examples)


@dataclass(frozen=True, slots=True)
class TokenCount:
    """What a tokenizer makes of texts: their lengths, and how many different tokens they hold (0 = unknown). Of
    conversations also the learned tokens; of rows whose texts are run one by one, the longest of each and how many
    there are."""

    lengths: LengthHistogram
    vocabulary: int = 0
    answers: AnswerTokens | None = None
    texts: RowTexts = RowTexts()


@dataclass(frozen=True, kw_only=True)
class DataSpec:
    """Facts of a data set after checking and splitting. Row counts are what is left for use.

    `columns` are the text columns, in order. `labels` are the label names in their order of index, empty for a
    regression. `label_counts` counts train rows per label, or words. `fingerprint` is a hash of the files' bytes
    and of every choice that decides which rows are used (task, columns, split seed). `vocabulary` is how many
    different tokens the train texts hold; 0 = not counted. `form` is how the files write rows that are no labelled
    texts ("alpaca"), empty for those; of conversations `answers` is what is learned. `texts`: how many a row are
    run each by itself; `lengths` are then those of the longest text of each row. `dev_lengths`: those
    of dev; None = not counted."""

    name: str
    task: Task
    columns: tuple[str, ...]
    label_column: str
    labels: tuple[str, ...]
    label_counts: tuple[int, ...]
    train_rows: int
    dev_rows: int
    test_rows: int
    lengths: LengthHistogram
    vocabulary: int = 0
    problems: tuple[Problem, ...] = ()
    encoding: str = "utf-8"
    fingerprint: str = ""
    files: tuple[str, ...] = ()
    form: str = ""
    answers: AnswerTokens | None = None
    texts: RowTexts = RowTexts()
    dev_lengths: LengthHistogram | None = None

    @property
    def outputs(self) -> int:
        """How many numbers the task's own head gives: one a label, or one for a regression; 0 where there is none
        (instruct: the language-model head belongs to the model; embed: the vector is the model's own)."""
        if self.task in _HEADLESS:
            return 0
        return len(self.labels) if self.labels else 1

    @property
    def longest_row(self) -> int:
        """Tokens that one row may have: of the longest text, or of all documents together (text), which are cut
        into blocks."""
        return self.lengths.tokens(self.lengths.longest) if self.task == "text" else self.lengths.longest

    def cut_at(self, max_length: int) -> "DataSpec":
        """The rows that a model reads: of documents (text) the blocks of `max_length` tokens that they are put
        into one after the other, every token of which is learned but the first; of other tasks the same. Blocks of
        dev and test by the mean length of train."""
        if self.task != "text":
            return self
        blocks = max(1, -(-self.longest_row // max_length))
        length = min(max_length, max(2, self.longest_row))
        mean = self.longest_row / max(1, self.train_rows)
        dev, test = (math.ceil(rows * mean / max_length) for rows in (self.dev_rows, self.test_rows))
        starts = LengthHistogram((0, blocks))
        return replace(
            self,
            train_rows=blocks,
            dev_rows=dev,
            test_rows=test,
            lengths=LengthHistogram((*[0] * length, blocks)),
            answers=AnswerTokens((length - 1) * blocks, starts),
            dev_lengths=None,
        )

    @property
    def labels_words(self) -> bool:
        """Whether each word of a row has a label, and a loss, and not the row."""
        return self.task in _OF_WORDS

    @property
    def labelled(self) -> int:
        """How many train rows there are that have labels, or words where those have them: of these `label_counts`
        are shares."""
        return sum(self.label_counts) if self.labels_words else self.train_rows
