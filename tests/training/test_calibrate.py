"""Calibration: what is kept of this machine does not depend on what the measuring process holds, and the costs of
a step are those that steps of that many seconds would have."""

from dataclasses import astuple, fields
from pathlib import Path

import numpy as np
import psutil
import pytest
from scipy.optimize import nnls

from trimtab.hardware.calibration import save_calibration
from trimtab.hardware.machine import Calibration, StepCosts, StepWork
from trimtab.training import calibrate
from trimtab.training.calibrate import calibrated
from trimtab.training.probe import Probed, fitted
from trimtab.units import MIB, Evidence

WORK = (
    StepWork(flop=2e8, trained_numbers=1e6, trained_layers=2),
    StepWork(flop=2e10, trained_numbers=4e7, trained_layers=2),
    StepWork(flop=5e10, trained_numbers=3e8, trained_layers=2),
    StepWork(flop=3e10, trained_numbers=2e7, trained_layers=1),
    StepWork(flop=1e8, passed_numbers=1e6, passed_layers=2),
    StepWork(flop=1e10, passed_numbers=4e7, passed_layers=2),
    StepWork(flop=7e7, frozen_numbers=4e5, frozen_layers=2),
    StepWork(flop=7e9, frozen_numbers=1e7, frozen_layers=2),
    StepWork(flop=3e9, trained_numbers=1e7, trained_decoder_layers=2),
    StepWork(flop=2e9, passed_numbers=1e7, passed_decoder_layers=2),
    StepWork(flop=1e9, frozen_numbers=3e6, frozen_decoder_layers=2),
)
NAMES = [field.name for field in fields(StepWork)]
COSTS = (1e-11, 2e-9, 1.5e-9, 1e-9, 4e-4, 3e-4, 2e-4, 2e-3, 1.5e-3, 4e-4)


def test_a_calibration_is_of_a_fresh_process_and_is_kept(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TRIMTAB_HOME", str(tmp_path))
    monkeypatch.setattr(calibrate, "_others_at_work", lambda: False)
    held = np.ones(600 * MIB, dtype=np.uint8)
    found = calibrated("here", cores=1)
    assert held.sum() == 600 * MIB
    assert 150 * MIB < found.runtime_bytes < 800 * MIB, "the training stack, and no more"
    assert found.runtime_bytes < psutil.Process().memory_info().rss - 300 * MIB
    assert 0 < found.working_bytes < 300 * MIB
    costs = found.costs("fp32")
    assert costs is not None and costs.seconds(WORK[0]) > 0
    assert (found.evidence, found.threads) == (Evidence.MEASURED, 1)
    assert calibrated("here", cores=1) == found, "kept, not measured again"


def test_costs_are_found_again_in_the_seconds_they_make() -> None:
    made = StepCosts(dtype="fp32", seconds_each=StepWork(**dict(zip(NAMES, COSTS, strict=True))))
    assert made.seconds(WORK[0]) == pytest.approx(2e8 * 1e-11 + 1e6 * 2e-9 + 2 * 4e-4)
    found = fitted("fp32", WORK, [made.seconds(work) for work in WORK])
    assert astuple(found.seconds_each) == pytest.approx(COSTS)


def test_no_cost_is_below_zero_and_the_fit_is_the_nearest() -> None:
    """Against SciPy, on seconds that a negative cost would meet best."""
    work = np.array([astuple(step) for step in WORK])
    seconds = work @ np.array((*COSTS[:4], -1e-4, *COSTS[5:]))
    found = astuple(fitted("fp32", WORK, list(seconds)).seconds_each)
    expected, _ = nnls(work / seconds[:, None], np.ones(len(seconds)))
    assert found == pytest.approx(tuple(expected))
    assert found[4] == 0


@pytest.mark.parametrize(
    ("was_busy", "is_busy", "redone"), [(True, False, True), (True, True, False), (False, True, False)]
)
def test_what_a_busy_machine_gave_is_measured_again_when_it_is_idle(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, was_busy: bool, is_busy: bool, redone: bool
) -> None:
    monkeypatch.setenv("TRIMTAB_HOME", str(tmp_path))
    save_calibration(
        Calibration(key="here", matmul_rates=(), threads=1, busy=was_busy, evidence=Evidence.MEASURED)
    )
    fresh = Probed(
        matmul_rates=(),
        bandwidth=1.0,
        threads=2,
        runtime_bytes=1,
        working_bytes=1,
        step_costs=(),
        fp32_onednn=False,
    )
    monkeypatch.setattr(calibrate, "_others_at_work", lambda: is_busy)
    monkeypatch.setattr(calibrate, "_in_fresh_process", lambda cores: fresh)
    assert calibrated("here", cores=2).threads == (2 if redone else 1)
    assert calibrated("here", cores=2).busy == (was_busy and not redone)
