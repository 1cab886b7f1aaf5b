"""How long requests take together on one device: reading prompts is bound by multiplications, writing by memory.

    S(b) = pass + b x prompt + steps x step(b)               seconds of b requests at once
    step(b) = read + b x (read of a row + token)             Trimtab's own engine: one after the other
    step(b) = max(read + b x read of a row, b x token)       vLLM: the card reads while it multiplies
    throughput = b / S(b)

    prompt        2 FLOP a weight and token, attention 4 L d a token and layer (estimation.work), the scores of the
                  last token 2 D h; over the rate that is reached
    read          bytes of the weights of a step over the bandwidth that is reached
    read of a row keys and values of its text so far, half of the answer written
    token         FLOP of one token and its scores, over the rate

By Little's law a request that shares its device with b - 1 others takes S(b), so that b / S(b) requests leave in
a second. Trimtab's engine and ONNX: the costs of `estimation.time`, with the launching of layers; ONNX Runtime
over PyTorch on a CPU in fp32 as measured with benchmarks/shrinking.py (see `_ONNX_GAIN`). Others: shares of
published peaks (`engines`). A card that cannot hold its peak (T4, L4, A10, P100) has a share of it
(`estimation.setups.time`). Known error: docs/serving_costs.md."""

from dataclasses import dataclass, replace

from trimtab.estimation.serving.deployment import Deployment, Workload
from trimtab.estimation.setups.time import sustained_share
from trimtab.estimation.time import bandwidth_of, step_costs
from trimtab.estimation.work import forward_flop, forward_work
from trimtab.hardware.machine import Device, Machine, StepWork
from trimtab.methods import Precision
from trimtab.models.spec import ModelSpec
from trimtab.units import Evidence

# ONNX Runtime over PyTorch in fp32, MiniLM-L6, 32 rows of 32 and of 128 tokens, two cores of an EPYC with AVX-512
# VNNI (benchmarks/shrinking.py speed, 2026-11-28): graph in fp32 2.00 and 1.96, in int8 4.54 and 4.05.
_ONNX_GAIN = 2.0
_INT8_GAIN = 2.05  # int8 over the fp32 graph, where the CPU has instructions for it
_DEFAULT_PEAK = 10e12


@dataclass(frozen=True, kw_only=True, slots=True)
class Pace:
    """Seconds of requests on one device, as this file's formulas name them. `overlapped`: memory is read while
    numbers are multiplied. `slowdown`: measured over predicted, where it was measured."""

    pass_seconds: float
    prompt_seconds: float
    steps: int = 0
    read_seconds: float = 0.0
    read_row_seconds: float = 0.0
    token_seconds: float = 0.0
    overlapped: bool = False
    slowdown: float = 1.0

    @property
    def joins(self) -> bool:
        """Whether a request may begin while others are answered; else it waits for the next pass."""
        return self.steps > 0

    def step_seconds(self, rows: int) -> float:
        """One token more for each of `rows` requests, before `slowdown`."""
        read, token = self.read_seconds + rows * self.read_row_seconds, rows * self.token_seconds
        return max(read, token) if self.overlapped else read + token

    def seconds(self, rows: int) -> float:
        """`rows` requests together; and each of them, where so many are always under way."""
        whole = self.pass_seconds + rows * self.prompt_seconds + self.steps * self.step_seconds(rows)
        return self.slowdown * whole

    def per_second(self, rows: int) -> float:
        """Requests a second, `rows` at once."""
        return rows / self.seconds(rows)

    def slowed(self, times: float) -> "Pace":
        return replace(self, slowdown=self.slowdown * times)


def pace(deployment: Deployment, workload: Workload) -> tuple[Pace, Evidence]:
    """The Pace of one device, and how it is known: a calibration of this machine is a probe, all else a
    formula."""
    if deployment.engine.compute_share:
        return _shared_pace(deployment, workload), Evidence.FORMULA
    return _costed_pace(deployment, workload)


