"""setups: memory and time of what other stacks run on GPUs, by formula: `estimate_setup`.

Trimtab's own loop is estimated by `trimtab.estimation.estimate`. Leaves out where a Setup is read from
(`trimtab.study.rows`).
"""

from dataclasses import dataclass

from trimtab.estimation.estimate import Phase
from trimtab.estimation.setups.memory import ALLOCATOR, Allocator, SetupMemory, setup_memory
from trimtab.estimation.setups.setup import (
    LOSSES,
    OPTIMIZERS,
    QUANTS,
    SHARDINGS,
    Setup,
)
from trimtab.estimation.setups.time import RATES, Rates, SetupTime, setup_time
from trimtab.estimation.setups.trained import METHODS, trained

__all__ = [
    "ALLOCATOR",
    "LOSSES",
    "METHODS",
    "OPTIMIZERS",
    "QUANTS",
    "RATES",
    "SHARDINGS",
    "Allocator",
    "Rates",
    "Setup",
    "SetupEstimate",
    "SetupMemory",
    "SetupTime",
    "estimate_setup",
    "setup_memory",
    "setup_time",
    "trained",
]


@dataclass(frozen=True, kw_only=True, slots=True)
class SetupEstimate:
    """What is predicted for one Setup. `time` None: no device is named whose peak is known."""

    memory: SetupMemory
    time: SetupTime | None
    trainable_parameters: int


def estimate_setup(setup: Setup, *, traced: tuple[Phase, ...] = ()) -> SetupEstimate:
    """Memory, time and trainable parameters of `setup`. Pure arithmetic, about 0.1 ms. `traced`: phases that a
    dry run has counted, in place of the formula's."""
    return SetupEstimate(
        memory=setup_memory(setup, traced=traced),
        time=setup_time(setup),
        trainable_parameters=trained(setup).numbers,
    )
