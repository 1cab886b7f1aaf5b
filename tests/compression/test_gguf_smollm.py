"""SmolLM2-135M as a GGUF file: Q8_0 is the model, within 2 % of the largest logit."""

import json
import urllib.request
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from tiny_language import artifact_of, opened

from trimtab import tuning
from trimtab.compression.calibration import input_moments
from trimtab.compression.gguf import export_gguf
from trimtab.compression.language_gate import compare_language, read_language
from trimtab.data.spec import Conversation, Example, Turn
from trimtab.models.gguf_layout import FINER

QUESTIONS = (
    "What is the capital of France?",
    "Name three colours.",
    "How many days has a week?",
    "Write one sentence about the sea.",
)


def questions(words: tuple[str, ...] = QUESTIONS) -> list[Example]:
    return [Example((), None, Conversation((Turn("user", one), Turn("assistant", one)))) for one in words]


@pytest.mark.model
def test_q8_is_the_model(tmp_path: Path, real_model: Callable[[str], Path]) -> None:
    folder = real_model("smollm2-135m-instruct")
    written = export_gguf(folder, tmp_path / "out", "q8_0", finer=FINER[2])
    before = read_language(artifact_of(folder, opened(folder), "instruct"), questions(), prompts=1, most_tokens=8)
    after_model = tuning.open_gguf_model(tmp_path / "out")
    after = read_language(artifact_of(folder, after_model, "instruct"), questions(), prompts=1, most_tokens=8)
    found = compare_language(before, after)
    assert found.relative_difference < 0.02 and found.same_answers == 1
    assert found.agreement >= 0.95
    assert written.nbytes < 0.33 * 4 * sum(weight.numel() for weight in after_model.parameters())


def alpaca(path: str, split: str, count: int) -> list[Example]:
    rows = json.loads((Path(path) / f"{split}.json").read_text(encoding="utf-8"))[:count]
    turns = [(Turn("user", f"{row['instruction']}\n{row['input']}".strip()), row["output"]) for row in rows]
    return [Example((), None, Conversation((asked, Turn("assistant", answer)))) for asked, answer in turns]


@pytest.mark.soak
@pytest.mark.model
def test_greedy_answers_stay(
    tmp_path: Path, real_model: Callable[[str], Path], shared: Callable[[str], str]
) -> None:
    folder, data = real_model("smollm2-135m-instruct"), shared("alpaca_en")
    artifact = artifact_of(folder, opened(folder), "instruct")
    prompts = alpaca(data, "test", 25) + alpaca(data, "dev", 25)
    moments = input_moments(artifact, alpaca(data, "train", 200), tokens=16384)
    export_gguf(folder, tmp_path / "out", "q8_0", finer=FINER[2], moments=moments)
    before = read_language(artifact, prompts, prompts=len(prompts))
    model = tuning.open_gguf_model(tmp_path / "out")
    found = compare_language(
        before, read_language(artifact_of(folder, model, "instruct"), prompts, prompts=len(prompts))
    )
    assert found.relative_difference < 0.02
    assert found.same_answers >= 0.9 * found.prompts


@pytest.mark.soak
@pytest.mark.model
def test_llama_cpp_answers_the_same(tmp_path: Path, real_model: Callable[[str], Path]) -> None:
    """With the package xllamacpp, llama.cpp as a wheel: the same template, tokens and first words of F32."""
    llama = pytest.importorskip("xllamacpp")
    folder = real_model("smollm2-135m-instruct")
    export_gguf(folder, tmp_path / "out", "f32")
    artifact = artifact_of(folder, opened(folder), "instruct")
    settings = llama.CommonParams()
    settings.model.path, settings.n_ctx, settings.n_parallel = str(tmp_path / "out" / "model.gguf"), 512, 1
    settings.cpuparams.n_threads, settings.warmup = 1, False
    server = llama.Server(settings)

    def asked(path: str, **body: object) -> dict[str, object]:
        request = urllib.request.Request(
            server.listening_address + path, json.dumps(body).encode(), {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request) as answer:
            return json.load(answer)  # type: ignore[no-any-return]

    tokenizer = artifact.tokenizer
    for question in QUESTIONS:
        messages = [{"role": "user", "content": question}]
        text = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
        assert asked("/apply-template", messages=messages)["prompt"] == text
        ids = tokenizer(text, add_special_tokens=False)["input_ids"]
        assert asked("/tokenize", content=text, add_special=True, parse_special=True)["tokens"] == ids
        found = asked("/completion", prompt=ids, n_predict=16, temperature=0, return_tokens=True)["tokens"]
        written = artifact.model.generate(torch.tensor([ids]), max_new_tokens=16, do_sample=False)[0, len(ids) :]
        ends = set(tokenizer.all_special_ids)
        assert [token for token in found if token not in ends] == [  # type: ignore[attr-defined]
            token for token in written.tolist() if token not in ends
        ]
