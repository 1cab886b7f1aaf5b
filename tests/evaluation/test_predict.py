"""Running a model over rows: order, batching, losses."""

import numpy as np
import pytest
import torch

from tiny_models import WORDS, tiny_model, tiny_tokenizer
from trimtab import tuning
from trimtab.data import Example
from trimtab.evaluation import Collator, cross_entropies, encode, logits, probabilities
from trimtab.evaluation.targets import Number, OneClass
from trimtab.models import read_spec

DRAW = np.random.default_rng(1)
ROWS = [Example((" ".join(DRAW.choice(WORDS, int(n))),), 0) for n in DRAW.integers(1, 40, 60)]


@pytest.mark.parametrize("family", ["bert", "roberta", "distilbert", "llama"])
def test_logits_do_not_depend_on_the_batching(family: str, tmp_path) -> None:
    source, tokenizer = tiny_model(tmp_path, family), tiny_tokenizer(family)
    model = tuning.load_classifier(source, outputs=3, pad_token_id=0)
    encoded, collator = encode(ROWS, tokenizer, 60), Collator.of(tokenizer, 60)
    together = logits(model, encoded, collator)
    one_by_one = logits(model, encoded, collator, tokens=1)
    in_threes = logits(model, encoded, collator, tokens=100)
    assert together.shape == (60, 3)
    np.testing.assert_allclose(together, one_by_one, atol=1e-5, rtol=1e-4)
    np.testing.assert_allclose(in_threes, one_by_one, atol=1e-5, rtol=1e-4)
    with torch.inference_mode():
        for row in (0, 17, 59):
            inputs = tokenizer(ROWS[row].texts[0], return_tensors="pt")
            np.testing.assert_allclose(one_by_one[row], model(**inputs).logits[0], atol=1e-5, rtol=1e-4)
    assert not model.training
    assert np.ptp(together, axis=0).max() > 0.1  # rows differ, so that their order can be seen


@pytest.mark.parametrize("family", ["bert", "roberta", "distilbert"])
def test_a_batch_is_no_wider_than_the_model_reads(family: str, tmp_path) -> None:
    """29 tokens are the most here; the next width would be 32."""
    tokenizer = tiny_tokenizer(family)
    source = tiny_model(tmp_path, family, positions=30 if family == "roberta" else 29)
    most = read_spec(source).longest_text
    model = tuning.load_classifier(source, outputs=3, pad_token_id=0)
    encoded = encode(ROWS, tokenizer, most)
    assert (most, encoded.lengths.max()) == (29, 29)
    assert logits(model, encoded, Collator.of(tokenizer, most)).shape == (60, 3)


def test_probabilities_and_losses_are_those_of_torch() -> None:
    outputs = (DRAW.normal(size=(9, 4)) * 5).astype(np.float32)
    outputs[0] = [1000, 0, 0, 0]  # no overflow
    labels = DRAW.integers(0, 4, 9)
    labels[0] = 0
    tensor = torch.from_numpy(outputs)
    np.testing.assert_allclose(probabilities(outputs), tensor.softmax(1), rtol=1e-5, atol=1e-7)
    expected = torch.nn.functional.cross_entropy(tensor, torch.from_numpy(labels), reduction="none")
    np.testing.assert_allclose(cross_entropies(outputs, labels), expected, rtol=1e-4, atol=1e-6)
    assert np.array_equal(OneClass().predictions(outputs), outputs.argmax(1))


def test_a_regression_predicts_its_output() -> None:
    outputs, targets = np.array([[0.5], [2.0]], np.float32), np.array([1.0, 2.0], np.float32)
    assert Number().predictions(outputs).tolist() == [0.5, 2.0]
    assert Number().losses(outputs, targets).tolist() == [0.25, 0.0]


def test_an_output_that_is_not_finite_stays_visible() -> None:
    """The loop stops on it; a maximum with a small number must not hide it."""
    outputs = np.array([[np.nan, 0.0]], np.float32)
    assert not np.isfinite(cross_entropies(outputs, np.array([0]))).all()
