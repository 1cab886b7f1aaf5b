"""Dry run of a Setup: the step of transformers' language model with PEFT and torch's AdamW, without weights or
device.

The class is built from the shape on the meta device, in the dtypes of the setup; LoRA by PEFT; recompute as
transformers switches it on; the loss is transformers' own. Kernels that this machine has not (fused attention of a
GPU, 4-bit and 8-bit matrices, chunked losses, optimisers of other libraries) are stand-ins with known sizes. As in
`dry_run`, shallow models are traced and the rest is a straight line in the layers.

Leaves out sharding, compiling and offloading (`refuse`), and what an allocator adds (`estimation.setups.memory`).
"""

from collections.abc import Iterable
from dataclasses import replace

import torch
from peft import LoraConfig, inject_adapter_in_model
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from transformers import AutoModelForCausalLM, PreTrainedModel

from trimtab.errors import UsageError
from trimtab.estimation.estimate import Phase
from trimtab.estimation.setups.setup import Setup
from trimtab.estimation.setups.trained import HEAD, trained
from trimtab.training.dry_run import along, sites_of
from trimtab.training.live import LiveBytes
from trimtab.training.stand_ins import KnownLoss, PackedLinear, use_gpu_stand_ins
from trimtab.tuning import structure
from trimtab.tuning.shapes import config_of

_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
_FROZEN, _TRAINED = 2, 2
_UNIT_BYTES = 512
TRACED_METHODS = ("full", "freeze", "lora", "qlora4", "qlora8")


def setup_dry_run(setup: Setup) -> tuple[Phase, ...]:
    """Live bytes of the phases of a step, each at its worst moment. Raises UsageError TT-W020 for a setup that a
    step on one device cannot show."""
    refuse(setup)
    frozen = min(max(0, trained(setup).lowest_layer), setup.spec.layers)
    above = setup.spec.layers - frozen
    if setup.spec.layers <= _FROZEN + _TRAINED + 1:
        return _phases(traced_setup(setup))
    base = traced_setup(_cut(setup, frozen, above, 0, 0))
    sites = base
    if frozen:
        sites = along(sites, base, traced_setup(_cut(setup, frozen, above, 1, 0)), frozen - _FROZEN)
    if above:
        sites = along(sites, base, traced_setup(_cut(setup, frozen, above, 0, 1)), above - _TRAINED)
    return _phases(sites)


def refuse(setup: Setup) -> None:
    """Raises UsageError TT-W020 naming what a traced step does not have."""
    without = {
        f"method {setup.method}": setup.method not in TRACED_METHODS or bool(setup.copies),
        f"kind {setup.spec.kind}": setup.spec.kind != "decoder",
        f"parallelism {setup.sharding.name}": setup.sharding.gradients or setup.sharding.engine,
        "compile": setup.compiled,
        "offload": setup.offloads_weights or setup.offloads_activations,
    }
    if named := [name for name, there in without.items() if there]:
        raise UsageError("TT-W020", named=", ".join(named), known=", ".join(TRACED_METHODS))


def _cut(setup: Setup, frozen: int, above: int, more_frozen: int, more_trained: int) -> Setup:
    """The same setup of a shallow model; where this one has no frozen or no trained layers, neither has that."""
    below = _FROZEN + more_frozen if frozen else 0
    top = _TRAINED + more_trained if above else 0
    cut = setup.top_layers is not None or setup.method == "freeze"
    return replace(
        setup,
        spec=replace(setup.spec, layers=below + top),
        top_layers=top if cut else None,
    )


def traced_setup(setup: Setup) -> tuple[Phase, ...]:
    """The step of exactly this depth, by site: forward, head, top, bottom, below, update."""
    live = LiveBytes(unit_bytes=_UNIT_BYTES)
    model = _on_meta(setup)
    with FakeTensorMode(allow_non_fake_inputs=True), live:
        model.to_empty(device="cpu")
        model.tie_weights()  # emptying makes two of a shared table
        use_gpu_stand_ins(model, flash=setup.attention == "flash", eager=setup.attention == "eager")
        model.train()
        optimizer = _Step(setup, [p for p in model.parameters() if p.requires_grad])
        live.label = "optimizer"
        optimizer.reserve()
        for _ in range(2 if setup.micro_batches > 1 else 1):
            live.site, live.label = "forward", "activations"
            _forward_backward(live, model, setup)
            live.relabel((p.grad for p in optimizer.parameters), "gradients")
        live.site, live.label = "update", "temporaries"
        optimizer.step()
    return sites_of(live)


# -------------------------------------------------------------------- the model


def _on_meta(setup: Setup) -> PreTrainedModel:
    config = config_of(setup.spec)
    config.use_cache, config.pad_token_id = False, 0
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config, dtype=_DTYPES[setup.weights])
        _open(setup, model)
    if setup.recompute:
        model.gradient_checkpointing_enable({"use_reentrant": False})
        if setup.method not in ("full", "freeze"):
            model.enable_input_require_grads()  # as PEFT's and transformers' own scripts do
    return model


def _open(setup: Setup, model: PreTrainedModel) -> None:
    """Gradients where the method has them, low-rank products beside the matrices, quantised matrices in place."""
    if setup.method == "full":
        return
    model.requires_grad_(False)
    layers = structure.layers(model, setup.spec)
    if setup.method == "freeze":
        lowest = trained(setup).lowest_layer
        for module in (*layers[lowest:], *structure.above_layers(model, setup.spec)):
            module.requires_grad_(True)
        return
    inject_adapter_in_model(_lora(setup), model)
    for name, parameter in model.named_parameters():
        if "lora_" in name:
            parameter.requires_grad_(True)
            parameter.data = parameter.data.to(_DTYPES[setup.adapters])
    if setup.quant.number_bytes:
        _pack(setup, layers)


