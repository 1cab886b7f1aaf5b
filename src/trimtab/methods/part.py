"""Part: one kind of trainable thing, on a range of layers. The pure half; its torch half is in tuning/.

A new part is one file here (fields and arithmetic), one file in tuning/ (attach to a real model) and one name in
`methods.PARTS`. The exams in tests/exams then hold the two halves to each other. `LanguageHead` and `Pooling` are
no choice of a user and not in PARTS: `parts_for` puts them where a task has them in place of a head."""

import math
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import ClassVar, Literal

from trimtab.errors import Message
from trimtab.models.spec import Linear, ModelSpec

Shape = tuple[int, ...]
Shapes = tuple[tuple[Shape, int], ...]  # shapes of tensors, and how many there are of each
Trains = Callable[[int], bool]  # whether a layer is trained: 0 the lowest, -1 the embeddings
Place = Literal["attention", "network", "end"]
_PLACES: tuple[Place, ...] = ("attention", "network", "end")  # of a layer, from below


@dataclass(frozen=True, slots=True)
class LayerLoad:
    """What a part does to one transformer layer, as far as memory and time are concerned.

    `trained`: matrices whose own weights get gradients (their inputs are kept for backward).
    `beside`: matrices that run beside a frozen one (input size, output size), trained; as LoRA's A and B.
    `after`: a trained bottleneck of that width on the output of a frozen matrix.
    `renormed`: frozen matrices whose rows, with what runs beside them, are brought to a trained length (DoRA).
    `scaled_outputs`, `scaled_inputs`: what a frozen matrix gives, or is given, times a trained vector.
    `biases`: they are trained, which keeps nothing and takes no time worth counting.
    `keys`: so many trained keys and values stand before those of a text.
    `everything_else`: the layer's norms and biases are trained as well.
    `resting`: what is done in other stages.
    """

    trained: tuple[Linear, ...] = ()
    beside: tuple[tuple[Linear, int], ...] = ()
    after: tuple[tuple[Linear, int], ...] = ()
    renormed: tuple[Linear, ...] = ()
    scaled_outputs: tuple[Linear, ...] = ()
    scaled_inputs: tuple[Linear, ...] = ()
    biases: bool = False
    keys: int = 0
    everything_else: bool = False
    resting: "LayerLoad | None" = None

    def at_rest(self) -> "LayerLoad":
        """The same in a stage that leaves this layer as it is: what was added runs, and nothing is trained."""
        return LayerLoad(resting=self)

    @property
    def lowest_place(self) -> Place:
        """Below which place of the layer nothing is trained. What stands after attention's output matrix alone
        begins with the network, what stands after the network's last one at the end."""
        if self == LayerLoad(after=self.after):
            return "network" if any(linear.role == "o" for linear, _ in self.after) else "end"
        return "attention"


def lowest_place(loads: Iterable[LayerLoad]) -> Place:
    """The lowest of several parts on one layer; "end" where there are none."""
    return min((load.lowest_place for load in loads), key=_PLACES.index, default="end")


