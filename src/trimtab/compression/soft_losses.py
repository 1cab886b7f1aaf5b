"""What a student is told beside the labels: how far its outputs, hidden states and relations are from a teacher's.

Sums in fp32 over rows, words or texts, so that a batch may be cut anyhow. Shapes: n outputs of C numbers; B
sequences of L tokens, D wide. The loss of tokens over a vocabulary is in `token_kl`.
"""

import math
from collections.abc import Callable, Mapping

import torch
from torch.nn import functional as F

from trimtab.data.spec import Task

SoftLoss = Callable[[torch.Tensor, torch.Tensor, float], torch.Tensor]
"""(student's outputs, teacher's, both (n, C), temperature) -> scalar."""


def kl_sum(student: torch.Tensor, teacher: torch.Tensor, temperature: float) -> torch.Tensor:
    """T^2 KL(teacher / T || student / T) over classes (Hinton et al. 2015, arXiv 1503.02531): T^2 keeps gradients
    as large as at T = 1."""
    said, wanted = (x.float().div(temperature).log_softmax(1) for x in (student, teacher))
    return F.kl_div(said, wanted, log_target=True, reduction="sum") * temperature**2


def binary_kl_sum(student: torch.Tensor, teacher: torch.Tensor, temperature: float) -> torch.Tensor:
    """The same of each label by itself, yes or no; mean over the labels of a row."""
    said, wanted = (x.float().div(temperature) for x in (student, teacher))
    share = wanted.sigmoid()
    yes = share * (F.logsigmoid(wanted) - F.logsigmoid(said))
    no = (1 - share) * (F.logsigmoid(-wanted) - F.logsigmoid(-said))
    return (yes + no).sum() * temperature**2 / student.shape[1]


def squared_sum(student: torch.Tensor, teacher: torch.Tensor, temperature: float) -> torch.Tensor:
    """Squared error of numbers, which have no temperature."""
    return F.mse_loss(student.float(), teacher.float(), reduction="sum")


def cosine_sum(student: torch.Tensor, teacher: torch.Tensor, temperature: float) -> torch.Tensor:
    """1 - cosine of vectors of length 1, which have no temperature. Half their squared distance."""
    return (1 - (student.float() * teacher.float()).sum(1)).sum()


SOFT_LOSSES: Mapping[Task, SoftLoss] = {
    "classify": kl_sum,
    "pair": kl_sum,
    "multilabel": binary_kl_sum,
    "regress": squared_sum,
    "tag": kl_sum,
    "embed": cosine_sum,
}


def hidden_sum(
    student: torch.Tensor, teacher: torch.Tensor, mask: torch.Tensor, shares: torch.Tensor
) -> torch.Tensor:
    """Squared difference of hidden states (B, L, D): mean over the numbers and the tokens of each sequence, times
    its share. `mask` (B, L): 1 where there is a token; `shares` (B)."""
    squares = (student.float() - teacher.float()).square().mean(2)
    there = mask.float()
    return ((squares * there).sum(1) / there.sum(1).clamp(min=1) * shares).sum()


def relation_sum(
    student: torch.Tensor, teacher: torch.Tensor, mask: torch.Tensor, shares: torch.Tensor, heads: int
) -> torch.Tensor:
    """KL(teacher || student) of self-attention relations: softmax of x x' / sqrt(d) in `heads` parts of d numbers
    each (MiniLMv2, Wang et al. 2021, arXiv 2012.15828, equations 6 to 9). Widths may differ, and so may heads of
    attention. Mean over heads and over the tokens of each sequence, times its share; shapes as `hidden_sum`."""
    said, wanted = (_relations(x, mask, heads) for x in (student, teacher))
    divergence = (wanted.exp() * (wanted - said)).masked_fill(~mask[:, None, None].bool(), 0.0).sum(3).mean(1)
    there = mask.float()
    return ((divergence * there).sum(1) / there.sum(1).clamp(min=1) * shares).sum()


def _relations(x: torch.Tensor, mask: torch.Tensor, heads: int) -> torch.Tensor:
    """Logarithms of the relations of x (B, L, D): (B, heads, L, L)."""
    split = x.float().unflatten(2, (heads, -1)).transpose(1, 2)
    scores = split @ split.mT / math.sqrt(split.shape[3])
    # Not infinite: 0 times it would be no number where both models have it.
    return scores.masked_fill(~mask[:, None, None].bool(), torch.finfo(scores.dtype).min).log_softmax(3)


def relation_heads(most: int, *widths: int) -> int:
    """The largest number of parts, `most` at most, that all `widths` can be cut into; 1 where there are none."""
    common = math.gcd(*widths) or 1
    return next(heads for heads in range(min(most, common), 0, -1) if common % heads == 0)
