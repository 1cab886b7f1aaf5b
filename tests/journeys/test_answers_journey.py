"""SmolLM2 writes answers to school problems, and a student with another tokenizer learns them, as it is typed."""

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from terminal import Terminal

from trimtab.artifacts import ArtifactFacts, base_of
from trimtab.evaluation import OBJECTIVES, Opening, save_artifact
from trimtab.methods import Choices, Schedule, Strategy, method_named, parts_for
from trimtab.models import ModelSource, read_spec

sys.path.insert(0, str(Path(__file__).parents[1] / "compression"))

ROWS = {"train": 4, "dev": 2, "test": 2}


def whole_artifact(folder: Path, source: ModelSource) -> None:
    """A published chat model as if it had been tuned here."""
    spec, objective = read_spec(source), OBJECTIVES["instruct"]
    tokenizer = objective.tokenizer(source)
    strategy = Strategy(
        method="full", parts=parts_for(method_named("full"), "instruct", spec, Choices()),
        schedule=Schedule(epochs=1), batch=2, micro_batch=2, max_length=384,
    )  # fmt: skip
    facts = ArtifactFacts(
        adapter=False, task="instruct", labels=(), columns=(), label_column="messages", outputs=0,
        base=base_of(source, spec.family), strategy=strategy, trimtab_version="0",
    )  # fmt: skip
    model = objective.model(Opening(source=source, outputs=0, pad_token_id=int(tokenizer.pad_token_id)))
    folder.mkdir()
    save_artifact(folder, facts, model.eval(), tokenizer, spec)


def handful(source: str, folder: Path) -> None:
    """The shortest problems of the first few hundred."""
    folder.mkdir()
    for split, count in ROWS.items():
        lines = (Path(source) / f"{split}.jsonl").read_text(encoding="utf-8").splitlines()[:400]
        (folder / f"{split}.jsonl").write_text("\n".join(sorted(lines, key=len)[:count]) + "\n", encoding="utf-8")


@pytest.mark.soak
@pytest.mark.model
def test_a_student_learns_what_smollm_wrote(
    tmp_path: Path, home: Path, real_model: Callable[[str], Path], shared: Callable[[str], str]
) -> None:
    from tiny_language import language_folder

    handful(shared("gsm8k"), tmp_path / "sums")
    teacher = real_model("smollm2-135m-instruct")
    whole_artifact(tmp_path / "smol", ModelSource(folder=teacher, name=str(teacher)))
    language_folder(tmp_path / "bytes", hidden_size=32, num_hidden_layers=1, max_position_embeddings=2048)
    tt = Terminal(tmp_path, home, patience_seconds=400)
    words = ("--data", "sums", "--out", "out", "--epochs", "2", "--batch", "2", "--lr", "1e-2", "--force")
    lengths = ("--answers", "teacher", "--answer-tokens", "160", "--max-length", "1536")
    done = tt.done("compress", "smol", "distill", "--student", "bytes", *lengths, *words)
    assert "The teacher has answered 4 of 4 prompts" in done.err
    report = json.loads((tmp_path / "out" / "report.json").read_text(encoding="utf-8"))
    assert report["change"]["compared"][0]["metric"] == "answer_loss"
    assert "answer_loss" in done.out and "--answers teacher" in report["command"]
    answer = tt.done("predict", "out", "--text", "What is 2 and 3?", "--json")
    assert json.loads(answer.out)["text"] is not None
