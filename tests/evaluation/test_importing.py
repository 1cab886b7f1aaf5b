"""LoRA adapters that plain PEFT has made come in, and compute here what they compute there."""

import json
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from peft import LoraConfig, PeftModel, TaskType, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification

from tiny_artifacts import TEXTS, tiny_base
from tiny_chat import chat_model
from tiny_models import tiny_model
from trimtab.data import Task
from trimtab.errors import TrimtabError, UsageError
from trimtab.evaluation import AdapterSet, open_artifact
from trimtab.evaluation.made_rows import ROWS, made_rows
from trimtab.methods import Lora
from trimtab.models import ModelSource
from trimtab.study import import_adapter, merge_adapter

PATTERN = r"([a-z]+)*\.query_that_is_not_there"  # Python's re needs 2^n steps to see that it does not match


def peft_folder(
    folder: Path, source: ModelSource, task: str = "SEQ_CLS", labels: int = 3, **changed: object
) -> Path:
    """What a user of plain PEFT has: base, get_peft_model, some steps, save_pretrained."""
    torch.manual_seed(4)
    kind = AutoModelForSequenceClassification if task == "SEQ_CLS" else AutoModelForCausalLM
    more = {"num_labels": labels} if task == "SEQ_CLS" else {}
    base = kind.from_pretrained(source.folder, **more)
    base.config.pad_token_id = 0
    asked = {"r": 4, "lora_alpha": 12, "target_modules": ["query", "value"]} | changed
    model = get_peft_model(base, LoraConfig(task_type=TaskType(task), **asked))
    with torch.no_grad():
        for parameter in (p for p in model.parameters() if p.requires_grad):
            parameter.add_(torch.randn_like(parameter), alpha=0.3)
    model.save_pretrained(str(folder))
    return folder


def in_peft(folder: Path, source: ModelSource, ids: torch.Tensor, labels: int) -> torch.Tensor:
    base = AutoModelForSequenceClassification.from_pretrained(source.folder, num_labels=labels)
    base.config.pad_token_id = 0
    with torch.inference_mode():
        return PeftModel.from_pretrained(base, str(folder)).eval()(input_ids=ids).logits


