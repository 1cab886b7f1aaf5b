"""Puts this folder on the path, so that tests of several rooms share tiny_models and tiny_training, and that of
the benchmarks, whose adapters without a training some tests serve; and says where real models and data sets lie,
which users do not have."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from filelock import FileLock

from thin import repeats

ROOT = Path(__file__).resolve().parents[1]
sys.path.append(str(ROOT / "benchmarks"))
_CALIBRATE = """
from trimtab.hardware import calibration_key, this_machine
from trimtab.training.calibrate import calibrated
calibrated(calibration_key(this_machine()), this_machine().cores)
"""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Leave to `make soak` what another case proves as well."""
    cases = [item for item in items if hasattr(item, "callspec")]
    for item, again in zip(cases, repeats([(item.nodeid, item.callspec.params) for item in cases]), strict=True):
        if again:
            item.add_marker(pytest.mark.soak)


@pytest.fixture(scope="session")
def calibration(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A TRIMTAB_HOME with a calibration of this machine, made once for all processes of a test run. It does not
    say that others were at work, since they are: it would be made again and again."""
    base = tmp_path_factory.getbasetemp()
    home = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "calibrated"
    with FileLock(f"{home}.lock"):
        if not home.is_dir():
            environment = os.environ | {"TRIMTAB_HOME": str(home)}
            subprocess.run([sys.executable, "-c", _CALIBRATE], env=environment, check=True)
            (kept,) = home.rglob("calibration/*.json")
            kept.write_text(json.dumps(json.loads(kept.read_text()) | {"busy": False}))
    return home


@pytest.fixture(scope="session")
def shared() -> Callable[[str], str]:
    """Path of a real data set; skips where the sets are not at hand."""
    root = Path(os.environ.get("TRIMTAB_SHARED", ROOT / "../shared")).resolve() / "data"

    def find(name: str) -> str:
        if not (root / name).is_dir():
            pytest.skip(f"data set {name} is not at hand (TRIMTAB_SHARED)")
        return str(root / name)

    return find


@pytest.fixture(scope="session")
def real_model() -> Callable[[str], Path]:
    """Folder of a real model; skips where the models are not at hand."""
    root = Path(os.environ.get("TRIMTAB_MODELS", Path.home() / ".cache/trimtab-dev-models"))

    def find(name: str) -> Path:
        if not (root / name / "model.safetensors").is_file():
            pytest.skip(f"model {name} is not at hand (TRIMTAB_MODELS)")
        return root / name

    return find
