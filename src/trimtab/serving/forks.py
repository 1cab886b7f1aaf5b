"""Forks: one model for the rows of many adapters.

An adapter's model (`tuning.on_same_weights`) differs from its base in a few modules. A Forked model is a copy of
the base, on the same tensors, with a Fork at each such place, where every row of a batch takes the road of its own
adapter (`serving.roads`), or the base's where its adapter changes nothing there. The transformers class runs as it
is; what a row gets is what its adapter alone gives it, but for rounding. Leaves out: which rows share a batch, and
when.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import groupby

import torch
from peft.tuners.tuners_utils import BaseTunerLayer
from torch import nn
from torch.nn import functional as F
from transformers import PreTrainedModel

from trimtab import tuning
from trimtab.methods import Part
from trimtab.models.spec import ModelSpec
from trimtab.serving.roads import Road, road


@dataclass(frozen=True, slots=True)
class Roads:
    """What an adapter does, by place in the model; all that is kept of it."""

    by_place: Mapping[str, Road | nn.Module]

    @property
    def own_bytes(self) -> int:
        """Memory of what is not the base's."""
        return sum(tensor.nbytes for one in self.by_place.values() for tensor in _tensors(one))


def roads_of(model: PreTrainedModel, base: PreTrainedModel) -> Roads:
    """What `model` does where it is not `base`, whose tensors it shares otherwise."""
    return Roads({place: road(module) for place, module in _differing(model, base, "")})


def _differing(ours: nn.Module, theirs: nn.Module, place: str) -> Iterator[tuple[str, nn.Module]]:
    if type(ours) is not type(theirs) or any(
        parameter is not theirs._parameters.get(name) for name, parameter in ours._parameters.items()
    ):
        yield place, ours
        return
    for name, child in ours.named_children():
        inner, base_child = f"{place}.{name}".lstrip("."), theirs._modules.get(name)
        if base_child is None:
            yield inner, child
        else:
            yield from _differing(child, base_child, inner)


def _tensors(one: Road | nn.Module) -> tuple[torch.Tensor, ...]:
    if isinstance(one, Road):
        return one.tensors
    shared = (
        {id(parameter) for parameter in one.get_base_layer().parameters()}
        if isinstance(one, BaseTunerLayer)
        else ()
    )
    return tuple(parameter for parameter in one.parameters() if id(parameter) not in shared)


@dataclass(frozen=True, slots=True)
class _Group:
    """Rows of one adapter that follow one another."""

    adapter: str
    rows: slice


@dataclass(slots=True)
class _Crew:
    """Whose the rows of the batch are that runs now."""

    groups: tuple[_Group, ...] = ()


class Fork(nn.Module):
    """A module of the base, and the roads of adapters beside it or in its stead."""

    def __init__(self, base: nn.Module, crew: _Crew) -> None:
        super().__init__()
        self.base = base
        self.roads: dict[str, Road | nn.Module] = {}  # no submodules: a copy of the model must not copy them
        self._crew = crew

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        groups = [(group.rows, self.roads.get(group.adapter)) for group in self._crew.groups]
        if any(isinstance(one, nn.Module) for _, one in groups):
            return _joined([self._apart(x[rows], one) for rows, one in groups])
        return self._together(x, [(rows, one) for rows, one in groups if isinstance(one, Road)])

    def _apart(self, x: torch.Tensor, one: Road | nn.Module | None) -> torch.Tensor:
        if isinstance(one, nn.Module):
            return one(x)
        return self.base(x) if one is None else one.after(x, self.base(one.before(x)))

    def _together(self, x: torch.Tensor, groups: list[tuple[slice, Road]]) -> torch.Tensor:
        if len(groups) == 1 and len(self._crew.groups) == 1:
            return self._apart(x, groups[0][1])
        y = self.base(_changed(x, [(rows, one.before(x[rows])) for rows, one in groups]))
        return _changed(y, [(rows, one.after(x[rows], y[rows])) for rows, one in groups])


class Vectors(nn.Module):
    """Virtual tokens of every row, (rows, tokens, width): those of its adapter."""

    def __init__(self, crew: _Crew) -> None:
        super().__init__()
        self.roads: dict[str, nn.Module] = {}
        self._crew = crew

    def forward(self) -> torch.Tensor:
        of_groups = [
            self.roads[group.adapter]().expand(group.rows.stop - group.rows.start, -1, -1)
            for group in self._crew.groups
        ]
        return torch.cat(of_groups)


def _changed(whole: torch.Tensor, parts: list[tuple[slice, torch.Tensor]]) -> torch.Tensor:
    """`whole` with other rows in some places."""
    parts = [(rows, part) for rows, part in parts if part.data_ptr() != whole[rows].data_ptr()]
    if not parts:
        return whole
    changed = whole.clone()
    for rows, part in parts:
        changed[rows] = part
    return changed


def _joined(parts: list[torch.Tensor]) -> torch.Tensor:
    """Rows one after the other; heads of few outputs are filled up with zeros."""
    widest = max(part.shape[-1] for part in parts)
    return torch.cat([F.pad(part, (0, widest - part.shape[-1])) for part in parts])


@dataclass(slots=True)
class Forked:
    """A model whose rows name their adapters. For one thread at a time. `virtual`: the part whose virtual tokens
    all of its adapters have, in their number; None = none of them has any."""

    bare: PreTrainedModel
    spec: ModelSpec
    virtual: Part | None = None
    model: PreTrainedModel = field(init=False)
    adapters: set[str] = field(init=False, default_factory=set)
    _crew: _Crew = field(init=False, default_factory=_Crew)

    def __post_init__(self) -> None:
        self.model = tuning.sharing_copy(self.bare)
        if self.virtual is not None:
            tuning.attach(self.virtual, self.model, self.spec)
        self.model.requires_grad_(False).eval()

    def add(self, adapter: str, roads: Roads) -> None:
        """Let rows name `adapter`."""
        for place, one in roads.by_place.items():
            self._fork(place).roads[adapter] = one  # type: ignore[assignment]
        self.adapters.add(adapter)

    def remove(self, adapter: str) -> None:
        """Let its roads go. The forks stay."""
        for module in self.model.modules():
            if isinstance(module, Fork | Vectors):
                module.roads.pop(adapter, None)
        self.adapters.discard(adapter)

    @contextmanager
    def rows(self, adapters: Sequence[str]) -> Iterator[PreTrainedModel]:
        """Within, the model runs a batch whose row i is of `adapters[i]`; "" = of none, the base alone. Rows of
        one adapter should stand together: they are computed together."""
        unknown = set(adapters) - self.adapters - {""}
        assert not unknown, f"no roads of {sorted(unknown)}"
        self._crew.groups = tuple(_groups(adapters))
        try:
            yield self.model
        finally:
            self._crew.groups = ()

    def _fork(self, place: str) -> "Fork | Vectors":
        try:
            module = self.model.get_submodule(place)
        except AttributeError:
            raise AssertionError(
                f"{place} is not in {type(self.model).__name__}: virtual tokens of another kind?"
            ) from None
        if isinstance(module, Fork | Vectors):
            return module
        is_new = place not in dict(self.bare.named_modules())
        fork = Vectors(self._crew) if is_new else Fork(module, self._crew)
        self.model.set_submodule(place, fork, strict=True)
        return fork


def _groups(adapters: Sequence[str]) -> Iterator[_Group]:
    start = 0
    for adapter, rows in groupby(adapters):
        stop = start + sum(1 for _ in rows)
        yield _Group(adapter, slice(start, stop))
        start = stop
