"""One trial of a bake-off, run in a process of its own. Imports torch: `workshop` loads it once for all short
ones.

A short trial leaves nothing but its figures. One that is kept is a training like that of the verb `train`:
artifact, report, ledger, and it goes on from its checkpoint where an earlier process was killed.
"""

import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

from trimtab.artifacts import FACTS_FILE
from trimtab.errors import Interrupted, Message, TrimtabError, message
from trimtab.hardware import calibration_key
from trimtab.hardware.calibration import cached_calibration
from trimtab.planning import Trial
from trimtab.study.bakeoff import TrialResult, TrialStep, measure
from trimtab.study.charts import thin
from trimtab.study.opening import REQUEST_FILE, Opened, open_training
from trimtab.study.orders import CalibrationOrder, TrialOrder
from trimtab.study.request import Planned, TrainRequest
from trimtab.study.training import carry_out, command_of, job_of, plan_training
from trimtab.training import Event, Finished, Run, Step, Training
from trimtab.training.calibrate import calibrated

_CURVE_POINTS = 60


def calibrate(order: CalibrationOrder, tell: Callable[[object], None]) -> None:
    """Measure this machine, where nobody has."""
    calibrated(order.key, order.cores)


def run_trial(order: TrialOrder, tell: Callable[[TrialStep], None]) -> TrialResult:
    """Carry a trial out; what goes wrong in it is its result. `seconds` are left to who waits for it. Raises
    Interrupted."""
    command = command_of(order.request)
    try:
        planned, run, curve = _run(order, tell)
    except Interrupted:
        raise
    except TrimtabError as error:
        return _failed(order.trial, error.message, command)
    except MemoryError:
        return _failed(order.trial, message("TT-B020"), command)
    estimate = planned.plan.chosen.estimate
    return TrialResult(
        trial=order.trial,
        seconds=0.0,
        dev=measure(run.dev),
        dev_loss=run.dev.loss,
        test=None if run.test is None else measure(run.test),
        train_seconds=run.seconds,
        predicted_seconds=estimate.time.total_seconds.value,
        peak_memory_bytes=run.peak_memory_bytes,
        predicted_memory_bytes=round(estimate.memory.peak_bytes.value),
        samples_per_second=run.samples_per_second,
        steps=run.steps,
        stopped_by_time=run.stopped_early and _is_over(order.request.stop_at),
        curve=tuple((round(step), loss) for step, loss in thin(curve, _CURVE_POINTS)),
        command=command,
        folder=order.request.out if order.trial.kept else "",
    )


def _is_over(stop_at: float | None) -> bool:
    return stop_at is not None and time.time() >= stop_at


def _failed(trial: Trial, why: Message, command: str) -> TrialResult:
    return TrialResult(trial=trial, seconds=0.0, command=command, failure=why)


def _run(order: TrialOrder, tell: Callable[[TrialStep], None]) -> tuple[Planned, Run, list[tuple[float, float]]]:
    """The plan, the run, and the loss of each step of this process."""
    planned, run, curve = None, None, []
    for event in _events(order):
        if isinstance(event, Planned):
            planned = event
        elif isinstance(event, Step):
            curve.append((float(event.step), event.loss))
            tell(TrialStep(trial=order.trial, step=event.step, steps=event.steps, loss=event.loss))
        elif isinstance(event, Finished):
            run = event.run
    assert planned is not None and run is not None, "a training that ends has its plan and its run"
    return planned, run, curve


def _events(order: TrialOrder) -> Iterator[object]:
    if order.trial.kept:
        request = _going_on(order.request)
        yield from carry_out(request, open_training(request))
        return
    with TemporaryDirectory(prefix="trimtab-trial-") as folder:
        request = replace(order.request, out=folder)
        yield from _short(request, open_training(request))


def _short(request: TrainRequest, opened: Opened) -> Iterator[Event | Planned]:
    """A training that leaves nothing; test is not looked at. Planned on the machine as it was measured before the
    bake-off began: to measure it again would take longer than the trial."""
    kept = cached_calibration(calibration_key(opened.machine))
    planned = plan_training(request, opened, replace(opened.machine, calibration=kept))
    yield planned
    yield from Training(job_of(request, opened.source, planned), replace(opened.corpus, test=None))


def _going_on(request: TrainRequest) -> TrainRequest:
    """From the checkpoint that a killed process left; of a training that had ended, but not been told of, anew."""
    out = Path(request.out)
    if (out / REQUEST_FILE).exists():
        return replace(request, resume=True)
    if (out / FACTS_FILE).exists():
        shutil.rmtree(out)
    return request
