"""Exams of every method: what was trained is what is saved, for Trimtab and for PEFT itself."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from exam_cases import LAYERS, OUTPUTS, Case, inputs, method_cases, methods_of
from peft import PeftModel, PeftType
from peft.tuners.tuners_utils import BaseTunerLayer
from transformers import AutoModelForSequenceClassification, PreTrainedModel

from tiny_models import tiny_model, tiny_tokenizer
from tiny_training import tiny_strategy
from trimtab import tuning
from trimtab.evaluation import ArtifactFacts, Base, open_artifact, save_artifact
from trimtab.methods import Precision, VirtualTokens
from trimtab.models import read_spec, weights_hash
from trimtab.training.session import make_trainable

LABELS = ("bad", "good", "so-so")
CPU = torch.device("cpu")


def trained_model(case: Case, precision: Precision) -> tuple[Case, PreTrainedModel]:
    """The model as the loop leaves it: cast, on the CPU kernels, its trained weights moved."""
    strategy = replace(case.strategy, precision=precision)
    model = tuning.load_classifier(case.source, outputs=OUTPUTS, pad_token_id=0, labels=LABELS, seed=5)
    model, optimizer = make_trainable(model, strategy, case.spec, CPU)
    torch.manual_seed(11)
    optimizer.restore_masters(
        {f"master/{name}": master + 0.2 * torch.randn_like(master) for name, master in optimizer.masters.items()}
    )
    return replace(case, strategy=strategy), model.eval()


def save(case: Case, model: PreTrainedModel, folder: Path) -> None:
    facts = ArtifactFacts(
        adapter=any(part.adapter for part in case.strategy.parts),
        task="classify",
        labels=LABELS,
        columns=("text",),
        label_column="label",
        outputs=OUTPUTS,
        base=Base(
            name=str(case.source.folder),
            hub_id="",
            revision="",
            family=case.spec.family,
            weights_sha256=weights_hash(case.source.folder),
        ),
        strategy=case.strategy,
        trimtab_version="0",
    )
    folder.mkdir(exist_ok=True)
    save_artifact(folder, facts, model, tiny_tokenizer(case.spec.family), case.spec)


def logits_of(model: torch.nn.Module) -> torch.Tensor:
    with torch.inference_mode():
        return model(**inputs()).logits


def assert_same_bits(opened: PreTrainedModel, trained: PreTrainedModel) -> None:
    assert float((logits_of(opened) - logits_of(trained)).abs().max()) == 0.0


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("case", method_cases(), ids=lambda case: case.name)
def test_a_reopened_artifact_gives_the_same_bits(case: Case, precision: Precision, tmp_path: Path) -> None:
    case, model = trained_model(case, precision)
    save(case, model, tmp_path)
    opened = open_artifact(tmp_path)
    assert_same_bits(opened.model, model)
    assert opened.facts.strategy == case.strategy
    assert {p.dtype for p in opened.model.parameters() if p.is_floating_point()} == {tuning.DTYPES[precision]}
    config = tmp_path / "config.json"
    assert not config.exists() or "trimtab" not in config.read_text()  # our kernels are not theirs


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize(
    ("family", "method"), [(family, method.name) for family in ("bert", "llama") for method in methods_of(family)]
)
def test_a_base_stored_in_bf16_gives_the_same_bits(
    family: str, method: str, precision: Precision, tmp_path: Path
) -> None:
    source = tiny_model(tmp_path / "base", family, layers=LAYERS, dtype=torch.bfloat16)
    case = Case("", source, read_spec(source), tiny_strategy(source, method))
    case, model = trained_model(case, precision)
    save(case, model, tmp_path / "artifact")
    assert_same_bits(open_artifact(tmp_path / "artifact").model, model)


adapters = [case for case in method_cases() if any(part.adapter for part in case.strategy.parts)]


@pytest.mark.parametrize("case", adapters, ids=lambda case: case.name)
def test_peft_loads_an_adapter_folder(case: Case, tmp_path: Path) -> None:
    case, model = trained_model(case, "fp32")
    save(case, model, tmp_path)
    torch.manual_seed(99)  # a head and a pooler that are certainly not ours
    base = AutoModelForSequenceClassification.from_pretrained(case.source.folder, num_labels=OUTPUTS)
    base.config.pad_token_id = 0
    tuning.quantise(case.strategy, base, case.spec)
    theirs = PeftModel.from_pretrained(base, str(tmp_path)).eval()
    torch.testing.assert_close(logits_of(theirs), logits_of(model), atol=1e-5, rtol=1e-5)
    if not any(
        isinstance(part, VirtualTokens) for part in case.strategy.parts
    ):  # no module of theirs: a wrapper's
        assert touched(theirs.base_model.model) == touched(model) != set()
    own = theirs.peft_config["default"].peft_type not in list(PeftType)
    assert own != tuning.adapter_of(case.strategy).in_peft


def touched(model: torch.nn.Module) -> set[str]:
    """Names of the modules that hold an adapter."""
    return {name for name, module in model.named_modules() if isinstance(module, BaseTunerLayer)}
