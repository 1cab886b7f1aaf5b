"""Encoding and padding against the tokenizer's own."""

import math

import numpy as np
import pytest
import torch

from tiny_models import WORDS, tiny_tokenizer
from trimtab.data import Example
from trimtab.data.spec import padded_length
from trimtab.evaluation import OBJECTIVES, Collator, encode

FAMILIES = ["bert", "roberta", "distilbert", "llama", "qwen2"]
DRAW = np.random.default_rng(0)


def text(words: int) -> str:
    return " ".join(DRAW.choice(WORDS, words))


SINGLES = [Example((text(int(n)),), int(n) % 3) for n in DRAW.integers(1, 30, 40)]
PAIRS = [Example((text(int(a)), text(int(b))), 0) for a, b in DRAW.integers(1, 25, (40, 2))]
MAX_LENGTH = 20


def theirs(examples: list[Example], family: str):
    tokenizer = tiny_tokenizer(family)
    columns = zip(*(example.texts for example in examples), strict=True)
    return tokenizer(*map(list, columns), truncation=True, max_length=MAX_LENGTH), tokenizer


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("examples", [SINGLES, PAIRS], ids=["singles", "pairs"])
def test_tokens_are_the_tokenizers_own(examples: list[Example], family: str) -> None:
    expected, tokenizer = theirs(examples, family)
    encoded = encode(iter(examples), tokenizer, MAX_LENGTH)
    rows = [encoded.ids[a:b].tolist() for a, b in zip(encoded.starts, encoded.starts[1:], strict=False)]
    assert rows == expected["input_ids"]
    assert encoded.lengths.max() == MAX_LENGTH
    assert encoded.labels.tolist() == [example.label for example in examples]
    assert (encoded.ids.dtype, encoded.starts.dtype, encoded.labels.dtype) == ("int32", "int64", "int64")


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("examples", [SINGLES, PAIRS], ids=["singles", "pairs"])
def test_batches_are_those_of_tokenizer_pad(examples: list[Example], family: str) -> None:
    expected, tokenizer = theirs(examples, family)
    encoded = encode(examples, tokenizer, MAX_LENGTH)
    rows = np.array([5, 0, 17, 30])
    picked = {name: [values[row] for row in rows] for name, values in expected.items()}
    width = padded_length(max(len(ids) for ids in picked["input_ids"]), MAX_LENGTH)
    reference = tokenizer.pad(picked, padding="max_length", max_length=width, return_tensors="pt")
    batch = Collator.of(tokenizer, MAX_LENGTH).batch(encoded, rows)
    assert batch.keys() == reference.keys()
    for name, tensor in batch.items():
        assert tensor.dtype == torch.int64
        assert torch.equal(tensor, reference[name]), name


def test_a_decoder_is_padded_on_the_left_and_a_bert_has_types() -> None:
    """The two cases above mean something."""
    assert Collator.of(tiny_tokenizer("llama"), MAX_LENGTH).left
    assert not Collator.of(tiny_tokenizer("bert"), MAX_LENGTH).left
    tokenizer = tiny_tokenizer("bert")
    encoded = encode(PAIRS, tokenizer, MAX_LENGTH)
    types = Collator.of(tokenizer, MAX_LENGTH).batch(encoded, np.arange(4))["token_type_ids"]
    assert (types.sum(1) > 0).all()


def test_blocks_do_not_show() -> None:
    """More rows than one block of the tokenizer, streamed."""
    tokenizer = tiny_tokenizer()
    many = (SINGLES * 60)[:2100]
    encoded = encode(iter(many), tokenizer, MAX_LENGTH)
    assert len(encoded) == 2100
    assert np.array_equal(encoded.lengths[:40], encoded.lengths[1040:1080])


def test_a_regression_keeps_its_targets() -> None:
    examples = [Example(("good",), 0.25), Example(("bad",), -3.0)]
    labels = encode(examples, tiny_tokenizer(), MAX_LENGTH).labels
    assert (labels.dtype, labels.tolist()) == ("float32", [0.25, -3.0])


def test_nothing_to_encode_is_no_rows() -> None:
    encoded = encode([], tiny_tokenizer(), MAX_LENGTH)
    assert (len(encoded), encoded.ids.size) == (0, 0)


def test_a_text_without_a_known_word_still_has_a_token() -> None:
    encoded = encode([Example(("",), 0), Example(("good",), 0)], tiny_tokenizer("qwen2"), MAX_LENGTH)
    batch = Collator.of(tiny_tokenizer("qwen2"), MAX_LENGTH).batch(encoded, np.arange(2))
    assert batch["attention_mask"].sum(1).tolist() == [0, 1]


@pytest.mark.parametrize(
    ("labels", "expected", "known"),
    [
        ((1, None, 0), [1, -1, 0], [True, False, True]),
        ((0.5, None, 2), [0.5, math.nan, 2.0], [True, False, True]),
        (((0, 2), None, ()), [[0, 2], [-2, -1], [-1, -1]], [True, False, True]),
    ],
    ids=["classify", "regress", "multilabel"],
)
def test_a_row_without_a_label_is_told_from_every_other(
    labels: tuple[object, ...], expected: list[object], known: list[bool]
) -> None:
    """No labels at all is something that a row of several can have."""
    task = {int: "classify", float: "regress", tuple: "multilabel"}[type(labels[0])]
    rows = [Example(("good film",), label) for label in labels]  # type: ignore[arg-type]
    encoded = encode(rows, tiny_tokenizer(), 8)
    np.testing.assert_array_equal(encoded.labels, expected)
    objective = OBJECTIVES[task]  # type: ignore[index]
    found = objective.known(torch.from_numpy(encoded.labels))
    assert found is not None and found.tolist() == known
