"""Outlook: what a model will be once steps are carried out: its shape, its numbers, its tokenizer. Pure.

Which heads and neurons a pruning takes is not known before they are looked at; how many of all layers together is,
and that is what bytes and work depend on. Leaves out what is lost by it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from trimtab.compression.choose import Removal, choose
from trimtab.compression.predicted import onnx_bytes
from trimtab.compression.vocabulary import Vocabulary, fixed_ids, tokenizer_text
from trimtab.compression.wanted import KEEPS, Bits, Distil, Keep, Lesson, Prune, Trim, Wanted, chosen
from trimtab.compression.worth import Importance
from trimtab.estimation.work import forward_flop
from trimtab.models.pruned import with_shapes
from trimtab.models.spec import ModelSpec


@dataclass(frozen=True, kw_only=True, slots=True)
class Trimmed:
    """What the step `trim` leaves of a vocabulary: tokens, and bytes of tokenizer.json."""

    keep: Keep
    tokens: int
    tokenizer_bytes: int


def vocabularies(
    spec: ModelSpec, plain: Mapping[str, Any], counts: np.ndarray, always: frozenset[int]
) -> tuple[Trimmed, ...]:
    """What may be left of the tokenizer.json `plain`, the most first, for texts in which its tokens occur `counts`
    times, int64 by id; `always` stay. Raises ModelError TT-C300."""
    vocabulary, found = Vocabulary(plain, spec.name), []
    for keep in ("script", "seen"):
        whole = keep == "script"
        kept = vocabulary.kept(counts, always=always, up_to=fixed_ids(spec), whole_scripts=whole)
        size = len(tokenizer_text(vocabulary.trimmed(kept)).encode())
        found.append(Trimmed(keep=chosen("keep", keep, KEEPS), tokens=len(kept), tokenizer_bytes=size))
    return tuple(found)


@dataclass(frozen=True, kw_only=True, slots=True)
class Outlook:
    """A model of `spec` with so many `parameters`, its head among them, after `steps`."""

    spec: ModelSpec
    parameters: int
    tokenizer_bytes: int
    steps: tuple[Wanted, ...] = ()

    @property
    def table_share(self) -> float:
        """Of the table of tokens in all its numbers."""
        return self.spec.vocab * self._width / self.parameters

    @property
    def _width(self) -> int:
        """Of a row of that table."""
        return self.spec.embedding_size or self.spec.hidden

    def weight_bytes(self, bits: Bits) -> int:
        """In ONNX."""
        return onnx_bytes(self.spec, self.parameters, bits)

    def bytes(self, bits: Bits) -> int:
        """With its tokenizer."""
        return self.weight_bytes(bits) + self.tokenizer_bytes

    def work(self, tokens: int) -> float:
        """FLOP of a forward pass, a token of a text of so many."""
        return forward_flop(self.spec, tokens)

    def trimmed(self, to: Trimmed) -> "Outlook":
        """Before the other steps: they then have less to do."""
        return replace(
            self,
            spec=replace(self.spec, vocab=to.tokens),
            parameters=self.parameters - (self.spec.vocab - to.tokens) * self._width,
            tokenizer_bytes=to.tokenizer_bytes,
            steps=(Trim(keep=to.keep), *self.steps),
        )

    def with_layers(self, layers: int, lesson: Lesson) -> "Outlook":
        gone = self.spec.parameters_of_layers(layers)
        return self._after(Distil(layers=layers, lesson=lesson), replace(self.spec, layers=layers), gone)

    def pruned(self, share: float, lesson: Lesson) -> "Outlook":
        """Raises ModelError TT-C201."""
        kept = choose(self.spec, _alike(self.spec), Removal(share=share))
        spec = with_shapes(self.spec, kept.shapes(self.spec.shapes))
        gone = self.spec.parameters_of_layers() - spec.parameters_of_layers()
        return self._after(Prune(share=share, lesson=lesson), spec, gone)

    def _after(self, step: Wanted, spec: ModelSpec, gone: int) -> "Outlook":
        return replace(self, spec=spec, parameters=self.parameters - gone, steps=(*self.steps, step))


def _alike(spec: ModelSpec) -> Importance:
    """Worth of heads and neurons if all layers were alike."""
    shapes = spec.shapes.layers
    return Importance(
        groups=tuple(np.arange(1.0, one.kv_heads + 1) / one.kv_heads for one in shapes),
        neurons=tuple(np.arange(1.0, one.neurons + 1) / one.neurons for one in shapes),
    )
