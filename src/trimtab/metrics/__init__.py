"""metrics: how good predictions are, with intervals, and whether one system beats another. NumPy only.

The entry is `trimtab.metrics.scoring.score`; it is not repeated here, since it would hide the module `score`.
"""

from trimtab.metrics.classification import class_scores, confusion_matrix
from trimtab.metrics.compare import Difference, McNemar, mcnemar, paired_difference
from trimtab.metrics.score import ClassScore, Metric, Score
from trimtab.metrics.scoring import main_metric

__all__ = [
    "ClassScore",
    "Difference",
    "McNemar",
    "Metric",
    "Score",
    "class_scores",
    "confusion_matrix",
    "main_metric",
    "mcnemar",
    "paired_difference",
]
