"""The training step: forward, loss, backward. Pure: it knows no files, no devices, no accelerate.

The loss of a global batch is the mean over its rows, or over its learned tokens, whatever micro-batches it is cut
into: each micro-batch adds its sum divided by the count of the whole.
"""

from typing import Protocol

import torch
from torch import nn

from trimtab.evaluation.objective import Inputs, Objective
from trimtab.methods import Strategy


class Collects(Protocol):
    """What the step needs of an optimiser."""

    loss_scale: float

    def collect(self) -> None:
        """Take up the gradients just computed."""


def forward_backward(
    model: nn.Module,
    inputs: Inputs,
    targets: torch.Tensor,
    *,
    objective: Objective,
    strategy: Strategy,
    weight: int,
    optimizer: Collects,
) -> torch.Tensor:
    """Add one micro-batch's gradients to the optimiser's sums.

    `inputs` as `Collator.batch` gives them, `targets` as the objective does; `weight` is the objective's of the
    global batch. Returns the micro-batch's share of the batch loss, a detached scalar.
    """
    share = objective.loss_sum(model, inputs, targets, strategy) / weight
    (share * optimizer.loss_scale).backward()
    optimizer.collect()
    return share.detach()
