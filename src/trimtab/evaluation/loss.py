"""Loss: what the step makes small, a value of the task and of what the strategy says about it.

Sums over rows, so that a batch may be cut anyhow. Scores never see it: the loss of an evaluation is that of the
task alone (`evaluation.predict`).
"""

from dataclasses import dataclass

import torch
from torch.nn import functional as F

from trimtab.data.spec import Task
from trimtab.methods import Strategy


@dataclass(frozen=True, kw_only=True, slots=True)
class Loss:
    """Cross entropy of rows that have a class, squared error of those that have a number.

    `label_smoothing`: that share of the target is spread over all classes (Szegedy et al. 2015, arXiv 1512.00567).
    `class_weights`: what a row of each class counts; empty = all the same.
    """

    task: Task
    label_smoothing: float = 0.0
    class_weights: tuple[float, ...] = ()

    @classmethod
    def of(cls, strategy: Strategy, task: Task) -> "Loss":
        return cls(task=task, label_smoothing=strategy.label_smoothing, class_weights=strategy.class_weights)

    def __call__(self, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Sum over rows, in fp32. logits (rows, outputs) of any dtype; labels int64 (rows), of a regression
        float32."""
        if self.task == "regress":
            return F.mse_loss(logits.float()[:, 0], labels.float(), reduction="sum")
        if not self.class_weights:
            return F.cross_entropy(logits.float(), labels, reduction="sum", label_smoothing=self.label_smoothing)
        # torch's own weights would weigh the smoothed part by all classes, not by the row's.
        rows = F.cross_entropy(logits.float(), labels, reduction="none", label_smoothing=self.label_smoothing)
        return rows @ torch.tensor(self.class_weights, device=logits.device)[labels]
