"""The step `export --to gguf`, and `quantize` of language models: a GGUF file, as llama.cpp runs it.

The tokenizer and the config stay beside it, so that the folder answers as the artifact it comes from. Kinds of 4
and 5 bits are rounded so that the outputs of each layer are kept, on the first texts of the training split. Q8_0
keeps the matrices that matter most in F16: SmolLM2-135M then gives 48 of 49 greedy answers of 16 tokens as before,
37 without, for 0.32 of the size in fp32, 0.27 without.
"""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

from trimtab import tuning
from trimtab.compression.calibration import InputMoments, input_moments
from trimtab.compression.gguf import export_gguf
from trimtab.compression.recipe import Made, Making, Recipe, Steps
from trimtab.compression.student import merge_in_place
from trimtab.compression.wanted import Floor, Gguf
from trimtab.errors import ModelError, message
from trimtab.evaluation import Artifact
from trimtab.models.gguf_layout import FINER, GgufKind
from trimtab.training.meter import give_back_heap

LANGUAGE = ("instruct", "text")
_ROUNDED: tuple[GgufKind, ...] = ("q4_0", "q4_1", "q5_0", "q5_1")


class GgufStep(Recipe):
    """Final."""

    floor: ClassVar[Floor | None] = Floor(share=0.02)

    def __init__(self, wanted: Gguf) -> None:
        self._wanted = wanted

    @property
    def wanted(self) -> Gguf:
        return self._wanted

    def check(self) -> None:
        """Nothing contradicts itself here."""

    def make(self, making: Making) -> Steps:
        """Raises ModelError TT-C401 for tasks that write no texts, what `write_gguf` raises."""
        if making.facts.task not in LANGUAGE:
            raise ModelError("TT-C401", folder=str(making.parent), task=making.facts.task)
        parent = making.open()
        with _whole(making, parent) as folder:
            moments = self._moments(making, parent)
            del parent
            give_back_heap()
            kind = self._wanted.kind
            finer = FINER[-1] if kind == "q8_0" else FINER[0]
            written = export_gguf(folder, making.folder, kind, finer=finer, moments=moments)
        facts = replace(making.facts, adapter=False, engine="gguf", files=())
        facts.write(making.folder)
        yield message("TT-C034", kind=written.kind, size=written.nbytes)
        return Made(kept_whole=written.kept)

    def _moments(self, making: Making, parent: Artifact) -> InputMoments | None:
        if making.corpus is None or self._wanted.kind not in _ROUNDED:
            return None
        return input_moments(parent, making.corpus.train)


@contextmanager
def _whole(making: Making, parent: Artifact) -> Iterator[Path]:
    """The folder of the whole model: the artifact's own, or one for as long as it is needed, where an adapter is
    merged."""
    if not making.facts.adapter:
        yield making.parent
        return
    merge_in_place(parent)
    with (
        tempfile.TemporaryDirectory(prefix=".merged-", dir=making.folder.parent) as name,
        tuning.quiet_transformers(),
    ):
        parent.model.save_pretrained(name)
        parent.tokenizer.save_pretrained(name)
        yield Path(name)
