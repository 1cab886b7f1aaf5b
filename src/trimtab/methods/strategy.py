"""Strategy: Parts x precision x schedule x optimiser x how the batch is cut. A value; running it is below."""

from dataclasses import dataclass
from typing import Literal

from trimtab.methods.language_head import LanguageHead
from trimtab.methods.part import LayerLoad, Part
from trimtab.models.spec import ModelSpec

Precision = Literal["fp32", "bf16", "fp16"]
PRECISIONS: tuple[Precision, ...] = ("fp32", "bf16", "fp16")


@dataclass(frozen=True, kw_only=True, slots=True)
class Schedule:
    """How long and how fast. One step is one global batch.

    `warmup_share` of all steps the learning rate rises linearly from 0, then falls by `decay` to 0.
    Training ends early when `patience` evaluations in a row are no better (0 = never); `evaluations` = dev
    evaluations an epoch. The best weights are restored at the end.
    """

    epochs: int = 3
    learning_rate: float = 5e-5
    warmup_share: float = 0.06
    decay: Literal["linear", "cosine"] = "linear"
    patience: int = 0
    evaluations: int = 1


@dataclass(frozen=True, kw_only=True, slots=True)
class AdamW:
    """AdamW (Loshchilov and Hutter 2017). Two states a trained parameter, fp32. No decay on norms and biases."""

    betas: tuple[float, float] = (0.9, 0.999)
    epsilon: float = 1e-8
    weight_decay: float = 0.01


@dataclass(frozen=True, kw_only=True, slots=True)
class Strategy:
    """Everything that decides memory, time and result of a training.

    `precision`: fp32; or bf16/fp16 weights and arithmetic with an fp32 master copy of what is trained.
    `batch` is the global batch of one optimiser step, cut into micro-batches of at most `micro_batch`.
    `recompute`: gradient checkpointing, activations of a layer are computed again in backward.
    `max_length`: tokens after which a text is cut.
    """

    method: str
    parts: tuple[Part, ...]
    precision: Precision = "fp32"
    optimizer: AdamW = AdamW()
    schedule: Schedule = Schedule()
    batch: int = 32
    micro_batch: int = 32
    max_length: int = 128
    recompute: bool = False
    max_grad_norm: float = 1.0
    seed: int = 0
    devices: int = 1

    @property
    def accumulation(self) -> int:
        """Micro-batches in one step."""
        return -(-self.batch // self.micro_batch)

    @property
    def language_head(self) -> LanguageHead | None:
        """The head over the vocabulary, where a chat model is trained."""
        return next((part for part in self.parts if isinstance(part, LanguageHead)), None)

    def trainable_parameters(self, spec: ModelSpec, outputs: int) -> int:
        return sum(part.trainable_parameters(spec, outputs) for part in self.parts)

    def total_parameters(self, spec: ModelSpec, outputs: int) -> int:
        """Parameters held while training: backbone, and what the parts add, a language-model head among it."""
        return spec.backbone_parameters + sum(part.added_parameters(spec, outputs) for part in self.parts)

    def lowest_layer(self, spec: ModelSpec) -> int:
        """The lowest trained layer over all parts; see `Part.lowest_layer`."""
        return min(part.lowest_layer(spec) for part in self.parts)

    def loads(self, spec: ModelSpec, layer: int) -> tuple[LayerLoad, ...]:
        return tuple(part.load(spec, layer) for part in self.parts)

    def steps_per_epoch(self, rows: int) -> int:
        return -(-rows // self.batch)

    def steps(self, rows: int) -> int:
        """Optimiser steps of the whole training, without early stop."""
        return self.steps_per_epoch(rows) * self.schedule.epochs
