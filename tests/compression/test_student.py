"""Students before they learn: whose weights they have, what their config says, what is refused."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer

from tiny_artifacts import moved_artifact
from tiny_chat import chat_model
from tiny_models import DECODERS, FAMILIES, tiny_model
from trimtab.compression.student import FewerLayers, OtherModel, OtherShape, Student, spaced
from trimtab.errors import UsageError
from trimtab.evaluation import Artifact, open_artifact
from trimtab.models import read_spec
from trimtab.tuning import structure

TEXTS = ["good film", "a bad story and a poor plot , so it was"]


def teacher_of(folder: Path, family: str = "bert", method: str = "full", *, layers: int = 4) -> Artifact:
    source = tiny_model(folder / "base", family, layers=layers, dropout=0.0)
    return open_artifact(moved_artifact(folder / "teacher", source, method))


def shortened(teacher: Artifact, layers: tuple[int, ...]) -> torch.Tensor:
    """Logits of the teacher itself with all other layers taken out."""
    whole = structure.layers(teacher.model, teacher.spec)
    path = structure.layers_path(teacher.model, teacher.spec)
    teacher.model.set_submodule(path, torch.nn.ModuleList(whole[number] for number in layers), strict=True)
    for number, layer in enumerate(whole[number] for number in layers):
        if hasattr(getattr(layer, "self_attn", None), "layer_idx"):
            layer.self_attn.layer_idx = number
    teacher.model.config.num_hidden_layers = len(layers)
    return logits(teacher.model, teacher)


def logits(model: torch.nn.Module, teacher: Artifact) -> torch.Tensor:
    inputs = teacher.tokenizer(TEXTS, padding=True, return_tensors="pt")
    with torch.no_grad():
        return model.eval()(**inputs, **({"use_cache": False} if teacher.spec.kind == "decoder" else {})).logits


def test_layers_are_evenly_spaced_and_the_last_is_among_them() -> None:
    assert spaced(3, 6) == (1, 3, 5) and spaced(1, 6) == (5,) and spaced(6, 6) == tuple(range(6))
    assert spaced(4, 12) == (2, 5, 8, 11) and spaced(5, 12) == (1, 4, 6, 9, 11)
    assert spaced(3, 2) == (0, 0, 1)


@pytest.mark.parametrize("family", [*FAMILIES, "electra", "gpt_neox", "qwen3"])
def test_a_student_of_fewer_layers_computes_what_the_teacher_does_without_the_others(
    family: str, tmp_path: Path
) -> None:
    teacher = teacher_of(tmp_path, family)
    student = FewerLayers(layers=2, chosen=(0, 2))
    source = student.source(teacher, tmp_path / "student")
    made = AutoModelForSequenceClassification.from_pretrained(source.folder)
    spec = read_spec(source)
    assert replace(spec, fingerprint="", stored_bytes=0, name="", source="", tokenizer_bytes=0) == replace(
        student.spec(teacher.spec), name="", source="", tokenizer_bytes=0
    )
    assert made.config.id2label == {0: "bad", 1: "good"}
    found = logits(made, teacher)
    torch.testing.assert_close(found, shortened(teacher, (0, 2)), rtol=1e-5, atol=1e-5)
    assert AutoTokenizer.from_pretrained(source.folder).get_vocab() == teacher.tokenizer.get_vocab()


def test_lists_by_layer_go_with_the_layers(tmp_path: Path) -> None:
    source = tiny_model(tmp_path / "base", "qwen2", layers=4)
    config = AutoConfig.from_pretrained(source.folder)
    config.layer_types = ["full_attention", "full_attention", "sliding_attention", "full_attention"]
    config.sliding_window = 16
    config.save_pretrained(source.folder)
    teacher = open_artifact(moved_artifact(tmp_path / "teacher", source, "full"))
    made = FewerLayers(layers=2, chosen=(2, 3)).source(teacher, tmp_path / "student")
    kept = AutoConfig.from_pretrained(made.folder)
    assert (kept.num_hidden_layers, kept.layer_types) == (2, ["sliding_attention", "full_attention"])


def test_an_adapter_is_folded_in_first(tmp_path: Path) -> None:
    teacher = teacher_of(tmp_path, method="lora")
    before = logits(teacher.model, teacher)
    made = AutoModelForSequenceClassification.from_pretrained(
        FewerLayers(layers=4).source(teacher, tmp_path / "student").folder
    )
    torch.testing.assert_close(logits(made, teacher), before, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(logits(teacher.model, teacher), before, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("tied", [False, True])
def test_a_language_model_keeps_its_head(tied: bool, tmp_path: Path) -> None:
    source = chat_model(tmp_path / "base", tied=tied, layers=3)
    teacher = open_artifact(moved_artifact(tmp_path / "teacher", source, "full", task="instruct"))
    made = AutoModelForCausalLM.from_pretrained(FewerLayers(layers=2).source(teacher, tmp_path / "s").folder)
    assert (made.lm_head.weight is made.model.embed_tokens.weight) == tied
    torch.testing.assert_close(logits(made, teacher), shortened(teacher, (1, 2)), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("family", ["bert", "distilbert", *DECODERS[:3]])
def test_another_shape_is_fresh_and_seeded(family: str, tmp_path: Path) -> None:
    teacher = teacher_of(tmp_path, family)

    def made(name: str, seed: int) -> dict[str, torch.Tensor]:
        student = OtherShape(layers=3, hidden=16, heads=4, ffn=24, seed=seed)
        source = student.source(teacher, tmp_path / name)
        spec, wanted = read_spec(source), student.spec(teacher.spec)
        sizes = ("layers", "hidden", "heads", "kv_heads", "head_dim", "ffn", "vocab")
        assert [getattr(spec, size) for size in sizes] == [getattr(wanted, size) for size in sizes]
        model = AutoModelForSequenceClassification.from_pretrained(source.folder)
        assert logits(model, teacher).isfinite().all()
        return model.state_dict()

    first, again, other = made("a", 1), made("b", 1), made("c", 2)
    assert all(torch.equal(first[name], again[name]) for name in first)
    matrices = [name for name in first if first[name].ndim == 2]
    assert not any(torch.equal(first[name], other[name]) for name in matrices)


def test_another_model_is_taken_as_it_is(tmp_path: Path) -> None:
    teacher = teacher_of(tmp_path)
    source = tiny_model(tmp_path / "other", "roberta", layers=1)
    student = OtherModel(model=source)
    assert student.source(teacher, tmp_path / "student") is source and not (tmp_path / "student").exists()
    assert student.spec(teacher.spec) == read_spec(source)
    assert student.matched(read_spec(source), teacher.spec) == (3,)


def test_a_student_that_is_there_is_not_made_again(tmp_path: Path) -> None:
    teacher = teacher_of(tmp_path)
    FewerLayers(layers=2).source(teacher, tmp_path / "student")
    before = (tmp_path / "student/model.safetensors").stat().st_mtime_ns
    FewerLayers(layers=2).source(teacher, tmp_path / "student")
    assert (tmp_path / "student/model.safetensors").stat().st_mtime_ns == before
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


@pytest.mark.parametrize(
    ("student", "code", "numbers"),
    [
        (FewerLayers(layers=5), "TT-C100", ("5", "4")),
        (FewerLayers(layers=0), "TT-C100", ("0", "4")),
        (FewerLayers(layers=2, chosen=(1, 4)), "TT-C101", ("1, 4", "3")),
        (FewerLayers(layers=2, chosen=(2, 1)), "TT-C101", ("2, 1",)),
        (FewerLayers(layers=2, chosen=(1, 1)), "TT-C101", ("1, 1",)),
        (FewerLayers(layers=2, chosen=(1,)), "TT-C102", ("2", "1")),
        (OtherShape(layers=1, hidden=0, heads=1, ffn=4), "TT-C103", ("0",)),
        (OtherShape(layers=1, hidden=10, heads=4, ffn=4), "TT-C104", ("10", "4")),
    ],
)
def test_nonsense_is_refused_with_numbers(
    student: Student, code: str, numbers: tuple[str, ...], tmp_path: Path
) -> None:
    teacher = teacher_of(tmp_path)
    with pytest.raises(UsageError) as refused:
        student.source(teacher, tmp_path / "student")
    assert refused.value.code == code and all(number in str(refused.value) for number in numbers)
    assert not (tmp_path / "student").exists()
