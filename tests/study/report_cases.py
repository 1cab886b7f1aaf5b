"""A finished training to report on: the kind of numbers a real one has, and hostile names where asked."""

import math
import random

from trimtab.data.spec import DataSpec, LengthHistogram, Place, Problem
from trimtab.errors import message
from trimtab.estimation.estimate import Estimate, MemoryEstimate, MemoryParts, QualityPrior, TimeEstimate
from trimtab.hardware.machine import Device, Machine
from trimtab.methods import AdamW, Head, Lora, Part, Schedule, Strategy, Weights
from trimtab.metrics.score import ClassScore, Metric, Score
from trimtab.models.spec import ModelSpec
from trimtab.planning.plan import Candidate, Limits, Plan
from trimtab.study.report import Confusion, Report, WorstExample
from trimtab.training.run import LossPoint, Run
from trimtab.units import GIB, MIB, Evidence, Figure

MODEL = ModelSpec(
    name="all-MiniLM-L6-v2", hub_id="sentence-transformers/all-MiniLM-L6-v2", family="bert", kind="encoder",
    layers=6, hidden=384, heads=12, kv_heads=12, head_dim=32, ffn=1536, gated_ffn=False, vocab=30522,
    max_positions=512, type_vocab=2, qkv_bias=True, o_bias=True, ffn_bias=True, norm="layer",
    position="learned", pooler=True, head_bias=True, weights_dtype="fp32", fingerprint="9c1f3e0a77b2d4",
)  # fmt: skip
LABELS = ("battery", "delivery", "price", "quality", "service")


def estimate(method: str, parts: tuple[Part, ...], gib: float, seconds: float, quality: float) -> Estimate:
    size = int(gib * GIB)
    fixed = 420 * MIB
    weights = min(size - fixed, 91 * MIB)
    rest = size - fixed - weights
    memory = MemoryParts(
        weights_bytes=weights, gradients_bytes=rest // 20, optimizer_bytes=rest // 10,
        activations_bytes=rest - rest // 20 - rest // 10 - rest // 8, logits_bytes=0,
        temporaries_bytes=rest // 8, runtime_bytes=fixed,
    )  # fmt: skip
    strategy = Strategy(
        method=method, parts=parts, optimizer=AdamW(), schedule=Schedule(epochs=3, learning_rate=5e-4),
        batch=32, micro_batch=16, max_length=96,
    )  # fmt: skip
    return Estimate(
        strategy=strategy,
        trainable_parameters=strategy.trainable_parameters(MODEL, len(LABELS)),
        total_parameters=strategy.total_parameters(MODEL, len(LABELS)),
        memory=MemoryEstimate(
            peak_bytes=Figure.within(size, 0.12, Evidence.FORMULA), parts=memory, phase="forward-backward",
            kind="rss",
        ),
        time=TimeEstimate(
            step_seconds=Figure.within(seconds / 400, 0.2, Evidence.PROBE), steps=375,
            train_seconds=Figure.within(seconds * 0.9, 0.2, Evidence.PROBE),
            evaluate_seconds=Figure.within(seconds * 0.1, 0.2, Evidence.PROBE),
            total_seconds=Figure.within(seconds, 0.2, Evidence.PROBE),
        ),
        disk_bytes=Figure.within(3e6, 0.05, Evidence.FORMULA), kept_bytes=500_000,
        quality=QualityPrior(
            relative=Figure(quality, quality - 1, quality + 1, Evidence.RULE), source="made up"
        ),
    )  # fmt: skip


def score(split: str, n: int, value: float, labels: tuple[str, ...]) -> Score:
    metrics = tuple(
        Metric(name=name, value=value - drop, low=value - drop - 0.03, high=value - drop + 0.025)
        for name, drop in (("accuracy", 0.0), ("macro_f1", 0.014))
    )
    classes = tuple(
        ClassScore(
            label=label,
            precision=value - at / 40,
            recall=value - at / 30,
            f1=value - at / 35,
            support=90 - at,
        )
        for at, label in enumerate(labels)
    )
    return Score(split=split, n=n, loss=0.31, metrics=metrics, classes=classes)


