"""Make an artifact of a LoRA adapter that plain PEFT has saved, and hold it to what PEFT computes with it.

What PEFT's folder does not say is given: the base, the names of labels, the columns. What its head does not hold
(a pooler that was not trained) is the base's own; where the base has none either, nobody knows what the adapter
was trained above, and it is refused.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from peft import PeftModel, TaskType
from safetensors import safe_open
from transformers import PreTrainedModel

from trimtab import tuning
from trimtab.artifacts import ADAPTER_WEIGHTS, ArtifactFacts, PeftLora, adapter_tensors
from trimtab.errors import ArtifactError
from trimtab.evaluation.artifact import Equality, equality, open_artifact, save_artifact
from trimtab.evaluation.encode import Collator, Encoded
from trimtab.evaluation.fitting import shapes_in_file
from trimtab.evaluation.made_rows import made_rows
from trimtab.evaluation.objective import Objective, Opening
from trimtab.evaluation.objectives import OBJECTIVES
from trimtab.models import ModelSource, ModelSpec
from trimtab.models.weights_header import read_headers
from trimtab.tuning import structure
from trimtab.tuning.adapter import peft_config

_PREFIX = "base_model.model."


@dataclass(frozen=True, slots=True)
class _Import:
    """All that an import is made from."""

    found: PeftLora
    facts: ArtifactFacts
    spec: ModelSpec
    opening: Opening
    objective: Objective


def import_adapter(
    found: PeftLora, facts: ArtifactFacts, source: ModelSource, spec: ModelSpec, into: Path
) -> Equality:
    """Write `found`, an adapter of the model `source`, as the artifact `facts` into the empty folder `into`.
    Returns how far it is from plain PEFT on made rows.

    Raises ArtifactError: TT-A045 a tensor that neither adapter nor base has, TT-A027, TT-A028, TT-A006 as
    `require_fitting`, all before the base is loaded; TT-A048 where it computes something else than in PEFT.
    """
    _refuse_unfit(found, facts, source, spec)
    tuning.require_finite(found.folder)
    objective = OBJECTIVES[facts.task]
    own = (found.folder / "tokenizer.json").is_file()
    tokenizer = objective.tokenizer(ModelSource(folder=found.folder, name="") if own else source)
    opening = Opening(
        source=source, outputs=facts.outputs, pad_token_id=int(tokenizer.pad_token_id), labels=facts.labels
    )
    asked = _Import(found, facts, spec, opening, objective)
    model = objective.model(opening)
    tuning.apply(facts.strategy, model, spec)
    tuning.cast(model, facts.strategy.precision)
    _fill(asked, model)
    save_artifact(into, facts, model, tokenizer, spec)
    del model
    rows = made_rows(tokenizer, max(1, len(facts.columns)), facts.strategy.max_length)
    encoded = objective.encode(rows, tokenizer, facts.strategy.max_length)
    theirs = _in_peft(asked, encoded, objective.collator(tokenizer, facts.strategy.max_length))
    same = equality(open_artifact(into), encoded, theirs)
    if not same.holds:
        raise ArtifactError(
            "TT-A048", folder=str(found.folder), rows=same.rows, difference=same.difference, allowed=same.allowed
        )
    return same


def _refuse_unfit(found: PeftLora, facts: ArtifactFacts, source: ModelSource, spec: ModelSpec) -> None:
    """Every tensor has its place, and every place a tensor: of the file, else of the base."""
    wanted = shapes_in_file(facts, spec)
    there = {tensor.name: tensor.shape for tensor in adapter_tensors(found.folder)}
    if strange := sorted(there.keys() - wanted.keys()):
        raise ArtifactError("TT-A028", name=strange[0], folder=str(found.folder), count=len(strange))
    in_base = {tensor.name for tensor in read_headers(source.folder).tensors}
    for name, shape in wanted.items():
        plain = name.removeprefix(_PREFIX)
        if name not in there and not {plain, plain.partition(".")[2]} & in_base:
            raise ArtifactError("TT-A045", name=plain, folder=str(found.folder), base=source.name)
        if there.get(name, shape) != shape:
            sizes = [" x ".join(map(str, side)) for side in (there[name], shape)]
            raise ArtifactError("TT-A027", name=name, folder=str(found.folder), found=sizes[0], wanted=sizes[1])


def _fill(asked: _Import, model: PreTrainedModel) -> None:
    places = tuning.parameters_by_key(tuning.adapter_of(asked.facts.strategy), model)
    with safe_open(asked.found.folder / ADAPTER_WEIGHTS, framework="pt") as file, torch.no_grad():
        for name in file.keys():  # noqa: SIM118  it is no dict
            places[name].copy_(file.get_tensor(name))


def _in_peft(asked: _Import, encoded: Encoded, collator: Collator) -> np.ndarray:
    """What plain PEFT computes. Its configuration is made anew: in the folder's own, `target_modules` may be a
    pattern that takes years to match."""
    base = tuning.cast(asked.objective.model(asked.opening), asked.facts.strategy.precision)
    config = peft_config(asked.found.part, base, asked.spec)
    names = [name.removeprefix(_PREFIX) for name in asked.found.head]
    heads = [head for head in structure.head(base) if any(name.startswith(f"{head}.") for name in names)]
    config.modules_to_save = sorted(head.rpartition(".")[2] for head in heads) or None
    config.task_type = TaskType(asked.found.task)
    config.inference_mode = True
    theirs = PeftModel.from_pretrained(base, str(asked.found.folder), config=config)
    return asked.objective.outputs(theirs.get_base_model(), encoded, collator)
