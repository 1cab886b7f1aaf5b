"""Rows of one batch, each with its own LoRA adapter or none: what each adapter alone gives."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from tiny_artifacts import moved_artifact
from tiny_chat import chat_strategy
from tiny_writers import chats
from trimtab.methods import Lora
from trimtab.models import ModelSource
from trimtab.serving.forks import BASE, Fork, roads_of

IDS = torch.randint(4, 60, (6, 9), generator=torch.Generator().manual_seed(0))
ROWS = ("b", BASE, "a", "c", "a", "b")


@torch.no_grad()
def given(model, ids: torch.Tensor = IDS) -> torch.Tensor:  # type: ignore[no-untyped-def]
    return model(ids).logits  # type: ignore[no-any-return]


@pytest.fixture(scope="module")
def three(tmp_path_factory):  # type: ignore[no-untyped-def]
    return chats(tmp_path_factory.mktemp("three"))


@pytest.mark.parametrize("tokens", [9, 2])  # one product for each adapter, and one for all
@pytest.mark.parametrize("rows", [ROWS, ("a",) * 6, (BASE,) * 6, (*("c",) * 5, BASE), ("b", "c") * 3])
def test_each_row_is_what_its_adapter_gives_alone(three, rows: tuple[str, ...], tokens: int) -> None:  # type: ignore[no-untyped-def]
    ids = IDS[:, :tokens]
    alone = torch.stack([given(three.alone[name].model, ids)[row] for row, name in enumerate(rows)])
    with three.forked.use(rows):
        together = given(three.model, ids)
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=0)
    torch.testing.assert_close(given(three.model, ids), given(three.alone[BASE].model, ids), atol=0, rtol=0)


def test_adapters_differ_or_nothing_is_tested(three) -> None:  # type: ignore[no-untyped-def]
    said = [given(one.model) for one in three.alone.values()]
    gaps = [float((one - other).abs().max()) for at, one in enumerate(said) for other in said[:at]]
    assert min(gaps) > 0.1


def lora_like(source: ModelSource, **changed: object) -> Lora:
    (part,) = (part for part in chat_strategy(source).parts if isinstance(part, Lora))
    return replace(part, **changed)  # type: ignore[arg-type]


def test_ranks_scalings_and_adapted_layers_may_differ(tmp_path: Path) -> None:
    some = chats(tmp_path, adapters=("a",))
    shapes = {"thin": {"rank": 1, "variant": "rslora"}, "top": {"rank": 6, "alpha": 32, "top_layers": 1}}
    for name, changed in shapes.items():
        parts = (lora_like(some.source, **changed),)
        some.add(name, moved_artifact(tmp_path / name, some.source, task="instruct", parts=parts))
    rows = ("top", "a", "thin", BASE, "a", "top")
    alone = torch.stack([given(some.alone[name].model)[row] for row, name in enumerate(rows)])
    with some.forked.use(rows):
        torch.testing.assert_close(given(some.model), alone, atol=1e-5, rtol=0)


def test_an_adapter_is_loaded_and_let_go_between_passes(tmp_path: Path) -> None:
    some = chats(tmp_path)
    with some.forked.use(ROWS):
        before = given(some.model)
    some.forked.remove("a")
    assert some.forked.adapters == {"b", "c"}
    rows = ("b", BASE, "b", "c", "b", "b")
    with some.forked.use(rows):
        without = given(some.model)
    torch.testing.assert_close(without[[0, 1, 3, 5]], before[[0, 1, 3, 5]], atol=1e-5, rtol=0)
    some.forked.add("a", roads_of(some.alone["b"].model, some.alone[BASE].model))
    with some.forked.use(ROWS):
        again = given(some.model)
    torch.testing.assert_close(again[2], given(some.alone["b"].model)[2], atol=1e-5, rtol=0)


def test_matrices_beside_each_other_are_made_once_for_rows_that_come_and_go(three) -> None:  # type: ignore[no-untyped-def]
    layer = next(module for module in three.model.modules() if isinstance(module, Fork))
    with three.forked.use(ROWS):
        given(three.model, IDS[:, :1])
    side = layer._side
    for rows in (("a", "b"), ("c", "b"), ROWS[:4]):
        with three.forked.use(rows):
            given(three.model, IDS[: len(rows), :1])
    assert side[0] == ("a", "b", "c") and layer._side is side


@pytest.mark.parametrize("tokens", [9, 2])
def test_numbers_of_one_adapter_beyond_all_bounds_stay_in_its_rows(tokens: int, tmp_path: Path) -> None:
    some = chats(tmp_path)
    with torch.no_grad():
        for name, parameter in some.alone["c"].model.named_parameters():
            if "lora_A" in name:
                parameter.fill_(3e38)
    ids = IDS[:, :tokens]
    alone = torch.stack([given(some.alone[name].model, ids)[row] for row, name in enumerate(ROWS)])
    with some.forked.use(ROWS):
        together = given(some.model, ids)
    others = [row for row, name in enumerate(ROWS) if name != "c"]
    assert not together[3].isfinite().all()
    torch.testing.assert_close(together[others], alone[others], atol=1e-5, rtol=0)


@pytest.mark.parametrize("tokens", [9, 2])
@pytest.mark.parametrize("method", ["dora", "ia3", "adapter"])
def test_rows_of_other_methods_stand_beside_those_of_lora(method: str, tokens: int, tmp_path: Path) -> None:
    some, ids = chats(tmp_path), IDS[:, :tokens]
    dora = {"parts": (lora_like(some.source, variant="dora"),)} if method == "dora" else {}
    name = "lora" if dora else method
    some.add("other", moved_artifact(tmp_path / method, some.source, name, task="instruct", **dora))
    rows = ("other", "a", BASE, "other", "b", "a")
    alone = torch.stack([given(some.alone[name].model, ids)[row] for row, name in enumerate(rows)])
    with some.forked.use(rows):
        together = given(some.model, ids)
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=0)
