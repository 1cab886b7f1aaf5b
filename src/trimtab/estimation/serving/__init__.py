"""serving: how many requests one device answers in a second, by formula, corrected by what was published or
measured.

Pure arithmetic on a ModelSpec and a Machine. Leaves out how many devices a load needs and what they cost
(`trimtab.planning.fleet`), tokenising and HTTP, and one model spread over several devices.
"""

from trimtab.estimation.serving.capacity import (
    Basis,
    Capacity,
    Measured,
    capacity,
)
from trimtab.estimation.serving.deployment import Deployment, Workload, adapter_bytes
from trimtab.estimation.serving.engines import (
    ENGINES,
    WEIGHTS,
    Engine,
    EngineName,
    StoredAs,
    engine_named,
    refusal,
)
from trimtab.estimation.serving.pace import Pace, pace
from trimtab.estimation.serving.published import PublishedServing, published_servings

__all__ = [
    "ENGINES",
    "WEIGHTS",
    "Basis",
    "Capacity",
    "Deployment",
    "Engine",
    "EngineName",
    "Measured",
    "Pace",
    "PublishedServing",
    "StoredAs",
    "Workload",
    "adapter_bytes",
    "capacity",
    "engine_named",
    "pace",
    "published_servings",
    "refusal",
]