def _lora(setup: Setup) -> LoraConfig:
    found = trained(setup)
    targets = {linear.module.rpartition(".")[2] for linear in found.matrices}
    if HEAD in setup.roles:
        targets.add("lm_head")
    top = None if setup.top_layers is None else list(range(found.lowest_layer, setup.spec.layers))
    return LoraConfig(r=setup.rank or 8, target_modules=sorted(targets), layers_to_transform=top)


def _pack(setup: Setup, layers: nn.ModuleList) -> None:
    """Stand-ins for the quantised matrices of the layers."""
    for name, module in list(layers.named_modules()):
        if type(module) is nn.Linear and "lora_" not in name:
            packed = PackedLinear(module, setup.quant.number_bytes, keeps_input=setup.quant.keeps_inputs)
            layers.set_submodule(name, packed, strict=True)


# -------------------------------------------------------------------- the step


def _forward_backward(live: LiveBytes, model: PreTrainedModel, setup: Setup) -> None:
    ids = torch.zeros(setup.micro_batch, setup.length, dtype=torch.int64)
    hooks = _sites(live, model, setup)
    mixed = setup.compute != setup.weights and not setup.quant.number_bytes
    try:
        with torch.autocast("cpu", dtype=_DTYPES[setup.compute], enabled=mixed):
            loss = _loss(model, setup, ids)
        loss.backward()
    finally:
        for hook in hooks:
            hook.remove()


def _loss(model: PreTrainedModel, setup: Setup, ids: torch.Tensor) -> torch.Tensor:
    if setup.loss.entry_bytes is None:
        return model(input_ids=ids, labels=ids).loss
    hidden = structure.backbone(model)(input_ids=ids)[0]
    kept = round(setup.tokens * setup.spec.vocab * setup.loss.entry_bytes)
    return KnownLoss.apply(hidden, model.get_output_embeddings().weight, kept)


def _sites(live: LiveBytes, model: PreTrainedModel, setup: Setup) -> list[torch.utils.hooks.RemovableHandle]:
    """Say where the step is: above the layers, at the last one, at the lowest that gradients reach, below it."""
    layers = structure.layers(model, setup.spec)
    lowest = max(0, trained(setup).lowest_layer)
    last, first = layers[-1], layers[lowest]

    def go(site: str, label: str = "temporaries") -> None:
        live.site, live.label = site, label

    def after(site: str):  # type: ignore[no-untyped-def]
        def hook(module, args, output):  # type: ignore[no-untyped-def]
            hidden = output[0] if isinstance(output, tuple) else output
            if live.site == "forward" and module is last:
                go("head", "logits")
            if hidden.requires_grad:
                hidden.register_hook(lambda _: go(site))

        return hook

    def before(module, args):  # type: ignore[no-untyped-def]
        if args and args[0].requires_grad:
            args[0].register_hook(lambda _: go("below"))

    hooks = [last.register_forward_hook(after("top"))]
    if first is not last:
        hooks.append(first.register_forward_hook(after("bottom")))
    hooks.append(first.register_forward_pre_hook(before))
    return hooks


class _Step:
    """An optimiser as far as its memory goes: its states, and the temporaries of torch's foreach AdamW, line by
    line. Stepping inside backward is a hook that frees each gradient as it comes."""

    def __init__(self, setup: Setup, parameters: list[nn.Parameter]) -> None:
        self.parameters, self._setup = parameters, setup
        self._states: list[list[torch.Tensor]] = []
        if setup.steps_in_backward:
            for parameter in parameters:
                parameter.register_post_accumulate_grad_hook(_free)

    def reserve(self) -> None:
        kind = self._setup.optimizer
        if kind.paged:
            return
        self._states = [[torch.zeros_like(p.data) for p in self.parameters] for _ in range(kind.states)]
        if kind.state_bytes:
            sizes = (round(p.numel() * kind.state_bytes) for p in self.parameters)
            self._states.append([torch.empty(size, dtype=torch.uint8) for size in sizes])

    def step(self) -> None:
        if not self._setup.optimizer.temporaries or self._setup.steps_in_backward or not self._states:
            return
        weights, gradients = (
            [p.data for p in self.parameters],
            [p.grad for p in self.parameters if p.grad is not None],
        )
        first, second = self._states
        torch._foreach_lerp_(first, gradients, 0.1)
        torch._foreach_mul_(second, 0.999)
        torch._foreach_addcmul_(second, gradients, gradients, 0.001)
        root = torch._foreach_sqrt(second)
        torch._foreach_add_(root, 1e-8)
        torch._foreach_addcdiv_(weights, first, root, -1e-3)


def _free(parameter: torch.Tensor) -> None:
    parameter.grad = None


# -------------------------------------------------------------------- sites to phases

_PHASE_OF = {
    "load": "load",
    "head": "head",
    "forward": "head",
    "top": "backward begins",
    "bottom": "backward ends",
    "below": "backward ends",
    "update": "optimizer",
}


def _phases(sites: Iterable[Phase]) -> tuple[Phase, ...]:
    worst: dict[str, Phase] = {}
    for site in sites:
        name = _PHASE_OF[site.name]
        if name not in worst or site.parts.total_bytes > worst[name].parts.total_bytes:
            worst[name] = Phase(name=name, parts=site.parts)
    worst.pop("load", None)
    return tuple(worst.values())
