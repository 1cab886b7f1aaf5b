"""study: the facade. Every verb goes through here to the rooms and the store; it returns values, prints nothing.

`train` and `predict` import torch when they are called; the others never do.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from trimtab.study.plans import estimate, plan
from trimtab.study.request import Planned, Reading, Shape, Trained, TrainRequest
from trimtab.study.results import Ledger, check, doctor, evaluate, ledger, predict

if TYPE_CHECKING:
    from trimtab.training.events import Event

__all__ = [
    "Ledger",
    "Planned",
    "Reading",
    "Shape",
    "TrainRequest",
    "Trained",
    "check",
    "doctor",
    "estimate",
    "evaluate",
    "ledger",
    "plan",
    "predict",
    "train",
]


def train(request: TrainRequest) -> "Iterator[Event | Planned | Trained]":
    """Carry out a training; see `trimtab.study.training.train`."""
    from trimtab.study.training import train as carry_out

    yield from carry_out(request)
