"""The training step: forward, loss, backward. Pure: it knows no files, no devices, no accelerate.

The loss of a global batch is the mean over its rows, whatever micro-batches it is cut into: each micro-batch
adds its sum divided by the rows of the whole.
"""

from collections.abc import Mapping
from typing import Protocol

import torch
from torch import nn

from trimtab.training.loss import Loss


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
    loss: Loss,
    rows: int,
    optimizer: Collects,
) -> torch.Tensor:
    """Add one micro-batch's gradients to the optimiser's sums.

    `inputs` as `Collator.batch` gives them; `rows` is the size of the global batch. Returns the micro-batch's
    share of the batch loss, a detached scalar.
    """
    share = loss(model(**inputs).logits, labels) / rows
    (share * optimizer.loss_scale).backward()
    optimizer.collect()
    return share.detach()
