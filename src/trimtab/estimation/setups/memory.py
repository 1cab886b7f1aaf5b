"""Peak memory of a Setup on one GPU, by formula: what is alive at once, the worst phase taken; then what the
allocator and the device add.

Kept for backward, per token of a layer that gradients pass through (n = bytes of the compute dtype, h hidden,
f inner size, d = heads x head size):

    RMS norm             4 h, an fp32 copy; n h more where its weight is trained; n h in all where it is compiled
    layer norm           n h
    queries, keys, values, output of a fused attention      4 n d (keys and values repeated to the query heads,
    except
                         by flash kernels), and 4 bytes a head
    eager attention      probabilities in fp32 and in n: (4 + n) heads L
    activation function  n f, gated 3 n f (its input, its result, up); compiled: one n f less
    dropout              h for each (masks of one byte), where the config has it
    input of every matrix that is trained, has something trained beside it, or is kept by its quantised kernel
    recompute            n h a layer, and one layer in full while it is computed again

Logits, plain cross entropy, a vocabulary entry and token, when backward begins: the log-softmax, its gradient and
that of the logits, each in fp32, and the logits in n where they are held: n + 12; where nothing is cast (fp32, or
a 16-bit engine without autocast) 4 n. In transformers 4.45 and later nobody holds the logits: 12, 3 n.

AdamW by torch's foreach path makes one copy of the trained numbers while it steps: in pure bf16 10 bytes a number
in all. Reserved memory and the device's are larger than live tensors by the shares below.

Sources: the code of transformers, PEFT, bitsandbytes, litgpt, torchtune and DeepSpeed; errors against published
runs: benchmarks/published_runs.py and docs/rows.md. Leaves out communication buffers beyond DeepSpeed's default
buckets.
"""

from dataclasses import dataclass

from trimtab.estimation.estimate import PARTS, MemoryParts, Phase
from trimtab.estimation.setups.setup import BYTES_OF, Setup
from trimtab.estimation.setups.trained import HEAD, Trained, matrix_numbers, total_numbers, trained
from trimtab.models.families import activation_arrays
from trimtab.models.spec import Linear
from trimtab.units import GIB, Evidence, Figure

_INPUT_OF = {
    "q": "first", "k": "first", "v": "first", "qkv": "first", "o": "attention", "gate": "second", "up": "second",
    "gate_up": "second", "down": "inner",
}  # fmt: skip
CONTEXT_BYTES = GIB // 2  # CUDA context and library handles of torch on a data-centre GPU
_BUCKET_BYTES = 10**9  # DeepSpeed's default: 5e8 numbers of 16 bit are gathered or reduced at once
_BELOW, _ABOVE = 0.12, 0.20  # how far the interval reaches, as shares
_CLASSES = 2  # entries of an encoder's head, which has no vocabulary


@dataclass(frozen=True, kw_only=True, slots=True)
class Allocator:
    """What torch's caching allocator holds beyond live tensors: a share of them for rounding and holes, and
    segments it keeps. Fitted on published runs; each source is judged by what the others give."""

    share: float = 1.10
    segment_bytes: int = GIB // 2


ALLOCATOR = Allocator()


@dataclass(frozen=True, kw_only=True, slots=True)
class SetupMemory:
    """Peak memory of one device in its three meanings. `allocated`: live tensors; `reserved`: what torch's
    allocator has taken for them; `device`: with the context, as nvidia-smi shows it. `parts` and `phase` are of
    the allocated peak."""

    allocated: Figure
    reserved: Figure
    device: Figure
    parts: MemoryParts
    phase: str


def setup_memory(setup: Setup, allocator: Allocator = ALLOCATOR, *, traced: tuple[Phase, ...] = ()) -> SetupMemory:
    """Peak memory of a step. Within about a tenth for the stacks named above; the interval is printed with it.
    `traced`: phases that a dry run has counted, which take the place of the formula's."""
    phases = tuple({phase.name: phase for phase in (*live_phases(setup), *traced)}.values())
    worst = max(phases, key=lambda phase: phase.parts.total_bytes)
    allocated = worst.parts.total_bytes
    reserved = round(allocator.share * allocated) + allocator.segment_bytes
    counted = any(phase.name == worst.name for phase in traced)
    evidence = Evidence.DRY_RUN if counted else Evidence.FORMULA
    return SetupMemory(
        allocated=_figure(allocated, evidence),
        reserved=_figure(reserved, evidence),
        device=_figure(reserved + CONTEXT_BYTES, evidence),
        parts=worst.parts,
        phase=worst.name,
    )