def _costed_pace(deployment: Deployment, workload: Workload) -> tuple[Pace, Evidence]:
    """By what a step costs on this machine."""
    spec, machine = deployment.spec, _sustained(deployment.machine)
    costs, evidence = step_costs(machine, _precision(deployment))
    gain = _onnx_gain(deployment)
    layers = costs.seconds(_layers_work(spec))
    prompt = workload.input_tokens * costs.seconds(forward_work(spec, workload.input_tokens)) / gain
    shown = Evidence.PROBE if evidence in (Evidence.MEASURED, Evidence.PROBE) else Evidence.FORMULA
    if not workload.output_tokens:
        return Pace(pass_seconds=layers / gain, prompt_seconds=prompt), shown
    bandwidth, scores = bandwidth_of(machine), costs.seconds(StepWork(flop=_scores_flop(spec)))
    token = costs.seconds(forward_work(spec, _written_length(workload))) + scores
    return (
        Pace(
            pass_seconds=0.0,
            prompt_seconds=layers + prompt + scores,
            steps=workload.output_tokens,
            read_seconds=deployment.read_bytes / bandwidth + layers,
            read_row_seconds=_written_length(workload) * deployment.token_bytes / bandwidth,
            token_seconds=token,
        ),
        shown,
    )


def _shared_pace(deployment: Deployment, workload: Workload) -> Pace:
    """By shares of the published peaks."""
    spec, engine, device = deployment.spec, deployment.engine, deployment.machine.device
    rate = engine.compute_share * sustained_share(device) * _peak(device, deployment)
    bandwidth = engine.bandwidth_share * device.bandwidth
    prompt = workload.input_tokens * forward_flop(spec, workload.input_tokens)
    if not workload.output_tokens:
        return Pace(pass_seconds=deployment.read_bytes / bandwidth, prompt_seconds=prompt / rate)
    scores = _scores_flop(spec)
    return Pace(
        pass_seconds=0.0,
        prompt_seconds=(prompt + scores) / rate,
        steps=workload.output_tokens,
        read_seconds=deployment.read_bytes / bandwidth,
        read_row_seconds=_written_length(workload) * deployment.token_bytes / bandwidth,
        token_seconds=(forward_flop(spec, _written_length(workload)) + scores) / rate,
        overlapped=True,
    )


def _written_length(workload: Workload) -> float:
    """Tokens before a written one, on average."""
    return workload.input_tokens + workload.output_tokens / 2


def _scores_flop(spec: ModelSpec) -> float:
    return 2.0 * spec.vocab * spec.hidden


def _layers_work(spec: ModelSpec) -> StepWork:
    if spec.kind == "decoder":
        return StepWork(flop=0.0, frozen_decoder_layers=spec.layers)
    return StepWork(flop=0.0, frozen_layers=spec.layers)


def _precision(deployment: Deployment) -> Precision:
    return deployment.weights if deployment.weights in ("bf16", "fp16") else "fp32"


def _sustained(machine: Machine) -> Machine:
    share = sustained_share(machine.device)
    if share == 1.0:
        return machine
    peaks = tuple((dtype, share * peak) for dtype, peak in machine.device.peaks)
    return replace(machine, device=replace(machine.device, peaks=peaks))


def _onnx_gain(deployment: Deployment) -> float:
    if deployment.engine.name != "onnx":
        return 1.0
    fast = deployment.weights == "int8" and _has_int8(deployment.machine.device)
    return _ONNX_GAIN * (_INT8_GAIN if fast else 1.0)


def _has_int8(device: Device) -> bool:
    """Instructions that multiply 8-bit numbers: VNNI, AMX."""
    return any("vnni" in feature or "amx" in feature for feature in device.features)


def _peak(device: Device, deployment: Deployment) -> float:
    """Matrices in few bits are unpacked, and multiplied in 16."""
    wanted = (deployment.weights,) if deployment.weights in ("bf16", "fp16") else ("bf16", "fp16")
    return next((peak for dtype in wanted if (peak := device.peak(dtype))), device.peak("fp32") or _DEFAULT_PEAK)
