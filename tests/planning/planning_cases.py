"""Models, data, machines and estimates for the planning tests, small enough to compute by hand."""

from trimtab.data.spec import DataSpec, LengthHistogram
from trimtab.estimation.estimate import Estimate, MemoryEstimate, MemoryParts, QualityPrior, TimeEstimate
from trimtab.estimation.money import money
from trimtab.hardware.machine import Calibration, Device, Machine, Price
from trimtab.methods import Head, Strategy
from trimtab.models.spec import ModelSpec
from trimtab.units import DEFAULT_RATE, GIB, Evidence, Figure, parse_money

MINILM = ModelSpec(
    name="all-MiniLM-L6-v2", family="bert", kind="encoder", layers=6, hidden=384, heads=12, kv_heads=12,
    head_dim=32, ffn=1536, gated_ffn=False, vocab=30522, max_positions=512, type_vocab=2, qkv_bias=True,
    o_bias=True, ffn_bias=True, norm="layer", position="learned", pooler=True, head_bias=True,
    weights_dtype="fp32",
)  # fmt: skip


def data(*, rows: int = 4000, length: int = 60) -> DataSpec:
    """`rows` train rows, half of them `length` tokens long and half 10."""
    counts = [0] * (length + 1)
    counts[length] += rows // 2
    counts[10] += rows - rows // 2
    return DataSpec(
        name="reviews.csv", task="classify", columns=("text",), label_column="label", labels=("bad", "good"),
        label_counts=(rows // 2, rows - rows // 2), train_rows=rows, dev_rows=rows // 10,
        test_rows=rows // 10,
        lengths=LengthHistogram(tuple(counts)),
    )  # fmt: skip


def price(hourly: str = "6CNY") -> Price:
    return Price(hourly=parse_money(hourly), rate=DEFAULT_RATE, origin="a shop")


def cpu(usable_bytes: int = 16 * GIB, rates: tuple[tuple[str, float], ...] = (("fp32", 1e11),)) -> Machine:
    device = Device(name="a CPU", kind="cpu", memory_bytes=usable_bytes, usable_bytes=usable_bytes, peaks=rates)
    probe = Calibration(key="a CPU", matmul_rates=rates, threads=4, runtime_bytes=300 * 2**20, bandwidth=2e10)
    return Machine(
        name="laptop", device=device, cores=4, host_memory_bytes=usable_bytes, calibration=probe, is_here=True,
        price=price(),
    )  # fmt: skip


def gpu(*peaks: tuple[str, float], usable_bytes: int = 12 * GIB) -> Machine:
    device = Device(
        name="a GPU", kind="gpu", memory_bytes=usable_bytes, usable_bytes=usable_bytes, bandwidth=3e11,
        peaks=peaks,
    )  # fmt: skip
    return Machine(name="box", device=device, cores=8, host_memory_bytes=32 * GIB)


def guess(
    *,
    gib: float = 1.0,
    seconds: float = 600.0,
    quality: float = 0.0,
    spread: float = 0.1,
    hourly: str = "6CNY",
) -> Estimate:
    """An estimate of a made-up strategy: activations are all of its memory, intervals are +- `spread`."""
    size = int(gib * GIB)
    parts = MemoryParts(
        weights_bytes=0, gradients_bytes=0, optimizer_bytes=0, activations_bytes=size, logits_bytes=0,
        temporaries_bytes=0, runtime_bytes=0,
    )  # fmt: skip
    figure = Figure.within(seconds, spread, Evidence.FORMULA)
    nothing = Figure(0, 0, 0, Evidence.FORMULA)
    return Estimate(
        strategy=Strategy(method="head", parts=(Head(),)),
        trainable_parameters=1,
        total_parameters=1,
        memory=MemoryEstimate(
            peak_bytes=Figure.within(size, spread, Evidence.FORMULA),
            parts=parts,
            phase="optimizer",
            kind="rss",
        ),
        time=TimeEstimate(
            step_seconds=nothing,
            steps=1,
            train_seconds=figure,
            evaluate_seconds=nothing,
            total_seconds=figure,
        ),
        disk_bytes=nothing,
        kept_bytes=0,
        quality=QualityPrior(relative=Figure(quality, quality - 1, quality + 1, Evidence.RULE), source="made up"),
        money=money(figure, price(hourly)),
    )
