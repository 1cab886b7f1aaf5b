"""The probe gives a believable rate; what is kept is found again, and a damaged file is as none."""

import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from trimtab.hardware.calibration import cached_calibration, calibration_key, probe_matmul, save_calibration
from trimtab.hardware.detect import this_machine
from trimtab.hardware.machine import Calibration, StepCosts, StepWork
from trimtab.home import cache_folder
from trimtab.units import Evidence


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TRIMTAB_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def calibration(key: str = "a machine") -> Calibration:
    return Calibration(
        key=key,
        matmul_rates=(("fp32", 1.5e11),),
        threads=2,
        runtime_bytes=7,
        working_bytes=5,
        bandwidth=2e10,
        step_costs=(StepCosts(dtype="fp32", seconds_each=StepWork(flop=1e-11, trained_numbers=2e-9)),),
        evidence=Evidence.MEASURED,
    )


def test_the_rate_is_that_of_a_plain_matmul() -> None:
    """Against one large square product, timed here: the same hardware, so within a factor of three either
    way."""
    square = np.ones((768, 768), dtype=np.float32)
    square @ square
    seconds = []
    for _ in range(5):
        start = time.perf_counter()
        square @ square
        seconds.append(time.perf_counter() - start)
    plain = 2 * 768**3 / min(seconds)
    measured = probe_matmul()
    rate = measured.rate("fp32")
    assert rate is not None and plain / 3 < rate < plain * 3
    assert 1e8 < measured.bandwidth < 1e13
    assert measured.evidence is Evidence.PROBE


def test_bf16_is_inferred_only_where_the_cpu_has_it() -> None:
    here = this_machine()
    with_it = replace(here, device=replace(here.device, features=("avx512_bf16",)))
    without = replace(here, device=replace(here.device, features=("avx2",)))
    found = probe_matmul(with_it)
    assert found.rate("bf16") == pytest.approx(2 * (found.rate("fp32") or 0))
    assert probe_matmul(without).rate("bf16") is None


def test_what_is_kept_is_found_by_the_machine() -> None:
    machine = this_machine()
    assert machine.calibration is None
    kept = calibration(calibration_key(machine))
    assert save_calibration(kept)
    assert this_machine().calibration == kept


def test_another_key_finds_nothing() -> None:
    save_calibration(calibration("one"))
    assert cached_calibration("two") is None


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "null", '{"key": "a machine"}', '{"key": "a machine", "threads": {}}', "\x00"]
)
def test_a_damaged_file_is_as_none(text: str) -> None:
    save_calibration(calibration())
    (file,) = (cache_folder() / "calibration").iterdir()
    file.write_text(text)
    assert cached_calibration("a machine") is None
    assert save_calibration(calibration()) and cached_calibration("a machine") == calibration()


def test_costs_of_other_kinds_of_work_are_measured_again() -> None:
    """A file of a version that knew no layers of decoders: their cost would count as nothing."""
    save_calibration(calibration())
    (file,) = (cache_folder() / "calibration").iterdir()
    file.write_text(file.read_text().replace('"trained_decoder_layers"', '"something_else"'))
    assert cached_calibration("a machine") is None
    file.write_text(file.read_text().replace('"something_else"', '"trained_decoder_layers"'))
    assert cached_calibration("a machine") == calibration()


def test_a_home_that_cannot_be_written_is_no_error(home: Path) -> None:
    home.write_text("a file where the folder should be")
    assert save_calibration(calibration()) is False
    assert cached_calibration("a machine") is None


def test_the_key_changes_with_the_hardware() -> None:
    machine = this_machine()
    other = replace(machine, device=replace(machine.device, features=("avx2", "amx_bf16")))
    keys = {calibration_key(machine), calibration_key(other), calibration_key(replace(machine, cores=99))}
    assert len(keys) == 3
    for library in ("numpy", "torch", "bitsandbytes"):  # what a process holds before any model depends on them
        assert library in calibration_key(machine)
