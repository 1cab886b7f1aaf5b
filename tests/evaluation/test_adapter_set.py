"""One base, many adapters: each says what it says alone, to the last bit; what is not of this base is refused."""

import json
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

import trimtab
from plain_chinese import english_in
from tiny_artifacts import LABELS, TEXTS, moved_artifact, tiny_base
from tiny_chat import chat_model
from tiny_embed import embed_strategy
from trimtab import tuning
from trimtab.artifacts import sha256_of
from trimtab.data import Example
from trimtab.errors import ArtifactError, TrimtabError, UsageError
from trimtab.evaluation import AdapterSet, Prediction, open_artifact
from trimtab.evaluation.generate import answer
from trimtab.methods import METHODS, Choices, Part, Pooling
from trimtab.models import read_spec
from trimtab.study import merge_adapter

TOPICS = ("law", "medicine", "sports", "weather", "film")


def logits_of(artifact) -> torch.Tensor:  # type: ignore[no-untyped-def]
    examples = [Example((text,), 0) for text in TEXTS]
    return torch.from_numpy(artifact.logits(artifact.encode(examples)))


def asked(artifact, texts: tuple[str, ...]) -> list[Prediction]:  # type: ignore[no-untyped-def]
    return list(artifact.predict(artifact.objective.asked(texts, None, artifact.facts.columns)))


def pluggable(source) -> list[str]:  # type: ignore[no-untyped-def]
    """Every method whose result stands beside its base, or is its head alone."""
    spec = read_spec(source)

    def fits(parts: tuple[Part, ...]) -> bool:
        return any(part.adapter for part in parts) or {part.name for part in parts} == {"head"}

    known = [method for method in METHODS if method.refusal(spec, Choices()) is None]
    return [method.name for method in known if fits(method.parts(spec, Choices()))]


def refusal(load: Callable[[], object], kind: type[TrimtabError] = ArtifactError) -> TrimtabError:
    with pytest.raises(kind) as caught:
        load()
    return caught.value


@pytest.mark.parametrize("family", ["bert", pytest.param("llama", marks=pytest.mark.soak)])
def test_every_method_on_one_base_says_what_it_says_alone(family: str, tmp_path: Path) -> None:
    """Heads of two, three, ... labels and a regression, all in memory at once; one base in fp32, one in nf4."""
    source = tiny_base(tmp_path, family)
    alone, sets = {}, {"same": AdapterSet(), "nf4": AdapterSet(str(source.folder))}
    for number, method in enumerate(pluggable(source)):
        labels = TOPICS[: number % 4 + 2] if number % 5 else ()
        folder = moved_artifact(
            tmp_path / method, source, method, labels=labels, seed=number, task="classify" if labels else "regress"
        )
        one = open_artifact(folder)
        alone[method] = (one.facts.strategy.base_precision, logits_of(one), asked(one, TEXTS[:1]))
        sets[alone[method][0]].load(method, folder)
    assert {"lora", "qlora", "ia3", "head"} <= alone.keys()
    for method, (stored, said, predicted) in [*alone.items(), *reversed(alone.items())]:
        adapters = sets[stored]
        adapters.switch(method)
        assert torch.equal(logits_of(adapters.artifact(method)), said)
        assert adapters.predict([TEXTS[0]]) == adapters.predict([TEXTS[0]], method) == predicted
        assert adapters.artifact(method).model.config.num_labels == said.shape[1]


def test_the_weights_of_the_base_are_held_once(tmp_path: Path) -> None:
    source = tiny_base(tmp_path, layers=3)
    adapters = AdapterSet()
    for number in range(3):
        adapters.load(f"a{number}", moved_artifact(tmp_path / f"{number}", source, labels=TOPICS[: number + 2]))
    models = [adapters.artifact(name).model for name in adapters.names]
    tensors = {p.data_ptr(): p.nbytes for model in models for p in model.parameters()}
    own = [adapters.own_bytes(name) for name in adapters.names]
    bare = tuning.load_classifier(source, outputs=2, pad_token_id=0)
    heads = ("bert.pooler", "classifier")
    backbone = sum(p.nbytes for name, p in bare.named_parameters() if not name.startswith(heads))
    assert sum(tensors.values()) == backbone + sum(own)
    facts = open_artifact(tmp_path / "0").facts
    trained = facts.strategy.trainable_parameters(read_spec(source), 2)
    assert own[0] == 4 * trained and own[1] == own[0] + 4 * (32 + 1)  # one label more: a row and a bias


