"""Looking into a model while it runs: outputs of its layers, and queries, keys and values of them."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial

import torch
from torch import nn
from transformers import PreTrainedModel

from trimtab.models.spec import ModelSpec
from trimtab.tuning import structure

_ROLES = ("q", "k", "v")


@dataclass(slots=True)
class Seen:
    """What came out, each (rows, width, numbers): `hidden` by number of the layer, `related` by its module's
    name. Filled while the model runs."""

    hidden: dict[int, torch.Tensor] = field(default_factory=dict)
    related: dict[str, torch.Tensor] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Watched:
    """`hidden`: layers whose outputs are looked at; `related`: the layer whose queries, keys and values are, or
    its output where `whole`; None = nobody's."""

    hidden: tuple[int, ...] = ()
    related: int | None = None
    whole: bool = False


def has_queries(spec: ModelSpec) -> bool:
    """Whether queries, keys and values come from matrices of their own."""
    return set(_ROLES) <= {linear.role for linear in spec.linears}


@contextmanager
def watching(model: nn.Module, spec: ModelSpec, watched: Watched) -> Iterator[Seen]:
    """Within, what passes through the watched layers is kept, with its gradients where there are any. Backward
    comes after: a layer that is computed again there is not looked at."""
    seen = Seen()
    if watched == Watched():
        yield seen
        return
    assert isinstance(model, PreTrainedModel)
    layers = structure.layers(model, spec)
    hooks = [
        layers[number].register_forward_hook(partial(_keep, seen.hidden, number)) for number in watched.hidden
    ]
    if watched.related is not None:
        layer = layers[watched.related]
        modules = {"": layer} if watched.whole else _attention(layer, spec)
        hooks += [
            module.register_forward_hook(partial(_keep, seen.related, name)) for name, module in modules.items()
        ]
    try:
        yield seen
    finally:
        for hook in hooks:
            hook.remove()


def _attention(layer: nn.Module, spec: ModelSpec) -> dict[str, nn.Module]:
    return {linear.role: layer.get_submodule(linear.module) for linear in spec.linears if linear.role in _ROLES}


def _keep(kept, key, module, args, output) -> None:  # type: ignore[no-untyped-def]
    kept[key] = output[0] if isinstance(output, tuple) else output
