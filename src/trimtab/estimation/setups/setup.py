"""Setup: one training of a language model on any stack, as far as memory and time are concerned. A value.

A `Strategy` is what Trimtab's own loop runs; a Setup describes what somebody's script runs: Hugging Face's Trainer
with PEFT, DeepSpeed, litgpt, torchtune. The words are those of the published tables (docs/rows.md). Leaves out
where a setup is read from (`trimtab.study.rows`).
"""

from dataclasses import dataclass
from typing import Literal

from trimtab.hardware.machine import Device
from trimtab.models.spec import ModelSpec

Number = Literal["fp32", "bf16", "fp16"]
Attention = Literal["eager", "sdpa", "flash"]
MemoryKind = Literal["allocated", "reserved", "device"]
BYTES_OF: dict[str, int] = {"fp32": 4, "bf16": 2, "fp16": 2}


@dataclass(frozen=True, kw_only=True, slots=True)
class Quant:
    """How the matrices of the base are stored. `number_bytes`: of one number with its share of the scales.
    `keeps_inputs`: the kernel keeps a matrix's input for backward though its weight is frozen. `unpack_bytes`:
    unpacking a number takes as long as moving so many bytes, each time the number is used."""

    name: str
    number_bytes: float
    keeps_inputs: bool = False
    unpack_bytes: float = 0.0


@dataclass(frozen=True, kw_only=True, slots=True)
class OptimizerKind:
    """States a trained number has: `states` of them in the dtype of the parameter, or `state_bytes` whatever its
    dtype. `paged`: they lie in managed memory, which the allocator does not see. `temporaries`: copies of the
    trained numbers, in their dtype, that its step makes (torch's foreach AdamW: the square roots)."""

    name: str
    states: int = 0
    state_bytes: float = 0.0
    paged: bool = False
    temporaries: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class Loss:
    """What the loss keeps of the logits. `entry_bytes`: a vocabulary entry and token, at the worst moment; None =
    a cross entropy over all of them: log-softmax, its gradient, and theirs; `keeps_logits`: beside the logits
    themselves. The flags tell how the stack that ships this loss writes
    the rest of the model: queries, keys and values cut out of one matrix; dropout before LoRA; a quantised
    head; an activation function in one kernel."""

    name: str
    entry_bytes: float | None = None
    keeps_logits: bool = True
    cuts_qkv: bool = False
    lora_dropout: bool = False
    quantised_head: bool = False
    fused_activation: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Sharding:
    """What of a training each of several devices holds only its share of. `engine`: DeepSpeed's, which holds fp32
    masters of 16-bit weights and buffers of its own."""

    name: str
    weights: bool = False
    gradients: bool = False
    states: bool = False
    engine: bool = False


