"""study: the facade. Every verb goes through here to the rooms and the store; it returns values, prints nothing.

`train`, `predict` and `serve` import torch when they are called; the others never do.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from trimtab.heavy import heavy_imports
from trimtab.study.adapters import (
    ArtifactRow,
    ArtifactView,
    MadeArtifact,
    deletable_adapter,
    delete_adapter,
    import_adapter,
    list_adapters,
    merge_adapter,
    show_adapter,
)
from trimtab.study.bakeoff import Bakeoff, BakeoffDone, CompareRequest
from trimtab.study.comparing import compare
from trimtab.study.compressing import Compressed, CompressRequest, Timed, bench, compress
from trimtab.study.costs import cost_train
from trimtab.study.engine_choice import EngineChoice
from trimtab.study.handover import HandedOver, HandoverRequest, hand_over
from trimtab.study.ladder import Climbed, Laddered, LadderRequest, compress_for
from trimtab.study.opening import open_training
from trimtab.study.plans import estimate, plan, plan_models
from trimtab.study.request import (
    CostedOffer,
    Misfit,
    ModelChoice,
    ModelRefusal,
    Planned,
    Pricing,
    Reading,
    Shape,
    Trained,
    TrainingCost,
    TrainRequest,
)
from trimtab.study.results import Ledger, VariantRecord, check, doctor, evaluate, ledger, predict
from trimtab.study.rows import RowEstimate, estimate_rows
from trimtab.study.serving import ReadyServer, ServeRequest, serve
from trimtab.study.serving_costs import cost_serve
from trimtab.study.serving_request import (
    Served,
    ServedHere,
    ServedOffer,
    ServingCost,
    Throughput,
    Traffic,
)
from trimtab.study.total_costs import cost_total
from trimtab.study.total_request import ApiPrice, TotalCost, WayCost

if TYPE_CHECKING:
    from trimtab.training.events import Event

__all__ = [
    "ApiPrice",
    "ArtifactRow",
    "ArtifactView",
    "Bakeoff",
    "BakeoffDone",
    "Climbed",
    "CompareRequest",
    "CompressRequest",
    "Compressed",
    "CostedOffer",
    "EngineChoice",
    "HandedOver",
    "HandoverRequest",
    "LadderRequest",
    "Laddered",
    "Ledger",
    "MadeArtifact",
    "Misfit",
    "ModelChoice",
    "ModelRefusal",
    "Planned",
    "Pricing",
    "Reading",
    "ReadyServer",
    "RowEstimate",
    "ServeRequest",
    "Served",
    "ServedHere",
    "ServedOffer",
    "ServingCost",
    "Shape",
    "Throughput",
    "Timed",
    "TotalCost",
    "Traffic",
    "TrainRequest",
    "Trained",
    "TrainingCost",
    "VariantRecord",
    "WayCost",
    "bench",
    "check",
    "compare",
    "compress",
    "compress_for",
    "cost_serve",
    "cost_total",
    "cost_train",
    "deletable_adapter",
    "delete_adapter",
    "doctor",
    "estimate",
    "estimate_rows",
    "evaluate",
    "hand_over",
    "import_adapter",
    "ledger",
    "list_adapters",
    "merge_adapter",
    "plan",
    "plan_models",
    "predict",
    "serve",
    "show_adapter",
    "train",
]


def train(request: TrainRequest) -> "Iterator[Event | Planned | Trained]":
    """Carry out a training while it is iterated over: the Planned first, then the loop's events, last the Trained.

    Raises at once what `plan` raises of model, data and request; while it runs NoPlan (exit 3), Diverged (4),
    Interrupted (130, 143) after a checkpoint, BadInput where the output folder holds something else.
    """
    opened = open_training(request)
    with heavy_imports():
        from trimtab.study.training import carry_out  # torch: seconds that a refusal need not wait for

    return carry_out(request, opened)
