"""metrics: how good predictions are, with intervals, and whether one system beats another. NumPy only."""

from trimtab.metrics.answers import exact_match, rouge_l, score_answers
from trimtab.metrics.classification import class_scores, confusion_matrix
from trimtab.metrics.compare import Difference, McNemar, mcnemar, paired_difference
from trimtab.metrics.entities import ENTITY_METRIC, TaggedWords, score_entities
from trimtab.metrics.findings import Confusion, Findings, Sample, WorstExample
from trimtab.metrics.score import ClassScore, Metric, Score
from trimtab.metrics.scoring import class_metric, put_first, score_classes, score_numbers
from trimtab.metrics.several import SEVERAL_METRIC, score_several

__all__ = [
    "ENTITY_METRIC",
    "SEVERAL_METRIC",
    "ClassScore",
    "Confusion",
    "Difference",
    "Findings",
    "McNemar",
    "Metric",
    "Sample",
    "Score",
    "TaggedWords",
    "WorstExample",
    "class_metric",
    "class_scores",
    "confusion_matrix",
    "exact_match",
    "mcnemar",
    "paired_difference",
    "put_first",
    "rouge_l",
    "score_answers",
    "score_classes",
    "score_entities",
    "score_numbers",
    "score_several",
]
