"""The training step: forward, loss, backward. Pure: it knows no files, no devices, no accelerate.

The loss of a global batch is the mean over its rows, whatever micro-batches it is cut into: each micro-batch
adds its sum divided by the rows of the whole.
"""

from collections.abc import Callable, Mapping
from typing import Protocol

import torch
from torch import nn
from torch.nn import functional as F

from trimtab.data.spec import Task


def cross_entropy_sum(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Sum over rows. logits (rows, classes) of any dtype, computed in fp32; labels int64 (rows)."""
    return F.cross_entropy(logits.float(), labels, reduction="sum")


def squared_error_sum(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Sum over rows. logits (rows, 1) of any dtype, computed in fp32; labels float32 (rows)."""
    return F.mse_loss(logits.float()[:, 0], labels.float(), reduction="sum")


LOSSES: Mapping[Task, Callable[[torch.Tensor, torch.Tensor], torch.Tensor]] = {
    "classify": cross_entropy_sum,
    "pair": cross_entropy_sum,
    "regress": squared_error_sum,
}


class Collects(Protocol):
    """What the step needs of an optimiser."""

    loss_scale: float

    def collect(self) -> None:
        """Take up the gradients just computed."""


def forward_backward(
    model: nn.Module,
    inputs: Mapping[str, torch.Tensor],
    labels: torch.Tensor,
    *,
    task: Task,
    rows: int,
    optimizer: Collects,
) -> torch.Tensor:
    """Add one micro-batch's gradients to the optimiser's sums.

    `inputs` as `Collator.batch` gives them; `rows` is the size of the global batch. Returns the micro-batch's
    share of the batch loss, a detached scalar.
    """
    loss = LOSSES[task](model(**inputs).logits, labels) / rows
    (loss * optimizer.loss_scale).backward()
    optimizer.collect()
    return loss.detach()
