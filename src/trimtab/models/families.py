"""Parameter arithmetic of a ModelSpec: exact counts from shapes and the family's layout. No torch.

Every count is held to the transformers class built on the meta device (tests/models/test_families.py). Leaves
out buffers (rotary tables, position ids): they are not parameters.

The parts of a model, from below:

    embeddings | layers (stored once in ALBERT) | final norm | pooler | task head  or  language-model head
"""

from collections.abc import Callable, Mapping

from trimtab.models.layouts import Slot, layout_of
from trimtab.models.spec import Linear, ModelSpec, Role


def layer_linears(spec: ModelSpec) -> tuple[Linear, ...]:
    """The matrices of one layer, in the order of the forward pass.

    A fused matrix stands once, under its fused role ("qkv", "gate_up"). Of a mixture of experts only the
    attention matrices stand here: transformers 5 keeps the experts as three-dimensional tensors, which no
    method that works on matrices can reach; `layer_parameters` counts them. GPT-2 stores its matrices
    transposed (Conv1D). For an encoder-decoder: one encoder layer.
    """
    layout = layout_of(spec.family)
    if spec.experts:
        slots = layout.attention
    else:
        slots = layout.attention + (layout.gated if spec.gated_ffn else layout.plain)
    return tuple(_linear(spec, slot) for slot in slots)


def layer_parameters(spec: ModelSpec) -> int:
    """Parameters of one layer: matrices, norms, and the experts with their router where it has them."""
    norms = sum(_norm_parameters(spec, width) for width in layout_of(spec.family).norm_widths(spec))
    matrices = sum(linear.parameters for linear in layer_linears(spec))
    return matrices + norms + _expert_parameters(spec)


def layer_biases(spec: ModelSpec) -> int:
    """Of them, the biases: of the matrices that have one, and of layer norms; an RMS norm has none."""
    matrices = sum(linear.outputs for linear in layer_linears(spec) if linear.bias)
    norms = sum(layout_of(spec.family).norm_widths(spec)) if spec.norm == "layer" else 0
    return matrices + norms


def activation_arrays(spec: ModelSpec) -> int:
    """Arrays of the inner width that a layer's activation function keeps for backward: its input; gated also its
    result and what it is multiplied with; written out step by step (x/2, tanh, 1 + tanh) three more."""
    if spec.gated_ffn:
        return 3
    return 4 if layout_of(spec.family).stepwise_activation else 1


def transposed(spec: ModelSpec) -> bool:
    """Whether the layers' matrices are stored transposed (GPT-2's Conv1D), which no quantised layer takes."""
    return layout_of(spec.family).transposed


def stored_layers(spec: ModelSpec) -> int:
    """How many layers have weights of their own: 1 where all share one set (ALBERT), else `spec.layers`."""
    return 1 if layout_of(spec.family).shared_layers else spec.layers


def embedding_parameters(spec: ModelSpec) -> int:
    """Everything below the first layer: token, position and type tables, relative-position tables shared by
    the layers, the map from a factorised embedding, the norm."""
    layout = layout_of(spec.family)
    norm = 0
    if layout.embedding_norm_width is not None:
        norm = _norm_parameters(spec, layout.embedding_norm_width(spec))
    return layout.embedding_matrices(spec) + norm + layout.relative_positions(spec)


def final_norm_parameters(spec: ModelSpec) -> int:
    """The norm above the last layer: 0 for BERT-like encoders; one for each stack of an encoder-decoder."""
    if not layout_of(spec.family).final_norm:
        return 0
    stacks = 2 if spec.decoder_layers else 1
    return stacks * _norm_parameters(spec, spec.hidden)


def pooler_parameters(spec: ModelSpec) -> int:
    """The pooler between transformer and classifier in the family's ...ForSequenceClassification class.

    0 where the class has none: decoders, and encoders whose head has its own dense matrix (RoBERTa: see
    `head_parameters`). It does not depend on `spec.pooler`: where the file has no pooler weights the class
    makes fresh ones.
    """
    return _square_with_bias(spec) if layout_of(spec.family).pooler else 0


def top_parameters(spec: ModelSpec) -> int:
    """What stands between the last layer and the task head: final norm and pooler."""
    return final_norm_parameters(spec) + pooler_parameters(spec)