def live_phases(setup: Setup) -> tuple[Phase, ...]:
    """Live tensors at the worst moment of each phase of a step."""
    found = trained(setup)
    held = {"weights": _weights(setup, found), "optimizer": _states(setup, found)}
    gradients = _gradients(setup, found)
    waiting = gradients if setup.micro_batches > 1 and not setup.steps_in_backward else 0
    kept = _kept(setup, found) + _casts(setup)
    below = setup.tokens * _layer_bytes(setup, found, setup.spec.layers - 1)
    layer = _temporaries(setup, found) + (below if setup.recompute else 0)
    logits = _logits(setup, found)
    return (
        _phase("head", **held, gradients=waiting, activations=kept, logits=logits),
        _phase("backward begins", **held, gradients=waiting, activations=kept, temporaries=layer),
        _phase("backward ends", **held, gradients=gradients, activations=below, temporaries=layer),
        _phase("optimizer", **held, gradients=gradients, temporaries=_step_temporaries(setup, found)),
    )


def _phase(name: str, **bytes_of: float) -> Phase:
    return Phase(name=name, parts=MemoryParts(**{f"{part}_bytes": round(bytes_of.get(part, 0)) for part in PARTS}))


def _figure(value: int, evidence: Evidence) -> Figure:
    return Figure(value, value * (1 - _BELOW), value * (1 + _ABOVE), evidence)


# -------------------------------------------------------------------- what is held all the time


def _weights(setup: Setup, found: Trained) -> float:
    """The base as it is stored, what stands beside it, masters of an engine, and layers gathered of a sharded
    one."""
    spec, number = setup.spec, BYTES_OF[setup.weights]
    quantised = _quantised_numbers(setup)
    base = quantised * setup.quant.number_bytes + (total_numbers(setup) - quantised) * number
    beside = found.beside * BYTES_OF[setup.adapters] + found.copied * number
    share = setup.devices if setup.sharding.weights else 1
    whole = (base + beside) / share
    if share > 1:
        whole += 2 * base / (spec.layers + spec.decoder_layers)  # the layer at work and the next one
    if setup.offloads_weights:
        whole = 2 * base / (spec.layers + spec.decoder_layers)
    if setup.sharding.engine:
        whole += 4 * found.numbers / (setup.devices if setup.sharding.states else 1) + _BUCKET_BYTES
    return whole


def _quantised_numbers(setup: Setup) -> int:
    if not setup.quant.number_bytes:
        return 0
    head = setup.spec.vocab * setup.spec.hidden if setup.loss.quantised_head else 0
    return (setup.spec.layers + setup.spec.decoder_layers) * matrix_numbers(setup.spec) + head


def _states(setup: Setup, found: Trained) -> float:
    kind = setup.optimizer
    if kind.paged or setup.offloads_weights:
        return 0.0
    share = setup.devices if setup.sharding.states else 1
    return (
        sum(
            numbers * (kind.states * (4 if setup.sharding.engine else number) + kind.state_bytes)
            for numbers, number in _trained_numbers(setup, found)
        )
        / share
    )


def _gradients(setup: Setup, found: Trained) -> float:
    if setup.steps_in_backward:
        return _largest_own(setup, found) * BYTES_OF[setup.weights]
    share = setup.devices if setup.sharding.gradients else 1
    return sum(numbers * number for numbers, number in _trained_numbers(setup, found)) / share


def _step_temporaries(setup: Setup, found: Trained) -> float:
    if setup.sharding.engine:  # gradients in fp32, and the copy the foreach step makes
        return 4.0 * found.numbers / setup.devices
    if setup.steps_in_backward:
        return 0.0
    share = setup.devices if setup.sharding.states else 1
    whole = sum(numbers * number for numbers, number in _trained_numbers(setup, found))
    return setup.optimizer.temporaries * whole / share


def _trained_numbers(setup: Setup, found: Trained) -> tuple[tuple[int, int], ...]:
    """Trained numbers, and bytes of one: of the base and of copies of it, and beside it."""
    return (found.own + found.copied, BYTES_OF[setup.weights]), (found.beside, BYTES_OF[setup.adapters])


def _largest_own(setup: Setup, found: Trained) -> int:
    if found.head:
        return setup.spec.vocab * setup.spec.hidden
    return max((linear.inputs * linear.outputs for linear in found.own_matrices), default=0)


def _casts(setup: Setup) -> float:
    """Autocast keeps a cast copy of every fp32 matrix for the backward pass."""
    if setup.weights != "fp32" or setup.compute == "fp32" or setup.quant.number_bytes:
        return 0.0
    head = setup.spec.vocab * setup.spec.hidden
    return BYTES_OF[setup.compute] * (setup.spec.layers * matrix_numbers(setup.spec) + head)


# -------------------------------------------------------------------- activations


def _kept(setup: Setup, found: Trained) -> float:
    spec, number = setup.spec, BYTES_OF[setup.compute]
    layers = max(0, spec.layers - max(0, found.lowest_layer)) + spec.decoder_layers
    embeddings = setup.tokens * spec.hidden * number
    if not setup.recompute:
        return embeddings + setup.tokens * layers * _layer_bytes(setup, found, spec.layers - 1)
    inputs = 0 if setup.offloads_activations else setup.tokens * layers * spec.hidden * number
    return embeddings + inputs


