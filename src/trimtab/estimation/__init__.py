"""estimation: memory, time, money and disk of a Strategy, each figure with its interval and evidence.

`estimate` is the instant formula. Leaves out: several devices, and the dry run, which is below the torch line.
"""

from trimtab.estimation.estimate import (
    Estimate,
    MemoryEstimate,
    MemoryParts,
    MoneyEstimate,
    QualityPrior,
    StageEstimate,
    TimeEstimate,
)
from trimtab.estimation.estimator import estimate
from trimtab.estimation.teacher import Teacher, Writing

__all__ = [
    "Estimate",
    "MemoryEstimate",
    "MemoryParts",
    "MoneyEstimate",
    "QualityPrior",
    "StageEstimate",
    "Teacher",
    "TimeEstimate",
    "Writing",
    "estimate",
]
