"""The tuners that PEFT does not have, as PEFT uses them: load, switch, disable, delete, mix, merge."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from peft import PeftModel
from transformers import AutoModelForSequenceClassification

from tiny_models import tiny_model
from tiny_training import tiny_strategy
from trimtab import tuning
from trimtab.models import ModelSource, read_spec

OUTPUTS = 3
OURS = ("adapter", "bitfit")
NAMES = ("first", "second")
every_one = pytest.mark.parametrize("method", OURS)


def logits_of(model: torch.nn.Module, rows: int = 4, **more: object) -> torch.Tensor:
    draw = torch.Generator().manual_seed(3)
    ids = torch.randint(4, 40, (rows, 9), generator=draw)
    with torch.inference_mode():
        return model(input_ids=ids, attention_mask=torch.ones_like(ids), **more).logits


def saved(source: ModelSource, folder: Path, method: str, seed: int) -> torch.Tensor:
    """An adapter with weights of its own, in `folder`; what it says."""
    spec, strategy = read_spec(source), tiny_strategy(source, method)
    model = tuning.load_classifier(source, outputs=OUTPUTS, pad_token_id=0, seed=5)
    tuning.apply(strategy, model, spec)
    torch.manual_seed(seed)
    with torch.no_grad():
        for parameter in (p for p in model.parameters() if p.requires_grad):
            parameter.add_(torch.randn_like(parameter), alpha=0.2)
    folder.mkdir()
    tuning.save_adapter(strategy, model, spec, folder, str(source.folder))
    return logits_of(model.eval())


def base(source: ModelSource, **more: object) -> torch.nn.Module:
    torch.manual_seed(99)  # a head and a pooler that are nobody's
    model = AutoModelForSequenceClassification.from_pretrained(source.folder, num_labels=OUTPUTS, **more)
    model.config.pad_token_id = 0
    return model.eval()


@pytest.fixture
def two(tmp_path: Path, request) -> tuple[PeftModel, torch.nn.Module, torch.Tensor, torch.Tensor]:
    """A DistilBERT under PEFT with two adapters of a method, the first active; it bare; what each says alone."""
    method = request.node.callspec.params["method"]
    source = tiny_model(tmp_path / "base", "distilbert", layers=3)  # PEFT cannot mix BERT's poolers
    says = [saved(source, tmp_path / name, method, seed) for seed, name in enumerate(NAMES)]
    model = PeftModel.from_pretrained(base(source), str(tmp_path / "first"), adapter_name="first")
    model.load_adapter(str(tmp_path / "second"), adapter_name="second")
    return model.eval(), base(source), *says


@every_one
def test_two_adapters_on_one_base_are_switched_disabled_and_deleted(method: str, two) -> None:
    model, bare, a, b = two
    assert torch.equal(logits_of(model), a)
    model.set_adapter("second")
    assert torch.equal(logits_of(model), b) and not torch.allclose(a, b)
    with model.disable_adapter():
        assert torch.equal(logits_of(model), logits_of(bare))
    model.set_adapter("first")
    model.delete_adapter("second")
    assert torch.equal(logits_of(model), a)
    assert not [name for name, _ in model.named_parameters() if "second" in name]


@every_one
def test_every_row_of_a_mixed_batch_gets_its_own_adapter(method: str, two) -> None:
    """PEFT drops the rows' adapters in silence for tuners that do not take them up."""
    model, bare, a, b = two
    mixed = logits_of(model, adapter_names=["first", "second", "__base__", "second"])
    alone = torch.stack([a[0], b[1], logits_of(bare)[2], b[3]])
    torch.testing.assert_close(mixed, alone, atol=1e-5, rtol=1e-5)
    with pytest.raises(ValueError, match="unknown: \\['third'\\]"):
        logits_of(model, adapter_names=["first", "second", "third", "second"])
    with pytest.raises(ValueError, match="evaluation mode"):
        logits_of(model.train(), adapter_names=["first", "second", "first", "second"])


@every_one
def test_a_low_precision_base_takes_an_adapter_in_fp32(method: str, tmp_path: Path) -> None:
    """PEFT casts adapters up when it loads them."""
    source = tiny_model(tmp_path / "base", "bert", layers=3)
    says = saved(source, tmp_path / "a", method, seed=0)
    model = PeftModel.from_pretrained(base(source, dtype=torch.bfloat16), str(tmp_path / "a")).eval()
    assert {p.dtype for name, p in model.named_parameters() if "bneck_" in name or "bitfit_" in name} == {
        torch.float32
    }
    out = logits_of(model)
    assert out.dtype == torch.bfloat16
    torch.testing.assert_close(out.float(), says, atol=0.1, rtol=0.1)


@pytest.mark.parametrize("family", ["bert", "distilbert"])
def test_peft_merges_biases_and_takes_them_out_again(family: str, tmp_path: Path) -> None:
    source = tiny_model(tmp_path / "base", family, layers=3)
    says = saved(source, tmp_path / "a", "bitfit", seed=0)
    model = PeftModel.from_pretrained(base(source), str(tmp_path / "a")).eval()
    model.merge_adapter()
    assert torch.equal(logits_of(model), says)
    model.unmerge_adapter()
    assert torch.equal(logits_of(model), says)
    with model.disable_adapter():
        assert torch.equal(logits_of(model), logits_of(base(source)))
    merged = model.merge_and_unload()
    assert not isinstance(merged, PeftModel) and torch.equal(logits_of(merged), says)


def test_peft_is_told_why_a_bottleneck_cannot_be_merged(tmp_path: Path) -> None:
    source = tiny_model(tmp_path / "base", "bert", layers=3)
    says = saved(source, tmp_path / "a", "adapter", seed=0)
    model = PeftModel.from_pretrained(base(source), str(tmp_path / "a")).eval()
    for merge in (model.merge_adapter, model.merge_and_unload):
        with pytest.raises(ValueError, match="non-linearity"):
            merge()
    assert torch.equal(logits_of(model), says)


@every_one
def test_an_adapter_is_small_and_says_what_it_is(method: str, tmp_path: Path) -> None:
    source = tiny_model(tmp_path / "base", "bert", layers=3)
    saved(source, tmp_path / "a", method, seed=0)
    plain = json.loads((tmp_path / "a" / "adapter_config.json").read_text())
    assert plain["peft_type"] == {"adapter": "BOTTLENECK", "bitfit": "BITFIT"}[method]
    assert plain.get("width") == {"adapter": 32, "bitfit": None}[method]
    assert plain["modules_to_save"] == ["classifier", "pooler"]
    spec, strategy = read_spec(source), tiny_strategy(source, method)
    weights = (tmp_path / "a" / "adapter_model.safetensors").stat().st_size
    assert weights < 4 * strategy.trainable_parameters(spec, OUTPUTS) + 10_000  # names and shapes


def test_plain_peft_knows_them_once_tuning_is_imported(tmp_path: Path) -> None:
    """In a process of its own: here they are known already."""
    source = tiny_model(tmp_path / "base", "bert", layers=3)
    saved(source, tmp_path / "a", "adapter", seed=0)
    program = (
        "import sys; from peft import PeftConfig; {}print(type(PeftConfig.from_pretrained(sys.argv[1])).__name__)"
    )
    found = [
        subprocess.run(
            [sys.executable, "-c", program.format(first), str(tmp_path / "a")],
            capture_output=True,
            text=True,
            check=False,
        )
        for first in ("", "import trimtab.tuning;")
    ]
    assert found[0].returncode != 0 and "BOTTLENECK" in found[0].stderr
    assert found[1].stdout.strip() == "BottleneckConfig", found[1].stderr[-1000:]
