"""Rows of many adapters in one batch: each gets what its adapter gives it alone, whatever stands beside it."""

from pathlib import Path

import pytest
import torch

from tiny_artifacts import TEXTS, moved_artifact, tiny_base
from trimtab.data import Example
from trimtab.evaluation import AdapterSet, Artifact
from trimtab.methods import METHODS, Choices, Part, VirtualTokens
from trimtab.models import read_spec
from trimtab.serving.forks import Forked, Roads, roads_of

TOPICS = ("law", "medicine", "sports", "weather", "film")
FAMILIES = ("bert", "llama", "roberta", "distilbert", "qwen2")


def pluggable(source) -> list[str]:  # type: ignore[no-untyped-def]
    spec = read_spec(source)

    def fits(parts: tuple[Part, ...]) -> bool:
        return any(part.adapter for part in parts) or {part.name for part in parts} == {"head"}

    known = [method for method in METHODS if method.refusal(spec, Choices()) is None]
    return [method.name for method in known if fits(method.parts(spec, Choices()))]


def virtual(artifact: Artifact) -> Part | None:
    return next((part for part in artifact.facts.strategy.parts if isinstance(part, VirtualTokens)), None)


def loaded(folder: Path, family: str) -> AdapterSet:
    """Every method that can be plugged into one base, with heads of two, three, ... labels."""
    source, adapters = tiny_base(folder, family), AdapterSet()
    for number, method in enumerate(pluggable(source)):
        if method != "qlora":  # its base is another
            made = moved_artifact(folder / method, source, method, labels=TOPICS[: number % 4 + 2], seed=number)
            adapters.load(method, made)
    return adapters


@pytest.mark.parametrize("family", FAMILIES)
def test_rows_of_every_method_in_one_batch(family: str, tmp_path: Path) -> None:
    adapters = loaded(tmp_path, family)
    forked: dict[object, Forked] = {}
    roads: dict[str, Roads] = {}
    for name in adapters.names:
        artifact, bare = adapters.artifact(name), adapters.bare(name)
        part = virtual(artifact)
        lane = forked.setdefault((type(part), part and part.tokens), Forked(bare, artifact.spec, part))
        roads[name] = roads_of(artifact.model, bare)
        lane.add(name, roads[name])
    assert sum(len(lane.adapters) for lane in forked.values()) == len(adapters.names) >= 7
    for lane in forked.values():
        names = [name for name in sorted(lane.adapters) for _ in TEXTS]
        mixed = _mixed(adapters, lane, names)
        for number, name in enumerate(sorted(lane.adapters)):
            alone = adapters.artifact(name)
            rows = mixed[number * len(TEXTS) : (number + 1) * len(TEXTS)]
            expected = torch.from_numpy(alone.logits(_encoded(alone)))
            torch.testing.assert_close(rows[:, : expected.shape[1]], expected, atol=1e-5, rtol=0)
            assert not torch.allclose(rows[:, :2], mixed[: len(TEXTS), :2], atol=1e-3) or number == 0


def _encoded(artifact: Artifact):  # type: ignore[no-untyped-def]
    return artifact.encode([Example((text,), 0) for text in TEXTS])


@torch.inference_mode()
def _mixed(adapters: AdapterSet, lane: Forked, names: list[str]) -> torch.Tensor:
    one = adapters.artifact(names[0])
    rows = list(range(len(TEXTS))) * (len(names) // len(TEXTS))
    inputs = one.collator.batch(_encoded(one), torch.tensor(rows).numpy())
    with lane.use(names) as model:
        return model(**inputs).logits
