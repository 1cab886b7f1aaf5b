"""Machine, Device, Calibration, Price, Margin: what a run stands on. Facts only; others find and fill them."""

from dataclasses import dataclass, fields
from operator import attrgetter, mul
from typing import Literal

from trimtab.units import Evidence, ExchangeRate, Money

DeviceKind = Literal["cpu", "gpu", "soc", "npu"]
Basis = Literal["list", "median", "lowest"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Device:
    """One accelerator, or the CPU of a machine.

    `memory_bytes` is the size printed on the box, `usable_bytes` what a process can get of it. Peaks are
    dense, fp32-accumulate, in FLOP/s by dtype name ("fp32", "tf32", "bf16", "fp16", "int8"); a missing dtype
    cannot be computed in. `bandwidth` is bytes per second. `features` are words like "avx512_bf16",
    "amx_bf16", "sm_86".
    """

    name: str
    kind: DeviceKind
    vendor: str = ""
    memory_bytes: int
    usable_bytes: int
    bandwidth: float = 0.0
    peaks: tuple[tuple[str, float], ...] = ()
    features: tuple[str, ...] = ()
    source: str = ""

    def peak(self, dtype: str) -> float | None:
        """Peak FLOP/s in `dtype`, or None where unknown or not supported."""
        return dict(self.peaks).get(dtype)


@dataclass(frozen=True, kw_only=True, slots=True)
class StepWork:
    """What a step has to do: FLOP in matmuls; numbers that the operations between them make, and layers that are
    gone through (once a micro-batch), each by what is asked of the layer: its weights are trained, gradients only
    pass, or it runs forward alone. A decoder's layer is made of more and smaller operations than an encoder's."""

    flop: float
    trained_numbers: float = 0.0
    passed_numbers: float = 0.0
    frozen_numbers: float = 0.0
    trained_layers: float = 0.0
    passed_layers: float = 0.0
    frozen_layers: float = 0.0
    trained_decoder_layers: float = 0.0
    passed_decoder_layers: float = 0.0
    frozen_decoder_layers: float = 0.0


# `dataclasses.astuple` copies every number, and a search asks tens of thousands of times.
_amounts = attrgetter(*(field.name for field in fields(StepWork)))


@dataclass(frozen=True, kw_only=True, slots=True)
class StepCosts:
    """Seconds for one of each kind of work, in numbers of type `dtype`."""

    dtype: str
    seconds_each: StepWork

    def seconds(self, work: StepWork) -> float:
        return sum(map(mul, _amounts(work), _amounts(self.seconds_each)))


@dataclass(frozen=True, kw_only=True, slots=True)
class Calibration:
    """What was measured on this machine. Rates in FLOP/s of a matmul of typical training shape.

    `runtime_bytes` is the resident memory of a process that has imported the training stack and trained
    nothing, `working_bytes` what it holds beyond that when it has trained and let everything go (0 = not
    measured). `step_costs`: by precision, where steps were timed. `busy`: others were at work meanwhile, so that
    all of it may be too slow. `fp32_onednn`: products in fp32 go through oneDNN, which keeps what it compiles for
    them. `key` names the machine and the library versions it holds for.
    """

    key: str
    matmul_rates: tuple[tuple[str, float], ...]
    threads: int
    runtime_bytes: int = 0
    working_bytes: int = 0
    bandwidth: float = 0.0
    step_costs: tuple[StepCosts, ...] = ()
    busy: bool = False
    fp32_onednn: bool = False
    evidence: Evidence = Evidence.PROBE

    def rate(self, dtype: str) -> float | None:
        return dict(self.matmul_rates).get(dtype)

    def costs(self, dtype: str) -> StepCosts | None:
        return next((costs for costs in self.step_costs if costs.dtype == dtype), None)


@dataclass(frozen=True, kw_only=True, slots=True)
class Price:
    """What an hour of a whole machine costs, all its devices together, and the rate that converts it.

    `origin` names the offer, or the option the price was given with. `as_of` is the day it was read, possibly a
    month or a year alone; empty = said by the user. `is_old`: too long ago to be trusted. `basis`: the provider's
    list price, or the median or the lowest of what the sellers of a market ask.
    """

    hourly: Money
    rate: ExchangeRate
    origin: str
    as_of: str = ""
    is_old: bool = False
    basis: Basis = "list"


@dataclass(frozen=True, kw_only=True, slots=True)
class Margin:
    """How far off predictions were for `runs` runs: 95 % of them measured at least `low`, and 95 % at most `high`
    times what had been predicted."""

    low: float
    high: float
    runs: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Machine:
    """What a plan is made for: `count` equal devices in one host.

    On a CPU or a unified-memory SoC the device's memory is the host's. `is_here` tells this machine from a
    catalogue one, on which nothing can be measured. `price` None = nobody has said what an hour of it costs.
    `quantises`: the library for a quantised base is there, as far as is known.
    `memory_margin`, `time_margin`: what the ledger's runs on devices of this kind have shown; None = too few.
    """

    name: str
    device: Device
    count: int = 1
    cores: int = 0
    host_memory_bytes: int = 0
    calibration: Calibration | None = None
    price: Price | None = None
    memory_margin: Margin | None = None
    time_margin: Margin | None = None
    is_here: bool = False
    quantises: bool = True
