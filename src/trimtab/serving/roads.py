"""Road: what one adapter does at one place of the base, for the rows that are its own.

Most of what adapters add works beside the base's module, so that this runs once for the rows of all adapters and
each adapter changes its own rows before and after it: LoRA adds to them, a bottleneck reads and adds to them,
(IA)^3 multiplies them, other biases are added. What does not (a head of its own, DoRA) runs in the base's stead. A
new kind of layer works in its stead until it is given a road here.
"""

from dataclasses import dataclass
from functools import singledispatch

import torch
from peft.tuners.ia3 import IA3Layer
from peft.tuners.lora import LoraLayer
from torch import nn

from trimtab.tuning.biases import BiasesLayer
from trimtab.tuning.bottleneck import BottleneckLayer


@dataclass(frozen=True, slots=True)
class Road:
    """Abstract. Rows are (rows, …, width)."""

    def before(self, x: torch.Tensor) -> torch.Tensor:
        """What the base's module gets for `x`."""
        return x

    def after(self, x: torch.Tensor, y: torch.Tensor) -> None:
        """Make `y`, which the base's module gave for `x`, what comes of it, in place."""

    @property
    def tensors(self) -> tuple[torch.Tensor, ...]:
        """What it holds."""
        raise NotImplementedError


@dataclass(frozen=True, slots=True)
class LowRank(Road):
    """LoRA: y + B A x. `down` (rank, inputs); `up` (outputs, rank), its scale in it."""

    down: torch.Tensor
    up: torch.Tensor

    def after(self, x: torch.Tensor, y: torch.Tensor) -> None:
        y += nn.functional.linear(nn.functional.linear(x, self.down), self.up)

    @property
    def tensors(self) -> tuple[torch.Tensor, ...]:
        return self.down, self.up


@dataclass(frozen=True, slots=True)
class Behind(Road):
    """A bottleneck: y + up(relu(down(y)))."""

    down: nn.Module
    up: nn.Module

    def after(self, x: torch.Tensor, y: torch.Tensor) -> None:
        y += self.up(torch.relu_(self.down(y)))

    @property
    def tensors(self) -> tuple[torch.Tensor, ...]:
        return *self.down.parameters(), *self.up.parameters()


@dataclass(frozen=True, slots=True)
class ScaledInput(Road):
    """(IA)^3 of an inner matrix: it reads x s. `scale` (inputs)."""

    scale: torch.Tensor

    def before(self, x: torch.Tensor) -> torch.Tensor:
        return x * self.scale

    @property
    def tensors(self) -> tuple[torch.Tensor, ...]:
        return (self.scale,)


@dataclass(frozen=True, slots=True)
class ScaledOutput(Road):
    """(IA)^3 of keys and values: y s. `scale` (outputs)."""

    scale: torch.Tensor

    def after(self, x: torch.Tensor, y: torch.Tensor) -> None:
        y *= self.scale

    @property
    def tensors(self) -> tuple[torch.Tensor, ...]:
        return (self.scale,)


@dataclass(frozen=True, slots=True)
class OtherBias(Road):
    """A bias in the base's stead, as what is added to it. `difference` (outputs)."""

    difference: torch.Tensor

    def after(self, x: torch.Tensor, y: torch.Tensor) -> None:
        y += self.difference

    @property
    def tensors(self) -> tuple[torch.Tensor, ...]:
        return (self.difference,)


@singledispatch
def road(module: nn.Module) -> Road | nn.Module:
    """What an adapter's `module` does to the base's; the module itself where that is nothing beside it. Every
    layer has one adapter, which is active."""
    return module


@road.register
def _(module: LoraLayer) -> Road | LoraLayer:
    (name,) = module.active_adapters
    if name not in module.lora_A or module.lora_variant.get(name) or module.lora_bias[name]:
        return module
    down, up = module.lora_A[name].weight, module.lora_B[name].weight
    return LowRank(down.detach(), up.detach() * module.scaling[name])


@road.register
def _(module: BottleneckLayer) -> Road:
    (name,) = module.active_adapters
    return Behind(module.bneck_down[name], module.bneck_up[name])


@road.register
def _(module: BiasesLayer) -> Road:
    (name,) = module.active_adapters
    own = module.bitfit_bias[name].detach()
    return OtherBias(
        (own.double() - module.get_base_layer().get_parameter("bias").detach().double()).to(own.dtype)
    )


@road.register
def _(module: IA3Layer) -> Road | IA3Layer:
    (name,) = module.active_adapters
    kind = ScaledInput if module.is_feedforward else ScaledOutput
    return kind(module.ia3_l[name].detach().flatten())
