"""Frozen matrices as oneDNN multiplies by them: the same numbers, nothing twice, and back again."""

from pathlib import Path

import pytest
import torch
from torch import nn

from tiny_artifacts import TEXTS, moved_artifact, tiny_base
from trimtab.data import Example
from trimtab.evaluation import AdapterSet, open_artifact
from trimtab.methods import Lora
from trimtab.tuning import blocked
from trimtab.tuning.blocked import BlockedLinear, pays

pytestmark = pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason="this torch has no oneDNN")


@pytest.fixture(autouse=True)
def always(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether it is faster here is no matter."""
    monkeypatch.setattr(blocked, "pays", lambda dtype: True)


@pytest.mark.parametrize("shape", [(5,), (3, 7), (2, 3, 4)])
def test_it_computes_what_the_plain_matrix_computes(shape: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    for bias in (True, False):
        plain = nn.Linear(48, 80, bias=bias)
        x = torch.randn(*shape, 48)
        with torch.inference_mode():
            torch.testing.assert_close(BlockedLinear(plain)(x), plain(x), atol=1e-5, rtol=1e-5)


def test_nothing_is_held_twice_and_the_matrix_comes_back_to_the_bit() -> None:
    plain = nn.Linear(48, 80)
    made = BlockedLinear(plain)
    assert made.weight.shape == plain.weight.shape and made.weight.untyped_storage().nbytes() == 4
    assert made.weight.isnan().all(), "whoever reads it sees that there is nothing"
    assert torch.equal(made.unpacked(torch.float32), plain.weight)


@pytest.mark.parametrize("method", ["lora", "dora", "adapter", "ia3", "bitfit", "prompt", "head"])
def test_adapters_on_it_say_what_they_say_alone(method: str, tmp_path: Path) -> None:
    source = tiny_base(tmp_path)
    dora = {"parts": (Lora(rank=4, variant="dora"), *_head(source))} if method == "dora" else {}
    folder = moved_artifact(tmp_path / "one", source, "lora" if dora else method, **dora)
    alone, adapters = open_artifact(folder), AdapterSet(blocked=True)
    adapters.load("one", folder)
    examples = [Example((text,), None) for text in TEXTS]
    found, expected = (one.logits(one.encode(examples)) for one in (adapters.artifact("one"), alone))
    torch.testing.assert_close(torch.from_numpy(found), torch.from_numpy(expected), atol=1e-5, rtol=0)
    layers = [module for module in adapters.bare("one").modules() if isinstance(module, BlockedLinear)]
    assert len(layers) == 12, "six matrices in each of two layers"


def test_heads_of_two_kinds_share_it(tmp_path: Path) -> None:
    source, adapters = tiny_base(tmp_path), AdapterSet(blocked=True)
    adapters.load("labels", moved_artifact(tmp_path / "labels", source))
    adapters.load("vectors", moved_artifact(tmp_path / "vectors", source, task="embed"))
    first, second = (
        [module for module in adapters.bare(name).modules() if isinstance(module, BlockedLinear)]
        for name in adapters.names
    )
    assert len(first) == 12 and all(one is other for one, other in zip(first, second, strict=True))


def test_whether_it_pays_is_measured() -> None:
    assert pays(torch.float32) in (True, False)
    assert pays(torch.float64) is False, "oneDNN has no such product"


def _head(source):  # type: ignore[no-untyped-def]
    from tiny_training import tiny_strategy

    return tiny_strategy(source, "head").parts