def test_adapters_are_listed_switched_disabled_and_unloaded_by_name(tmp_path: Path) -> None:
    source = tiny_base(tmp_path)
    adapters = AdapterSet(str(source.folder))
    assert (adapters.names, adapters.active) == ((), None)
    for seed, name in enumerate(("mood", "law")):
        adapters.load(name, moved_artifact(tmp_path / name, source, seed=seed))
    assert (adapters.names, adapters.active) == (("mood", "law"), "mood")
    mood, law = adapters.predict(TEXTS, "mood"), adapters.predict(TEXTS, "law")
    assert mood != law and adapters.predict(TEXTS) == mood
    adapters.switch("law")
    assert adapters.predict(TEXTS) == law
    adapters.unload("law")
    assert (adapters.names, adapters.active) == (("mood",), None)
    assert refusal(lambda: adapters.predict(TEXTS, "law"), UsageError).code == "TT-U103"
    assert adapters.predict(TEXTS, "mood") == mood
    adapters.disable()
    error = refusal(lambda: adapters.predict(TEXTS))
    assert error.code == "TT-A043" and "mood" in str(error)
    assert english_in(error.message, str(source.folder), "mood") == []
    adapters.load("law", tmp_path / "law")
    assert adapters.predict(TEXTS, "law") == law


def test_a_chat_model_answers_as_published_once_its_adapter_is_disabled(tmp_path: Path, monkeypatch) -> None:
    """And a classifier stands on the same backbone, under a head of its own."""
    monkeypatch.setattr("trimtab.evaluation.answers.answer", partial(answer, most_tokens=12))
    source = chat_model(tmp_path / "base")
    adapters = AdapterSet()
    adapters.load("mood", moved_artifact(tmp_path / "mood", source))
    adapters.load("chat", moved_artifact(tmp_path / "chat", source, task="instruct", labels=()))
    said = adapters.predict(TEXTS[:1], "chat")
    chat = open_artifact(tmp_path / "chat")
    assert said == asked(chat, TEXTS[:1])
    assert torch.equal(logits_of(adapters.artifact("mood")), logits_of(open_artifact(tmp_path / "mood")))
    adapters.disable()
    own = adapters.predict(TEXTS[:1])
    with torch.no_grad():
        for name, parameter in chat.model.named_parameters():
            if "lora_B" in name:
                parameter.zero_()  # what is left is the base
    assert own == asked(chat, TEXTS[:1]) and own != said
    mood, talk = (adapters.artifact(name).model for name in ("mood", "chat"))
    assert mood.model.embed_tokens.weight.data_ptr() == talk.model.embed_tokens.weight.data_ptr()


def test_an_embedding_stands_beside_a_classifier(tmp_path: Path) -> None:
    """On one backbone, one with a pooler and one without; and merged it gives the same vectors."""
    source = tiny_base(tmp_path)
    adapters, alone = AdapterSet(), {}
    lora = next(part for part in embed_strategy(source, "lora").parts if part.adapter)
    for name, task, changed in (
        ("mean", "embed", {"parts": (lora, Pooling(kind="mean"))}),
        ("mood", "classify", {}),
        ("cls", "embed", {"parts": (lora, Pooling(kind="cls"))}),
    ):
        folder = moved_artifact(tmp_path / name, source, task=task, **changed)
        adapters.load(name, folder)
        alone[name] = asked(open_artifact(folder), TEXTS)
    assert {name: adapters.predict(TEXTS, name) for name in adapters.names} == alone
    assert alone["mean"] != alone["cls"]
    first, second = (adapters.artifact(name).model for name in ("mean", "mood"))
    tables = [model.get_input_embeddings().weight.data_ptr() for model in (first, second)]
    assert tables[0] == tables[1]
    assert merge_adapter(str(tmp_path / "cls"), str(tmp_path / "whole")).difference < 1e-5


def test_an_adapter_of_another_base_is_refused_before_weights_are_read(tmp_path: Path, monkeypatch) -> None:
    source, other = tiny_base(tmp_path), tiny_base(tmp_path / "other", seed=1)
    adapters = AdapterSet()
    adapters.load("mine", moved_artifact(tmp_path / "mine", source))
    said = adapters.predict(TEXTS)
    theirs = moved_artifact(tmp_path / "theirs", other)
    monkeypatch.setattr(tuning, "load_classifier", None)
    error = refusal(lambda: adapters.load("theirs", theirs))
    assert error.code == "TT-A041" and str(other.folder) in str(error) and str(source.folder) in str(error)
    assert adapters.names == ("mine",) and adapters.predict(TEXTS) == said


def test_a_base_in_other_number_formats_is_another_base(tmp_path: Path) -> None:
    source = tiny_base(tmp_path)
    adapters = AdapterSet()
    adapters.load("a", moved_artifact(tmp_path / "a", source))
    for name, changed in (("b", {"precision": "bf16"}), ("c", {"base_precision": "nf4"})):
        folder = moved_artifact(tmp_path / name, source, **changed)
        error = refusal(lambda folder=folder: adapters.load("b", folder))
        assert error.code == "TT-A042" and "fp32" in str(error)


@pytest.mark.parametrize("name", ["../x", "", "a/b", "__base__", ".hidden", "a\0b", "x" * 65, "/etc"])
def test_a_name_is_no_path(name: str, tmp_path: Path) -> None:
    assert refusal(lambda: AdapterSet().load(name, tmp_path), UsageError).code == "TT-U101"


