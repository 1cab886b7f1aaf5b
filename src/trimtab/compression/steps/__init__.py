"""Every step's recipe. A new step is one class of its own file and one line here."""

from collections.abc import Callable, Mapping
from typing import Any

from trimtab.compression.recipe import Recipe
from trimtab.compression.steps.distill import Distilling
from trimtab.compression.steps.export import Exporting
from trimtab.compression.steps.prune import Pruning
from trimtab.compression.steps.quantize import Quantizing
from trimtab.compression.steps.trim import Trimming
from trimtab.compression.wanted import Distil, Export, Prune, Quantize, Trim, Wanted

_RECIPES: Mapping[type, Callable[[Any], Recipe]] = {
    Distil: Distilling,
    Prune: Pruning,
    Trim: Trimming,
    Quantize: Quantizing,
    Export: Exporting,
}


def recipe_of(wanted: Wanted) -> Recipe:
    return _RECIPES[type(wanted)](wanted)
