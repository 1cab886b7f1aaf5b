"""What a model writes after several prompts at once is what it writes after each alone."""

import random
from pathlib import Path

import pytest
import torch

from tiny_artifacts import moved_artifact
from tiny_chat import chat_model
from tiny_models import DECODERS
from trimtab.evaluation import open_artifact
from trimtab.evaluation.generate import written_ids

END, PAD, MOST = 3, 0, 12


def likeliest(model: torch.nn.Module, prompt: list[int]) -> list[int]:
    """Token by token from the whole text, nothing kept and nothing padded."""
    ids = list(prompt)
    while len(ids) < len(prompt) + MOST and (ids == prompt or ids[-1] != END):
        with torch.no_grad():
            ids.append(int(model(torch.tensor([ids])).logits[0, -1].argmax()))
    return ids[len(prompt) :]


@pytest.mark.parametrize(
    ("family", "method"), [*((family, "full") for family in DECODERS), ("llama", "lora"), ("llama", "prompt")]
)
def test_answers_at_once_are_those_of_each_prompt_alone(family: str, method: str, tmp_path: Path) -> None:
    source = chat_model(tmp_path / "model", family, layers=2)
    artifact = open_artifact(moved_artifact(tmp_path / "a", source, method, task="instruct"))
    draw = random.Random(0)
    prompts = [draw.choices(range(4, 50), k=draw.randint(1, 20)) for _ in range(8)]
    found = written_ids(artifact.model, prompts, [END], PAD, MOST)
    assert found == [likeliest(artifact.model, prompt) for prompt in prompts]
    assert len({len(prompt) for prompt in prompts}) > 3 and len({tuple(one) for one in found}) > 3


def test_what_stands_behind_an_end_is_no_answer(tmp_path: Path) -> None:
    """Of a model that pads with the token that ends."""
    source = chat_model(tmp_path / "model", layers=2)
    artifact = open_artifact(moved_artifact(tmp_path / "a", source, "full", task="instruct"))
    prompts = [[number] for number in range(4, 16)]
    found = written_ids(artifact.model, prompts, [END], END, MOST)
    assert found == [likeliest(artifact.model, prompt) for prompt in prompts]
    assert {one.index(END) == len(one) - 1 for one in found if END in one} == {True}
    assert any(END not in one for one in found)
