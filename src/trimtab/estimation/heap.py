"""What a process takes beside its tensors: libraries, compiled kernels, and what a C heap loses in holes.

Constants are fitted on measured runs (`benchmarks/memory_prediction.py`), whose errors are printed in
docs/formulas.md. Leaves out: heaps of other C libraries than glibc.
"""

from dataclasses import dataclass
from functools import lru_cache

from trimtab.data.spec import DataSpec, LengthHistogram
from trimtab.estimation.held import BYTES
from trimtab.estimation.kept import layers_bytes
from trimtab.estimation.question import longest_batch
from trimtab.estimation.updated import table_parameters, updated_parameters
from trimtab.hardware.machine import Machine
from trimtab.methods import Strategy
from trimtab.models.families import activation_arrays
from trimtab.models.spec import ModelSpec
from trimtab.units import GIB, MIB, Evidence

_GRADIENT_BYTES = 4
# What a process holds before any model. A rule where this machine has not been calibrated.
_CPU_RUNTIME_BYTES = 620 * MIB
# Fitted on benchmarks/memory_prediction.py (12 cells, MiniLM-L6, two AVX-512 cores):
_CPU_WORKING_BYTES = 81 * MIB  # thread pools, allocator arenas, first kernels
# Share of what the layers keep, with recompute as without, that is lost to holes in the C heap: glibc cuts a block
# for a tensor a little too large, and a small object that moves into the rest keeps it from being used again.
# Blocks of 32 MiB and more are mapped one by one: what is beyond that of the largest ones is not counted.
_CPU_HOLES = 0.45
_MAPPED_BLOCK_BYTES = 32 * MIB
_CPU_GRADIENT_HOLES = 0.6  # of gradients: freed after a step, their places are taken by activations of the next
# A third of it in the first of the largest batches, which the preflight is, all after a dozen of that width.
_CPU_FIRST_SHARE = 0.3
_CPU_SAME_BATCHES = 12
# More where narrower batches run between, all after four that are nearly as wide: what they have cut up does not
# serve a wider one. One of half the width counts a sixteenth. Fitted on the demo and on SST-2, where a training
# goes on growing over 200 steps.
_CPU_MIXED_HOLES = 0.85
_CPU_MIXED_BATCHES = 4
_WIDTH_POWER = 4
_CPU_LEFT = 0.5  # share of what a step took of the heap that is still held afterwards
_KERNEL_BYTES = {"fp32": 3 * MIB // 5, "bf16": 2 * MIB // 5, "fp16": 2 * MIB // 5}
# A tokenizer as `tokenizers` and transformers hold it, over the size of its file: 22 for MiniLM's 30,522 word
# pieces, 20 for e5's 250,002 unigrams (314 MiB), 12 for SmolLM2's 49,152 byte pairs. Where the file is not at
# hand, its size by rule: an entry takes 15 bytes (MiniLM) to 72 (SmolLM2).
_TOKENIZER_SHARE = 20
_TOKENIZER_ENTRY_BYTES = 40
# Kinds of matmul: the layer's matrices forward; their and attention's gradients, with attention's own forward;
# gradients of weights; LoRA's.
_FORWARD_MATMULS, _BACKWARD_MATMULS, _WEIGHT_MATMULS, _BESIDE_MATMULS = 3, 9, 3, 4
_FP32_BACKWARD_MATMULS = 3  # attention's and LoRA's go through MKL
_CUDA_CONTEXT_BYTES = int(1.4 * GIB)


@dataclass(frozen=True, slots=True)
class Grown:
    """Of what the heap loses, and of kernels that are compiled, in a long training: the shares that are there when
    the largest batch runs for the last time. `same`: by batches of its own width; `mixed`: by others."""

    same: float
    mixed: float


def grown_shares(strategy: Strategy, data: DataSpec) -> Grown:
    epochs = strategy.schedule.epochs
    largest, others = _widest(data.lengths, strategy.micro_batch, strategy.max_length)
    again = max(0.0, largest * epochs - 1) / (_CPU_SAME_BATCHES - 1)
    return Grown(
        same=min(1.0, _CPU_FIRST_SHARE + (1 - _CPU_FIRST_SHARE) * again),
        mixed=min(1.0, others * epochs / _CPU_MIXED_BATCHES),
    )


@lru_cache(maxsize=256)
def _widest(lengths: LengthHistogram, micro_batch: int, cap: int) -> tuple[int, float]:
    """Micro-batches an epoch of the largest width, and how many such the narrower ones are as good as. Kept, since
    every candidate of a plan asks for one of a few."""
    widths, batches = lengths.batch_widths(micro_batch, cap)
    if not len(widths):
        return 0, 0.0
    alike = (widths / widths[-1]) ** _WIDTH_POWER
    return int(batches[-1]), float(alike[:-1] @ batches[:-1])


def hole_bytes(strategy: Strategy, spec: ModelSpec, data: DataSpec, grown: Grown, machine: Machine) -> int:
    """What a CPU's heap loses in a step of the largest batch, when `grown` of it is there: see `_CPU_HOLES`. Only
    tensors of layers that gradients pass through are cut apart so: elsewhere no object outlives its tensor."""
    if machine.device.kind != "cpu":
        return 0
    rows, length = longest_batch(strategy, data)
    width = length + strategy.virtual_tokens
    tokens, number = rows * width, BYTES[strategy.precision]
    large = number * spec.ffn * activation_arrays(spec)  # of a token, in blocks of ffn numbers each
    spared = max(0.0, 1 - _MAPPED_BLOCK_BYTES / (tokens * number * spec.ffn)) * large
    kept = sum(max(0.0, layer - spared) for layer in layers_bytes(strategy, spec, width, machine.device.kind))
    collected = updated_parameters(strategy, spec, data) - table_parameters(strategy, spec, data)
    cut_up = (_CPU_HOLES * grown.same + _CPU_MIXED_HOLES * grown.mixed) * tokens * kept
    freed = max(grown.same, grown.mixed) * _CPU_GRADIENT_HOLES * collected * _GRADIENT_BYTES
    return round(cut_up + freed)


def left_bytes(step: int, machine: Machine) -> int:
    """Of what a step took of a CPU's heap, what the C library has not given back when the steps are over."""
    return round(_CPU_LEFT * step) if machine.device.kind == "cpu" else 0


def runtime_bytes(machine: Machine) -> tuple[int, Evidence]:
    """What a process holds before any model: libraries, on a GPU the context."""
    if machine.device.kind != "cpu":
        return _CUDA_CONTEXT_BYTES, Evidence.RULE
    if machine.calibration is not None and machine.calibration.runtime_bytes:
        return machine.calibration.runtime_bytes, Evidence.MEASURED
    return _CPU_RUNTIME_BYTES, Evidence.RULE


def working_bytes(spec: ModelSpec, machine: Machine) -> int:
    """What a CPU process takes when it starts to work, the tokenizer included. On other devices the host pays."""
    if machine.device.kind != "cpu":
        return 0
    measured = machine.calibration.working_bytes if machine.calibration is not None else 0
    return (measured or _CPU_WORKING_BYTES) + _TOKENIZER_SHARE * (
        spec.tokenizer_bytes or _TOKENIZER_ENTRY_BYTES * spec.vocab
    )


def kernel_bytes(strategy: Strategy, spec: ModelSpec, data: DataSpec, machine: Machine) -> int:
    """What oneDNN compiles and keeps for matmuls on a CPU: a set of kernels for every padded width.

    Measured on AVX-512 cores: about 0.4 MiB a kind of matmul and width, in fp32 0.6; evicted kernels do not
    return their memory. Where fp32 goes through MKL, nothing of the kind is kept.
    """
    if machine.device.kind != "cpu" or (strategy.precision == "fp32" and not _fp32_onednn(machine)):
        return 0
    fp32 = strategy.precision == "fp32"
    lowest = strategy.lowest_layer(spec)
    kinds = _FORWARD_MATMULS
    if lowest < spec.layers:
        loads = (*strategy.loads(spec, max(0, lowest)), *strategy.loads(spec, spec.layers - 1))
        kinds += _FP32_BACKWARD_MATMULS if fp32 else _BACKWARD_MATMULS
        kinds += _WEIGHT_MATMULS if any(load.trained for load in loads) else 0
        beside = any(load.after or (load.beside and not fp32) for load in loads)
        kinds += _BESIDE_MATMULS if beside else 0
    widths, _ = data.lengths.batch_widths(strategy.micro_batch, strategy.max_length)
    return len(widths) * kinds * _KERNEL_BYTES[strategy.precision]


def _fp32_onednn(machine: Machine) -> bool:
    return machine.calibration is not None and machine.calibration.fp32_onednn
