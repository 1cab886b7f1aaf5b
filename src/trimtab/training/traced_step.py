"""The training step, traced: the real functions of the loop, with the bytes they keep alive counted by site.

Sites lie between the layers, so that each is linear in the number of layers (`dry_run` stands on that):

    forward     up to the last layer
    head        above the layers: head, loss, and back to the last layer
    top         backward of the last layer
    bottom      backward of the lowest trained layer (layers between lie between top and bottom)
    below       backward of what is under it: embeddings
    collect     gradients into fp32 sums
    clip        the norm of the gradients
    update      the optimiser's step

Works on real tensors and on fake ones. Leaves out loading and saving, whose sums are plain (`estimation.memory`).
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel

from trimtab.evaluation.objective import Inputs, Objective
from trimtab.methods import Strategy
from trimtab.models.spec import ModelSpec
from trimtab.training.live import LiveBytes
from trimtab.training.optimizer import Optimizer
from trimtab.training.step import forward_backward
from trimtab.tuning import STATES, structure, train_mode

_HOST = "host"  # no part of the device's memory


def trace_step(
    live: LiveBytes,
    model: PreTrainedModel,
    optimizer: Optimizer,
    strategy: Strategy,
    spec: ModelSpec,
    inputs: Inputs,
    targets: torch.Tensor,
    objective: Objective,
) -> None:
    """One optimiser step as from the second on, states in place, under `live`, which must be active. Of several
    micro-batches two are run: in the second the sums of the first are waiting."""
    live.label = "optimizer"
    optimizer.reserve()
    live.relabel(optimizer.paged(strategy.optimizer), _HOST)
    train_mode(strategy, model, spec)
    hooks = [*_layer_hooks(live, model, strategy, spec), *_gradient_hooks(live, model, optimizer)]
    try:
        collecting = _Collecting(live, optimizer)
        for _ in range(min(2, strategy.accumulation)):
            live.site, live.label = "forward", "activations"
            forward_backward(
                model,
                _read(inputs),
                targets,
                objective=objective,
                strategy=strategy,
                weight=strategy.batch,
                optimizer=collecting,
            )
            live.relabel((master.grad for master in optimizer.masters.values()), "gradients")
        _go_to(live, "clip")
        optimizer.gradient_norm()
        _go_to(live, "update")
        optimizer.step(0.0)
    finally:
        for hook in hooks:
            hook.remove()


class _Collecting:
    """The optimiser as `forward_backward` sees it, saying when backward has ended."""

    def __init__(self, live: LiveBytes, optimizer: Optimizer) -> None:
        self._live, self._optimizer = live, optimizer
        self.loss_scale = optimizer.loss_scale

    def collect(self) -> None:
        _go_to(self._live, "collect")
        self._optimizer.collect()


def trace_evaluation(
    live: LiveBytes, model: PreTrainedModel, inputs: Inputs, targets: torch.Tensor, objective: Objective
) -> None:
    """A forward pass that keeps nothing, as evaluations run it."""
    model.eval()
    live.site, live.label = "evaluate", "temporaries"
    with torch.no_grad():
        objective.run(model, _read(inputs), targets)


def _read(inputs: Inputs) -> Inputs:
    """A batch as it is when it has been put together: states are read for every one."""
    states = inputs.get(STATES)
    return inputs if states is None else inputs | {STATES: states.clone(memory_format=torch.contiguous_format)}


def _layer_hooks(live: LiveBytes, model: PreTrainedModel, strategy: Strategy, spec: ModelSpec) -> list[Any]:
    """Say where the step is: at the first thing above the layers, and as gradients arrive between them."""
    layers = structure.layers(model, spec)
    lowest = max(0, strategy.lowest_layer(spec))
    if lowest >= spec.layers:  # only what stands above the layers is trained
        return [layers[-1].register_forward_hook(_after(live, "head", arriving=None))]
    last, first = layers[-1], layers[lowest]
    hooks = [last.register_forward_hook(_after(live, "head", arriving="top"))]
    if first is not last:
        hooks.append(first.register_forward_hook(_after(live, None, arriving="bottom")))
    hooks.append(first.register_forward_pre_hook(_before(live)))
    return hooks


def _after(live: LiveBytes, site: str | None, arriving: str | None) -> Callable[..., None]:
    """After a layer: the step goes on at `site`, and comes back to the layer at site `arriving`."""

    def hook(module: nn.Module, args: Any, output: Any) -> None:
        hidden = output[0] if isinstance(output, tuple) else output
        if arriving is not None and hidden.requires_grad:
            hidden.register_hook(lambda _: _go_to(live, arriving))
        if site is not None and live.site != "evaluate":
            live.site, live.label = site, "logits"

    return hook


def _before(live: LiveBytes) -> Callable[..., None]:
    """Before the lowest trained layer: a gradient that arrives here goes on into what is below."""

    def hook(module: nn.Module, args: Any) -> None:
        if args and args[0].requires_grad:
            args[0].register_hook(lambda _: _go_to(live, "below"))

    return hook


def _go_to(live: LiveBytes, site: str) -> None:
    live.site, live.label = site, "temporaries"


def _gradient_hooks(live: LiveBytes, model: PreTrainedModel, optimizer: Optimizer) -> list[Any]:
    """A parameter's gradient is a temporary until it is kept, in its own place or in the optimiser's sums."""

    def kept(name: str, parameter: torch.Tensor) -> None:
        live.relabel((parameter.grad, optimizer.masters[name].grad), "gradients")

    trained = [(name, parameter) for name, parameter in model.named_parameters() if parameter.requires_grad]
    return [parameter.register_post_accumulate_grad_hook(partial(kept, name)) for name, parameter in trained]
