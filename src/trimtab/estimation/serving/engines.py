"""What computes a model that is served: where it runs, which weights it takes, how much of a device it reaches.

    trimtab    this package's own service, PyTorch on one base; speeds as those of its trainings and evaluations
    vllm       continuous batching with paged memory, the server that others hand over to; decoders on GPUs
    onnx       ONNX Runtime on a CPU; encoders
    tensorrt   NVIDIA's compiled graphs; encoders on GPUs

Shares: `compute_share` of the dense peak that a card holds, `bandwidth_share` of the published bandwidth; 0 =
the costs of `estimation.time`. vllm 0.50 as matrices reach in the published trainings of `estimation.setups`,
0.75: one conversation at a time, Llama-3.1-8B in 16 bits, took 77 % on an A100 40G (vLLM 0.23.0) and 74 % on an
H100 (vLLM 0.21.0, 6.48 ms a token). tensorrt 0.58: BERT-base and -large, 128 rows of 128 and 384 tokens in fp16
on A100, A30 and T4. Addresses: published.csv; H100:
https://yobitelcomm.github.io/bench/recipes/concurrency-sweep/ (2026-05-16)."""

import re
from dataclasses import dataclass
from typing import Literal

from trimtab.errors import Message, UsageError, message
from trimtab.hardware.machine import Device, DeviceKind
from trimtab.models.spec import ModelSpec

EngineName = Literal["trimtab", "vllm", "onnx", "tensorrt"]
StoredAs = Literal["fp32", "bf16", "fp16", "int8", "int4"]
WEIGHTS: tuple[StoredAs, ...] = ("fp32", "bf16", "fp16", "int8", "int4")


@dataclass(frozen=True, kw_only=True, slots=True)
class Engine:
    """`kinds`: of devices on which it runs; `weights` it takes; `writes`: decoders token by token, `reads`:
    encoders in one pass. `pass_tokens`: padded tokens of one pass; `most_rows`: requests that are written at
    once. `least_capability`: of an NVIDIA card, 75 = 7.5."""

    name: EngineName
    kinds: tuple[DeviceKind, ...]
    weights: tuple[StoredAs, ...]
    reads: bool = True
    writes: bool = False
    pass_tokens: int = 4096
    most_rows: int = 256
    compute_share: float = 0.0
    bandwidth_share: float = 0.0
    least_capability: int = 0


ENGINES = (
    # pass_tokens and most_rows: what its service takes on if nothing else is said (serving.facts.Limits).
    Engine(
        name="trimtab",
        kinds=("cpu", "gpu", "soc"),
        weights=("fp32", "bf16", "fp16"),
        writes=True,
        most_rows=16,
    ),
    Engine(
        name="vllm",
        kinds=("gpu",),
        weights=("bf16", "fp16", "int8", "int4"),
        reads=False,
        writes=True,
        compute_share=0.50,
        bandwidth_share=0.75,
        least_capability=70,  # vLLM's own requirement: 7.0 and later
    ),
    Engine(name="onnx", kinds=("cpu",), weights=("fp32", "int8")),
    Engine(
        name="tensorrt",
        kinds=("gpu",),
        weights=("fp16",),
        pass_tokens=16_384,
        compute_share=0.58,
        bandwidth_share=0.75,
        least_capability=70,
    ),
)


def engine_named(name: str) -> Engine:
    """Raises UsageError TT-P501."""
    found = next((engine for engine in ENGINES if engine.name == name), None)
    if found is None:
        raise UsageError("TT-P501", name=name, known=", ".join(engine.name for engine in ENGINES))
    return found


def refusal(engine: Engine, spec: ModelSpec, device: Device, weights: StoredAs) -> Message | None:
    """Why `engine` cannot serve `spec` with such weights on `device`; None where it can."""
    if device.kind not in engine.kinds:
        return message("TT-P502", engine=engine.name, device=device.name, kinds=", ".join(engine.kinds))
    if not (engine.writes if spec.kind == "decoder" else engine.reads):
        kind = message("TT-P507" if spec.kind == "decoder" else "TT-P508")
        return message("TT-P503", engine=engine.name, kind=kind, model=spec.name)
    if weights not in engine.weights:
        return message("TT-P504", engine=engine.name, weights=weights, known=", ".join(engine.weights))
    capability = nvidia_capability(device)
    if engine.least_capability and capability is not None and capability < engine.least_capability:
        return message(
            "TT-P505",
            engine=engine.name,
            least=f"{engine.least_capability / 10:.1f}",
            device=device.name,
            has=f"{capability / 10:.1f}",
        )
    if weights in ("bf16", "fp16") and device.peak(weights) is None:
        return message("TT-P506", device=device.name, weights=weights)
    return None


def nvidia_capability(device: Device) -> int | None:
    """75 of "sm_75"; None of other makers."""
    found = [re.fullmatch(r"sm_(\d+)", feature) for feature in device.features]
    return next((int(match[1]) for match in found if match), None)
