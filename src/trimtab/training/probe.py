"""The probe: what a training takes on this machine, measured with real steps of a small encoder and a
small decoder. Run by `calibrate`, in a process of its own.

Steps of a few shapes, forward and backward of the class that transformers trains, with the kernels that the loop
gives it, are timed; the costs of the time formula (`estimation.time`) that come nearest to all of them are this
machine's. Leaves out: GPUs, and the optimiser, which is bound by the bandwidth that is measured beside.
"""

import gc
import itertools
import json
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, astuple, dataclass, fields
from functools import partial
from typing import Literal, get_args

import numpy as np
import torch
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    LlamaConfig,
    LlamaForSequenceClassification,
    PreTrainedConfig,
    PreTrainedModel,
)

from trimtab import tuning
from trimtab.estimation.work import layers_work, training_work
from trimtab.hardware.machine import StepCosts, StepWork
from trimtab.methods import Head, Lora, Precision, Strategy, Weights, lora_targets
from trimtab.models.config import shape_from
from trimtab.models.spec import ModelSpec
from trimtab.training.kernels import use_cpu_kernels
from trimtab.training.meter import MemoryMeter, give_back_heap, held_heap
from trimtab.tuning import DTYPES
from trimtab.tuning.products import onednn_pays, product

# (rows, inputs, outputs): layers of small and base encoders at a few hundred to a thousand tokens
_MATMULS = ((800, 384, 384), (800, 384, 1536), (800, 1536, 384), (1024, 768, 768), (1024, 768, 3072))
_SECONDS_A_MATMUL = 0.1
_COPY_NUMBERS = 16 * 1024 * 1024
_NAMES = tuple(field.name for field in fields(StepWork))


Kind = Literal["trained", "passed", "frozen"]


@dataclass(frozen=True, slots=True)
class _Shape:
    """A batch, the layers it goes through, all with heads of 32 and an inner size of four times hidden, of BERT or
    of Llama, and what is asked of them: see `StepWork`."""

    rows: int
    length: int
    hidden: int = 384
    layers: int = 2
    kind: Kind = "trained"
    decoder: bool = False


# Of every kind short texts, where a step's fixed cost shows, usual ones, and long ones, where attention makes most
# numbers; and wide layers, where matmuls do most.
_BATCHES = ((4, 16), (16, 48), (4, 256))
_SHAPES = (
    *(_Shape(rows, length, kind=kind) for kind in get_args(Kind) for rows, length in _BATCHES),
    _Shape(12, 48, hidden=768, layers=1),
    *(_Shape(4, 64, kind=kind, decoder=True) for kind in get_args(Kind)),
)
_USUAL = _SHAPES[1]
_SECONDS_A_SHAPE = 0.2
_LEAST_STEPS = 3


@dataclass(frozen=True, kw_only=True, slots=True)
class Probed:
    """FLOP/s of matmuls by precision, bytes/s of a copy, resident bytes after the imports, and beyond them what is
    still held when steps have run and all their tensors are gone; the last as `Calibration` has it."""

    matmul_rates: tuple[tuple[str, float], ...]
    bandwidth: float
    threads: int
    runtime_bytes: int
    working_bytes: int
    step_costs: tuple[StepCosts, ...]
    fp32_onednn: bool


def probe(cores: int) -> Probed:
    """Everything, in about twelve seconds. `cores` = cores this process may use."""
    with held_heap():  # as the loop has it
        return _probed(cores)


def _probed(cores: int) -> Probed:
    meter = MemoryMeter(torch.device("cpu"))
    runtime_bytes = meter.now_bytes()
    threads = _fastest_threads(cores)
    torch.set_num_threads(threads)
    costs = [_step_costs("fp32")]
    give_back_heap()
    working_bytes = max(0, meter.now_bytes() - runtime_bytes)
    rates = tuple((name, _matmul_rate(DTYPES[name])) for name in ("fp32", "bf16"))
    if dict(rates)["bf16"] > dict(rates)["fp32"]:  # else nobody trains in it here, and its steps take long
        costs.append(_step_costs("bf16"))
    return Probed(
        matmul_rates=rates,
        bandwidth=_bandwidth(),
        threads=threads,
        runtime_bytes=runtime_bytes,
        working_bytes=working_bytes,
        step_costs=tuple(costs),
        fp32_onednn=onednn_pays(),
    )


def fitted(dtype: Precision, work: Sequence[StepWork], seconds: Sequence[float]) -> StepCosts:
    """The costs, none below zero, that come nearest to `seconds` for steps of so much `work`: the least sum of
    squared relative errors over every choice of costs that are there at all."""
    share = np.array([astuple(step) for step in work], float) / np.array(seconds, float)[:, None]
    best, least = np.zeros(share.shape[1]), np.inf
    for chosen in _choices(share.shape[1]):
        found = np.zeros(share.shape[1])
        found[chosen], *_ = np.linalg.lstsq(share[:, chosen], np.ones(len(share)), rcond=None)
        error = float(((share @ found - 1) ** 2).sum())
        if (found >= 0).all() and error < least:
            best, least = found, error
    return StepCosts(dtype=dtype, seconds_each=StepWork(**dict(zip(_NAMES, map(float, best), strict=True))))


