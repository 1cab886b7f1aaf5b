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
from threading import local

import torch
from torch import nn
from torch.nn import functional as F
from transformers import PreTrainedModel

from trimtab import tuning
from trimtab.methods import Part
from trimtab.models.spec import ModelSpec
from trimtab.serving.roads import LowRank, Road, road

BASE = ""
"""In place of an adapter's name: none, the base as it is."""

_FEW_TOKENS = 4  # a row, as when it writes: then one product with all adapters' matrices beats one each
_BESIDE = 16  # adapters that stay side by side, so that one who ends and comes again copies nothing


@dataclass(frozen=True, slots=True)
class Roads:
    """What an adapter does, by place in the model; all that is kept of it. `own_bytes`: memory of what is not the
    base's."""

    by_place: Mapping[str, Road | nn.Module]
    own_bytes: int = 0


def roads_of(model: PreTrainedModel, base: PreTrainedModel) -> Roads:
    """What `model` does where it is not `base`, whose tensors it shares otherwise."""
    by_place = {place: road(module) for place, module in _differing(model, base, "")}
    shared = {id(tensor) for tensor in (*base.parameters(), *base.buffers())}
    own = {id(tensor): tensor.nbytes for one in by_place.values() for tensor in _tensors(one)}
    return Roads(by_place, sum(size for tensor, size in own.items() if tensor not in shared))


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
    return one.tensors if isinstance(one, Road) else tuple(one.parameters())


Rows = slice | torch.Tensor


@dataclass(frozen=True, slots=True)
class _Group:
    """Which rows of a batch are of an adapter; a slice where they stand together, which copies nothing."""

    adapter: str
    rows: Rows


@dataclass(frozen=True, slots=True)
class _Pass:
    """Whose the rows of a batch are. `beside`: adapters whose low-rank matrices stand side by side; `strange`: by
    their ranks, which of all columns are not a row's own, bool (rows, 1, ranks)."""

    names: tuple[str, ...] = ()
    groups: tuple[_Group, ...] = ()
    beside: tuple[str, ...] = ()
    strange: dict[tuple[tuple[str, int], ...], torch.Tensor] = field(default_factory=dict)

    def own(self, inner: torch.Tensor, side: "_Side") -> torch.Tensor:
        """`inner` (rows, tokens, ranks), in place, with 0 for what is not the row's own adapter's, whatever it
        was."""
        if side.ranks not in self.strange:
            strange = [[name != own for name, rank in side.ranks for _ in range(rank)] for own in self.names]
            self.strange[side.ranks] = torch.tensor(strange, device=inner.device)[:, None]
        return inner.masked_fill_(self.strange[side.ranks], 0)


class _Crew(local):
    """What runs now, in this thread."""

    now = _Pass()


@dataclass(frozen=True, slots=True)
class _Side:
    """Low-rank matrices of several adapters side by side: `down` (ranks of all, inputs), `up` (outputs, ranks)."""

    ranks: tuple[tuple[str, int], ...]
    down: torch.Tensor
    up: torch.Tensor

    @classmethod
    def of(cls, roads: Mapping[str, LowRank]) -> "_Side":
        return cls(
            ranks=tuple((name, len(one.down)) for name, one in roads.items()),
            down=torch.cat([one.down for one in roads.values()]),
            up=torch.cat([one.up for one in roads.values()], dim=1),
        )