def refusal(import_it: Callable[[], object]) -> TrimtabError:
    with pytest.raises(TrimtabError) as caught:
        import_it()
    return caught.value


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base and a classifier of plain PEFT on it, to be copied."""
    folder = tmp_path_factory.mktemp("made")
    peft_folder(folder / "theirs", with_pooler(folder))
    return folder


def with_pooler(folder: Path) -> ModelSource:
    """A BERT as published with its pooler, which plain PEFT leaves as it is."""
    return tiny_model(folder / "base", "bert", layers=3)


@pytest.mark.parametrize(
    ("targets", "roles", "top"),
    [
        pytest.param({}, ("q", "v"), None, marks=pytest.mark.soak),
        ({"layers_to_transform": [1, 2], "layers_pattern": "layer"}, ("q", "v"), 2),
        pytest.param(
            {"target_modules": r".*\.attention\.self\.(key|value)"}, ("k", "v"), None, marks=pytest.mark.soak
        ),
        ({"target_modules": r".*layer.*(query|key|value|dense)"}, ("q", "k", "v", "o", "up", "down"), None),
    ],
)
def test_a_classifier_of_plain_peft_says_the_same_here(
    targets: dict[str, object], roles: tuple[str, ...], top: int | None, tmp_path: Path
) -> None:
    source = with_pooler(tmp_path)
    folder = peft_folder(tmp_path / "theirs", source, **targets)
    made = import_adapter(str(folder), str(source.folder), str(tmp_path / "ours"), labels=("a", "b", "c"))
    assert made.difference < 1e-5
    ours = open_artifact(tmp_path / "ours")
    assert ours.facts.strategy.parts[0] == Lora(rank=4, alpha=12, targets=roles, top_layers=top)
    assert (ours.facts.origin, ours.facts.labels) == ("imported", ("a", "b", "c"))
    torch.manual_seed(0)
    ids = torch.randint(4, 40, (5, 9))
    with torch.inference_mode():
        found = ours.model(input_ids=ids).logits
    torch.testing.assert_close(found, in_peft(folder, source, ids, 3), atol=1e-5, rtol=1e-5)


def test_a_chat_adapter_of_plain_peft_is_plugged_in_and_merged(tmp_path: Path) -> None:
    source = chat_model(tmp_path / "base")
    folder = peft_folder(tmp_path / "theirs", source, "CAUSAL_LM", target_modules="all-linear")
    made = import_adapter(str(folder), str(source.folder), str(tmp_path / "ours"))
    assert made.row.task == "instruct" and made.difference < 1e-4
    adapters = AdapterSet()
    adapters.load("theirs", tmp_path / "ours")
    assert [one.text for one in adapters.predict(TEXTS[:1])] != [None]
    assert merge_adapter(str(tmp_path / "ours"), str(tmp_path / "whole")).difference < 1e-4


def test_a_number_is_a_regression_and_two_columns_are_pairs(tmp_path: Path) -> None:
    source = with_pooler(tmp_path)
    one = peft_folder(tmp_path / "one", source, labels=1)
    made = import_adapter(str(one), str(source.folder), str(tmp_path / "a"))
    assert (made.row.task, made.row.labels) == ("regress", ())
    two = peft_folder(tmp_path / "two", source, labels=2)
    made = import_adapter(str(two), str(source.folder), str(tmp_path / "b"), columns=("first", "second"))
    assert (made.row.task, made.row.labels) == ("pair", ("LABEL_0", "LABEL_1"))


def said(folder: Path, **changed: object) -> None:
    path = folder / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changed))


def without(folder: Path, *words: str) -> None:
    file = folder / "adapter_model.safetensors"
    save_file({n: x for n, x in load_file(file).items() if not any(word in n for word in words)}, file)


def pickled(folder: Path) -> None:
    (folder / "adapter_model.safetensors").unlink()
    torch.save({}, folder / "adapter_model.bin")


def not_finite(folder: Path) -> None:
    file = folder / "adapter_model.safetensors"
    tensors = load_file(file)
    next(iter(tensors.values())).fill_(float("inf"))
    save_file(tensors, file)


@pytest.mark.parametrize(
    ("spoil", "code"),
    [
        (pickled, "TT-A020"),
        (not_finite, "TT-A006"),
        (lambda folder: said(folder, r=10**7), "TT-A033"),
        (lambda folder: said(folder, r=[4]), "TT-A033"),
        (lambda folder: said(folder, lora_alpha="12"), "TT-A031"),
        (lambda folder: said(folder, lora_alpha=float("nan")), "TT-A031"),
        (lambda folder: said(folder, lora_alpha=float("inf")), "TT-A031"),
        (lambda folder: said(folder, peft_type="IA3"), "TT-A030"),
        (lambda folder: said(folder, task_type="TOKEN_CLS"), "TT-A031"),
        (lambda folder: said(folder, use_dora=True), "TT-A031"),
        (lambda folder: said(folder, layer_replication=[[0, 1]] * 10**5), "TT-A031"),
        (lambda folder: said(folder, rank_pattern={"query": 8}), "TT-A031"),
        (lambda folder: said(folder, init_lora_weights="pissa"), "TT-A031"),
        (lambda folder: said(folder, a_setting_of_tomorrow=1), "TT-A031"),
        (lambda folder: without(folder, "layer.1."), "TT-A034"),
        (lambda folder: without(folder, "lora_A"), "TT-A034"),
        (lambda folder: without(folder, "classifier"), "TT-A035"),
        (lambda folder: (folder / "adapter_config.json").unlink(), "TT-M004"),
    ],
)
def test_what_is_no_lora_of_this_base_is_refused_unloaded(
    spoil: Callable[[Path], object], code: str, made: Path, tmp_path: Path, monkeypatch
) -> None:
    shutil.copytree(made, tmp_path, dirs_exist_ok=True)
    folder, base = tmp_path / "theirs", str(tmp_path / "base")
    spoil(folder)
    monkeypatch.setattr("trimtab.tuning.load_classifier", None)
    error = refusal(lambda: import_adapter(str(folder), base, str(tmp_path / "ours")))
    assert (error.code, error.exit_code) == (code, 5), error
    assert len(str(error)) < 1000 and sorted(p.name for p in tmp_path.iterdir()) == ["base", "theirs"]


def test_a_pattern_that_never_ends_is_never_matched(made: Path, tmp_path: Path) -> None:
    shutil.copytree(made, tmp_path, dirs_exist_ok=True)
    folder, base = tmp_path / "theirs", str(tmp_path / "base")
    said(folder, target_modules=PATTERN, exclude_modules=PATTERN, layers_pattern=[PATTERN])
    started = time.perf_counter()
    imported = import_adapter(str(folder), base, str(tmp_path / "ours"))
    assert imported.difference < 1e-5 and time.perf_counter() - started < 30
    saved = json.loads((tmp_path / "ours" / "adapter_config.json").read_text())
    assert PATTERN not in json.dumps(saved)


def test_an_adapter_of_another_base_is_refused_with_numbers(made: Path, tmp_path: Path) -> None:
    wider, folder = tiny_base(tmp_path, hidden=64, layers=3), made / "theirs"
    error = refusal(lambda: import_adapter(str(folder), str(wider.folder), str(tmp_path / "ours")))
    assert error.code == "TT-A032" and "4 x 32" in str(error) and "4 x 64" in str(error)
    for other, code in (("bert", "TT-A034"), ("llama", "TT-A028")):
        base = tiny_model(tmp_path / other, other, layers=4)
        error = refusal(lambda base=base: import_adapter(str(folder), str(base.folder), str(tmp_path / "ours")))
        assert error.code == code


def test_a_layer_that_nobody_has_kept_is_refused(tmp_path: Path) -> None:
    """A BERT published without its pooler: PEFT trains above one that was made at random, and does not save it."""
    source = with_pooler(tmp_path)
    file = source.folder / "model.safetensors"
    save_file({n: x for n, x in load_file(file).items() if "pooler" not in n}, file, metadata={"format": "pt"})
    folder = peft_folder(tmp_path / "theirs", source)
    error = refusal(lambda: import_adapter(str(folder), str(source.folder), str(tmp_path / "ours")))
    assert error.code == "TT-A045" and "bert.pooler.dense" in str(error)
    folder = peft_folder(tmp_path / "whole", source, modules_to_save=["pooler", "classifier"])
    assert import_adapter(str(folder), str(source.folder), str(tmp_path / "ours")).difference < 1e-5


def test_labels_are_as_many_as_the_head_has_numbers(made: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError) as caught:
        import_adapter(str(made / "theirs"), str(made / "base"), str(tmp_path / "ours"), labels=("a", "b"))
    assert caught.value.code == "TT-A049" and not (tmp_path / "ours").exists()


@pytest.mark.parametrize("task", ["regress", "instruct", "embed", "text", "tag"])
def test_a_task_of_another_head_is_refused(task: Task, made: Path, tmp_path: Path) -> None:
    theirs, base, out = str(made / "theirs"), str(made / "base"), str(tmp_path / "ours")
    error = refusal(lambda: import_adapter(theirs, base, out, task=task))
    assert (error.code, error.exit_code) == ("TT-A052", 2) and "classify" in error.message.next_step()
    assert not (tmp_path / "ours").exists()


def test_an_adapter_without_a_head_goes_on_with_texts_of_a_file(tmp_path: Path) -> None:
    source = chat_model(tmp_path / "base")
    folder = str(peft_folder(tmp_path / "theirs", source, "CAUSAL_LM", target_modules="all-linear"))
    base, out = str(source.folder), str(tmp_path / "ours")
    assert refusal(lambda: import_adapter(folder, base, out, task="classify")).code == "TT-A052"
    made = import_adapter(folder, base, out, task="text")
    ours = open_artifact(tmp_path / "ours")
    blocks = len(ours.encode(made_rows(ours.tokenizer, 1, ours.facts.strategy.max_length)))
    assert made.compared_rows == min(blocks, ROWS)
    (tmp_path / "asked.csv").write_text("text\ngood film\n")
    asked = ours.objective.asked((), str(tmp_path / "asked.csv"), ours.facts.columns)
    assert [example.texts for example in asked] == [("good film",)]
