"""Weights: the base model's own weights, on the upper layers or all of it (full tuning, freezing)."""

from dataclasses import dataclass
from typing import ClassVar

from trimtab.methods.part import LayerLoad, Part, Shape
from trimtab.models.families import final_norm_parameters
from trimtab.models.spec import ModelSpec


@dataclass(frozen=True, kw_only=True, slots=True)
class Weights(Part):
    """All weights of the upper `top_layers` layers; None = of the whole model, embeddings included."""

    name: ClassVar[str] = "weights"
    mergeable: ClassVar[bool] = True
    starts_at_base: ClassVar[bool] = True
    adapter: ClassVar[bool] = False

    top_layers: int | None = None

    @property
    def trains_table(self) -> bool:
        return self.top_layers is None

    def trainable_parameters(self, spec: ModelSpec, outputs: int) -> int:
        above = final_norm_parameters(spec)
        if self.top_layers is None:
            return spec.embedding_parameters + spec.parameters_of_layers() + above
        return spec.parameters_of_layers(spec.stored_layers - self.top_layers) + above

    def added_parameters(self, spec: ModelSpec, outputs: int) -> int:
        return 0

    def lowest_layer(self, spec: ModelSpec) -> int:
        return -1 if self.top_layers is None else spec.layers - self.top_layers

    def in_a_layer(self, spec: ModelSpec) -> int:
        return spec.layer_parameters

    def load(self, spec: ModelSpec, layer: int) -> LayerLoad:
        if layer < self.lowest_layer(spec):
            return LayerLoad()
        return LayerLoad(trained=spec.layer(layer).linears, everything_else=True)

    def below_layers(self, spec: ModelSpec) -> int:
        return spec.embedding_parameters if self.top_layers is None else 0

    def tensors_below(self, spec: ModelSpec) -> tuple[Shape, ...]:
        """Tables of tokens, learned positions and types."""
        learned_positions = spec.max_positions if spec.position == "learned" else 0
        rows = (spec.vocab, learned_positions, spec.type_vocab)
        return tuple((count, spec.embedding_size or spec.hidden) for count in rows if count)

    def tensors_in_a_layer(self, spec: ModelSpec) -> tuple[Shape, ...]:
        """Experts with their router."""
        if not spec.experts:
            return ()
        wide = (spec.experts, 2 * spec.ffn, spec.hidden)
        return wide, (spec.experts, spec.hidden, spec.ffn), (spec.experts, spec.hidden)
