"""Whether the frozen part of a strategy is run once (`Strategy.prefix_cache`): whether there is one, and it
pays."""

from dataclasses import replace
from typing import Literal

from trimtab.data.spec import DataSpec
from trimtab.errors import Message, message
from trimtab.estimation.prefix import KEPT_BYTES, prefix_bytes
from trimtab.estimation.time import time
from trimtab.hardware.machine import Machine
from trimtab.methods import Strategy
from trimtab.models.spec import ModelSpec

PrefixChoice = Literal["auto", "on", "off"]
PREFIX_CHOICES: tuple[PrefixChoice, ...] = ("auto", "on", "off")


def cannot(strategy: Strategy, spec: ModelSpec) -> Message | None:
    """Why no stage of a strategy has a part that can be run once; None where one has."""
    if strategy.positions:
        return message("TT-P361", method=strategy.method)
    if not any(stage.lowest_layer(spec) > 0 for stage in strategy.stages):
        return message("TT-P360", method=strategy.method)
    return None


def runs_once(strategy: Strategy, spec: ModelSpec, data: DataSpec, machine: Machine, wanted: PrefixChoice) -> bool:
    """As the user wants it, where there is anything to run once; of itself where that saves time, and is no more
    than is kept of such states."""
    if wanted == "off" or cannot(strategy, spec) is not None:
        return False
    once = replace(strategy, prefix_cache=True)
    if wanted == "on":
        return True
    cut = data.cut_at(strategy.max_length)
    if prefix_bytes(once, spec, cut) > KEPT_BYTES:
        return False
    took, takes = (time(one, spec, cut, machine).total_seconds.value for one in (strategy, once))
    return takes < took
