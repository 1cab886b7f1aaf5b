"""What opens the model of an artifact: one function an engine. A new engine is one function and one line here."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trimtab import tuning
from trimtab.artifacts import ArtifactFacts, Engine
from trimtab.evaluation.objective import Objective, Opening
from trimtab.evaluation.onnx_model import open_onnx
from trimtab.evaluation.openvino_model import open_openvino
from trimtab.models.spec import ModelSpec


@dataclass(frozen=True, kw_only=True, slots=True)
class Closed:
    """An artifact whose model is to be opened; `spec` is of the model, or of its base."""

    folder: Path
    facts: ArtifactFacts
    spec: ModelSpec
    objective: Objective
    opening: Opening


def _with_transformers(closed: Closed) -> Any:
    facts, model = closed.facts, closed.objective.model(closed.opening)
    if facts.adapter:
        tuning.apply(facts.strategy, model, closed.spec)
        tuning.cast(model, facts.strategy.precision)
        tuning.load_adapter(facts.strategy, model, closed.folder)
    return model


def _with_onnx_runtime(closed: Closed) -> Any:
    return open_onnx(closed.folder, closed.opening.pooling)


def _with_openvino(closed: Closed) -> Any:
    return open_openvino(closed.folder, closed.opening.pooling)


def _with_gguf(closed: Closed) -> Any:
    return tuning.open_gguf_model(closed.folder, pad_token_id=closed.opening.pad_token_id)


ENGINES: Mapping[Engine, Callable[[Closed], Any]] = {
    "transformers": _with_transformers,
    "onnx": _with_onnx_runtime,
    "openvino": _with_openvino,
    "gguf": _with_gguf,
}
"""Each raises ModelError or ArtifactError where its files do not make a model."""
