"""Writers of small data sets."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest


@pytest.fixture
def tokenizer(real_model: Callable[[str], Path]) -> Callable[[str], Path]:
    """tokenizer.json of a real model; skips where the models are not at hand."""
    return lambda model: real_model(model) / "tokenizer.json"


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
