"""The step `trim`: the same model with the tokens that its texts need.

Kept are all tokens of the training texts, whole, however long; of further files; and what keeps texts that were
not seen readable: see `Vocabulary.kept`. Rows of the table of tokens are taken as they are.
"""

import json
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import chain, islice
from pathlib import Path
from typing import ClassVar

import numpy as np
from transformers import PreTrainedModel
from transformers import PreTrainedTokenizerBase as Tokenizer

from trimtab import tuning
from trimtab.artifacts import ReadAlike
from trimtab.compression.recipe import Made, Making, Recipe, Steps
from trimtab.compression.student import merge_in_place
from trimtab.compression.vocabulary import (
    Vocabulary,
    fixed_ids,
    named_ids,
    numbers,
    renumbered_config,
    tokenizer_text,
)
from trimtab.compression.wanted import Floor, Trim
from trimtab.data import Split, read_single_texts
from trimtab.data.spec import Example, Task
from trimtab.errors import Message, ModelError, message
from trimtab.evaluation import Artifact, Encoded, save_artifact
from trimtab.models import ModelSource

_WRITE: tuple[Task, ...] = ("instruct", "text")
_FILE, _CONFIG = "tokenizer.json", "tokenizer_config.json"
_STALE = ("added_tokens.json", "merges.txt", "vocab.json", "vocab.txt", "*.model")  # of the vocabulary before
_WINDOW = 1024  # examples tokenised at a time
_WHOLE = 1 << 20  # tokens at which a text is cut that is looked at, not run


class TrimStep(Recipe):
    """Final."""

    floor: ClassVar[Floor | None] = Floor(points=0.5)

    def __init__(self, wanted: Trim) -> None:
        self._wanted = wanted

    @property
    def wanted(self) -> Trim:
        return self._wanted

    def check(self) -> None:
        """Nothing contradicts itself here."""

    def make(self, making: Making) -> Steps:
        """Raises ModelError TT-C300, TT-C304 for a tokenizer that cannot be taken apart, TT-C301 for a model that
        writes texts, TT-C305 for an unusual table of tokens; what merging raises; DataError for further texts."""
        if making.facts.task in _WRITE:
            raise ModelError("TT-C301", task=making.facts.task)
        artifact = making.open()
        merge_in_place(artifact)
        old = _TokenizerFiles.of(artifact)
        kept = self._kept(making, artifact, old.vocabulary)
        plain = old.vocabulary.trimmed(kept)
        yield _said(artifact, old, kept, tokenizer_text(plain))
        tokenizer = _smaller(artifact, plain, kept)
        spec = tuning.keep_tokens(artifact.model, artifact.spec, kept)
        facts = replace(making.facts, adapter=False, files=())
        save_artifact(making.folder, facts, artifact.model, tokenizer, spec)
        alike = _read_alike(making, artifact, tokenizer, kept)
        yield from map(_alike_said, alike)
        return Made(read_alike=alike)

    def _kept(self, making: Making, artifact: Artifact, vocabulary: Vocabulary) -> tuple[int, ...]:
        assert making.corpus is not None, "what stays are tokens of texts"
        rows = _encoded(artifact, artifact.tokenizer, making.corpus.train)
        further = (_tokens_of(artifact, file) for file in self._wanted.further)
        return vocabulary.kept(
            _counts(chain((part.ids for part in rows), *further)),
            always=named_ids(artifact.model.config.to_dict()),
            up_to=fixed_ids(artifact.spec),
            whole_scripts=self._wanted.keep == "script",
        )


# ------------------------------------------------------------------ tokens that occur


def _encoded(
    artifact: Artifact, tokenizer: Tokenizer, examples: Iterable[Example], length: int = _WHOLE
) -> Iterator[Encoded]:
    """Examples as the task tokenises them, a window at a time."""
    iterator = iter(examples)
    while window := list(islice(iterator, _WINDOW)):
        yield artifact.objective.encode(window, tokenizer, length)


def _tokens_of(artifact: Artifact, file: str) -> Iterator[np.ndarray]:
    """Tokens of the texts of a file, int64, a window at a time."""
    columns = artifact.facts.columns
    texts = read_single_texts(file, columns[0] if columns else "")
    while window := list(islice(texts, _WINDOW)):
        rows = artifact.tokenizer(window, truncation=True, max_length=_WHOLE, return_attention_mask=False)
        yield np.fromiter(chain.from_iterable(rows["input_ids"]), np.int64)


def _counts(parts: Iterable[np.ndarray]) -> np.ndarray:
    counts = np.zeros(0, np.int64)
    for ids in parts:
        found = np.bincount(ids, minlength=len(counts))
        found[: len(counts)] += counts
        counts = found
    return counts


# ------------------------------------------------------------------ the tokenizer's files


