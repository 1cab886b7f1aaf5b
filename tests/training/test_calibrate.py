"""Calibration: what is kept of this machine does not depend on what the measuring process holds."""

from pathlib import Path

import numpy as np
import pytest

from trimtab.training.calibrate import calibrated
from trimtab.units import MIB, Evidence


def test_the_bare_runtime_is_a_fresh_process_whatever_this_one_holds(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("TRIMTAB_HOME", str(tmp_path))
    before = calibrated("before", cores=1)
    held = np.ones(300 * MIB, dtype=np.uint8)
    after = calibrated("after", cores=1)
    assert held.sum() == 300 * MIB
    assert before.runtime_bytes == pytest.approx(after.runtime_bytes, rel=0.1)
    assert 150 * MIB < before.runtime_bytes < 800 * MIB, "the training stack, and no more"
    assert before.evidence is Evidence.MEASURED
    assert calibrated("before", cores=1) == before, "kept, not measured again"
