"""Strategy: Parts x precision x schedule x optimiser x how the batch is cut. A value; running it is below."""

from dataclasses import dataclass, replace
from functools import partial
from typing import Literal

from trimtab.methods.base_precision import QUANTISER, BasePrecision
from trimtab.methods.head import Head
from trimtab.methods.language_head import LanguageHead
from trimtab.methods.part import LayerLoad, Part
from trimtab.methods.pooling import Pooling
from trimtab.methods.stage import Stage
from trimtab.methods.token_head import TokenHead
from trimtab.methods.update_rule import AdamW, UpdateRule
from trimtab.models.spec import Linear, ModelSpec

Precision = Literal["fp32", "bf16", "fp16"]
PRECISIONS: tuple[Precision, ...] = ("fp32", "bf16", "fp16")
Decay = Literal["linear", "cosine", "constant", "wsd"]
DEFAULT_TEMPERATURE = 0.05  # of cosines, as BGE, E5 and SimCSE are trained with: 0.01 to 0.05
DECAYS: tuple[Decay, ...] = ("linear", "cosine", "constant", "wsd")


@dataclass(frozen=True, kw_only=True, slots=True)
class Schedule:
    """How long and how fast. One step is one global batch.

    `warmup_share` of all steps the learning rate rises linearly from 0. Then by `decay`: linear, cosine: it falls
    to 0; constant: it stays; wsd: it stays, and falls over the last `decay_share` of the steps after warm-up, as
    1 - sqrt of the way ("warm-up, stable, decay", Hägele et al. 2024, arXiv 2405.18392).
    `layer_decay`: the learning rate of a layer is lower by this factor for every layer above it (Howard and Ruder
    2018, arXiv 1801.06146, section 3.2); the embeddings are below all layers, norm and head above.
    Training ends early when `patience` evaluations in a row are no better (0 = never); `evaluations` = dev
    evaluations an epoch. The best weights are restored at the end. `stages`: those it consists of, each with its
    own warm-up, decay and end, `epochs` the sum of theirs; empty = all is trained from beginning to end.
    """

    epochs: int = 3
    learning_rate: float = 5e-5
    warmup_share: float = 0.06
    decay: Decay = "linear"
    decay_share: float = 0.2
    layer_decay: float = 1.0
    patience: int = 0
    evaluations: int = 1
    stages: tuple[Stage, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Strategy:
    """Everything that decides memory, time and result of a training.

    `precision`: fp32; or bf16/fp16 weights and arithmetic with an fp32 master copy of what is trained.
    `base_precision`: how the frozen matrices of the layers are stored; they are multiplied in `precision`. `batch`
    is the global batch of one optimiser step, cut into micro-batches of at most `micro_batch`. `recompute`:
    gradient checkpointing, activations of a layer are computed again in backward. `packed`: the rows of a
    micro-batch are laid end to end, each attended by itself, and only their sequence is filled up. `prefix_cache`:
    what lies below the lowest trained layer is run once over the data, and training runs the rest on what it gave.
    `max_length`: tokens after which a text is cut. `ema_decay`: an exponential moving average of the trained
    weights is kept with this decay, between 0 and 1, and is what is evaluated and saved; None = the weights
    themselves are. `label_smoothing`: that share of each target is spread over all classes; `class_weights`: what
    a row of each class counts in the loss, empty = all the same. `temperature`: what cosines are divided by in the
    loss of embeddings. `span`: of one stage, the lowest and the highest layer that it trains (see `Stage`); None =
    the whole training."""

    method: str
    parts: tuple[Part, ...]
    precision: Precision = "fp32"
    base_precision: BasePrecision = "same"
    optimizer: UpdateRule = AdamW()  # noqa: RUF009 (frozen)
    schedule: Schedule = Schedule()
    batch: int = 32
    micro_batch: int = 32
    max_length: int = 128
    recompute: bool = False
    packed: bool = False
    prefix_cache: bool = False
    max_grad_norm: float = 1.0
    ema_decay: float | None = None
    label_smoothing: float = 0.0
    class_weights: tuple[float, ...] = ()
    temperature: float = DEFAULT_TEMPERATURE
    seed: int = 0
    devices: int = 1
    span: tuple[int, int] | None = None

    @property
    def stages(self) -> tuple["Strategy", ...]:
        """One strategy for each stage, in order; itself alone where there are none."""
        if self.span is not None or not self.schedule.stages:
            return (self,)
        return tuple(self.at(stage) for stage in self.schedule.stages)

    def at(self, stage: Stage) -> "Strategy":
        """The strategy of one stage: a strategy like any other, that trains less."""
        rate = stage.learning_rate or self.schedule.learning_rate * stage.rate_share
        schedule = replace(self.schedule, epochs=stage.epochs, learning_rate=rate, patience=stage.patience)
        return replace(self, schedule=schedule, span=(stage.first, stage.last))

    @property
    def what_is_trained(self) -> "Strategy":
        """The same as far as it says what is trained: how batches are cut, and when steps end, is forgotten."""
        spans = tuple(Stage(first=stage.first, last=stage.last) for stage in self.schedule.stages)
        return Strategy(method="", parts=self.parts, schedule=Schedule(stages=spans), span=self.span)

    def trains(self, spec: ModelSpec, layer: int) -> bool:
        """Whether stages let a layer be trained, this one or, in a whole training, one of them: 0 the lowest, -1
        the embeddings, `spec.layers` what is above all, which always is."""
        if self.span is None:
            return self._ever_trains(spec, layer)
        return layer >= spec.layers or self.span[0] <= layer <= self.span[1]

    def _ever_trains(self, spec: ModelSpec, layer: int) -> bool:
        stages = self.schedule.stages
        return not stages or layer >= spec.layers or any(stage.first <= layer <= stage.last for stage in stages)

    @property
    def accumulation(self) -> int:
        """Micro-batches in one step."""
        return -(-self.batch // self.micro_batch)

    @property
    def number_formats(self) -> str:
        """In which formats weights are held: "bf16", "nf4 + bf16"."""
        return self.precision if self.base_precision == "same" else f"{self.base_precision} + {self.precision}"

    @property
    def library(self) -> str:
        """The library whose rounding decides bits of this training, that of a base or of states; "" = none."""
        return QUANTISER if self.base_precision != "same" else self.optimizer.library

    @property
    def language_head(self) -> LanguageHead | None:
        """The head over the vocabulary, where a chat model is trained."""
        return next((part for part in self.parts if isinstance(part, LanguageHead)), None)

    @property
    def pooling(self) -> Pooling | None:
        """How one vector is made of a text, where embeddings are trained."""
        return next((part for part in self.parts if isinstance(part, Pooling)), None)

    @property
    def compared_rows(self) -> int:
        """Rows that the loss holds against one another: of embeddings those of a micro-batch, elsewhere each
        stands alone. The more, the more a query has to be told apart from."""
        return 1 if self.pooling is None else self.micro_batch

    @property
    def token_head(self) -> TokenHead | None:
        """The head that gives tags for every token, where words are tagged."""
        return next((part for part in self.parts if isinstance(part, TokenHead)), None)

    @property
    def starts_scored(self) -> bool:
        """The model does the task before it is trained, having no fresh head, and is scored then."""
        return not any(isinstance(part, Head | TokenHead) for part in self.parts)

    @property
    def virtual_tokens(self) -> int:
        """Vectors that stand before every text in the place of tokens: each row is longer by so many."""
        return sum(part.virtual_tokens for part in self.parts)

    @property
    def positions(self) -> int:
        """Positions that are taken up before those of a text."""
        return sum(part.positions for part in self.parts)

    def trains_table(self, spec: ModelSpec) -> bool:
        """Whether the base's token embedding is trained."""
        return self.trains(spec, -1) and any(part.trains_table for part in self.parts)

    def trainable_parameters(self, spec: ModelSpec, outputs: int) -> int:
        """In one stage, or in any of a whole training."""
        if self.span is None and not self.schedule.stages:
            return sum(part.trainable_parameters(spec, outputs) for part in self.parts)
        trains = partial(self.trains, spec)
        return sum(part.trained_in(spec, outputs, trains) for part in self.parts)

    def total_parameters(self, spec: ModelSpec, outputs: int) -> int:
        """Parameters held while training: backbone, and what the parts add, a language-model head among it."""
        return spec.backbone_parameters + sum(part.added_parameters(spec, outputs) for part in self.parts)

    def lowest_layer(self, spec: ModelSpec) -> int:
        """The lowest trained layer over all parts; see `Part.lowest_layer`."""
        lowest = min(part.lowest_layer(spec) for part in self.parts)
        return next((layer for layer in range(lowest, spec.layers) if self.trains(spec, layer)), spec.layers)

    def highest_layer(self, spec: ModelSpec) -> int:
        """The highest trained layer; `spec.layers` where none is."""
        lowest = self.lowest_layer(spec)
        return next((layer for layer in reversed(range(lowest, spec.layers)) if self.trains(spec, layer)), lowest)

    def trains_language_head(self, spec: ModelSpec) -> bool:
        """Whether the head over the vocabulary is trained; one that is the token embedding too, where that is."""
        head = self.language_head
        return head is not None and head.trained and (not spec.tied_embeddings or self.trains(spec, -1))

    def cached_layers(self, spec: ModelSpec) -> int:
        """How many layers, from below, are run once over the data and no more while this trains; 0 = none are.
        Virtual tokens are trained below them all, so that there is nothing to keep."""
        return max(0, self.lowest_layer(spec)) if self.prefix_cache and not self.positions else 0

    def rate_share(self, spec: ModelSpec, layer: int) -> float:
        """The learning rate of a layer over the schedule's: -1 the embeddings, `spec.layers` what is above all."""
        return self.schedule.layer_decay ** max(0, spec.layers - 1 - layer)

    def loads(self, spec: ModelSpec, layer: int) -> tuple[LayerLoad, ...]:
        loads = tuple(part.load(spec, layer) for part in self.parts)
        return loads if self.trains(spec, layer) else tuple(load.at_rest() for load in loads)

    def quantised(self, spec: ModelSpec, layer: int) -> tuple[Linear, ...]:
        """The matrices of a layer that are stored in fewer bits: those whose own weights are not trained, in no
        stage."""
        if self.base_precision == "same":
            return ()
        loads = [part.load(spec, layer) for part in self.parts] if self._ever_trains(spec, layer) else []
        trained = {linear for load in loads for linear in load.trained}
        return tuple(linear for linear in spec.layer(layer).linears if linear not in trained)

    def steps_per_epoch(self, rows: int) -> int:
        return -(-rows // self.batch)

    def steps(self, rows: int) -> int:
        """Optimiser steps of the whole training, without early stop."""
        return self.steps_per_epoch(rows) * sum(stage.schedule.epochs for stage in self.stages)


def balanced_weights(counts: tuple[int, ...]) -> tuple[float, ...]:
    """What a row of each class counts, so that every class counts the same in all: rows / (classes x its rows), 1
    on average over the rows. A class without rows has 1: nothing is learned of it."""
    there = sum(count > 0 for count in counts)
    return tuple(sum(counts) / (there * count) if count else 1.0 for count in counts)