def _layer_bytes(setup: Setup, found: Trained, layer: int) -> float:
    """Bytes a token that one layer keeps for backward."""
    if layer < found.lowest_layer:
        return 0.0
    spec, number = setup.spec, BYTES_OF[setup.compute]
    return (
        _norm_bytes(setup, found)
        + _attention_bytes(setup)
        + number * spec.ffn * _inner_copies(setup) * max(1, spec.experts_per_token)
        + (spec.dropouts_per_layer * spec.hidden if spec.hidden_dropout else 0)
        + _input_bytes(setup, found)
        + _beside_bytes(setup, found)
    )


def _norm_bytes(setup: Setup, found: Trained) -> float:
    spec, number = setup.spec, BYTES_OF[setup.compute]
    width = spec.hidden * spec.norms_per_layer
    if spec.qk_norm:
        width += (spec.heads + spec.kv_heads) * spec.head_dim
    if spec.norm == "layer" or setup.compiled:
        return number * width
    return (4 + (number if found.norms else 0)) * width


def _attention_bytes(setup: Setup) -> float:
    """Queries, keys, values, the output, and what the kernel keeps."""
    spec, number = setup.spec, BYTES_OF[setup.compute]
    queries, pairs = spec.heads * spec.head_dim, spec.kv_heads * spec.head_dim
    keys = pairs if setup.attention == "flash" else queries
    kept = number * (2 * queries + 2 * keys) + 4 * spec.heads
    if setup.loss.cuts_qkv:  # values are a view of the one matrix's result, which stays whole
        kept += number * (queries + pairs)
    if setup.attention == "eager":
        kept += (4 + number) * spec.heads * setup.length
    return kept


def _inner_copies(setup: Setup) -> int:
    if setup.spec.gated_ffn:
        return 2 if setup.compiled else 3
    return 1 if setup.compiled or setup.loss.fused_activation else activation_arrays(setup.spec)


def _input_bytes(setup: Setup, found: Trained) -> float:
    """Inputs of matrices, each kept once: of trained ones, of those with LoRA beside them in the same dtype, of
    those whose quantised kernel keeps them. Attention's output is there already."""
    matrices: tuple[Linear, ...] = found.own_matrices
    if setup.adapters == setup.compute and not setup.loss.lora_dropout:
        matrices += found.matrices
    if setup.quant.keeps_inputs:
        matrices = setup.spec.linears
    inputs = {_INPUT_OF[linear.role]: linear.inputs for linear in matrices}
    if not setup.quant.keeps_inputs:
        inputs.pop("attention", None)  # the attention kernel's own
    return BYTES_OF[setup.compute] * sum(inputs.values())


def _beside_bytes(setup: Setup, found: Trained) -> float:
    """What LoRA keeps for itself: its input where it is another tensor than the matrix's (a cast, or dropout's
    result and mask), one a matrix; and what comes out of A. Results that something trained is multiplied with."""
    number = BYTES_OF[setup.adapters]
    own_input = number + 1 if setup.loss.lora_dropout else (0 if setup.adapters == setup.compute else number)
    inside = number * (setup.rank or 8)
    low_rank = sum(own_input * linear.inputs + inside for linear in found.matrices)
    return low_rank + BYTES_OF[setup.compute] * sum(linear.outputs for linear in found.scaled)


def _temporaries(setup: Setup, found: Trained) -> float:
    """The widest moment of one layer's backward: gradients of the inner activations; an unpacked matrix; the
    gradient of a matrix."""
    spec, number = setup.spec, BYTES_OF[setup.compute]
    inner = setup.tokens * number * (2 * spec.ffn * (2 if spec.gated_ffn else 1) + 2 * spec.hidden)
    largest = max((linear.inputs * linear.outputs for linear in spec.linears), default=0)
    unpacked = number * largest if setup.quant.number_bytes else 0
    return inner + unpacked


def _logits(setup: Setup, found: Trained) -> float:
    """Logits and all that the loss makes of them, and the head's gradient where it is trained."""
    if setup.spec.kind == "encoder":
        return 16.0 * setup.micro_batch * _CLASSES
    spec, number = setup.spec, BYTES_OF[setup.compute]
    cast_free = setup.compute == "fp32" or setup.sharding.engine
    plain = 3 * (number if cast_free else 4) + (number if setup.loss.keeps_logits else 0)
    entry = plain if setup.loss.entry_bytes is None else setup.loss.entry_bytes
    table = spec.vocab * spec.hidden
    trained_head = found.head or "head" in setup.copies
    gradient = table * BYTES_OF[setup.weights] if trained_head and setup.micro_batches == 1 else 0
    head = number * table if setup.quant.number_bytes and setup.loss.quantised_head else 0  # unpacked
    low_rank = BYTES_OF[setup.adapters] * spec.hidden * setup.tokens if HEAD in setup.roles else 0
    entries = setup.tokens * spec.vocab
    return max(entries * entry, entries * min(number, entry) + gradient) + head + low_rank
