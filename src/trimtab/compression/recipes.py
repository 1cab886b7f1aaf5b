"""Every step's recipe. A new step is one class and one line here."""

from collections.abc import Callable, Mapping
from typing import Any

from trimtab.compression.exporting import Exporting
from trimtab.compression.quantizing import Quantizing
from trimtab.compression.recipe import Recipe
from trimtab.compression.wanted import Export, Quantize, Wanted

_RECIPES: Mapping[type, Callable[[Any], Recipe]] = {Export: Exporting, Quantize: Quantizing}


def recipe_of(wanted: Wanted) -> Recipe:
    return _RECIPES[type(wanted)](wanted)
