"""Every step's recipe. A new step is one class of its own file and one line here."""

from collections.abc import Callable, Mapping
from typing import Any

from trimtab.compression.recipe import Recipe
from trimtab.compression.steps.browser import BrowserStep
from trimtab.compression.steps.distill import DistilStep
from trimtab.compression.steps.export import ExportStep
from trimtab.compression.steps.gguf import GgufStep
from trimtab.compression.steps.openvino import OpenVinoStep
from trimtab.compression.steps.prune import PruneStep
from trimtab.compression.steps.quantize import QuantizeStep
from trimtab.compression.steps.trim import TrimStep
from trimtab.compression.wanted import Browser, Distil, Export, Gguf, OpenVino, Prune, Quantize, Trim, Wanted

_RECIPES: Mapping[type, Callable[[Any], Recipe]] = {
    Distil: DistilStep,
    Prune: PruneStep,
    Trim: TrimStep,
    Quantize: QuantizeStep,
    Export: ExportStep,
    Browser: BrowserStep,
    Gguf: GgufStep,
    OpenVino: OpenVinoStep,
}


def recipe_of(wanted: Wanted) -> Recipe:
    return _RECIPES[type(wanted)](wanted)
