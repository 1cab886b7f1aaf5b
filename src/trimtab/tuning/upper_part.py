"""The upper part of a model: it runs from some layer up, on states that the layers below gave for its texts.

What makes these states is taken out of the model, which stays the class it was: in the places of the embeddings
and of the lower layers stand modules that hand the states on, whatever they are called with. Ids, masks, token
types and positions go in as ever, so that all that the class makes of them (masks, rotary tables, the last token
that is no padding) is what it is in the whole model; the states travel beside them, as the input `STATES`. Numbers
of layers stay, and names of weights that are trained in another stage.

Leaves out how states are kept (`evaluation.states`) and when it pays (`estimation.prefix`).
"""

from collections.abc import Collection
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel

from trimtab.models.spec import ModelSpec
from trimtab.tuning import structure

STATES = "states_below"  # as an input of the model: (rows, tokens, width)
Inputs = dict[str, torch.Tensor]


class _Reached(Exception):
    """What a layer returns: nothing above it needs to run."""

    def __init__(self, output: Any) -> None:
        self.output = output


@torch.no_grad()
def lower_states(
    model: PreTrainedModel, spec: ModelSpec, depth: int, inputs: Inputs
) -> tuple[torch.Tensor, int | None]:
    """Run `model`, which is whole and in evaluation mode, up to layer `depth` (1 = above the lowest). Returns what
    that layer is given, (rows, tokens, width), and of how many things a layer of this class returns a tuple; None
    where it returns the states alone."""

    def stop(module: nn.Module, args: Any, output: Any) -> None:
        raise _Reached(output)

    hook = structure.layers(model, spec)[depth - 1].register_forward_hook(stop)
    try:
        structure.backbone(model)(**inputs)
    except _Reached as reached:
        several = isinstance(reached.output, tuple)
        return (reached.output[0], len(reached.output)) if several else (reached.output, None)
    finally:
        hook.remove()
    raise AssertionError("a model runs its layers")


class UpperPart:
    """Which part of `model` is run; all of it, to begin with. `returned`: as `lower_states` gives it. Final."""

    def __init__(self, model: PreTrainedModel, spec: ModelSpec, returned: int | None) -> None:
        self._model, self._returned = model, returned
        self._path = structure.layers_path(model, spec)
        self._feeding = tuple(structure.feeding(model, spec))
        self._seam = _Seam()
        self._held: dict[str, nn.Module] = {}
        self._gone: set[str] = set()
        self._hooks = [
            one.register_forward_pre_hook(self._seam.take_from, with_kwargs=True)
            for one in {id(x): x for x in (model, structure.backbone(model))}.values()
        ]

    @property
    def lacks(self) -> bool:
        """Whether modules have been let go."""
        return bool(self._gone)

    def run_from(self, depth: int) -> None:
        """Run layers from `depth` (1 = above the lowest) up; 0 = all, and so with all that has not been let go."""
        wanted = self._below(depth)
        for name in [name for name in self._held if name not in wanted]:
            self._model.set_submodule(name, self._held.pop(name), strict=True)
        for name in wanted:
            if name not in self._held and name not in self._gone:
                self._held[name] = self._model.get_submodule(name)
                self._model.set_submodule(name, self._stand_in(name, self._held[name]), strict=True)
        self._seam.last = f"{self._path}.{depth - 1}"

    def let_go(self, depth: int, opened: Collection[str]) -> None:
        """Give back the memory of what lies below layer `depth`, which runs no more before `complete`: of modules
        without any of the weights called `opened`, which are trained in some stage, and without one that is read
        from elsewhere (a head that is the embedding too)."""
        for name in self._below(depth):
            if name in self._held and not self._is_needed(name, opened):
                del self._held[name]
                self._model.set_submodule(name, self._stand_in(name, None), strict=True)
                self._gone.add(name)

    def _is_needed(self, name: str, opened: Collection[str]) -> bool:
        if any(one.startswith(f"{name}.") for one in opened):
            return True
        everywhere = self._model.named_parameters(remove_duplicate=False)
        elsewhere = {id(parameter) for one, parameter in everywhere if not one.startswith(f"{name}.")}
        return any(id(parameter) in elsewhere for parameter in self._held[name].parameters())

    def complete(self, whole: PreTrainedModel | None) -> None:
        """Make the model whole again; what was let go is taken out of `whole`, a model that was made as it was."""
        self.run_from(0)
        for name in self._gone:
            assert whole is not None, f"{name} was let go"
            self._model.set_submodule(name, whole.get_submodule(name), strict=True)
        self._gone = set()

    def leave(self) -> None:
        """The model, which is whole, is as it was before this was made."""
        assert not self._held and not self._gone, "the model is whole"
        for hook in self._hooks:
            hook.remove()

    def _below(self, depth: int) -> tuple[str, ...]:
        return (*self._feeding, *(f"{self._path}.{number}" for number in range(depth))) if depth else ()

    def _stand_in(self, name: str, module: nn.Module | None) -> nn.Module:
        made = _StandIn(self._seam, name, None if name in self._feeding else self._returned)
        if module is not None:
            made.carry(module)
        return made


class _Seam:
    """Where states wait, from the call of the model until the first layer that runs. `last`: who asks last."""

    def __init__(self) -> None:
        self._states: torch.Tensor | None = None
        self.last = ""

    def take_from(self, module: nn.Module, args: Any, kwargs: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        """A hook before the model: take the states out of what it is called with."""
        if STATES in kwargs:
            self._states = kwargs[STATES]
        return args, {name: value for name, value in kwargs.items() if name != STATES}

    def give(self, name: str) -> torch.Tensor:
        states = self._states
        assert states is not None, "the upper part of a model needs states"
        if name == self.last:
            self._states = None
        return states


class _StandIn(nn.Module):
    """In the place of the embeddings or of a lower layer. `returned`: length of the tuple that it returns, None =
    the states alone."""

    def __init__(self, seam: _Seam, name: str, returned: int | None) -> None:
        super().__init__()
        self._seam, self._name, self._returned = seam, name, returned

    def carry(self, module: nn.Module) -> None:
        """Have the weights of `module`, under their names, and run none of it."""
        for name, child in module.named_children():
            self.add_module(name, child)
        for name, parameter in module.named_parameters(recurse=False):
            self.register_parameter(name, parameter)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        states = self._seam.give(self._name)
        return states if self._returned is None else (states, *[None] * (self._returned - 1))
