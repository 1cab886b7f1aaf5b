"""metrics: how good predictions are, with intervals, and whether one system beats another. NumPy only.

The entry is `trimtab.metrics.scoring.score`; it is not repeated here, since it would hide the module `score`.
"""

from trimtab.metrics.answers import exact_match, rouge_l, score_answers
from trimtab.metrics.classification import class_scores, confusion_matrix
from trimtab.metrics.compare import Difference, McNemar, mcnemar, paired_difference
from trimtab.metrics.findings import Confusion, Findings, Sample, WorstExample
from trimtab.metrics.score import ClassScore, Metric, Score
from trimtab.metrics.scoring import main_metric

__all__ = [
    "ClassScore",
    "Confusion",
    "Difference",
    "Findings",
    "McNemar",
    "Metric",
    "Sample",
    "Score",
    "WorstExample",
    "class_scores",
    "confusion_matrix",
    "exact_match",
    "main_metric",
    "mcnemar",
    "paired_difference",
    "rouge_l",
    "score_answers",
]
