"""What the processes of a bake-off are asked, and answer. Values only: who asks has no torch."""

from dataclasses import dataclass

from trimtab.planning import Trial
from trimtab.study.bakeoff import Compared
from trimtab.study.request import Reading, TrainRequest


@dataclass(frozen=True, kw_only=True, slots=True)
class CalibrationOrder:
    """Measure this machine for the training stack and keep it under `key`."""

    key: str
    cores: int


@dataclass(frozen=True, kw_only=True, slots=True)
class TrialOrder:
    """`request` is the training that the trial is. Answered with its TrialResult."""

    trial: Trial
    request: TrainRequest


@dataclass(frozen=True, kw_only=True, slots=True)
class JudgingOrder:
    """Artifacts, the chosen one first, and the data they were trained on, read in the same way. Answered with a
    Judged for each, in their order."""

    folders: tuple[str, ...]
    data: str
    reading: Reading
    trust_remote_code: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Judged:
    """One artifact: bytes kept for it, beside its base where it is an adapter; and beside the chosen one."""

    folder: str
    kept_bytes: int
    compared: Compared
