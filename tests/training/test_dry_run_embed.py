"""The dry run of a step on embeddings: against the real step, and against the formula."""

from pathlib import Path

import pytest
import torch

from tiny_embed import embed_strategy
from tiny_models import tiny_model
from trimtab.data import DataSpec, LengthHistogram, RowTexts
from trimtab.estimation.memory import live_phases
from trimtab.estimation.question import Question, question_of
from trimtab.evaluation import OBJECTIVES, Opening
from trimtab.hardware.machine import Device, DeviceKind, Machine
from trimtab.methods import Choices, Precision, Strategy, method_named, parts_for
from trimtab.models import read_spec, shape_named
from trimtab.training.dry_run import dry_run, sites_of, traced
from trimtab.training.live import LiveBytes
from trimtab.training.session import make_trainable
from trimtab.training.traced_step import trace_step

ROWS, TEXTS, LENGTH = 4, 3, 24
ALLOWED = 0.03
FORMULA_ERROR = 0.06
EMBED = OBJECTIVES["embed"]
soak = pytest.mark.soak


def real_sites(folder: Path, question: Question) -> dict[str, int]:
    """The sites of a real step on the CPU, with one text half as long."""
    strategy = question.strategy
    source = tiny_model(folder, "bert", layers=3)
    ids = torch.randint(4, 40, (ROWS * TEXTS, LENGTH), generator=torch.Generator().manual_seed(1))
    mask = torch.ones_like(ids)
    mask[0, LENGTH // 2 :] = 0
    inputs = {"input_ids": ids, "attention_mask": mask}
    model = EMBED.model(Opening(source=source, outputs=0, pad_token_id=0, pooling="mean"))
    device, tokens = torch.device("cpu"), torch.arange(question.tokens)
    model, optimizer = make_trainable(model, strategy, question.spec, device, tokens)
    live = LiveBytes()
    with live:
        live.count([*model.parameters(), *model.buffers(), *optimizer.masters.values()])
        targets = EMBED.imagined_targets(ROWS, TEXTS, 0)
        trace_step(live, model, optimizer, strategy, question.spec, inputs, targets, EMBED)
    return {site.name: site.parts.total_bytes for site in sites_of(live)}


@pytest.mark.parametrize(
    ("method", "precision"),
    [
        ("full", "bf16"),
        ("lora", "fp32"),
        *(pytest.param(*case, marks=soak) for case in (("full", "fp32"), ("lora", "bf16"))),
    ],
)
def test_a_dry_run_keeps_what_the_real_step_keeps(tmp_path: Path, method: str, precision: Precision) -> None:
    source = tiny_model(tmp_path / "shape", "bert", layers=3)
    spec = read_spec(source)
    strategy = embed_strategy(
        source, method, precision=precision, batch=2 * ROWS, micro_batch=ROWS, max_length=LENGTH
    )
    question = Question(
        spec=spec, strategy=strategy, task="embed", outputs=0, rows=ROWS * TEXTS, length=LENGTH, tokens=50,
        evaluated=ROWS, device="cpu", texts=TEXTS,
    )  # fmt: skip
    dry = {site.name: site.parts.total_bytes for site in traced(question)}
    real = real_sites(tmp_path / "real", question)
    del dry["load"], dry["evaluate"], real["load"]
    assert dry.keys() == real.keys()
    if method == "full":  # a fake sparse gradient shows no storage: see the exam of classifiers
        del dry["collect"], real["collect"]
    assert dry == pytest.approx(real, abs=ALLOWED * max(real.values()))


@pytest.mark.parametrize(
    ("method", "precision", "device"),
    [
        ("lora", "fp32", "cpu"),
        pytest.param("lora", "bf16", "gpu", marks=soak),
        pytest.param("full", "fp32", "cpu", marks=soak),
        pytest.param("full", "bf16", "gpu", marks=soak),
    ],
)
def test_the_formula_is_near_the_dry_run(method: str, precision: Precision, device: DeviceKind) -> None:
    """Few and many texts a row; a batch whose cosines count."""
    spec = shape_named("bert-base-chinese")
    machine = Machine(name=device, device=Device(name=device, kind=device, memory_bytes=2**40, usable_bytes=2**40))
    parts = parts_for(method_named(method), "embed", spec, Choices())
    for rows, texts, length in ((16, 2, 128), (8, 8, 64), (256, 2, 16)):
        lengths = LengthHistogram((*[0] * length, 1000))
        data = DataSpec(
            name="d", task="embed", columns=("query", "positive"), label_column="", labels=(), label_counts=(),
            train_rows=1000, dev_rows=10, test_rows=0, lengths=lengths, vocabulary=4000,
            texts=RowTexts(texts, texts), form="ranked",
        )  # fmt: skip
        strategy = Strategy(
            method=method, parts=parts, precision=precision, batch=rows, micro_batch=rows, max_length=length
        )
        counted = {
            phase.name: phase.parts.total_bytes for phase in dry_run(question_of(strategy, spec, data, machine))
        }
        formula = {phase.name: phase.parts.total_bytes for phase in live_phases(strategy, spec, data, machine)}
        peak = max(formula[name] for name in counted)
        assert peak == pytest.approx(max(counted.values()), rel=FORMULA_ERROR), (rows, texts, formula, counted)