@dataclass(frozen=True, kw_only=True, slots=True)
class Part(ABC):
    """Abstract. A subclass is final: a frozen dataclass with these answers."""

    name: ClassVar[str]
    mergeable: ClassVar[bool]  # can be folded into the base weights
    starts_at_base: ClassVar[bool]  # untrained, the model computes what the base computes
    adapter: ClassVar[bool]  # saved beside the base, as an adapter, not as a whole model
    unmergeable: ClassVar[str] = ""  # of an adapter that is not mergeable: the code of the reason

    @property
    def virtual_tokens(self) -> int:
        """Trained vectors that stand before every text in the place of tokens: each row is longer by so many."""
        return 0

    @property
    def positions(self) -> int:
        """Positions that it takes up before those of a text."""
        return self.virtual_tokens

    @property
    def trains_table(self) -> bool:
        """Whether the base's own token embedding is trained."""
        return False

    @abstractmethod
    def trainable_parameters(self, spec: ModelSpec, outputs: int) -> int:
        """Parameters that get gradients, exact. `outputs` = numbers the head gives."""

    @abstractmethod
    def added_parameters(self, spec: ModelSpec, outputs: int) -> int:
        """Parameters the base model does not have, exact."""

    @abstractmethod
    def lowest_layer(self, spec: ModelSpec) -> int:
        """The lowest layer that is trained: -1 the embeddings, `spec.layers` only what is above the layers.
        What lies below never changes and needs no backward."""

    @abstractmethod
    def load(self, spec: ModelSpec, layer: int) -> LayerLoad:
        """What it does to layer `layer` (0 = lowest)."""

    def in_a_layer(self, spec: ModelSpec) -> int:
        """Parameters that it trains in each of its layers; 0 where it has none there."""
        return 0

    def below_layers(self, spec: ModelSpec) -> int:
        """Parameters that it trains below the layers."""
        return 0

    def trained_in(self, spec: ModelSpec, outputs: int, trains: Trains) -> int:
        """Of `trainable_parameters`, those of layers that are trained, and those above all layers."""
        lowest = self.lowest_layer(spec)
        resting = (layer for layer in range(max(0, lowest), spec.layers) if not trains(layer))
        left = sum(self.in_a_layer(spec.layer(layer)) for layer in resting)
        below = self.below_layers(spec) if lowest < 0 and not trains(-1) else 0
        return self.trainable_parameters(spec, outputs) - left - below

    def trained_shapes(self, spec: ModelSpec, outputs: int, trains: Trains = lambda layer: True) -> Shapes:
        """Shapes of the trained tensors, together `trained_in` numbers; optimisers hold more for some than for
        others. Here: the matrices that `load` names, layer by layer, with what `tensors_elsewhere`,
        `tensors_below` and `tensors_in_a_layer` add, and all the rest as vectors as long as the model is wide."""
        lowest = self.lowest_layer(spec)
        found = Counter(self.tensors_elsewhere(spec, outputs))
        if lowest < 0 and trains(-1):
            found.update(self.tensors_below(spec))
        for layer in filter(trains, range(max(0, lowest), spec.stored_layers)):
            found.update(self.tensors_in_a_layer(spec))
            load = self.load(spec, layer)
            found.update((linear.outputs, linear.inputs) for linear in load.trained)
            found.update((rank, linear.inputs) for linear, rank in load.beside)
            found.update((linear.outputs, rank) for linear, rank in load.beside)
            found.update((width, linear.outputs) for linear, width in load.after)
            found.update((linear.outputs, width) for linear, width in load.after)
            found.update((linear.outputs,) for linear in load.renormed)
            found.update((linear.outputs, 1) for linear in load.scaled_outputs)
            found.update((1, linear.inputs) for linear in load.scaled_inputs)
        rest = self.trained_in(spec, outputs, trains) - sum(math.prod(shape) * n for shape, n in found.items())
        whole, left = divmod(rest, spec.hidden)
        return (*found.items(), ((spec.hidden,), whole), ((left,), 1))

    def tensors_elsewhere(self, spec: ModelSpec, outputs: int) -> tuple[Shape, ...]:
        """Shapes of trained tensors above the layers that are no vectors: heads."""
        return ()

    def tensors_below(self, spec: ModelSpec) -> tuple[Shape, ...]:
        """The same below the layers: tables of embeddings."""
        return ()

    def tensors_in_a_layer(self, spec: ModelSpec) -> tuple[Shape, ...]:
        """The same of one layer, where `load` does not name them: experts."""
        return ()

    def kept_parameters(self, spec: ModelSpec, outputs: int) -> int:
        """Of the trained parameters, those that a folder keeps."""
        return self.trainable_parameters(spec, outputs)

    def refusal(self, spec: ModelSpec) -> Message | None:
        """Why this part has nothing to train in a model of this kind, None where it has."""
        return None


@dataclass(frozen=True, kw_only=True, slots=True)
class Adapter(Part):
    """Abstract. A part that leaves the base's weights as they are and adds its own."""

    adapter: ClassVar[bool] = True
    in_peft: ClassVar[bool]  # PEFT has it; else its folder loads there after `import trimtab.tuning`

    def added_parameters(self, spec: ModelSpec, outputs: int) -> int:
        return self.trainable_parameters(spec, outputs)


@dataclass(frozen=True, kw_only=True, slots=True)
class LayerAdapter(Adapter):
    """Abstract. An adapter in the upper `top_layers` layers (None = all), the same in each."""

    top_layers: int | None = None

    @abstractmethod
    def added_to_a_layer(self, spec: ModelSpec) -> int:
        """Parameters one layer gets, exact; all of them are trained."""

    @abstractmethod
    def layer_load(self, spec: ModelSpec) -> LayerLoad:
        """What it does to each of its layers."""

    def in_a_layer(self, spec: ModelSpec) -> int:
        return self.added_to_a_layer(spec)

    def trainable_parameters(self, spec: ModelSpec, outputs: int) -> int:
        numbers = range(self.lowest_layer(spec), spec.layers)
        if spec.layer(0) is spec:
            return len(numbers) * self.added_to_a_layer(spec)
        return sum(self.added_to_a_layer(spec.layer(number)) for number in numbers)

    def lowest_layer(self, spec: ModelSpec) -> int:
        return 0 if self.top_layers is None else spec.layers - self.top_layers

    def load(self, spec: ModelSpec, layer: int) -> LayerLoad:
        return LayerLoad() if layer < self.lowest_layer(spec) else self.layer_load(spec.layer(layer))
