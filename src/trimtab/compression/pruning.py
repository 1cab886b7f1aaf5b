"""One step of pruning a real model: measure what its heads and neurons are worth, choose, make it smaller.

Leaves out: training it again, saving it as an artifact, and holding it to the model before (the room's callers).
Where the model comes out of a training, its optimiser and its kernels are to be made anew.
"""

from dataclasses import dataclass, replace

from transformers import PreTrainedModel

from trimtab import tuning
from trimtab.compression.choose import Wanted, choose
from trimtab.compression.importance import DevRows, importance
from trimtab.models.layer_shapes import Kept, LayerShapes
from trimtab.models.spec import ModelSpec


@dataclass(frozen=True, kw_only=True, slots=True)
class PrunedStep:
    """What a step left: the spec of the model as it is now, and which heads and neurons it is made of."""

    spec: ModelSpec
    kept: Kept


def prune_model(
    model: PreTrainedModel,
    spec: ModelSpec,
    wanted: Wanted,
    rows: DevRows,
    original: LayerShapes | None = None,
) -> PrunedStep:
    """Prune `model`, of `spec`, in place, by what its parts are worth on `rows`. `original`: as for `choose`. Its
    config says what is left: `save_pretrained` and the loaders of `tuning` give the same model again.

    Raises what `importance`, `choose` and `tuning.shrink` raise; then the model is as it was.
    """
    kept = choose(spec, importance(model, spec, rows), wanted, original)
    return PrunedStep(spec=tuning.shrink(model, spec, kept), kept=kept)


def next_step(wanted: Wanted, original: LayerShapes, step: PrunedStep) -> tuple[Wanted, LayerShapes]:
    """What to ask for after `step`, and of what: layers are dropped once, and those that are gone count no more.
    The next share is the caller's to set."""
    numbers = (layer.number for layer in step.kept.layers)
    return replace(wanted, layers=0), original.only(numbers)