def _choices(count: int) -> Iterable[list[int]]:
    every = range(1, count + 1)
    return (list(chosen) for size in every for chosen in itertools.combinations(range(count), size))


def _step_costs(dtype: Precision) -> StepCosts:
    return fitted(dtype, [_work(shape) for shape in _SHAPES], [_step_seconds(shape, dtype) for shape in _SHAPES])


def _work(shape: _Shape) -> StepWork:
    spec, strategy, tokens = _spec(shape), _strategy(shape), shape.rows * shape.length
    token, once = training_work(strategy, spec, shape.length), layers_work(strategy, spec)
    amounts = (tokens * each + fixed for each, fixed in zip(astuple(token), astuple(once), strict=True))
    return StepWork(**dict(zip(_NAMES, amounts, strict=True)))


def _fastest_threads(cores: int) -> int:
    """Of all cores and half of them (where two threads share one): more threads must be faster to be chosen."""
    best, least = 1, float("inf")
    for threads in sorted({1, max(1, cores // 2), cores}):
        torch.set_num_threads(threads)
        seconds = _step_seconds(_USUAL, "fp32")
        if seconds < 0.95 * least:
            best, least = threads, seconds
    return best


def _config(shape: _Shape) -> PreTrainedConfig:
    made = LlamaConfig if shape.decoder else BertConfig
    return made(
        vocab_size=1024,
        hidden_size=shape.hidden,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.hidden // 32,
        intermediate_size=4 * shape.hidden,
        max_position_embeddings=256,
        pad_token_id=0,
    )


def _spec(shape: _Shape) -> ModelSpec:
    return shape_from(_config(shape).to_dict(), "probe")


def _strategy(shape: _Shape) -> Strategy:
    """LoRA, on the matrices where it usually is, stands for all that leaves the weights alone."""
    if shape.kind == "passed":
        return Strategy(method="lora", parts=(Lora(targets=lora_targets(_spec(shape))), Head()))
    return Strategy(method="", parts=(Weights(), Head()) if shape.kind == "trained" else (Head(),))


def _model(shape: _Shape, dtype: Precision) -> PreTrainedModel:
    """As the loop has it: frozen, added to, cast, with its kernels, in training mode where it is trained."""
    torch.manual_seed(0)
    made = LlamaForSequenceClassification if shape.decoder else BertForSequenceClassification
    model, strategy, spec = made(_config(shape)), _strategy(shape), _spec(shape)
    tuning.apply(strategy, model, spec)
    tuning.cast(model, dtype)
    use_cpu_kernels(model)
    model.config.use_cache = False
    tuning.train_mode(strategy, model, spec)
    return model


def _step_seconds(shape: _Shape, dtype: Precision) -> float:
    """Forward and backward at their best, since others only slow them down; the first, which warms up, is left
    out."""
    model = _model(shape, dtype)
    ids = torch.randint(1, 1024, (shape.rows, shape.length))
    mask = torch.ones_like(ids)
    mask[0, shape.length // 2 :] = 0  # as in a batch of real texts, which takes another way through attention
    labels = torch.zeros(shape.rows, dtype=torch.int64)

    def step() -> None:
        logits = model(input_ids=ids, attention_mask=mask).logits
        torch.nn.functional.cross_entropy(logits.float(), labels).backward()
        model.zero_grad(set_to_none=True)

    return min(_timed(step, _SECONDS_A_SHAPE, _LEAST_STEPS))


def _matmul_rate(dtype: torch.dtype) -> float:
    """FLOP/s over the shapes: all work by the sum of the best times."""
    work = seconds = 0.0
    for rows, inputs, outputs in _MATMULS:
        x, weight = torch.randn(rows, inputs).to(dtype), torch.randn(outputs, inputs).to(dtype)
        seconds += min(_timed(partial(product, x, weight), _SECONDS_A_MATMUL))
        work += 2.0 * rows * inputs * outputs
    return work / seconds


def _bandwidth() -> float:
    """Bytes a second of a copy, reading and writing counted."""
    source, target = torch.empty(_COPY_NUMBERS).fill_(1.0), torch.empty(_COPY_NUMBERS)
    return 8.0 * _COPY_NUMBERS / min(_timed(lambda: target.copy_(source), _SECONDS_A_MATMUL))


def _timed(work: Callable[[], object], budget_seconds: float, least: int = 1) -> list[float]:
    """Seconds of each repetition after a first that is not timed, for `budget_seconds` and `least` of them."""
    work()
    found: list[float] = []
    while sum(found) < budget_seconds or len(found) < least:
        start = time.perf_counter()
        work()
        found.append(time.perf_counter() - start)
    return found


def as_json(probed: Probed) -> str:
    return json.dumps(asdict(probed))


def from_json(text: str) -> Probed:
    """Raises ValueError, KeyError, TypeError for what `as_json` did not write."""
    plain = json.loads(text)
    plain["matmul_rates"] = tuple((str(name), float(rate)) for name, rate in plain["matmul_rates"])
    plain["step_costs"] = tuple(
        StepCosts(dtype=costs["dtype"], seconds_each=StepWork(**costs["seconds_each"]))
        for costs in plain["step_costs"]
    )
    return Probed(**plain)


if __name__ == "__main__":
    print(as_json(probe(int(sys.argv[1]))))
    gc.freeze()  # as the command line does