def head_parameters(spec: ModelSpec, outputs: int) -> int:
    """The head of AutoModelForSequenceClassification with `outputs` labels, pooler not counted.

    BERT: one matrix with bias. RoBERTa, DistilBERT, ELECTRA: a dense matrix and one to the labels. Decoders:
    `score`, one matrix without bias (also where transformers has no such class, as of Granite).
    """
    layout = layout_of(spec.family)
    dense = _square_with_bias(spec) if layout.head_dense else 0
    return dense + spec.hidden * outputs + (outputs if layout.head_bias else 0)


def token_head_parameters(spec: ModelSpec, outputs: int) -> int:
    """The head of AutoModelForTokenClassification with `outputs` tags: in every family one matrix with bias."""
    return spec.hidden * outputs + outputs


def backbone_parameters(spec: ModelSpec) -> int:
    """Everything a classifier keeps of the model: no language-model head and no task head, pooler included
    where the classification class has one."""
    return _stem_parameters(spec) + pooler_parameters(spec)


def parameters(spec: ModelSpec) -> int:
    """Parameters as published: an encoder as AutoModel has it, with a pooler where `spec.pooler` says so; a
    decoder with its language-model head, tied embeddings counted once."""
    pooler = _square_with_bias(spec) if spec.pooler else 0
    return _stem_parameters(spec) + pooler + language_head_parameters(spec)


def _stem_parameters(spec: ModelSpec) -> int:
    layers = spec.parameters_of_layers() + spec.decoder_layers * _decoder_layer_parameters(spec)
    return embedding_parameters(spec) + layers + final_norm_parameters(spec)


def _decoder_layer_parameters(spec: ModelSpec) -> int:
    """A layer of an encoder-decoder's decoder: an encoder layer with cross-attention and its norm on top."""
    attention = layout_of(spec.family).attention
    cross_attention = sum(_linear(spec, slot).parameters for slot in attention)
    return layer_parameters(spec) + cross_attention + _norm_parameters(spec, spec.hidden)


def language_head_parameters(spec: ModelSpec) -> int:
    """The head over the vocabulary of a ...ForCausalLM class: 0 where it is the token embedding itself."""
    if spec.kind == "encoder" or spec.tied_embeddings:
        return 0
    return spec.vocab * spec.hidden + (spec.vocab if spec.head_bias else 0)


def _expert_parameters(spec: ModelSpec) -> int:
    one_expert = 3 * spec.hidden * spec.ffn  # gate, up, down
    router = spec.hidden
    return spec.experts * (one_expert + router)


def _norm_parameters(spec: ModelSpec, width: int) -> int:
    return 2 * width if spec.norm == "layer" else width


def _square_with_bias(spec: ModelSpec) -> int:
    return spec.hidden * spec.hidden + spec.hidden


def _linear(spec: ModelSpec, slot: Slot) -> Linear:
    inputs, outputs = slot.size(spec) if slot.size else _USUAL_SIZE[slot.role](spec)
    return Linear(
        role=slot.role, module=slot.module, inputs=inputs, outputs=outputs, bias=_has_bias(spec, slot.role)
    )


def _has_bias(spec: ModelSpec, role: Role) -> bool:
    if role in ("q", "k", "v", "qkv"):
        return spec.qkv_bias
    return spec.o_bias if role == "o" else spec.ffn_bias


def _query_width(spec: ModelSpec) -> int:
    return spec.heads * spec.head_dim


def _key_width(spec: ModelSpec) -> int:
    return spec.kv_heads * spec.head_dim


_USUAL_SIZE: Mapping[Role, Callable[[ModelSpec], tuple[int, int]]] = {
    "q": lambda spec: (spec.hidden, _query_width(spec)),
    "k": lambda spec: (spec.hidden, _key_width(spec)),
    "v": lambda spec: (spec.hidden, _key_width(spec)),
    "qkv": lambda spec: (spec.hidden, _query_width(spec) + 2 * _key_width(spec)),
    "o": lambda spec: (_query_width(spec), spec.hidden),
    "gate": lambda spec: (spec.hidden, spec.ffn),
    "up": lambda spec: (spec.hidden, spec.ffn),
    "gate_up": lambda spec: (spec.hidden, 2 * spec.ffn),
    "down": lambda spec: (spec.ffn, spec.hidden),
}
