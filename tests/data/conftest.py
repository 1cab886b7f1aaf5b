"""Writers of small data sets, and where the real ones lie."""

import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def shared() -> Callable[[str], str]:
    """Path of a real data set; skips where the sets are not at hand."""
    root = Path(os.environ.get("TRIMTAB_SHARED", ROOT / "../shared")) / "data"

    def find(name: str) -> str:
        if not (root / name).is_dir():
            pytest.skip(f"data set {name} is not at hand (TRIMTAB_SHARED)")
        return str(root / name)

    return find


@pytest.fixture
def tokenizer() -> Callable[[str], Path]:
    """tokenizer.json of a real model; skips where the models are not at hand."""
    root = Path(os.environ.get("TRIMTAB_MODELS", Path.home() / ".cache/trimtab-dev-models"))

    def find(model: str) -> Path:
        path = root / model / "tokenizer.json"
        if not path.is_file():
            pytest.skip(f"model {model} is not at hand (TRIMTAB_MODELS)")
        return path

    return find


@pytest.fixture
def jsonl(tmp_path: Path) -> Callable[..., str]:
    """Writes rows as a jsonl file and gives its path."""

    def write(rows: Sequence[object], name: str = "data.jsonl") -> str:
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        return str(path)

    return write


@pytest.fixture
def raw(tmp_path: Path) -> Callable[..., str]:
    """Writes bytes and gives the path."""

    def write(name: str, content: bytes) -> str:
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content)
        return str(path)

    return write
