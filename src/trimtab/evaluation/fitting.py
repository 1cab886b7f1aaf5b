"""Whether what was trained fits its base, asked of names, shapes and values before the base is loaded."""

from pathlib import Path

import torch

from trimtab import tuning
from trimtab.artifacts import ArtifactFacts, require_fit, require_part
from trimtab.errors import ArtifactError
from trimtab.evaluation.objectives import OBJECTIVES
from trimtab.methods import Shape
from trimtab.models.spec import ModelSpec


def require_fitting(
    facts: ArtifactFacts, spec: ModelSpec, folder: Path, *, trust_remote_code: bool = False
) -> None:
    """Hold an adapter, or the head of a model whose head alone was trained, to what `spec` takes. A class that
    brings its own code may name things otherwise: there the values alone are looked at.

    Raises ArtifactError: TT-A029 labels that are not as many as the head has numbers; TT-A005, TT-A027, TT-A028 as
    `require_fit`; TT-A006 a value of an adapter that is not finite.
    """
    if facts.labels and len(facts.labels) != facts.outputs:
        raise ArtifactError("TT-A029", folder=str(folder), labels=len(facts.labels), outputs=facts.outputs)
    if not trust_remote_code:
        require = require_fit if facts.adapter else require_part
        require(folder, shapes_in_file(facts, spec))
    if facts.adapter:
        tuning.require_finite(folder)


def shapes_in_file(facts: ArtifactFacts, spec: ModelSpec) -> dict[str, Shape]:
    """Name in the file -> shape of everything that was trained. Takes no memory for weights."""
    with torch.device("meta"), tuning.quiet_transformers():
        model = OBJECTIVES[facts.task].shape(spec, facts.outputs).requires_grad_(False)
        for part in facts.strategy.parts:
            tuning.attach(part, model, spec)
    if facts.adapter:
        adapter = tuning.adapter_of(facts.strategy)
        tuning.opened(adapter, model)
        found = tuning.parameters_by_key(adapter, model)
        return {name: tuple(parameter.shape) for name, parameter in found.items()}
    return {name: tuple(x.shape) for name, x in model.named_parameters() if x.requires_grad}