class Fork(nn.Module):
    """A module of the base, and the roads of adapters beside it or in its stead."""

    def __init__(self, base: nn.Module, crew: _Crew) -> None:
        super().__init__()
        self.base = base
        self.roads: dict[str, Road | nn.Module] = {}  # no submodules: a copy of the model must not copy them
        self._crew = crew
        self._side: tuple[tuple[str, ...], _Side | None] = ((), None)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        groups = [(group.rows, self.roads.get(group.adapter)) for group in self._crew.now.groups]
        if not any(one is not None for _, one in groups):
            return self.base(x)
        if any(isinstance(one, nn.Module) for _, one in groups):
            parts = [(rows, self._apart(x[rows], one)) for rows, one in groups]
            return parts[0][1] if len(parts) == 1 else _joined(parts, len(x))
        return self._together(x, [(rows, one) for rows, one in groups if isinstance(one, Road)])

    def let_go(self) -> None:
        """Hold nothing twice."""
        self._side = ((), None)

    def _apart(self, x: torch.Tensor, one: Road | nn.Module | None) -> torch.Tensor:
        if isinstance(one, nn.Module):
            return one(x)
        if one is None:
            return self.base(x)
        y = self._own(x, self.base(one.before(x)))
        one.after(x, y)
        return y

    def _together(self, x: torch.Tensor, groups: list[tuple[Rows, Road]]) -> torch.Tensor:
        if len(groups) == 1 and len(self._crew.now.groups) == 1:
            return self._apart(x, groups[0][1])
        side = self._beside() if x.shape[1] <= _FEW_TOKENS else None
        if side is not None:
            groups = [(rows, one) for rows, one in groups if not isinstance(one, LowRank)]
        y = self._own(x, self.base(_changed(x, [(rows, one.before(x[rows])) for rows, one in groups])))
        for rows, one in groups:
            part = y[rows]
            one.after(x[rows], part)
            if not isinstance(rows, slice):  # else it is y itself
                y[rows] = part
        if side is not None:
            y += F.linear(self._crew.now.own(F.linear(x, side.down), side), side.up)
        return y

    def _own(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        """`y` as something that may be changed in place."""
        return y.clone() if y.data_ptr() == x.data_ptr() else y

    def _beside(self) -> _Side | None:
        """The low-rank matrices of the adapters that write now, here; None where there are none."""
        names, side = self._side
        if names != self._crew.now.beside:
            found = {name: self.roads.get(name) for name in self._crew.now.beside}
            low = {name: one for name, one in found.items() if isinstance(one, LowRank)}
            side = _Side.of(low) if low else None
            self._side = self._crew.now.beside, side
        return side


class Vectors(nn.Module):
    """Virtual tokens of every row, (rows, tokens, width): those of its adapter."""

    def __init__(self, crew: _Crew) -> None:
        super().__init__()
        self.roads: dict[str, nn.Module] = {}
        self._crew = crew

    def forward(self) -> torch.Tensor:
        vectors = {name: self.roads[name]() for name in dict.fromkeys(self._crew.now.names)}
        return torch.stack([vectors[name] for name in self._crew.now.names])

    def let_go(self) -> None:
        return None


def _changed(whole: torch.Tensor, parts: list[tuple[Rows, torch.Tensor]]) -> torch.Tensor:
    """`whole` with other rows in some places."""
    parts = [(rows, part) for rows, part in parts if part.data_ptr() != whole[rows].data_ptr()]
    if not parts:
        return whole
    changed = whole.clone()
    for rows, part in parts:
        changed[rows] = part
    return changed


def _joined(parts: list[tuple[Rows, torch.Tensor]], count: int) -> torch.Tensor:
    """All `count` rows in their places; those of heads with few outputs are filled up with zeros."""
    widest = max(part.shape[-1] for _, part in parts)
    whole = parts[0][1].new_zeros(count, *parts[0][1].shape[1:-1], widest)
    for rows, part in parts:
        whole[rows, ..., : part.shape[-1]] = part
    return whole


@dataclass(slots=True)
class Forked:
    """A model whose rows name their adapters. Passes may run in several threads at once; adapters come and go in
    one. `virtual`: the part whose virtual tokens all of its adapters have, in their number; None = none of them
    has any."""

    bare: PreTrainedModel
    spec: ModelSpec
    virtual: Part | None = None
    model: PreTrainedModel = field(init=False)
    adapters: set[str] = field(init=False, default_factory=set)
    _crew: _Crew = field(init=False, default_factory=_Crew)
    _last: _Pass = field(init=False, default_factory=_Pass)

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
        self._last = _Pass()
        for module in self.model.modules():
            if isinstance(module, Fork | Vectors):
                module.roads.pop(adapter, None)
                module.let_go()
        self.adapters.discard(adapter)

    @contextmanager
    def use(self, rows: Sequence[str]) -> Iterator[PreTrainedModel]:
        """Within, the model runs a batch whose row i is of the adapter `rows[i]`; "" = of none, the base alone.
        Rows of one adapter that stand together are computed without a copy; the same rows again cost nothing."""
        found = self._last
        if tuple(rows) != found.names:
            unknown = set(rows) - self.adapters - {BASE}
            assert not unknown, f"no roads of {sorted(unknown)}"
            found = self._last = self._pass(tuple(rows), found.beside)
        self._crew.now = found
        try:
            yield self.model
        finally:
            self._crew.now = _Pass()

    def _pass(self, names: tuple[str, ...], beside: tuple[str, ...]) -> _Pass:
        wanted = set(names) - {BASE}
        if not wanted <= set(beside):
            idle = [name for name in beside if name in self.adapters - wanted]
            beside = (*sorted(wanted), *idle[: max(0, _BESIDE - len(wanted))])
        return _Pass(names, tuple(_groups(names)), beside)

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


def _groups(names: tuple[str, ...]) -> Iterator[_Group]:
    for name in dict.fromkeys(names):
        places = [row for row, own in enumerate(names) if own == name]
        together = places[-1] - places[0] == len(places) - 1
        yield _Group(name, slice(places[0], places[-1] + 1) if together else torch.tensor(places))
