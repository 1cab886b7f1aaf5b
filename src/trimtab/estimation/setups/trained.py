"""What a Setup trains: how many numbers, where they stand, and what of the forward pass they make backward need.

A method is a row of `METHODS`. Counts are exact for the methods that Trimtab's own parts have (tests hold them to
`methods`); of others the source's own count is believed where it gives one.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

from trimtab.estimation.setups.setup import Setup
from trimtab.models.families import final_norm_parameters
from trimtab.models.spec import Linear, ModelSpec

HEAD = "head"  # the role of the language-model head, which is in no layer


@dataclass(frozen=True, kw_only=True, slots=True)
class Trained:
    """`own`: numbers of the base itself. `beside`: numbers of its own a method adds. `copied`: full copies of
    frozen tables. `lowest_layer`: below it nothing needs backward. `matrices`: of one layer, those with something
    trained beside them; `own_matrices`: those trained themselves; `scaled`: those whose result is multiplied by
    something trained, and kept for it. `norms`: the norms are trained as well; `head`: the
    language-model head is."""

    own: int = 0
    beside: int = 0
    copied: int = 0
    lowest_layer: int = 0
    matrices: tuple[Linear, ...] = ()
    own_matrices: tuple[Linear, ...] = ()
    scaled: tuple[Linear, ...] = ()
    norms: bool = False
    head: bool = False

    @property
    def numbers(self) -> int:
        return self.own + self.beside + self.copied


def trained(setup: Setup) -> Trained:
    """What is trained, by the method's row; a count that the source gives takes the place of ours."""
    found = METHODS[setup.method](setup)
    copied = len(setup.copies) * setup.spec.vocab * (setup.spec.embedding_size or setup.spec.hidden)
    beside = found.beside
    if setup.trainable is not None and not found.own:
        beside = max(0, setup.trainable - copied)
    return replace(found, beside=beside, copied=copied)


def total_numbers(setup: Setup) -> int:
    """Numbers of the base: as published, and the head that some stacks hold apart from a tied embedding."""
    extra = setup.spec.vocab * setup.spec.hidden if setup.untied_head and setup.spec.tied_embeddings else 0
    return setup.spec.parameters + extra


def matrix_numbers(spec: ModelSpec) -> int:
    """Numbers in the matrices of one layer, experts included: what is quantised."""
    if spec.experts:
        return spec.layer_parameters
    return sum(linear.inputs * linear.outputs for linear in spec.linears)


def _full(setup: Setup) -> Trained:
    return Trained(
        own=total_numbers(setup), lowest_layer=-1, own_matrices=setup.spec.linears, norms=True, head=True
    )


def _freeze(setup: Setup) -> Trained:
    spec, top = setup.spec, setup.top_layers or max(1, setup.spec.layers // 3)
    own = top * spec.layer_parameters + final_norm_parameters(spec)
    return Trained(own=own, lowest_layer=spec.layers - top, own_matrices=spec.linears, norms=True)


def _head(setup: Setup) -> Trained:
    return Trained(own=setup.spec.vocab * setup.spec.hidden, lowest_layer=setup.spec.layers, head=True)


def _lora(setup: Setup) -> Trained:
    spec, rank = setup.spec, setup.rank or 8
    matrices = tuple(linear for linear in spec.linears if set(linear.roles) & set(setup.roles))
    layers = spec.layers if setup.top_layers is None else setup.top_layers
    beside = layers * sum(_low_rank(linear, setup.roles, rank, spec) for linear in matrices)
    if HEAD in setup.roles:
        beside += rank * (spec.hidden + spec.vocab)
    return Trained(beside=beside, lowest_layer=spec.layers - layers, matrices=matrices)


def _low_rank(linear: Linear, roles: tuple[str, ...], rank: int, spec: ModelSpec) -> int:
    """A and B beside a matrix. In a fused one each role that is meant has an A of its own, as litgpt makes
    them."""
    wanted = [role for role in linear.roles if role in roles]
    if len(wanted) == len(linear.roles):
        return rank * (linear.inputs + linear.outputs)
    widths = {
        "q": spec.heads * spec.head_dim,
        "k": spec.kv_heads * spec.head_dim,
        "v": spec.kv_heads * spec.head_dim,
    }
    return rank * sum(linear.inputs + widths.get(role, linear.outputs // 2) for role in wanted)


def _dora(setup: Setup) -> Trained:
    lora = _lora(setup)
    layers = setup.spec.layers - lora.lowest_layer
    return Trained(
        beside=lora.beside + layers * sum(linear.outputs for linear in lora.matrices),
        lowest_layer=lora.lowest_layer,
        matrices=lora.matrices,
    )


def _adapter(setup: Setup) -> Trained:
    """Two bottlenecks a layer (Houlsby et al. 2019): down, up, their biases."""
    spec, width = setup.spec, setup.bottleneck or 64
    one = 2 * spec.hidden * width + width + spec.hidden
    return Trained(beside=2 * spec.layers * one)


def _prompt(setup: Setup) -> Trained:
    return Trained(beside=(setup.virtual_tokens or 8) * setup.spec.hidden)


def _prefix(setup: Setup) -> Trained:
    """Keys and values of every layer."""
    spec = setup.spec
    return Trained(beside=(setup.virtual_tokens or 8) * 2 * spec.layers * spec.kv_heads * spec.head_dim)


def _ptuning(setup: Setup) -> Trained:
    """Prompt vectors behind an encoder of three square matrices (PEFT's MLP re-parameterisation)."""
    hidden = setup.spec.hidden
    return Trained(beside=(setup.virtual_tokens or 8) * hidden + 3 * (hidden * hidden + hidden))


def _ia3(setup: Setup) -> Trained:
    """A factor for every key, value and inner activation (Liu et al. 2022, arXiv 2205.05638)."""
    spec = setup.spec
    scaled = tuple(linear for linear in spec.linears if set(linear.roles) & {"k", "v"})
    return Trained(beside=spec.layers * (2 * spec.kv_heads * spec.head_dim + spec.ffn), scaled=scaled)


def _adapter_v2(setup: Setup) -> Trained:
    """LLaMA-Adapter v2 (arXiv 2304.15010): a factor and a bias for every matrix, the norms, a prompt a layer."""
    spec = setup.spec
    factors = sum(2 * linear.outputs for linear in spec.linears) + spec.norms_per_layer * spec.hidden
    prompt = (setup.virtual_tokens or 10) * spec.hidden
    return Trained(beside=spec.layers * (factors + prompt), scaled=spec.linears, norms=True)


def _bitfit(setup: Setup) -> Trained:
    spec = setup.spec
    biases = sum(linear.outputs for linear in spec.linears if linear.bias)
    return Trained(
        beside=spec.layers * (biases + (spec.norms_per_layer * spec.hidden if spec.norm == "layer" else 0))
    )


def _other(setup: Setup) -> Trained:
    """A method without a row of its own: as LoRA where it names matrices, else what its source counts."""
    return _lora(setup) if setup.roles else Trained(beside=setup.trainable or 0)


METHODS: dict[str, Callable[[Setup], Trained]] = {
    "full": _full,
    "freeze": _freeze,
    "head": _head,
    "lora": _lora,
    "dora": _dora,
    "qlora4": _lora,
    "qlora8": _lora,
    "adapter": _adapter,
    "prompt": _prompt,
    "prefix": _prefix,
    "ptuning": _ptuning,
    "ia3": _ia3,
    "bitfit": _bitfit,
    "adapter-v2": _adapter_v2,
    "other": _other,
}
