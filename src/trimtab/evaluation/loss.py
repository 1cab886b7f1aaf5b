"""What the step makes small, as the strategy wants it.

Sums over rows, so that a batch may be cut anyhow, in fp32 whatever the dtype of the logits. Scores never see them:
the loss of an evaluation is that of the task alone (`evaluation.predict`).
"""

import torch
from torch.nn import functional as F

from trimtab.methods import Strategy


def class_loss(logits: torch.Tensor, labels: torch.Tensor, strategy: Strategy) -> torch.Tensor:
    """Cross entropy of logits (rows, classes) and labels int64 (rows).

    `label_smoothing`: that share of the target is spread over all classes (Szegedy et al. 2015, arXiv 1512.00567).
    `class_weights`: what a row of each class counts; empty = all the same.
    """
    smoothing = strategy.label_smoothing
    if not strategy.class_weights:
        return F.cross_entropy(logits.float(), labels, reduction="sum", label_smoothing=smoothing)
    # torch's own weights would weigh the smoothed part by all classes, not by the row's.
    rows = F.cross_entropy(logits.float(), labels, reduction="none", label_smoothing=smoothing)
    return rows @ torch.tensor(strategy.class_weights, device=logits.device)[labels]


def several_labels_loss(logits: torch.Tensor, labels: torch.Tensor, strategy: Strategy) -> torch.Tensor:
    """Binary cross entropy of logits (rows, labels), mean over the labels of a row; `labels` int64 (rows, most)
    are the indexes of those it has, filled up with -1.

    `label_smoothing`: half that share of each decision is the other way. `class_weights`: what decisions about
    each label count; empty = all the same.
    """
    smoothing = strategy.label_smoothing
    targets = many_hot(labels, logits.shape[1]) * (1 - smoothing) + smoothing / 2
    weights = torch.tensor(strategy.class_weights, device=logits.device) if strategy.class_weights else None
    sums = F.binary_cross_entropy_with_logits(logits.float(), targets, weight=weights, reduction="sum")
    return sums / logits.shape[1]


def many_hot(labels: torch.Tensor, count: int) -> torch.Tensor:
    """Indexes int64 (rows, most), filled up with -1, as float32 (rows, count) of zeros and ones."""
    hot = torch.zeros(len(labels), count + 1, device=labels.device)
    return hot.scatter_(1, labels.where(labels >= 0, count), 1.0)[:, :count]


def squared_error(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Of logits (rows, 1) and targets (rows)."""
    return F.mse_loss(logits.float()[:, 0], targets.float(), reduction="sum")
