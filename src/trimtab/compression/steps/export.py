"""The step `export`: the same model in another file format."""

import time
from collections.abc import Iterator
from dataclasses import replace
from typing import ClassVar

from trimtab import tuning
from trimtab.compression.onnx_folder import write_beside
from trimtab.compression.onnx_graph import write_graph
from trimtab.compression.recipe import Made, Making, Recipe, Steps
from trimtab.compression.wanted import Export, Floor
from trimtab.errors import Message, message
from trimtab.evaluation import save_artifact
from trimtab.evaluation.onnx_model import ONNX_FILE
from trimtab.methods import refuse_unmergeable


class ExportStep(Recipe):
    """Final."""

    floor: ClassVar[Floor | None] = None

    def __init__(self, wanted: Export) -> None:
        self._wanted = wanted

    @property
    def wanted(self) -> Export:
        return self._wanted

    def check(self) -> None:
        """Nothing contradicts itself here."""

    def make(self, making: Making) -> Steps:
        """Raises what `write_graph` raises, and ModelError TT-T071 for an adapter that cannot be merged."""
        yield from _FORMATS[self._wanted.format](making)
        return Made()

    def same_numbers(self, making: Making) -> bool:
        return True


def _onnx(making: Making) -> Iterator[Message]:
    begun, file = time.monotonic(), making.folder / ONNX_FILE
    parent = making.open()
    write_graph(parent, making.before.rows.encoded, file)
    yield message("TT-C020", size=file.stat().st_size, seconds=time.monotonic() - begun)
    write_beside(parent, making.folder)


def _safetensors(making: Making) -> Iterator[Message]:
    parent = making.open()
    if parent.facts.adapter:
        refuse_unmergeable(parent.facts.strategy)
        tuning.merge(parent.facts.strategy, parent.model, parent.spec)
    facts = replace(parent.facts, adapter=False)
    save_artifact(making.folder, facts, parent.model, parent.tokenizer, parent.spec)
    yield from ()


_FORMATS = {"onnx": _onnx, "safetensors": _safetensors}
