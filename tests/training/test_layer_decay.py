"""Learning rates by layer, against torch's AdamW with the rates written down by name."""

import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from tiny_models import tiny_model
from trimtab import tuning
from trimtab.methods import Choices, Schedule, Strategy, method_named
from trimtab.models import ModelSource, read_spec
from trimtab.training.optimizer import Optimizer

DECAY, LAYERS, RATE = 0.5, 3, 1e-2


def attached(source: ModelSource, method: str, decay: float = DECAY):
    spec = read_spec(source)
    parts = method_named(method).parts(spec, Choices())
    strategy = Strategy(method=method, parts=parts, schedule=Schedule(layer_decay=decay))
    model = tuning.load_classifier(source, outputs=2, pad_token_id=0, seed=5)
    return tuning.apply(strategy, model, spec).eval(), strategy, spec


def share_by_hand(name: str) -> float:
    """Three layers: 1 for the highest and all above it, then 1/2 and 1/4; 1/8 for the embeddings."""
    layer = re.search(r"layers?\.(\d)\.", name)
    if layer:
        return {"0": 0.25, "1": 0.5, "2": 1.0}[layer[1]]
    return 0.125 if "embed" in name else 1.0


@pytest.mark.parametrize(("family", "method"), [("bert", "full"), ("llama", "full"), ("bert", "lora")])
def test_every_layer_has_its_own_rate(family: str, method: str, tmp_path: Path) -> None:
    source = tiny_model(tmp_path, family, layers=LAYERS)
    ours, strategy, spec = attached(source, method)
    theirs, *_ = attached(source, method)
    optimizer = Optimizer(ours, strategy, rate_shares=tuning.rate_shares(strategy, ours, spec))
    named = [(name, p) for name, p in theirs.named_parameters() if p.requires_grad]
    groups = [
        {"params": [p], "lr": RATE * share_by_hand(name), "weight_decay": 0.01 if p.ndim > 1 else 0.0}
        for name, p in named
    ]
    reference = torch.optim.AdamW(groups, fused=True)
    draw = torch.Generator().manual_seed(1)
    for _ in range(3):
        ids = torch.randint(4, 40, (4, 9), generator=draw)
        for model in (ours, theirs):
            torch.nn.functional.cross_entropy(model(input_ids=ids).logits, torch.tensor([0, 1, 1, 0])).backward()
        optimizer.step(RATE)
        reference.step()
        reference.zero_grad()
    moved = dict(ours.named_parameters())
    for name, p in named:
        torch.testing.assert_close(moved[name], p, atol=0, rtol=0, msg=lambda text, name=name: f"{name}: {text}")


def test_without_decay_nothing_is_said_of_layers(tmp_path: Path) -> None:
    model, strategy, spec = attached(tiny_model(tmp_path, "bert", layers=LAYERS), "full", decay=1.0)
    assert tuning.rate_shares(strategy, model, spec) == {}
    shares = tuning.rate_shares(replace(strategy, schedule=Schedule(layer_decay=0.9)), model, spec)
    assert min(shares.values()) == pytest.approx(0.9**LAYERS) and max(shares.values()) == 1.0