def test_a_name_is_taken_once_and_a_whole_model_is_not_plugged_in(tmp_path: Path) -> None:
    source = tiny_base(tmp_path)
    adapters = AdapterSet()
    adapters.load("情感-1", moved_artifact(tmp_path / "a", source))
    error = refusal(lambda: adapters.load("情感-1", tmp_path / "a"), UsageError)
    assert error.code == "TT-U102" and error.exit_code == 2
    for method in ("full", "freeze"):
        whole = moved_artifact(tmp_path / method, source, method)
        assert refusal(lambda whole=whole: adapters.load("b", whole)).code == "TT-A040"


def resealed(folder: Path, **changed: object) -> None:
    """Make artifact.json agree with the files as they are, and say `changed`."""
    path = folder / "artifact.json"
    plain = json.loads(path.read_text()) | changed
    names = [entry[0] for entry in plain["files"] if (folder / entry[0]).is_file()]
    plain["files"] = [[name, (folder / name).stat().st_size, sha256_of(folder / name)] for name in names]
    path.write_text(json.dumps(plain))


def _rewrite(folder: Path, change: Callable[[dict[str, torch.Tensor]], object]) -> None:
    file = folder / "adapter_model.safetensors"
    tensors = load_file(file)
    change(tensors)
    save_file(tensors, file)


def _nan(folder: Path) -> None:
    _rewrite(folder, lambda tensors: next(iter(tensors.values())).fill_(float("nan")))


def _more(folder: Path) -> None:
    _rewrite(folder, lambda tensors: tensors.update({"base_model.model.bert.extra": torch.zeros(3)}))


def _head(folder: Path) -> None:
    _rewrite(folder, lambda t: t.update({"base_model.model.classifier.weight": torch.zeros(5, 32)}))


def _pickled(folder: Path) -> None:
    torch.save({}, folder / "adapter_model.bin")
    (folder / "adapter_model.safetensors").unlink()


def _cut(folder: Path) -> None:
    file = folder / "adapter_model.safetensors"
    file.write_bytes(file.read_bytes()[:-40])


@pytest.mark.parametrize(
    ("spoil", "said", "code"),
    [
        (_nan, {}, "TT-A006"),
        (_more, {}, "TT-A028"),
        (_head, {}, "TT-A027"),
        (_pickled, {}, "TT-A020"),
        (_cut, {}, "TT-M014"),
        (lambda folder: None, {"labels": ["a", "b", "c"]}, "TT-A029"),
        (lambda folder: None, {"labels": ["a", "b", "c"], "outputs": 3}, "TT-A027"),
    ],
)
def test_a_bad_adapter_is_refused_before_the_base_is_loaded(
    spoil: Callable[[Path], None], said: dict[str, object], code: str, tmp_path: Path, monkeypatch
) -> None:
    source = tiny_base(tmp_path)
    folder = moved_artifact(tmp_path / "a", source)
    spoil(folder)
    resealed(folder, **said)
    monkeypatch.setattr(tuning, "load_classifier", None)  # whoever loads the base fails otherwise
    adapters = AdapterSet()
    error = refusal(lambda: adapters.load("a", folder), TrimtabError)
    assert (error.code, error.exit_code) == (code, 5) and adapters.names == ()
    assert refusal(lambda: open_artifact(folder), TrimtabError).code == code


def test_a_head_of_another_model_is_refused(tmp_path: Path) -> None:
    source = tiny_base(tmp_path)
    folder = moved_artifact(tmp_path / "head", source, "head")
    resealed(folder, labels=["a", "b", "c"], outputs=3)
    assert refusal(lambda: AdapterSet().load("a", folder)).code == "TT-A027"


def test_a_plain_peft_folder_is_told_how_to_come_in(tmp_path: Path) -> None:
    folder = moved_artifact(tmp_path / "a", tiny_base(tmp_path))
    (folder / "artifact.json").unlink()
    error = refusal(lambda: AdapterSet().load("a", folder))
    assert error.code == "TT-A021" and "adapters import" in error.message.next_step()
    shutil.rmtree(folder)
    assert refusal(lambda: AdapterSet().load("a", folder)).code == "TT-A001"


def test_a_set_is_public() -> None:
    assert trimtab.AdapterSet is AdapterSet and LABELS == ("bad", "good")


def test_a_load_that_failed_ties_the_set_to_nothing(tmp_path: Path, monkeypatch) -> None:
    """Neither to the base nor to its number format, though the base was read by then."""
    one, other = tiny_base(tmp_path / "1"), tiny_base(tmp_path / "2", hidden=64)
    first = moved_artifact(tmp_path / "a", one, precision="bf16")
    second = moved_artifact(tmp_path / "b", other)
    adapters = AdapterSet()
    with monkeypatch.context() as patch:
        patch.setattr(tuning, "load_adapter", None)
        with pytest.raises(TypeError):
            adapters.load("a", first)
    assert (adapters.names, adapters.active) == ((), None)
    adapters.load("b", second)
    alone = open_artifact(second)
    torch.testing.assert_close(logits_of(adapters.artifact("b")), logits_of(alone), atol=0, rtol=0)
