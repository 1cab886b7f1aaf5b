"""The step `quantize`: weights in few bits for ONNX Runtime, and what hurts most kept in fp32 until the floor
holds.

All products with weights are quantised first. Where dev then loses more than the floor, each part of each layer is
kept alone, to see how much nearer the outputs come to those in fp32; the parts that help most are kept, the best
first, twice as many each time, until the floor holds or hardly any part would be left in few bits.
"""

import tempfile
from collections.abc import Generator, Iterable, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import ClassVar

import numpy as np
from transformers import PreTrainedTokenizerBase as Tokenizer

from trimtab.artifacts import Compared
from trimtab.compression.onnx_bits import Feeds, write_fewer_bits
from trimtab.compression.onnx_folder import write_beside
from trimtab.compression.onnx_graph import Group, write_graph
from trimtab.compression.recipe import Happening, Made, Making, Recipe, Steps
from trimtab.compression.steps.gguf import LANGUAGE, GgufStep
from trimtab.compression.wanted import Floor, Gguf, Quantize
from trimtab.data.spec import Example
from trimtab.errors import UsageError, message
from trimtab.evaluation import Artifact, Collator, Encoded, Objective, open_artifact
from trimtab.evaluation.onnx_model import ONNX_FILE, open_onnx
from trimtab.models.gguf_layout import kind_named
from trimtab.training.meter import give_back_heap

_BLOCKS = (16, 32, 64, 128)
_TRIED_ROWS = 256  # on which parts are told apart
_FED_ROWS = 8
_Kept = Generator[Happening, None, Sequence[Group]]


class QuantizeStep(Recipe):
    """Final."""

    floor: ClassVar[Floor | None] = Floor(points=1.0)

    def __init__(self, wanted: Quantize) -> None:
        self._wanted = wanted

    @property
    def wanted(self) -> Quantize:
        return self._wanted

    def check(self) -> None:
        """Raises UsageError TT-C019 for what no quantiser does."""
        wanted = self._wanted
        if wanted.bits == "q4" and wanted.ranges != "dynamic":
            what = f"--to q4 --ranges {wanted.ranges}"
            raise UsageError("TT-C019", what=what, known=f"--to q8 --ranges {wanted.ranges}, --to q4")
        if wanted.block not in _BLOCKS:
            known = ", ".join(f"--block {block}" for block in _BLOCKS)
            raise UsageError("TT-C019", what=f"--block {wanted.block}", known=known)

    def make(self, making: Making) -> Steps:
        """A language model becomes a GGUF file. Raises what `write_graph` and `GgufStep.make` raise."""
        if making.facts.task in LANGUAGE:  # no graph of a model that writes word by word
            done = yield from GgufStep(Gguf(kind=kind_named(self._wanted.bits))).make(making)
            return done
        with tempfile.TemporaryDirectory(prefix=".graph-", dir=making.folder.parent) as name:
            graph = Path(name) / ONNX_FILE
            parent = making.open()
            groups = write_graph(parent, making.before.rows.encoded, graph)
            facts = write_beside(parent, making.folder)
            reader = _Reader.of(parent, making.before.rows.encoded.first(_TRIED_ROWS))
            del parent
            give_back_heap()
            kept = yield from _Search(self._wanted, making, reader, graph, groups).parts()
            facts.write(making.folder)
        return Made(kept_whole=tuple(group.name for group in kept))


@dataclass(frozen=True, slots=True)
class _Reader:
    """What is needed of the parent when its model has gone. `aims`: its outputs in fp32 for `rows`."""

    objective: Objective
    tokenizer: Tokenizer
    collator: Collator
    max_length: int
    rows: Encoded
    aims: np.ndarray

    @classmethod
    def of(cls, parent: Artifact, rows: Encoded) -> "_Reader":
        length = parent.facts.strategy.max_length
        return cls(parent.objective, parent.tokenizer, parent.collator, length, rows, parent.logits(rows))

    def encode(self, examples: Iterable[Example]) -> Encoded:
        return self.objective.encode(examples, self.tokenizer, self.max_length)


@dataclass(frozen=True, slots=True)
class _Search:
    """From all parts in few bits to as few as the floor wants in fp32."""

    wanted: Quantize
    making: Making
    reader: _Reader
    graph: Path
    groups: tuple[Group, ...]

    def parts(self) -> _Kept:
        """Those that stay in fp32 are the generator's return value."""
        self._write(())
        floor = self.making.floor
        if not self.wanted.back_off or floor is None:
            return ()
        found = self._compared()
        if self.making.holds(found):
            return ()
        yield message(
            "TT-C021", metric=found.metric, after=found.after, before=found.before, rows=found.rows,
            split=found.split, floor=str(floor),
        )  # fmt: skip
        kept = yield from self._back_off()
        return kept

    def _back_off(self) -> _Kept:
        order, count = self._most_helpful_first(), 1
        while True:
            kept = order[:count]
            self._write(kept)
            found = self._compared()
            names = ", ".join(group.name for group in kept)
            yield message("TT-C022", kept=names, metric=found.metric, after=found.after)
            if self.making.holds(found) or 2 * count >= len(order):
                return kept  # whether that is enough the gate says
            count *= 2

    def _most_helpful_first(self) -> list[Group]:
        """By how near the outputs come to those in fp32 where one part alone is kept."""
        away = []
        for group in self.groups:
            self._write((group,))
            away.append(float(np.abs(self._outputs() - self.reader.aims).mean()))
        return [self.groups[place] for place in np.argsort(away, kind="stable")]

    def _write(self, kept: Sequence[Group]) -> None:
        nodes = [node for group in kept for node in group.nodes]
        write_fewer_bits(self.graph, self.making.folder / ONNX_FILE, self.wanted, self._feeds, nodes)

    def _outputs(self) -> np.ndarray:
        pooling = self.making.facts.strategy.pooling
        model = open_onnx(self.making.folder, pooling.kind if pooling else None)
        return self.reader.objective.outputs(model, self.reader.rows, self.reader.collator)

    def _compared(self) -> Compared:
        return self.making.compare(
            open_artifact(self.making.folder, trust_remote_code=self.making.trust_remote_code)
        )

    def _feeds(self) -> Feeds:
        """Inputs of the first texts of the training split, a few at a time: those of at least the usual length,
        cut there, since the histograms want all of one width, and padding has no say in a range."""
        corpus, reader = self.making.corpus, self.reader
        assert corpus is not None, "quantising has data"
        rows = reader.encode(islice(corpus.train, self.wanted.calibration_rows))
        width = int(np.median(rows.widths))
        long = np.flatnonzero(rows.widths >= width)
        whole = len(long) - len(long) % _FED_ROWS or len(long)
        for start in range(0, whole, _FED_ROWS):
            batch = reader.collator.batch(rows, long[start : start + _FED_ROWS])
            cut = slice(-width, None) if reader.collator.left else slice(width)
            yield {name: x[:, cut].numpy() for name, x in batch.items()}