def run(labels: tuple[str, ...], *, steps: int = 375) -> Run:
    chance = random.Random(0)
    history = []
    for step in range(5, steps + 1, 5):
        loss = 0.22 + 1.4 * math.exp(-step / 70) + chance.uniform(-0.05, 0.05)
        metric = 0.93 - 0.5 * math.exp(-step / 60) - max(0, step - 250) / 4000
        history.append(
            LossPoint(step=step, loss=loss, learning_rate=1e-4, dev_metric=metric if step % 25 == 0 else None)
        )
    return Run(
        seconds=171.4, load_seconds=1.2, step_seconds=0.41, evaluate_seconds=9.7, steps=steps,
        epochs=steps / 125,
        samples=steps * 32, tokens=steps * 32 * 41, peak_memory_bytes=int(1.21 * GIB),
        runtime_memory_bytes=418 * MIB, best_step=250, stopped_early=steps < 375, seed=0, precision="fp32",
        micro_batch=16, threads=2, history=tuple(history), dev=score("dev", 500, 0.928, labels),
        test=score("test", 500, 0.916, labels),
        versions=(("trimtab", "0.1.0"), ("torch", "2.13.0"), ("transformers", "5.10.1"), ("numpy", "2.4.6")),
    )  # fmt: skip


def plan(model: str, data: str) -> Plan:
    lora = (Lora(rank=8, alpha=16, targets=("q", "v")), Head())
    chosen = Candidate(
        estimate=estimate("lora", lora, 1.15, 160, -0.3),
        fits=True,
        reason=message("TT-P304", rivals=3, share=0.1),
    )
    slower = message(
        "TT-P201",
        lost=message("TT-P223", ratio=1.9, mine=304.0, theirs=160.0),
        gained=message("TT-P221", points=0.3),
    )
    full = Candidate(estimate=estimate("full", (Weights(), Head()), 1.9, 304, 0.0), fits=True, reason=slower)
    head = Candidate(
        estimate=estimate("head", (Head(),), 0.6, 45, -10.0),
        fits=True,
        reason=message("TT-P221", points=-9.7),
    )
    too_big = message(
        "TT-P101",
        need=9 * GIB,
        have=6 * GIB,
        part=message("TT-P404"),
        part_bytes=7 * GIB,
        phase=message("TT-P412"),
    )
    freeze = Candidate(
        estimate=estimate("freeze", (Weights(top_layers=2), Head()), 9.0, 130, -2.0),
        fits=False,
        reason=too_big,
    )
    return Plan(
        model=model, data=data, machine="laptop-8g", goal="balanced", limits=Limits(),
        candidates=(chosen, full, head, freeze),
    )  # fmt: skip


def data_spec(name: str, labels: tuple[str, ...]) -> DataSpec:
    chance = random.Random(1)
    counts = [0] * 181
    for _ in range(4000):
        counts[min(180, max(4, round(chance.lognormvariate(3.6, 0.5))))] += 1
    duplicates = message("TT-D061", count=37)
    return DataSpec(
        name=name, task="classify", columns=("text",), label_column="label", labels=labels,
        label_counts=tuple(1400 - 230 * (at % 6) for at in range(len(labels))), train_rows=4000, dev_rows=500,
        test_rows=500, lengths=LengthHistogram(tuple(counts)), fingerprint="5be1a09cc2",
        problems=(Problem(duplicates, "reported", 37, (Place("reviews.csv", 12), Place("b.csv", 480))),),
    )  # fmt: skip


def report(
    *,
    labels: tuple[str, ...] = LABELS,
    model: str = "all-MiniLM-L6-v2",
    data: str = "reviews.csv",
    text: str = "Arrived two days late but the courier called and was kind about it.",
    command: str = "trimtab train all-MiniLM-L6-v2 --data reviews.csv --method lora --out runs/reviews",
    steps: int = 375,
) -> Report:
    n = len(labels)
    confusion = tuple(tuple(80 - 3 * i if i == j else (i * j + 2 * i + j) % 6 for j in range(n)) for i in range(n))
    machine = Machine(
        name="laptop-8g", cores=4, host_memory_bytes=8 * GIB, is_here=True,
        device=Device(
            name="Core i5-8265U", kind="cpu", memory_bytes=8 * GIB, usable_bytes=int(5.2 * GIB),
            peaks=(("fp32", 3e11),),
        ),
    )  # fmt: skip
    worst = tuple(
        WorstExample(texts=(text,), expected=labels[at % n], predicted=labels[(at + 1) % n], loss=6.1 - at)
        for at in range(4)
    )
    return Report(
        plan=plan(model, data), run=run(labels, steps=steps), data=data_spec(data, labels), model=MODEL,
        machine=machine, command=command, created_at="2026-11-23T22:50:00+00:00", worst=worst,
        confusion=Confusion(labels=labels, counts=confusion),
    )  # fmt: skip
