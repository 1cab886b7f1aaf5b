"""evaluation: run a model over rows, score it, and keep it as an artifact that opens alone.

Leaves out: metrics themselves (metrics) and training.
"""

from trimtab.artifacts import ArtifactFacts, Base, read_facts
from trimtab.evaluation.adapter_set import AdapterSet
from trimtab.evaluation.artifact import Artifact, open_artifact, require_equal, save_artifact
from trimtab.evaluation.encode import Collator, Encoded, encode
from trimtab.evaluation.objective import Objective, Opening, ScoredRows
from trimtab.evaluation.objectives import OBJECTIVES
from trimtab.evaluation.predict import cross_entropies, logits, probabilities
from trimtab.evaluation.prediction import Prediction

__all__ = [
    "OBJECTIVES",
    "AdapterSet",
    "Artifact",
    "ArtifactFacts",
    "Base",
    "Collator",
    "Encoded",
    "Objective",
    "Opening",
    "Prediction",
    "ScoredRows",
    "cross_entropies",
    "encode",
    "logits",
    "open_artifact",
    "probabilities",
    "read_facts",
    "require_equal",
    "save_artifact",
]