@dataclass(frozen=True, slots=True)
class _TokenizerFiles:
    """The tokenizer before, as it is written: `bytes` of tokenizer.json."""

    vocabulary: Vocabulary
    bytes: int

    @classmethod
    def of(cls, artifact: Artifact) -> "_TokenizerFiles":
        with tempfile.TemporaryDirectory() as name:
            artifact.tokenizer.save_pretrained(name)
            file = Path(name) / _FILE
            if not file.is_file():
                known = "Unigram, WordPiece, BPE, WordLevel"
                raise ModelError("TT-C300", name=str(artifact.folder), kind=message("TT-C306"), known=known)
            plain = json.loads(file.read_text(encoding="utf-8"))
            return cls(Vocabulary(plain, str(artifact.folder)), file.stat().st_size)


def _smaller(artifact: Artifact, plain: dict[str, object], kept: tuple[int, ...]) -> Tokenizer:
    """The tokenizer with those tokens, opened as its artifact will open it. Raises ModelError TT-C304 where it
    does not number them so."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        artifact.tokenizer.save_pretrained(name)
        for pattern in _STALE:
            for file in folder.glob(pattern):
                file.unlink()
        (folder / _FILE).write_text(json.dumps(plain, ensure_ascii=False), encoding="utf-8")
        config = json.loads((folder / _CONFIG).read_text(encoding="utf-8"))
        (folder / _CONFIG).write_text(json.dumps(renumbered_config(config, kept), ensure_ascii=False), "utf-8")
        tokenizer = artifact.objective.tokenizer(ModelSource(folder=folder, name=str(artifact.folder)))
    _require_numbered(artifact, tokenizer, kept)
    return tokenizer


def _require_numbered(artifact: Artifact, tokenizer: Tokenizer, kept: tuple[int, ...]) -> None:
    number_of = numbers(kept)
    before = {token: number_of[old] for token, old in artifact.tokenizer.get_vocab().items() if old in number_of}
    found = tokenizer.get_vocab()
    wrong = sorted(token for token in before.keys() | found.keys() if before.get(token) != found.get(token))
    if wrong:
        raise ModelError("TT-C304", name=str(artifact.folder), count=len(wrong), token=wrong[0])


# ------------------------------------------------------------------ what is said


def _said(artifact: Artifact, old: _TokenizerFiles, kept: tuple[int, ...], text: str) -> Message:
    """How large it will be."""
    size = _bytes(artifact.model)
    return message(
        "TT-C302",
        after=len(kept),
        before=artifact.spec.vocab,
        size=size - _bytes_gone(artifact.model, len(kept)),
        size_before=size,
        file=len(text.encode()),
        file_before=old.bytes,
    )


def _bytes(model: PreTrainedModel) -> int:
    return sum(weight.nbytes for weight in model.parameters())


def _bytes_gone(model: PreTrainedModel, tokens: int) -> int:
    """In the table of tokens where that many stay."""
    table = model.get_input_embeddings().weight
    return (len(table) - tokens) * table[0].nbytes


def _read_alike(
    making: Making, artifact: Artifact, tokenizer: Tokenizer, kept: tuple[int, ...]
) -> tuple[ReadAlike, ...]:
    """How much of dev and test is still read as it was."""
    corpus = making.corpus
    assert corpus is not None, "what stays are tokens of texts"
    splits = (split for split in (corpus.dev, corpus.test) if split is not None)
    return tuple(_alike(artifact, tokenizer, split, kept) for split in splits)


def _alike_said(alike: ReadAlike) -> Message:
    return message(
        "TT-C303",
        split=alike.split,
        rows=alike.rows,
        same=alike.same_share,
        unknown=alike.unknown_share,
        unknown_before=alike.unknown_share_before,
    )


def _alike(artifact: Artifact, tokenizer: Tokenizer, split: Split, kept: tuple[int, ...]) -> ReadAlike:
    number_of = np.full(max(kept[-1] + 1, len(artifact.tokenizer)), -1, np.int64)
    number_of[list(kept)] = np.arange(len(kept))
    same, unknown, tokens = 0, np.zeros(2, np.int64), np.zeros(2, np.int64)
    length = artifact.facts.strategy.max_length
    pairs = zip(
        _encoded(artifact, artifact.tokenizer, split, length),
        _encoded(artifact, tokenizer, split, length),
        strict=True,
    )
    for before, after in pairs:
        rows = zip(_rows(before), _rows(after), strict=True)
        same += sum(np.array_equal(number_of[one], other) for one, other in rows)
        tokens += [len(before.ids), len(after.ids)]
        unknown += [_unknown(before, artifact.tokenizer), _unknown(after, tokenizer)]
    shares = unknown / np.maximum(1, tokens)
    return ReadAlike(
        split=split.name,
        rows=len(split),
        same_share=same / max(1, len(split)),
        unknown_share=float(shares[1]),
        unknown_share_before=float(shares[0]),
    )


def _rows(encoded: Encoded) -> Iterator[np.ndarray]:
    yield from np.split(encoded.ids, encoded.starts[1:-1])


def _unknown(encoded: Encoded, tokenizer: Tokenizer) -> int:
    number = tokenizer.unk_token_id
    return 0 if number is None else int((encoded.ids == number).sum())
