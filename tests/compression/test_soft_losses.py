"""What a student is told beside the labels, against torch's own, scipy's, and plain loops."""

import math

import pytest
import torch
from scipy.special import rel_entr, softmax
from torch.nn import functional as F

from trimtab.compression.soft_losses import (
    binary_kl_sum,
    cosine_sum,
    hidden_sum,
    kl_sum,
    relation_heads,
    relation_sum,
    squared_sum,
)

torch.manual_seed(0)
STUDENT, TEACHER = torch.randn(5, 3), torch.randn(5, 3)


@pytest.mark.parametrize("temperature", [1.0, 2.5])
def test_kl_of_classes_is_scipys_relative_entropy(temperature: float) -> None:
    said, wanted = (softmax(x.double().numpy() / temperature, axis=1) for x in (STUDENT, TEACHER))
    expected = rel_entr(wanted, said).sum() * temperature**2
    assert float(kl_sum(STUDENT, TEACHER, temperature)) == pytest.approx(expected, rel=1e-5)
    assert float(kl_sum(TEACHER, TEACHER, temperature)) == pytest.approx(0, abs=1e-6)


def test_the_gradient_of_kl_is_as_large_at_any_high_temperature() -> None:
    """Hinton et al., equation 4: about the difference of centred logits over the number of classes."""
    student = (STUDENT / 10).requires_grad_()
    kl_sum(student, TEACHER / 10, 50.0).backward()
    centred = (x - x.mean(1, keepdim=True) for x in (student.detach(), TEACHER / 10))
    said, wanted = centred
    torch.testing.assert_close(student.grad, (said - wanted) / 3, rtol=0.05, atol=1e-4)


def test_kl_of_several_labels_is_that_of_yes_and_no_of_each() -> None:
    def both(logits: torch.Tensor) -> torch.Tensor:
        return torch.stack([logits, torch.zeros_like(logits)], 2).flatten(0, 1).div(2.0).log_softmax(1)

    expected = F.kl_div(both(STUDENT), both(TEACHER), log_target=True, reduction="sum") * 4 / 3
    torch.testing.assert_close(binary_kl_sum(STUDENT, TEACHER, 2.0), expected, rtol=1e-5, atol=1e-6)


def test_numbers_and_vectors_have_no_temperature() -> None:
    said, wanted = STUDENT[:, :1], TEACHER[:, :1]
    assert float(squared_sum(said, wanted, 3.0)) == pytest.approx(float(((said - wanted) ** 2).sum()))
    unit = [F.normalize(x, dim=1) for x in (STUDENT, TEACHER)]
    expected = (1 - F.cosine_similarity(STUDENT, TEACHER)).sum()
    torch.testing.assert_close(cosine_sum(*unit, 3.0), expected, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(cosine_sum(*unit, 3.0), ((unit[0] - unit[1]) ** 2).sum() / 2, rtol=1e-5, atol=1e-6)


MASK = torch.tensor([[1, 1, 1, 0], [1, 1, 1, 1], [0, 0, 1, 1]])  # the last one padded on the left
SHARES = torch.tensor([1.0, 3.0, 0.5])


def test_hidden_states_count_by_sequence_and_not_by_padding() -> None:
    student, teacher = torch.randn(3, 4, 6), torch.randn(3, 4, 6)
    expected = 0.0
    for row in range(3):
        there = [at for at in range(4) if MASK[row, at]]
        of_tokens = [float(((student[row, at] - teacher[row, at]) ** 2).mean()) for at in there]
        expected += float(SHARES[row]) * sum(of_tokens) / len(of_tokens)
    assert float(hidden_sum(student, teacher, MASK, SHARES)) == pytest.approx(expected, rel=1e-5)


def test_relations_of_models_of_other_widths() -> None:
    """By a loop over sequences, heads and tokens."""
    student, teacher, heads = torch.randn(3, 4, 6, dtype=torch.float64), torch.randn(3, 4, 12).double(), 3

    def relation(x: torch.Tensor, row: int, head: int, there: list[int]) -> torch.Tensor:
        size = x.shape[2] // heads
        part = x[row, there, head * size : (head + 1) * size]
        return torch.softmax(part @ part.T / math.sqrt(size), dim=1)

    expected = 0.0
    for row in range(3):
        there = [at for at in range(4) if MASK[row, at]]
        for head in range(heads):
            said, wanted = relation(student, row, head, there), relation(teacher, row, head, there)
            divergence = float((wanted * (wanted / said).log()).sum())
            expected += float(SHARES[row]) * divergence / heads / len(there)
    assert float(relation_sum(student, teacher, MASK, SHARES, heads)) == pytest.approx(expected, rel=1e-5)


def test_relations_have_finite_gradients_beside_padding() -> None:
    student = torch.randn(3, 4, 6).requires_grad_()
    relation_sum(student, torch.randn(3, 4, 6), MASK, SHARES, 2).backward()
    assert student.grad is not None and student.grad.isfinite().all()
    assert (student.grad[MASK == 0] == 0).all() and (student.grad[MASK == 1] != 0).any()


def test_relations_are_cut_into_as_many_parts_as_divide_all_widths() -> None:
    assert relation_heads(12, 384, 384) == 12
    assert relation_heads(12, 384, 768, 160) == 8
    assert relation_heads(12, 30, 42) == 6
    assert relation_heads(4, 7, 11) == 1
