"""What the layers of a language model are given, on some text: how strong each of their inputs is, and how the
inputs go together. Rounding of weights is guided by it (`gguf_blocks`).

The model is run once over the text, as it is. Leaves out the embedding and the head, whose matrix is often one.
"""

from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from trimtab.data.spec import Example
from trimtab.errors import DataError
from trimtab.evaluation import Artifact, Encoded
from trimtab.evaluation.predict import row_batches
from trimtab.tuning import structure

CALIBRATION_TOKENS = 8192
_BATCH_TOKENS = 2048
_WIDEST_GROUP = (
    1536  # inputs: of wider layers those of two groups count as unrelated, else memory grows as the square
)
_BLOCK = 32
# Matrices of a layer with the inputs of another one.
_SAME_INPUTS: Mapping[str, str] = {"k_proj": "q_proj", "v_proj": "q_proj", "up_proj": "gate_proj"}


@dataclass(frozen=True, kw_only=True, slots=True)
class InputMoments:
    """Sums over `tokens` tokens of x x^T, x the inputs of a matrix: by the name of its module, group after group
    of its inputs, each float32 (n, n)."""

    tokens: int
    groups: Mapping[str, tuple[torch.Tensor, ...]]

    def of(self, weight: str) -> tuple[torch.Tensor, ...]:
        """Of the matrix named so in the model; empty where nothing is known of it."""
        module, _, leaf = weight.removesuffix(".weight").rpartition(".")
        return self.groups.get(f"{module}.{_SAME_INPUTS.get(leaf, leaf)}", ())


def input_moments(
    artifact: Artifact, examples: Iterable[Example], *, tokens: int = CALIBRATION_TOKENS
) -> InputMoments:
    """Run a language model over the first rows of `examples`, `tokens` tokens of them. Takes 4 bytes x inputs
    squared for each distinct input of a layer: 0.4 GiB of SmolLM2-135M.

    Raises DataError TT-C415 where there is no text.
    """
    encoded = _first_tokens(artifact.encode(examples), tokens)
    if not len(encoded.ids):
        raise DataError("TT-C415", folder=str(artifact.folder))
    strategy = artifact.facts.strategy
    collator = artifact.objective.collator(artifact.tokenizer, strategy.max_length).beside(strategy)
    sums = _Sums()
    with torch.inference_mode(), ExitStack() as hooks:
        for name, module in _matrices(artifact.model):
            hooks.callback(module.register_forward_hook(sums.hook(name)).remove)
        for rows in row_batches(encoded.lengths, _BATCH_TOKENS, collator.max_length):
            inputs = collator.batch(encoded, rows)
            sums.counted = inputs["attention_mask"].flatten().bool()
            structure.backbone(artifact.model)(**inputs, use_cache=False)
    return InputMoments(tokens=len(encoded.ids), groups={name: tuple(sums.of(name)) for name in sums.found})


class _Sums:
    """Adds up what hooks see. `counted`: which tokens of the batch are no padding."""

    def __init__(self) -> None:
        self.counted = torch.zeros(0, dtype=torch.bool)
        self.found: dict[str, list[torch.Tensor]] = {}

    def hook(self, name: str):  # type: ignore[no-untyped-def]
        def add(module: nn.Module, given: tuple[torch.Tensor, ...], made: object) -> None:
            inputs = given[0].flatten(0, -2)[self.counted].float()
            parts = inputs.split(_group_width(inputs.shape[1]), 1)
            sums = self.found.setdefault(name, [part.new_zeros(part.shape[1], part.shape[1]) for part in parts])
            for total, part in zip(sums, parts, strict=True):
                total.addmm_(part.T, part)

        return add

    def of(self, name: str) -> list[torch.Tensor]:
        return [total.cpu() for total in self.found[name]]


def _matrices(model: nn.Module) -> Iterable[tuple[str, nn.Linear]]:
    """Of the layers, those whose inputs are not those of another one already here."""
    for name, module in model.named_modules():
        leaf = name.rpartition(".")[2]
        if isinstance(module, nn.Linear) and ".layers." in f".{name}" and leaf not in _SAME_INPUTS:
            yield name, module


def _group_width(inputs: int) -> int:
    """Equal groups of whole blocks."""
    groups = -(-inputs // _WIDEST_GROUP)
    return -(-inputs // groups // _BLOCK) * _BLOCK


def _first_tokens(encoded: Encoded, tokens: int) -> Encoded:
    return encoded.first(max(1, int(np.searchsorted(encoded.starts, tokens, side="right")) - 1))
