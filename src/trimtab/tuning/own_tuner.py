"""What PEFT needs to know of an adapter that it does not have: a tuner of ours, registered beside its own.

`OwnLayer` wraps one module and says what that computes with an adapter; `register` makes PEFT save, load, switch
and mix it, from the import of `trimtab.tuning` on. PEFT's own `register_peft_method` takes no name that is not in
its closed list. Checked with peft 0.21. Leaves out: adapters of several kinds in one PeftModel.
"""

import enum
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, ClassVar

import torch
from peft import PeftConfig
from peft.mapping import PEFT_TYPE_TO_CONFIG_MAPPING, PEFT_TYPE_TO_PREFIX_MAPPING, PEFT_TYPE_TO_TUNER_MAPPING
from peft.tuners.tuners_utils import BaseTuner, BaseTunerLayer
from peft.utils.other import AuxiliaryTrainingWrapper
from torch import nn

_BASE = "__base__"  # PEFT's word for a row without an adapter


class OwnPeftType(enum.StrEnum):
    """Ours, beside peft.PeftType, which cannot be added to."""

    BITFIT = "BITFIT"
    BOTTLENECK = "BOTTLENECK"


class OwnLayer(BaseTunerLayer, nn.Module):
    """Abstract. One module of the base and its adapters, in containers by name of the adapter;
    `adapter_layer_names` names the containers."""

    # What BaseTunerLayer has, for who reads types: PEFT has none.
    active_adapters: list[str]
    disable_adapters: bool
    merged: bool
    get_base_layer: Callable[[], nn.Module]
    set_adapter: Callable[..., None]
    _get_available_adapters: Callable[[], set[str]]
    _move_adapter_to_device_of_base_layer: Callable[[str], None]

    def __init__(self, base_layer: nn.Module, adapter_name: str) -> None:
        super().__init__()
        self.base_layer = base_layer
        self.merged_adapters: list[str] = []
        self._active_adapter = [adapter_name]

    def make(self, adapter_name: str, config: PeftConfig) -> None:
        """Put a new adapter into the containers."""
        raise NotImplementedError

    def through(self, adapters: Sequence[str], x: torch.Tensor) -> torch.Tensor:
        """What the module gives for `x` with these of its adapters; the base's own where there are none."""
        raise NotImplementedError

    def update_layer(self, adapter_name: str, config: PeftConfig) -> None:
        """As PEFT calls it, for each adapter."""
        self.make(adapter_name, config)
        self._move_adapter_to_device_of_base_layer(adapter_name)
        self.set_adapter(self.active_adapters, inference_mode=config.inference_mode)

    def forward(self, x: torch.Tensor, *, adapter_names: Sequence[str] | None = None) -> torch.Tensor:
        """`adapter_names`: the adapter of each row, for a mixed batch."""
        if adapter_names is not None:
            return self._mixed(x, adapter_names)
        if self.disable_adapters or self.merged:
            return self.through((), x)
        return self.through(self._known(self.active_adapters), x)

    def _known(self, adapters: Sequence[str]) -> list[str]:
        """Those of them that this module has: another adapter may stand in fewer layers."""
        return [name for name in adapters if name in self._get_available_adapters()]

    def _mixed(self, x: torch.Tensor, adapter_names: Sequence[str]) -> torch.Tensor:
        out = self.through((), x)
        for adapter in self._known(sorted(set(adapter_names))):
            rows = [row for row, name in enumerate(adapter_names) if name == adapter]
            out[rows] = self.through([adapter], x[rows])
        return out


class OwnTuner(BaseTuner):
    """Abstract. A subclass names its `prefix` and its `tuner_layer_cls`."""

    tuner_layer_cls: type[OwnLayer]
    target_module_mapping: ClassVar[dict[str, list[str]]] = {}  # none is known without being told

    def _create_and_replace(  # type: ignore[no-untyped-def]
        self, peft_config, adapter_name, target, target_name, parent, current_key, **_
    ) -> None:
        if isinstance(target, self.tuner_layer_cls):
            target.update_layer(adapter_name, peft_config)
            return
        layer = self.tuner_layer_cls(target, adapter_name)
        layer.update_layer(adapter_name, peft_config)
        self._replace_module(parent, target_name, layer, target)

    def _replace_module(self, parent: nn.Module, child_name: str, new_module: nn.Module, child: nn.Module) -> None:
        """PEFT's own copies weights over besides, which a module without any (BERT's pooler) does not survive; our
        layers hold the module itself."""
        setattr(parent, child_name, new_module)

    @contextmanager
    def _enable_peft_forward_hooks(self, *args: Any, **kwargs: Any) -> Iterator[None]:
        """Tell every layer and every head the rows' adapters; without this PEFT drops them and says nothing."""
        names = kwargs.get("adapter_names")
        if names is None:
            yield
            return
        layers = [module for module in self.modules() if isinstance(module, OwnLayer)]
        unknown = set(names) - {_BASE} - {name for layer in layers for name in layer._get_available_adapters()}
        if self.training or unknown:
            raise ValueError(f"a mixed batch needs evaluation mode and known adapters; unknown: {sorted(unknown)}")

        def tell(module: nn.Module, args: Any, kwargs: Any) -> Any:
            return args, {**kwargs, "adapter_names": names}

        told = [*layers, *(module for module in self.modules() if isinstance(module, AuxiliaryTrainingWrapper))]
        hooks = [module.register_forward_pre_hook(tell, with_kwargs=True) for module in told]
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()


def register(name: OwnPeftType, config: type[PeftConfig], tuner: type[OwnTuner]) -> None:
    """Make PEFT know `name`: in adapter_config.json, when it loads one, and when it injects."""
    PEFT_TYPE_TO_CONFIG_MAPPING[name] = config
    PEFT_TYPE_TO_TUNER_MAPPING[name] = tuner
    PEFT_TYPE_TO_PREFIX_MAPPING[name] = tuner.prefix
