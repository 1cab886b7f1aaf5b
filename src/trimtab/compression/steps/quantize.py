"""The step `quantize`: weights in few bits for ONNX Runtime, and what hurts most kept in fp32 until the floor
holds.

All products with weights are quantised first. Where dev then loses more than the floor, each part of each layer is
kept alone, to see how much nearer the outputs come to those of the parent; the parts that help most are kept, the
best first, twice as many each time, until the floor holds.
"""

import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import ClassVar

import numpy as np

from trimtab.artifacts import Compared
from trimtab.compression.onnx_bits import Feeds, write_fewer_bits
from trimtab.compression.onnx_folder import write_beside
from trimtab.compression.onnx_graph import Group, write_graph
from trimtab.compression.recipe import Happening, Making, Recipe, require_transformers
from trimtab.compression.wanted import Floor, Quantize
from trimtab.errors import Message, UsageError, message
from trimtab.evaluation import Artifact, Encoded, open_artifact
from trimtab.evaluation.onnx_model import ONNX_FILE, open_onnx

_BLOCKS = (16, 32, 64, 128)
_TRIED_ROWS = 256  # on which parts are told apart
_FED_ROWS = 8


class Quantizing(Recipe):
    """Final."""

    floor: ClassVar[Floor | None] = Floor(points=1.0)

    def __init__(self, wanted: Quantize) -> None:
        self._wanted = wanted

    @property
    def wanted(self) -> Quantize:
        return self._wanted

    def make(self, making: Making) -> Iterator[Happening]:
        """Raises what `write_graph` raises; UsageError TT-C019 for what no quantiser does, TT-C030 without texts
        to find static ranges on."""
        require_transformers(making, self._wanted.step)
        _check(self._wanted)
        with tempfile.TemporaryDirectory(prefix=".graph-", dir=making.folder.parent) as name:
            graph = Path(name) / ONNX_FILE
            parent = making.open()
            groups = write_graph(parent, making.before.rows.encoded, graph)
            facts = write_beside(parent, making.folder)
            yield from _Search(self._wanted, making, parent, graph, groups).events()
            facts.write(making.folder)


def _check(wanted: Quantize) -> None:
    if wanted.bits == "q4" and wanted.ranges != "dynamic":
        what = f"--to q4 --ranges {wanted.ranges}"
        raise UsageError("TT-C019", what=what, known=f"--to q8 --ranges {wanted.ranges}, --to q4")
    if wanted.block not in _BLOCKS:
        known = ", ".join(f"--block {block}" for block in _BLOCKS)
        raise UsageError("TT-C019", what=f"--block {wanted.block}", known=known)


@dataclass(frozen=True, slots=True)
class _Search:
    """From all parts in few bits to as few as the floor wants in fp32."""

    wanted: Quantize
    making: Making
    parent: Artifact
    graph: Path
    groups: tuple[Group, ...]

    def events(self) -> Iterator[Message]:
        self._write(())
        floor = self.making.floor
        if not self.wanted.back_off or floor is None or self.making.corpus is None:
            return
        found = self._compared()
        if self.making.holds(found):
            return
        yield message(
            "TT-C021", metric=found.metric, after=found.after, before=found.before, rows=found.rows,
            split=found.split, floor=str(floor),
        )  # fmt: skip
        yield from self._back_off()

    def _back_off(self) -> Iterator[Message]:
        order, count = self._most_helpful_first(), 1
        while True:
            kept = order[:count]
            self._write(kept)
            found = self._compared()
            yield message(
                "TT-C022", kept=", ".join(group.name for group in kept), metric=found.metric, after=found.after
            )
            if self.making.holds(found) or count >= len(order):
                return
            count *= 2

    def _most_helpful_first(self) -> list[Group]:
        """By how near the outputs come to the parent's where one part alone is kept in fp32."""
        rows = self.making.before.rows.encoded.first(_TRIED_ROWS)
        aims = self.making.before.outputs[: len(rows)]
        away = []
        for group in self.groups:
            self._write((group,))
            away.append(float(np.abs(self._outputs(rows)[: len(aims)] - aims).mean()))
        return [self.groups[place] for place in np.argsort(away, kind="stable")]

    def _write(self, kept: Sequence[Group]) -> None:
        nodes = [node for group in kept for node in group.nodes]
        write_fewer_bits(self.graph, self.making.folder / ONNX_FILE, self.wanted, self._feeds, nodes)

    def _outputs(self, rows: Encoded) -> np.ndarray:
        parent = self.parent
        pooling = parent.facts.strategy.pooling
        model = open_onnx(self.making.folder, pooling.kind if pooling else None)
        return parent.objective.outputs(model, rows, parent.collator)

    def _compared(self) -> Compared:
        made = open_artifact(self.making.folder)
        return self.making.compare(made)

    def _feeds(self) -> Feeds:
        """Inputs of the first texts of the training split, a few at a time: those of at least the usual length,
        cut there, since the histograms want all of one width, and padding has no say in a range."""
        corpus, parent = self.making.corpus, self.parent
        if corpus is None:
            raise UsageError("TT-C030")
        rows = parent.encode(islice(corpus.train, self.wanted.calibration_rows))
        width = int(np.median(rows.widths))
        long = np.flatnonzero(rows.widths >= width)
        for start in range(0, len(long) - _FED_ROWS + 1, _FED_ROWS):
            batch = parent.collator.batch(rows, long[start : start + _FED_ROWS])
            cut = slice(-width, None) if parent.collator.left else slice(width)
            yield {name: x[:, cut].numpy() for name, x in batch.items()}
