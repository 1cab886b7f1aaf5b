"""Fold an adapter into its base: a whole model that stands alone, held to what base and adapter compute
together."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from trimtab import tuning
from trimtab.errors import ArtifactError
from trimtab.evaluation.artifact import Equality, equality, open_artifact, save_artifact
from trimtab.evaluation.made_rows import made_rows
from trimtab.methods import Precision, refuse_unmergeable

# Of the largest output. In bf16 and fp16 every merged weight is rounded once more: logits of SmolLM2-135M in bf16
# differ by 2.5e-2, outputs of a classifier on MiniLM-L6 by 2.5e-3.
_ALLOWED: Mapping[Precision, float] = {"fp32": 1e-4, "bf16": 5e-2, "fp16": 1e-2}


def merge_artifact(folder: Path, into: Path, *, trust_remote_code: bool = False) -> Equality:
    """Write base and adapter as one model into the empty folder `into`, and open it again. Rows made of the
    tokenizer's words go through before and after; at no time are two models in memory.

    Raises what `open_artifact` raises, ModelError TT-T071 where nothing can be merged, and ArtifactError TT-A047
    where the merged model computes something else.
    """
    artifact = open_artifact(folder, trust_remote_code=trust_remote_code)
    facts = artifact.facts
    refuse_unmergeable(facts.strategy)
    texts = max(1, len(facts.columns))
    gate = artifact.encode(made_rows(artifact.tokenizer, texts, facts.strategy.max_length))
    before = artifact.logits(gate)
    tuning.merge(facts.strategy, artifact.model, artifact.spec)
    whole = replace(facts, adapter=False, origin="merged")
    save_artifact(into, whole, artifact.model, artifact.tokenizer, artifact.spec)
    del artifact
    found = equality(open_artifact(into, trust_remote_code=trust_remote_code), gate, before, _ALLOWED)
    if not found.holds:
        raise ArtifactError(
            "TT-A047", rows=found.rows, difference=found.difference, allowed=found.allowed,
            precision=facts.strategy.precision,
        )  # fmt: skip
    return found
