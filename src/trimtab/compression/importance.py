"""What heads, neurons and layers are worth to the loss: first-order Taylor importance, no weight touched.

Put a gate g = 1 before what a head (or neuron) gives to its output matrix. To first order the loss of a row falls
by dL/dg when it is closed, and dL/dg = sum over tokens of dL/da . a, with `a` what the head gives (Michel et al.
2019, arXiv 1905.10650, equation 2; Molchanov et al. 2017, arXiv 1611.06440). Importance is the mean over rows of
its absolute value: rows that need a head and rows that it harms do not cancel, and it does not matter how rows are
cut into batches. One forward and one backward pass through activations alone: weights get no gradients.

Of a group of query heads that share a key head it is that of one gate before all of them. Of a whole layer it is
the sum over its gates: cheap, and an upper bound to first order; what the loss does without the layer is another
forward pass for each. Leaves out second-order terms: what two heads do for each other is not seen.
"""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn
from transformers import PreTrainedModel

from trimtab.compression.worth import Importance
from trimtab.errors import Diverged
from trimtab.evaluation import Collator, Encoded, Objective
from trimtab.evaluation.predict import row_batches
from trimtab.methods import Strategy
from trimtab.models.pruned import require_prunable
from trimtab.models.spec import ModelSpec
from trimtab.tuning import structure

_TOKENS = 2048  # padded tokens a batch, where one row is not longer


@dataclass(frozen=True, kw_only=True, slots=True)
class DevRows:
    """Rows that a loss is computed on: tokenised, with the task and the strategy whose loss it is."""

    objective: Objective
    encoded: Encoded
    collator: Collator
    strategy: Strategy


def importance(model: PreTrainedModel, spec: ModelSpec, rows: DevRows, *, tokens: int = _TOKENS) -> Importance:
    """Importance of every head and neuron of `model` on `rows`, streamed in batches of at most `tokens` padded
    tokens. In memory at a time: a batch's activations, and two numbers a head or neuron. Which parameters are
    trained, and the mode of the model, are what they were before; there is no dropout meanwhile.

    Raises ModelError TT-C201 where the family cannot be pruned, Diverged TT-C208 where a loss is not finite.
    """
    require_prunable(spec)
    encoded, collator, device = rows.encoded, rows.collator, next(model.parameters()).device
    with _only_activations(model), _gates(model, spec) as gates:
        for batch in row_batches(encoded.lengths, tokens, collator.max_length):
            inputs = {name: x.to(device) for name, x in collator.batch(encoded, batch).items()}
            targets = rows.objective.targets(encoded, collator, batch).to(device)
            loss = rows.objective.loss_sum(model, inputs, targets, rows.strategy)
            if not torch.isfinite(loss):
                raise Diverged("TT-C208", name=spec.name, rows=len(encoded))
            loss.backward()
    return Importance(
        groups=tuple(gate.mean(len(encoded)) for gate in gates.groups),
        neurons=tuple(gate.mean(len(encoded)) for gate in gates.neurons),
    )


class _Gate:
    """Gradients of gates before the inputs of one matrix, `count` gates of equally many inputs; absolute values
    are summed over rows."""

    def __init__(self, count: int) -> None:
        self.count = count
        self.sums = torch.zeros(count, dtype=torch.float64)

    def watch(self, module: nn.Module, args: tuple[torch.Tensor, ...]) -> None:
        """A forward pre-hook of the matrix; its input is (rows, tokens, numbers)."""
        values = args[0].detach()  # a hook that holds the tensor it hangs on is never freed, nor is the tensor

        def add(gradient: torch.Tensor) -> None:
            of_numbers = (gradient.float() * values.float()).sum(dim=-2)
            of_gates = of_numbers.view(-1, self.count, of_numbers.shape[-1] // self.count).sum(dim=-1)
            self.sums += of_gates.abs().sum(dim=0).double().cpu()

        args[0].register_hook(add)

    def mean(self, rows: int) -> np.ndarray:
        return (self.sums / rows).numpy()


@dataclass(frozen=True, slots=True)
class _Gates:
    groups: tuple[_Gate, ...]
    neurons: tuple[_Gate, ...]


@contextlib.contextmanager
def _gates(model: PreTrainedModel, spec: ModelSpec) -> Iterator[_Gates]:
    """A gate before every output and down matrix, as long as the block lasts."""
    gates = _Gates(
        tuple(_Gate(shape.kv_heads) for shape in spec.shapes.layers),
        tuple(_Gate(shape.neurons) for shape in spec.shapes.layers),
    )
    hooks = [
        layer.get_submodule(_module(spec, role)).register_forward_pre_hook(gate.watch)
        for role, found in (("o", gates.groups), ("down", gates.neurons))
        for layer, gate in zip(structure.layers(model, spec), found, strict=True)
    ]
    try:
        yield gates
    finally:
        for hook in hooks:
            hook.remove()


def _module(spec: ModelSpec, role: str) -> str:
    (name,) = (linear.module for linear in spec.linears if linear.role == role)
    return name


@contextlib.contextmanager
def _only_activations(model: PreTrainedModel) -> Iterator[None]:
    """Evaluation mode, and gradients of activations from the embeddings up but of no parameter."""
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    modes = {module: module.training for module in model.modules()}
    embeddings = model.get_input_embeddings()
    hook = embeddings.register_forward_hook(lambda module, args, output: output.requires_grad_())
    model.requires_grad_(False)
    model.eval()
    try:
        yield
    finally:
        hook.remove()
        for parameter in trained:
            parameter.requires_grad_(True)
        for module, training in modes.items():
            module.training = training
