"""training: the step, the loop, the optimiser, checkpoints, the memory meter.

`Training(job, corpus)` is iterated; it yields the events of events.py and ends with `Finished(run)`.
Leaves out: choosing a strategy (planning) and keeping the result (study).
"""

from trimtab.training.events import (
    Evaluated,
    Event,
    Finished,
    Notice,
    PrefixProgress,
    PrefixReady,
    Preflight,
    Saved,
    StageStarted,
    Started,
    Step,
)
from trimtab.training.loop import Training, score_split
from trimtab.training.run import LossPoint, Run, StageRun
from trimtab.training.session import Job, Session

__all__ = [
    "Evaluated",
    "Event",
    "Finished",
    "Job",
    "LossPoint",
    "Notice",
    "PrefixProgress",
    "PrefixReady",
    "Preflight",
    "Run",
    "Saved",
    "Session",
    "StageRun",
    "StageStarted",
    "Started",
    "Step",
    "Training",
    "score_split",
]
