"""A teacher beside the model that is trained: its bytes and its seconds, by arithmetic."""

from dataclasses import replace

import pytest

from trimtab.data import AnswerTokens, DataSpec, LengthHistogram
from trimtab.estimation import Teacher, estimate
from trimtab.estimation.memory import memory
from trimtab.estimation.teacher import beside
from trimtab.estimation.time import time
from trimtab.hardware.machine import Device, Machine
from trimtab.methods import Choices, Schedule, Strategy, method_named, parts_for
from trimtab.models import shape_named

BASE = shape_named("bert-base-uncased")
STUDENT = replace(BASE, layers=3)
MACHINE = Machine(
    name="test", device=Device(name="cpu", kind="cpu", memory_bytes=2**34, usable_bytes=2**34), cores=1
)
DATA = DataSpec(
    name="d", task="classify", columns=("text",), label_column="label", labels=("a", "b"), label_counts=(500, 500),
    train_rows=1000, dev_rows=100, test_rows=0, lengths=LengthHistogram((*[0] * 32, 1000)), vocabulary=5000,
)  # fmt: skip
STRATEGY = Strategy(
    method="full", parts=parts_for(method_named("full"), "classify", STUDENT, Choices()), precision="bf16",
    schedule=Schedule(epochs=4), batch=16, micro_batch=16, max_length=64,
)  # fmt: skip
# bert-base: 109,482,240 parameters with its pooler, and a head of two outputs.
WEIGHTS = 109_482_240 + 2 * 768 + 2


def test_a_live_teacher_is_in_every_phase_with_what_it_makes_of_a_batch() -> None:
    teacher = Teacher(spec=BASE, precision="fp32", live=True, compared=3)
    found = beside(teacher, STRATEGY, DATA)
    assert (found.before, found.standing) == (0, 4 * WEIGHTS)
    # 16 rows of 32 tokens: two arrays of 3,072 and three of 768 numbers, three layers' outputs and differences.
    assert found.answering == 16 * 32 * (2 * 3072 * 4 + 3 * 768 * 4 + 3 * 768 * 8)
    alone, taught = (memory(STRATEGY, STUDENT, DATA, MACHINE, teacher=one) for one in (None, teacher))
    more = taught.peak_bytes.value - alone.peak_bytes.value
    assert found.standing <= more <= found.standing + found.answering
    assert taught.parts.teacher_bytes in (found.standing, found.standing + found.answering)
    assert taught.parts.total_bytes == taught.peak_bytes.value and alone.parts.teacher_bytes == 0


def test_a_teacher_that_is_asked_once_is_gone_when_training_starts() -> None:
    teacher = Teacher(spec=BASE, precision="fp32")
    alone, taught = (memory(STRATEGY, STUDENT, DATA, MACHINE, teacher=one) for one in (None, teacher))
    assert beside(teacher, STRATEGY, DATA).standing == 0
    assert taught == alone, "a student of three layers in training takes more than twelve layers that answer"
    tiny = replace(STUDENT, layers=1, hidden=64, heads=4, kv_heads=4, head_dim=16, ffn=128)
    peak = memory(STRATEGY, tiny, DATA, MACHINE, teacher=teacher)
    assert peak.phase == "ask" and peak.parts.largest == "teacher"
    evaluated = 100 * 32  # rows of dev, tokens
    expected = 4 * WEIGHTS + evaluated * 4 * (2 * 3072 + 3 * 768)
    assert peak.parts.teacher_bytes == expected


def test_a_teacher_reads_every_row_once_or_in_every_epoch() -> None:
    alone = time(STRATEGY, STUDENT, DATA, MACHINE)
    once, live = (
        time(STRATEGY, STUDENT, DATA, MACHINE, teacher=Teacher(spec=BASE, precision="bf16", live=live))
        for live in (False, True)
    )
    assert alone.teacher_seconds is None and live.teacher_seconds is None and once.teacher_seconds is not None
    # An evaluation of the teacher over as many rows, by the same formula.
    rows = replace(DATA, dev_rows=1000)
    scored = time(replace(STRATEGY, schedule=Schedule(epochs=1)), BASE, rows, MACHINE).evaluate_seconds.value / 2
    assert once.teacher_seconds.value == pytest.approx(scored, rel=1e-6)
    assert once.total_seconds.value - alone.total_seconds.value == pytest.approx(scored, rel=1e-6)
    assert once.step_seconds == alone.step_seconds and once.train_seconds == alone.train_seconds
    assert live.total_seconds.value - alone.total_seconds.value == pytest.approx(4 * scored, rel=1e-6)
    assert live.step_seconds.value * live.steps == pytest.approx(live.train_seconds.value)


def test_an_estimate_of_a_distillation_has_both() -> None:
    teacher = Teacher(spec=BASE, precision="bf16", live=True, compared=3)
    alone, taught = (estimate(STRATEGY, STUDENT, DATA, MACHINE, teacher=one) for one in (None, teacher))
    assert taught.memory.parts.teacher_bytes > 2 * WEIGHTS
    assert taught.time.total_seconds.value > alone.time.total_seconds.value
    assert (taught.disk_bytes, taught.kept_bytes) == (alone.disk_bytes, alone.kept_bytes)


def test_a_language_teacher_has_its_head_and_a_chunk_of_scores() -> None:
    spec = shape_named("smollm2-135m")
    answers = AnswerTokens(24_000, LengthHistogram((*[0] * 8, 1000)))
    data = replace(DATA, task="instruct", labels=(), label_counts=(), answers=answers)
    strategy = replace(STRATEGY, parts=parts_for(method_named("full"), "instruct", spec, Choices()))
    teacher = Teacher(spec=spec, precision="bf16", live=True)
    assert teacher.weight_bytes(strategy, 0) == 2 * spec.parameters
    # Widest moment; 4 rows of 24 learned tokens: what the head sees, and 96 positions of scores, in fp32 twice.
    layer = 4 * 32 * 2 * (3 * 1536 + 3 * 576)
    assert teacher.answering_bytes(strategy, data, 4, 32) == layer + 96 * 576 * 2 + 96 * 49152 * 10
