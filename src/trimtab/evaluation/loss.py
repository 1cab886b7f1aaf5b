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


def squared_error(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Of logits (rows, 1) and targets (rows)."""
    return F.mse_loss(logits.float()[:, 0], targets.float(), reduction="sum")