# Blocks of 64 with an fp32 scale; double: the scales in 8 bit, blocks of 256 (Dettmers et al. 2023, arXiv
# 2305.14314). GPTQ and AWQ: groups of 128 with an fp16 scale and a 4-bit zero (their papers' and releases'
# default).
_FOUR_BIT, _DOUBLE = 0.5 + 4 / 64, 0.5 + 1 / 64 + 4 / (64 * 256)
_GROUPED = 0.5 + 2.5 / 128
NO_QUANT = Quant(name="none", number_bytes=0.0)
QUANTS: dict[str, Quant] = {
    quant.name: quant
    for quant in (
        NO_QUANT,
        Quant(name="nf4", number_bytes=_FOUR_BIT, keeps_inputs=True, unpack_bytes=11.0),
        Quant(name="nf4-double", number_bytes=_DOUBLE, keeps_inputs=True, unpack_bytes=12.0),
        Quant(name="fp4", number_bytes=_FOUR_BIT, keeps_inputs=True, unpack_bytes=11.0),
        Quant(name="fp4-double", number_bytes=_DOUBLE, keeps_inputs=True, unpack_bytes=12.0),
        Quant(name="gptq4", number_bytes=_GROUPED, unpack_bytes=30.0),
        Quant(name="awq4", number_bytes=_GROUPED, unpack_bytes=30.0),
        Quant(name="int8", number_bytes=1.0, keeps_inputs=True, unpack_bytes=15.0),
    )
}
_EIGHT_BIT_STATES = 2 * (1 + 4 / 256)  # two states, blocks of 256 with an fp32 scale (arXiv 2110.02861)
OPTIMIZERS: dict[str, OptimizerKind] = {
    kind.name: kind
    for kind in (
        OptimizerKind(name="adamw", states=2, temporaries=1),
        OptimizerKind(name="adamw-fused", states=2),
        OptimizerKind(name="adamw-paged", state_bytes=8.0, paged=True),
        OptimizerKind(name="adamw8bit", state_bytes=_EIGHT_BIT_STATES),
        OptimizerKind(name="paged_adamw8bit", state_bytes=_EIGHT_BIT_STATES, paged=True),
        OptimizerKind(name="adafactor", state_bytes=0.01),
        OptimizerKind(name="sgd"),
        OptimizerKind(name="lion", states=1),
        OptimizerKind(name="galore", state_bytes=2.0),
    )
}
PLAIN_LOSS = Loss(name="plain")
LOSSES: dict[str, Loss] = {
    loss.name: loss
    for loss in (
        PLAIN_LOSS,
        # nobody holds the logits when backward begins (transformers 4.45 and later)
        Loss(name="transformers", keeps_logits=False),
        # logits in pieces of the text, cast to fp32, with their log-softmax (litgpt's chunked_cross_entropy)
        Loss(
            name="litgpt",
            entry_bytes=8.0,
            cuts_qkv=True,
            lora_dropout=True,
            quantised_head=True,
            fused_activation=True,
        ),
        # logits in 8 pieces: the 16-bit logits are all there, one piece at a time is in fp32 (torchtune)
        Loss(name="chunked", entry_bytes=2.0),
        # never more than a piece of the logits (Liger's and Unsloth's fused linear cross entropy)
        Loss(name="fused", entry_bytes=0.5),
    )
}
SHARDINGS: dict[str, Sharding] = {
    sharding.name: sharding
    for sharding in (
        Sharding(name="none"),
        Sharding(name="ddp"),
        Sharding(name="zero2", gradients=True, states=True, engine=True),
        Sharding(name="zero3", weights=True, gradients=True, states=True, engine=True),
        Sharding(name="fsdp", weights=True, gradients=True, states=True),
        Sharding(name="tp", weights=True, gradients=True, states=True),
    )
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Setup:
    """All that decides the memory and time of one step.

    `method` is a key of `trained.METHODS`. `roles`: matrices that LoRA and its kin stand beside ("head" = the
    language-model head). `rank`, `bottleneck`, `virtual_tokens`, `top_layers` as the method uses them;
    `trainable`: a count that the source gives, which is believed. `copies`: tables trained in full beside their
    frozen originals (PEFT's modules_to_save). `untied_head`: the stack holds a head apart from a tied embedding.
    `micro_batch` rows of `length` tokens go through one device at once, `micro_batches` times a step.
    `mean_length`: of the rows really met, where `length` is only their limit. `devices`: over which work is
    shared.
    """

    spec: ModelSpec
    method: str = "full"
    roles: tuple[str, ...] = ()
    rank: int = 0
    bottleneck: int = 0
    virtual_tokens: int = 0
    top_layers: int | None = None
    trainable: int | None = None
    copies: tuple[Literal["embedding", "head"], ...] = ()
    untied_head: bool = False
    quant: Quant = NO_QUANT
    weights: Number = "bf16"
    adapters: Number = "bf16"
    compute: Number = "bf16"
    optimizer: OptimizerKind = OPTIMIZERS["adamw"]
    steps_in_backward: bool = False
    recompute: bool = False
    attention: Attention = "sdpa"
    loss: Loss = PLAIN_LOSS
    packed: bool = False
    compiled: bool = False
    offloads_activations: bool = False
    offloads_weights: bool = False
    micro_batch: int = 1
    length: int = 512
    mean_length: float | None = None
    micro_batches: int = 1
    devices: int = 1
    sharding: Sharding = SHARDINGS["none"]
    device: Device | None = None

    @property
    def tokens(self) -> int:
        """Tokens of one micro-batch at its longest, those that a prompt adds included."""
        return self.micro_batch * (self.length + self.added_tokens)

    @property
    def added_tokens(self) -> int:
        """Tokens a row that the method puts before the text. A prefix adds keys and values, no tokens."""
        return self.virtual_tokens if self.method in ("prompt", "ptuning") else 0
