"""A folder in which the pages' examples can run: its own cache, and the files that they name."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

_PRAISE = ("A lovely film", "The actors are wonderful", "I laughed and cried", "The best evening in years")
_BLAME = ("A dull film", "The plot makes no sense", "I left before the end", "Two hours that I want back")


@pytest.fixture
def example_folder(tmp_path: Path) -> Path:
    """Holds reviews.csv: 80 short reviews, half of them good; and runs.csv: a table of two setups."""
    rows = [
        f"{text} {when},{label}"
        for when in range(10)
        for label, texts in (("good", _PRAISE), ("bad", _BLAME))
        for text in texts
    ]
    (tmp_path / "reviews.csv").write_text("\n".join(["text,label", *rows]) + "\n", encoding="utf-8")
    setups = "model_key,method,micro_batch,seq_len\nllama-2-7b,lora,1,2048\nbert-base-chinese,full,16,128\n"
    (tmp_path / "runs.csv").write_text(setups, encoding="utf-8")
    return tmp_path


@pytest.fixture
def run_python(example_folder: Path, calibration: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run this Python with some arguments there. No network: whatever an example needs must be installed."""
    shutil.copytree(calibration, example_folder / "home")
    environment = os.environ | {
        "TRIMTAB_HOME": str(example_folder / "home"),
        "TRIMTAB_LANG": "en",
        "HF_HUB_OFFLINE": "1",
    }

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, *arguments],
            cwd=example_folder,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )

    return run
