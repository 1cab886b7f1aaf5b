"""The work formula against torch's own count of matrix multiplications in a real forward and backward.

Left out of the formula and taken off the count: the head, once a row. Allowed on top: the lowest trained
layer's input needs no gradient, which the formula does not know (a few percent in models this shallow).
"""

from pathlib import Path

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from tiny_models import tiny_model
from tiny_training import tiny_strategy
from trimtab import tuning
from trimtab.estimation.work import forward_flop, layers_work, training_flop
from trimtab.hardware.machine import StepWork
from trimtab.methods import Choices, method_named
from trimtab.models import read_spec
from trimtab.models.families import head_parameters, pooler_parameters
from trimtab.tuning import products

ROWS, LENGTH, LAYERS = 2, 32, 6


def in_place(_, a: torch.Size, b: torch.Size, **of: object) -> int:
    """FLOP of a product that is added to what is there, which torch's counter leaves out."""
    return 2 * a[0] * a[1] * b[1]


def counted_and_predicted(folder: Path, family: str, method: str, choices: Choices) -> tuple[float, float]:
    source = tiny_model(folder, family, layers=LAYERS, hidden=64, dropout=0.0)
    spec = read_spec(source)
    strategy = tiny_strategy(source, method, parts=method_named(method).parts(spec, choices))
    model = tuning.load_classifier(source, outputs=2, pad_token_id=0)
    model.set_attn_implementation("eager")  # the counter sees matrices, not fused kernels
    tuning.apply(strategy, model, spec)
    ids = torch.randint(4, 40, (ROWS, LENGTH), generator=torch.Generator().manual_seed(0))
    with FlopCounterMode(display=False, custom_mapping={torch.ops.aten.addmm_: in_place}) as counter:
        model(input_ids=ids, attention_mask=torch.ones_like(ids)).logits.sum().backward()
    rows = ROWS * LENGTH if spec.kind == "decoder" else ROWS  # a decoder's score runs on every token
    above = head_parameters(spec, 2) + pooler_parameters(spec)
    counted = counter.get_total_flops() - rows * (4 if method == "head" else 6) * above
    return counted, ROWS * LENGTH * training_flop(strategy, spec, LENGTH)


@pytest.fixture(autouse=True)
def through_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    """torch's counter does not know oneDNN's operator."""
    monkeypatch.setattr(products, "onednn_pays", lambda: False)


@pytest.mark.parametrize("family", ["bert", "llama"])
@pytest.mark.parametrize(
    ("method", "choices"),
    [
        ("full", Choices()),
        ("head", Choices()),
        ("lora", Choices(rank=8)),
        ("lora", Choices(rank=4, top_layers=3)),
        ("freeze", Choices(top_layers=3)),
        ("adapter", Choices(bottleneck=16)),
        ("adapter", Choices(placement="pfeiffer", top_layers=3)),
        ("ia3", Choices()),
    ],
    ids=["full", "head", "lora", "lora-top3", "freeze-top3", "adapter", "pfeiffer-top3", "ia3"],
)
def test_the_work_is_what_torch_counts(family: str, method: str, choices: Choices, tmp_path: Path) -> None:
    counted, predicted = counted_and_predicted(tmp_path, family, method, choices)
    assert predicted == pytest.approx(counted, rel=0.05)
    assert predicted >= 0.995 * counted


def test_head_only_is_a_forward_pass(tmp_path: Path) -> None:
    source = tiny_model(tmp_path, "bert", layers=2)
    spec = read_spec(source)
    assert training_flop(tiny_strategy(source, "head"), spec, 40) == forward_flop(spec, 40)


def test_bert_base_by_hand() -> None:
    """12 layers of 4 h^2 + 2 h f weights, 128 tokens: 2 FLOP a weight, 4 L h for attention."""
    from trimtab.models import shape_named

    spec = shape_named("bert-base-uncased")
    by_hand = 12 * (2 * (4 * 768**2 + 2 * 768 * 3072) + 4 * 128 * 768)
    assert forward_flop(spec, 128) == by_hand


@pytest.mark.parametrize("family", ["bert", "llama"])
def test_layers_are_counted_by_what_is_asked_of_them_and_a_third_again_with_recompute(
    tmp_path: Path, family: str
) -> None:
    source = tiny_model(tmp_path, family, layers=LAYERS)
    spec = read_spec(source)
    kind = "_decoder" if family == "llama" else ""
    for method, choices, counts in (
        ("full", Choices(), {"trained": LAYERS, "passed": 0, "frozen": 0}),
        ("lora", Choices(), {"trained": 0, "passed": LAYERS, "frozen": 0}),
        ("freeze", Choices(top_layers=2), {"trained": 2, "passed": 0, "frozen": LAYERS - 2}),
        ("head", Choices(), {"trained": 0, "passed": 0, "frozen": LAYERS}),
    ):
        for recompute in (False, True):
            parts = method_named(method).parts(spec, choices)
            strategy = tiny_strategy(source, method, parts=parts, recompute=recompute)
            times = {"trained": 4 / 3, "passed": 4 / 3, "frozen": 1} if recompute else dict.fromkeys(counts, 1)
            expected = {f"{word}{kind}_layers": times[word] * count for word, count in counts.items()}
            assert layers_work(strategy, spec) == StepWork(flop=0.0, **expected)
