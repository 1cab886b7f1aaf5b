"""Two language models compared: figures against logits computed at once, and a model against itself."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_language import artifact_of, language_folder, opened, talks

from trimtab import tuning
from trimtab.compression.gguf import export_gguf
from trimtab.compression.language_gate import compare_language, read_language
from trimtab.errors import ArtifactError


@pytest.mark.parametrize("task", ["text", "instruct"])
def test_a_model_is_what_it_is(tmp_path: Path, task: str) -> None:
    folder = language_folder(tmp_path / "model")
    artifact = artifact_of(folder, opened(folder), task)
    once = read_language(artifact, talks(), prompts=3, most_tokens=4)
    found = compare_language(once, read_language(artifact, talks(), prompts=3, most_tokens=4))
    assert found.largest_difference == found.mean_difference == 0.0 and found.agreement == 1.0
    assert (found.prompts, found.same_answers) == (3, 3)
    assert found.loss_change.mean == 0.0 and found.perplexity_before == found.perplexity_after
    assert found.tokens > 50 and found.relative_difference == 0.0


def test_figures_are_those_of_all_logits_at_once(tmp_path: Path) -> None:
    folder = language_folder(tmp_path / "model")
    export_gguf(folder, tmp_path / "out", "q4_0")
    models = [opened(folder), tuning.open_gguf_model(tmp_path / "out")]
    artifacts = [artifact_of(folder, model) for model in models]
    found = compare_language(*(read_language(one, talks(), prompts=4) for one in artifacts))
    losses, likely = [], []
    encoded = artifacts[0].encode(talks())
    for model in models:
        parts = []
        for start, end in zip(encoded.starts, encoded.starts[1:], strict=False):
            ids = torch.from_numpy(encoded.ids[start:end]).long()[None]
            with torch.no_grad():
                logits = model(ids).logits[0, :-1]
            parts.append(
                (torch.nn.functional.cross_entropy(logits, ids[0, 1:], reduction="none"), logits.argmax(1))
            )
        losses.append(torch.cat([loss for loss, _ in parts]).double())
        likely.append(torch.cat([token for _, token in parts]))
    assert found.tokens == len(losses[0])
    np.testing.assert_allclose(found.loss_before, float(losses[0].mean()), rtol=1e-5)
    np.testing.assert_allclose(found.perplexity_after, float(losses[1].mean().exp()), rtol=1e-4)
    assert found.agreement == float((likely[0] == likely[1]).double().mean()) < 1.0
    apart = np.abs(artifacts[0].logits(encoded) - artifacts[1].logits(encoded))
    np.testing.assert_allclose(
        [found.largest_difference, found.mean_difference], [apart.max(), apart.mean()], 1e-5
    )
    assert found.loss_change.low < found.loss_change.mean < found.loss_change.high
    assert found.same_answers < 4


def test_other_tokens_cannot_be_compared(tmp_path: Path) -> None:
    folder = language_folder(tmp_path / "model")
    artifact = artifact_of(folder, opened(folder))
    one = read_language(artifact, talks(), prompts=0)
    shorter = read_language(artifact, talks()[:5], prompts=0)
    with pytest.raises(ArtifactError) as refused:
        compare_language(one, shorter)
    assert refused.value.code == "TT-C414"
    worse = replace(one, logits=one.logits + 1.0)
    assert compare_language(one, worse).mean_difference == pytest.approx(1.0, rel=1e-5)


def test_an_exported_folder_predicts_and_scores_as_the_model_does(tmp_path: Path) -> None:
    folder = language_folder(tmp_path / "model")
    export_gguf(folder, tmp_path / "out", "f32")
    before = artifact_of(folder, opened(folder), "instruct")
    model = tuning.open_gguf_model(tmp_path / "out", pad_token_id=int(before.tokenizer.pad_token_id))
    after = replace(before, folder=tmp_path / "out", model=model)
    asked = talks(2)
    assert [one.text for one in after.predict(asked)] == [one.text for one in before.predict(asked)]
    encoded = before.encode(asked)
    assert np.array_equal(after.logits(encoded), before.logits(encoded))
