"""Openings: what a prompt or a prefix that was trained has every text stand behind, as keys and values.

Virtual tokens see themselves and nothing else, so theirs are the same before every text and are computed once; a
row then begins with them, and its own tokens stand behind (`cells`). So a Writer serves these methods beside
others in one batch, on the base without the hooks that `tuning` puts there.
"""

from collections.abc import Iterable

import torch
from torch import nn
from transformers import DynamicCache, PreTrainedModel

from trimtab.methods import Prefix, Strategy, VirtualTokens
from trimtab.models.spec import ModelSpec
from trimtab.serving.cells import Pairs, copied
from trimtab.tuning import structure
from trimtab.tuning.prefix import prefix_pairs
from trimtab.tuning.virtual_tokens import bare, virtual_tokens


@torch.inference_mode()
def opening(strategy: Strategy, model: PreTrainedModel, spec: ModelSpec) -> Pairs:
    """Of a model to which `strategy` was attached: keys and values of its virtual tokens; none where it has
    none."""
    for part in strategy.parts:
        if isinstance(part, Prefix):
            return _of_one_row(prefix_pairs(model, spec))
        if isinstance(part, VirtualTokens):
            return _read(model, virtual_tokens(model)())
    return ()


def _read(model: PreTrainedModel, vectors: torch.Tensor) -> Pairs:
    cache, backbone = DynamicCache(), structure.backbone(model)
    assert isinstance(backbone, nn.Module)
    with bare(model):
        backbone(inputs_embeds=vectors[None].to(model.dtype), past_key_values=cache, use_cache=True)
    return _of_one_row((layer.keys, layer.values) for layer in cache.layers)


def _of_one_row(pairs: Iterable[tuple[torch.Tensor, torch.Tensor]]) -> Pairs:
    return copied([(keys[0], values[0]) for keys, values in pairs])
