"""Exam on a real model: the predicted peak is near the one a fresh process reaches.

Whether the formula counts the right tensors is held to autograd in tests/estimation/test_activations.py; here its
allowance for what the process takes beside them is held to a model, a precision (fp32) and a data set that its
constants were not fitted on.
"""

import json
import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tiny_models import WORDS
from trimtab.units import MIB

MODEL = "paraphrase-minilm-l3-v2"


def write_long_texts(folder: Path) -> Path:
    """A few batches of texts that all fill the 128 tokens."""
    draw = random.Random(0)
    folder.mkdir()
    for split, rows in (("train", 64), ("dev", 8), ("test", 8)):
        lines = [f"{' '.join(draw.choices(WORDS[:-3], k=150))},{'ab'[row % 2]}" for row in range(rows)]
        (folder / f"{split}.csv").write_text("\n".join(["text,label", *lines]) + "\n")
    return folder


@pytest.mark.model
@pytest.mark.parametrize("method", ["lora", pytest.param("qlora", marks=pytest.mark.soak)])
def test_predicted_memory_is_near_the_measured(
    method: str, real_model: Callable[[str], Path], tmp_path: Path
) -> None:
    data = write_long_texts(tmp_path / "data")
    program = Path(__file__).with_name("measured_cell.py")
    words = [sys.executable, str(program), str(real_model(MODEL)), str(data), str(tmp_path / "out"), method]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    cell = json.loads(done.stdout.splitlines()[-1])
    assert cell["measured"] - cell["runtime"] > 100 * MIB, "nothing much was measured"
    assert cell["predicted"] == pytest.approx(cell["measured"], rel=0.20), cell
