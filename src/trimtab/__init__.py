"""Trimtab: the balance point between a model, the way it is fine-tuned, and the hardware it runs on.

The public face. Every name in `__all__` is stable; everything else is a room's own business. A name is
imported when it is first used (PEP 562), so that `import trimtab` stays instant: `predict`, `evaluate`, `serve`,
`AdapterSet`, merging and importing an adapter, running a `train`, and the events of a training bring torch; the
rest never does.

    >>> import trimtab
    >>> trimtab.plan("demo", "demo", on="laptop-16g").plan.chosen.fits
    True
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from trimtab.data import DataSpec
    from trimtab.errors import (
        ArtifactError,
        BadInput,
        Busy,
        DataError,
        Diverged,
        Interrupted,
        Message,
        ModelError,
        NothingFits,
        TrimtabError,
        UsageError,
    )
    from trimtab.estimation import Estimate, MoneyEstimate
    from trimtab.evaluation import AdapterSet, Prediction
    from trimtab.hardware import Diagnosis, Machine, Offer, Price
    from trimtab.methods import Choices, Strategy
    from trimtab.metrics import Metric, Score
    from trimtab.models import ModelSpec
    from trimtab.planning import Candidate, Limits, ModelRow, NoPlan, Plan, Settings
    from trimtab.study import (
        ApiPrice,
        ArtifactRow,
        ArtifactView,
        Bakeoff,
        BakeoffDone,
        Climbed,
        CompareRequest,
        Compressed,
        CompressRequest,
        CostedOffer,
        EngineChoice,
        HandedOver,
        HandoverRequest,
        Laddered,
        LadderRequest,
        Ledger,
        MadeArtifact,
        Misfit,
        ModelChoice,
        ModelRefusal,
        Planned,
        Pricing,
        Reading,
        ReadyServer,
        RowEstimate,
        Served,
        ServedHere,
        ServedOffer,
        ServeRequest,
        ServingCost,
        Shape,
        Throughput,
        Timed,
        TotalCost,
        Traffic,
        Trained,
        TrainingCost,
        TrainRequest,
        VariantRecord,
        WayCost,
        bench,
        check,
        compare,
        compress,
        compress_for,
        cost_serve,
        cost_total,
        cost_train,
        deletable_adapter,
        delete_adapter,
        doctor,
        estimate,
        estimate_rows,
        evaluate,
        hand_over,
        import_adapter,
        ledger,
        list_adapters,
        merge_adapter,
        plan,
        plan_models,
        predict,
        serve,
        show_adapter,
        train,
    )
    from trimtab.training import Evaluated, Event, Finished, Notice, Preflight, Run, Saved, Started, Step
    from trimtab.units import Evidence, ExchangeRate, Figure, Money

__version__ = "0.1.0"

__all__ = [
    "AdapterSet",
    "ApiPrice",
    "ArtifactError",
    "ArtifactRow",
    "ArtifactView",
    "BadInput",
    "Bakeoff",
    "BakeoffDone",
    "Busy",
    "Candidate",
    "Choices",
    "Climbed",
    "CompareRequest",
    "CompressRequest",
    "Compressed",
    "CostedOffer",
    "DataError",
    "DataSpec",
    "Diagnosis",
    "Diverged",
    "EngineChoice",
    "Estimate",
    "Evaluated",
    "Event",
    "Evidence",
    "ExchangeRate",
    "Figure",
    "Finished",
    "HandedOver",
    "HandoverRequest",
    "Interrupted",
    "LadderRequest",
    "Laddered",
    "Ledger",
    "Limits",
    "Machine",
    "MadeArtifact",
    "Message",
    "Metric",
    "Misfit",
    "ModelChoice",
    "ModelError",
    "ModelRefusal",
    "ModelRow",
    "ModelSpec",
    "Money",
    "MoneyEstimate",
    "NoPlan",
    "NothingFits",
    "Notice",
    "Offer",
    "Plan",
    "Planned",
    "Prediction",
    "Preflight",
    "Price",
    "Pricing",
    "Reading",
    "ReadyServer",
    "RowEstimate",
    "Run",
    "Saved",
    "Score",
    "ServeRequest",
    "Served",
    "ServedHere",
    "ServedOffer",
    "ServingCost",
    "Settings",
    "Shape",
    "Started",
    "Step",
    "Strategy",
    "Throughput",
    "Timed",
    "TotalCost",
    "Traffic",
    "TrainRequest",
    "Trained",
    "TrainingCost",
    "TrimtabError",
    "UsageError",
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

# What the imports above tell a type checker, once more for the interpreter; a test holds the two together.
_NAMES_OF_ROOM = {
    "data": "DataSpec",
    "errors": "ArtifactError BadInput Busy DataError Diverged Interrupted Message ModelError NothingFits "
    "TrimtabError UsageError",
    "estimation": "Estimate MoneyEstimate",
    "evaluation": "AdapterSet Prediction",
    "hardware": "Diagnosis Machine Offer Price",
    "methods": "Choices Strategy",
    "metrics": "Metric Score",
    "models": "ModelSpec",
    "planning": "Candidate Limits ModelRow NoPlan Plan Settings",
    "study": "ApiPrice ArtifactRow ArtifactView Bakeoff BakeoffDone Climbed CompareRequest CompressRequest "
    "Compressed CostedOffer EngineChoice HandedOver HandoverRequest LadderRequest Laddered Ledger "
    "MadeArtifact Misfit ModelChoice ModelRefusal Planned Pricing Reading ReadyServer RowEstimate "
    "ServeRequest Served ServedHere ServedOffer ServingCost Shape Throughput Timed TotalCost Traffic "
    "TrainRequest Trained TrainingCost VariantRecord WayCost bench check compare compress compress_for "
    "cost_serve cost_total cost_train deletable_adapter delete_adapter doctor estimate estimate_rows "
    "evaluate hand_over import_adapter ledger list_adapters merge_adapter plan plan_models predict serve "
    "show_adapter train",
    "training": "Evaluated Event Finished Notice Preflight Run Saved Started Step",
    "units": "Evidence ExchangeRate Figure Money",
}
_ROOM_OF = {name: room for room, names in _NAMES_OF_ROOM.items() for name in names.split()}

if not TYPE_CHECKING:  # a type checker must see the names above, and miss all others

    def __getattr__(name: str) -> object:
        if name not in _ROOM_OF:
            raise AttributeError(f"module 'trimtab' has no attribute {name!r}")
        value = getattr(import_module(f"trimtab.{_ROOM_OF[name]}"), name)
        globals()[name] = value  # asked for once
        return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
