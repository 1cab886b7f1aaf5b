"""LoraRows: one pass of a base in which each row has a LoRA adapter of its own, or none.

The matrices of the adapters in use stand side by side, A's (ranks of all, in) and B's (out, ranks of all). A pass
multiplies by all of A, scales in each row its own adapter's columns and blanks the others, and multiplies by all
of B: two products a matrix, and each adapter's weights are read once, however many rows have it. (Gathering A and
B row by row reads and holds them once a row.)

Cost: beside each other the adapters in use are held a second time; (ranks of all) / (width) of the base's products
on top. An adapter that no row has any more stays beside the others until a new one comes, so that one who goes and
comes again copies nothing. Leaves out DoRA, and whatever else is no plain LoRA of linear layers.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
from peft.tuners.lora import LoraLayer
from torch import nn
from torch.nn import functional as F
from transformers import PreTrainedModel

from trimtab.errors import ModelError
from trimtab.serving.row_switch import BASE

_IDLE_RANKS = 128  # of adapters together that no row has but that stay beside the others
_Columns = tuple[tuple[str, int, float], ...]
"""Whose columns the ranks of a side are: (adapter, how many, what they are scaled by)."""


@dataclass(frozen=True, slots=True)
class Pair:
    """What one adapter adds to one matrix: `down` (rank, in), `up` (out, rank), their product times `scaling`."""

    down: torch.Tensor
    up: torch.Tensor
    scaling: float


@dataclass(frozen=True, slots=True)
class _Side:
    """Pairs side by side: `down` (ranks, in), `up` (out, ranks)."""

    columns: _Columns
    down: torch.Tensor
    up: torch.Tensor

    @classmethod
    def of(cls, pairs: dict[str, Pair]) -> "_Side":
        columns = tuple((name, len(pair.down), pair.scaling) for name, pair in pairs.items())
        if len(pairs) == 1:
            (pair,) = pairs.values()
            return cls(columns, pair.down, pair.up)
        down = torch.cat([pair.down for pair in pairs.values()])
        return cls(columns, down, torch.cat([pair.up for pair in pairs.values()], dim=1))


@dataclass(slots=True)
class _Pass:
    """What runs now: the adapter of each row, and the adapters whose matrices stand side by side. `scales` are by
    columns, which are the same for nearly all matrices."""

    rows: tuple[str, ...] = ()
    beside: tuple[str, ...] = ()
    scales: dict[_Columns, tuple[torch.Tensor, torch.Tensor]] = field(default_factory=dict)

    def own(self, inner: torch.Tensor, side: _Side) -> torch.Tensor:
        """`inner` (rows, tokens, ranks), scaled where a column is the row's own adapter's, else 0, whatever it
        was."""
        if side.columns not in self.scales:
            numbers = [
                [scaling * (own == name) for name, rank, scaling in side.columns for _ in range(rank)]
                for own in self.rows
            ]
            scales = inner.new_tensor(numbers)[:, None]
            self.scales[side.columns] = scales, scales == 0
        scales, strange = self.scales[side.columns]
        return inner.mul_(scales).masked_fill_(strange, 0)


class LoraRows(nn.Module):
    """A linear layer of the base, with what adapters add to it. Final."""

    def __init__(self, base: nn.Linear, switch: "LoraSwitch") -> None:
        super().__init__()
        self.base = base
        self.pairs: dict[str, Pair] = {}
        self._switch = (switch,)  # no submodule
        self._sides: dict[tuple[str, ...], _Side] = {}

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        now = self._switch[0].now
        out: torch.Tensor = self.base(x)
        side = self._side(now.beside)
        if side is None:
            return out
        inner = now.own(F.linear(x.to(side.down.dtype), side.down), side)
        return out + F.linear(inner, side.up).to(out.dtype)

    def let_go(self) -> None:
        """Hold nothing twice."""
        self._sides.clear()

    def _side(self, beside: tuple[str, ...]) -> _Side | None:
        found = self._sides.get(beside)
        if found is None:
            pairs = {name: self.pairs[name] for name in beside if name in self.pairs}
            if not pairs:
                return None
            found = self._sides[beside] = _Side.of(pairs)
        return found


class LoraSwitch:
    """Adapters on `model`, whose linear layers are replaced where one of them is adapted: let nobody else use it
    (`tuning.on_same_weights` makes another on the same tensors). A RowSwitch."""

    def __init__(self, model: PreTrainedModel) -> None:
        self.now = _Pass()
        self._model = model
        self._layers: dict[str, LoraRows] = {}
        self._ranks: dict[str, int] = {}
        self._beside: tuple[str, ...] = ()  # where there are several
        self._last = _Pass()

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self._ranks)

    def load(self, name: str, adapted: PreTrainedModel) -> None:
        """Let rows have as `name` what was attached to `adapted`, a model of the same base; its tensors are held,
        not copied. Raises ModelError TT-N201 where that is more than LoRA of linear layers."""
        found = _lora_layers(name, adapted)
        for place, pair in found.items():
            self._layer(place).pairs[name] = pair
        self._ranks[name] = max(len(pair.down) for pair in found.values())

    def unload(self, name: str) -> None:
        """Let an adapter go that no row has."""
        del self._ranks[name]
        for layer in self._layers.values():
            layer.pairs.pop(name, None)
        self._put_beside(tuple(one for one in self._beside if one != name))

    @contextmanager
    def use(self, rows: Sequence[str]) -> Iterator[None]:
        self.now = self._last = self._pass(tuple(rows))
        try:
            yield
        finally:
            self.now = _Pass()

    def _pass(self, rows: tuple[str, ...]) -> _Pass:
        if rows == self._last.rows:
            return self._last
        wanted = sorted(set(rows) - {BASE})
        assert all(name in self._ranks for name in wanted), f"not loaded: {set(wanted) - set(self._ranks)}"
        if len(wanted) < 2:
            return _Pass(rows, tuple(wanted))
        if not set(wanted) <= set(self._beside):
            idle = [name for name in self._beside if name not in wanted]
            stay = sum(self._ranks[name] for name in idle) <= _IDLE_RANKS
            self._put_beside(tuple(wanted + idle * stay))
        return _Pass(rows, self._beside)

    def _put_beside(self, names: tuple[str, ...]) -> None:
        self._beside, self._last = names, _Pass()
        for layer in self._layers.values():
            layer.let_go()

    def _layer(self, place: str) -> LoraRows:
        if place not in self._layers:
            base = self._model.get_submodule(place)
            assert isinstance(base, nn.Linear)
            self._layers[place] = LoraRows(base, self)
            self._model.set_submodule(place, self._layers[place], strict=True)
        return self._layers[place]


def _lora_layers(name: str, adapted: PreTrainedModel) -> dict[str, Pair]:
    """Dotted name of each adapted linear layer -> what is added to it."""
    layers = {place: module for place, module in adapted.named_modules() if isinstance(module, LoraLayer)}
    if not layers or not all(_is_plain(layer) for layer in layers.values()):
        raise ModelError("TT-N201", name=name)
    return {place: _pair(layer) for place, layer in layers.items()}


def _is_plain(layer: LoraLayer) -> bool:
    known = {"lora_A", "lora_B", "base_layer", "lora_dropout"}
    more = {name.partition(".")[0] for name, _ in layer.named_parameters()} - known
    return isinstance(layer.get_base_layer(), nn.Linear) and not more and not any(layer.lora_bias.values())


def _pair(layer: LoraLayer) -> Pair:
    (name,) = layer.lora_A
    return Pair(layer.lora_A[name].weight.detach(), layer.lora_B[name].weight.detach(), layer.scaling[name])
