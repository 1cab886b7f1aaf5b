"""ModelSpec: what a transformer is, from its config alone. Shapes and counts, never weights.

Counts are exact for the families listed in `layouts.py`; a test holds them to the transformers classes
built on the meta device.
"""

from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from typing import Literal

from trimtab.models.layer_shapes import LayerShape, LayerShapes, Pruned

Kind = Literal["encoder", "decoder", "encoder-decoder"]
Norm = Literal["layer", "rms"]
Position = Literal["learned", "rope", "relative", "alibi"]
Role = Literal["q", "k", "v", "o", "gate", "up", "down", "qkv", "gate_up"]

_FUSED: dict[Role, tuple[Role, ...]] = {"qkv": ("q", "k", "v"), "gate_up": ("gate", "up")}


@dataclass(frozen=True, kw_only=True, slots=True)
class Linear:
    """One matrix of a layer. `role` is our word for it, `module` the name it has inside a layer.

    Some families store several roles in one matrix, stacked by outputs: role "qkv" or "gate_up".
    """

    role: Role
    module: str
    inputs: int
    outputs: int
    bias: bool

    @property
    def parameters(self) -> int:
        return self.inputs * self.outputs + (self.outputs if self.bias else 0)

    @property
    def roles(self) -> tuple[Role, ...]:
        """The single roles this matrix plays: ("q", "k", "v") for a fused "qkv", else its own."""
        return _FUSED.get(self.role, (self.role,))


@dataclass(frozen=True, kw_only=True)
class ModelSpec:
    """Shapes of one model. All sizes are counts of numbers, not bytes.

    `family` is transformers' `model_type` ("bert", "xlm-roberta", "gemma2"). `name` is what the user typed,
    `hub_id` the published name where known. `weights_dtype` is the dtype of the stored weights ("fp32", "bf16",
    "fp16"; "unknown" where only a shape is known), `stored_bytes` their bytes (0 where only a shape is known),
    `tokenizer_bytes` the size of tokenizer.json (0 where it is not at hand). `pooler`: the published weights hold
    a pooler; whether a classifier runs one is `families.pooler_parameters`. `pooling`: how it was published to
    make one vector of a text (`sentence.pooling_of`), empty where it says nothing. `pruned`: layers that the class
    cannot build as they are; where they are not alike `heads`, `kv_heads` and `ffn` are the most that any has, and
    `layer` says what each has. `fingerprint` is a hash of config and weights header, empty for a catalogue shape.
    `source` says where the facts were read."""

    name: str
    hub_id: str = ""
    family: str
    kind: Kind
    layers: int
    hidden: int
    heads: int
    kv_heads: int
    head_dim: int
    ffn: int
    gated_ffn: bool
    vocab: int
    max_positions: int
    first_position: int = 0  # RoBERTa's table holds positions from the padding id plus one
    type_vocab: int = 0
    embedding_size: int = 0  # 0: the same as hidden (no factorised embedding)
    tied_embeddings: bool = True
    qkv_bias: bool = False
    o_bias: bool = False
    ffn_bias: bool = False
    norm: Norm = "rms"
    norms_per_layer: int = 2
    qk_norm: bool = False
    position: Position = "rope"
    pooler: bool = False
    head_bias: bool = False
    decoder_layers: int = 0
    experts: int = 0
    experts_per_token: int = 0
    attention_dropout: float = 0.0
    hidden_dropout: float = 0.0
    dropouts_per_layer: int = 2  # of hidden states; attention's is another
    pad_token_id: int | None = None
    weights_dtype: str = "unknown"
    stored_bytes: int = 0
    tokenizer_bytes: int = 0
    pooling: str = ""
    pruned: Pruned | None = None
    fingerprint: str = ""
    source: str = ""

    @property
    def longest_text(self) -> int:
        """Tokens that fit, special ones included; 0 = no limit of the model's own."""
        return max(0, self.max_positions - self.first_position)

    @property
    def can_be_trained(self) -> bool:
        """Whether `trimtab train` can run a model of this family; estimates go further."""
        from trimtab.models.config_keys import TRAINED_FAMILIES

        return self.family in TRAINED_FAMILIES

    @property
    def shapes(self) -> LayerShapes:
        """Heads and neurons of every layer."""
        if self.pruned is not None:
            return self.pruned.left
        one = LayerShape(heads=self.heads, kv_heads=self.kv_heads, neurons=self.ffn)
        return LayerShapes.alike(one, self.layers)

    def layer(self, number: int) -> "ModelSpec":
        """The spec as if all layers were like layer `number` (0 = lowest): itself, where they are alike."""
        if self.pruned is None or self.pruned.left.even:
            return self
        return _like_layer(self, number)

    def of_depth(self, layers: int) -> "ModelSpec":
        """The spec with that many layers. They are alike."""
        if self.pruned is None:
            return replace(self, layers=layers)
        assert self.pruned.left.even, "layers that are not alike have no other number of them"
        left = LayerShapes.alike(self.pruned.left.layers[0], layers)
        return replace(self, layers=layers, pruned=replace(self.pruned, left=left))

    @cached_property
    def linears(self) -> tuple[Linear, ...]:
        """The matrices of one layer, in the order of the forward pass. See `families.layer_linears`. Where layers
        are not alike: of one with the most of each; see `layer`."""
        from trimtab.models.families import layer_linears

        return layer_linears(self)

    @cached_property
    def layer_parameters(self) -> int:
        """Parameters of one transformer layer; where they are not alike, of one with the most of each."""
        from trimtab.models.families import layer_parameters

        return layer_parameters(self)

    def parameters_of_layers(self, first: int = 0) -> int:
        """Parameters of the stored layers from number `first` on, each with the shape it has."""
        numbers = range(first, self.stored_layers)
        if self.layer(0) is self:
            return len(numbers) * self.layer_parameters
        return sum(self.layer(number).layer_parameters for number in numbers)

    @cached_property
    def stored_layers(self) -> int:
        """Layers with weights of their own: `layers`, or 1 where all layers share one set (ALBERT)."""
        from trimtab.models.families import stored_layers

        return stored_layers(self)

    @cached_property
    def embedding_parameters(self) -> int:
        """Parameters of everything below the first layer (token, position and type tables, their norm)."""
        from trimtab.models.families import embedding_parameters

        return embedding_parameters(self)

    @cached_property
    def top_parameters(self) -> int:
        """Parameters between the last layer and a task head: final norm, and pooler where there is one."""
        from trimtab.models.families import top_parameters

        return top_parameters(self)

    @cached_property
    def backbone_parameters(self) -> int:
        """Parameters a classifier keeps of the model: no head of any kind, the pooler where its class has one."""
        from trimtab.models.families import backbone_parameters

        return backbone_parameters(self)

    @cached_property
    def parameters(self) -> int:
        """Parameters of the model without a task head, as the published counts have it (for a decoder with
        untied embeddings: with its language-model head)."""
        from trimtab.models.families import parameters

        return parameters(self)


@lru_cache(maxsize=4096)
def _like_layer(spec: ModelSpec, number: int) -> ModelSpec:
    assert spec.pruned is not None
    shape = spec.pruned.left.layers[number]
    alike = LayerShapes.alike(shape, spec.layers)
    pruned = Pruned(built=spec.pruned.built, left=alike)
    return replace(spec, heads=shape.heads, kv_heads=shape.kv_heads, ffn=shape.neurons, pruned=pruned)
