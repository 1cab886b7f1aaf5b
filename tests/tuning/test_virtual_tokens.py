"""Virtual tokens against plain PEFT: classifiers and language models, padded rows, answers; and what they promise
beside: rows that do not depend on each other, texts to start as, recompute."""

from pathlib import Path

import numpy as np
import pytest
import torch
from peft import PeftModel
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    GenerationConfig,
    PreTrainedModel,
)

from tiny_chat import chat_job, chat_model
from tiny_models import DECODERS, WORDS, tiny_model, tiny_tokenizer
from tiny_training import run
from trimtab import tuning
from trimtab.data import Example
from trimtab.errors import UsageError
from trimtab.evaluation import Collator, encode, logits
from trimtab.methods import Choices, Schedule, Strategy, method_named, parts_for
from trimtab.models import ModelSource, ModelSpec, read_spec
from trimtab.training.session import make_trainable, recompute_layers

OUTPUTS, LAYERS = 3, 3
METHODS = ("prompt", "prefix", "ptuning")
MORE = ("roberta", "distilbert", "xlm-roberta", "electra", "qwen2", "qwen3", "mistral", "gemma")
every_method = pytest.mark.parametrize("method", METHODS)


def strategy_of(spec: ModelSpec, method: str, task: str = "classify", **choices: object) -> Strategy:
    parts = parts_for(method_named(method), task, spec, Choices(**choices))
    return Strategy(method=method, parts=parts, schedule=Schedule(), max_length=40)


def moved(model: PreTrainedModel) -> PreTrainedModel:
    """With trained weights that are no longer what they were."""
    torch.manual_seed(11)
    with torch.no_grad():
        for parameter in (p for p in model.parameters() if p.requires_grad):
            parameter.add_(torch.randn_like(parameter), alpha=0.2)
    return model.eval()


def classifier(source: ModelSource, strategy: Strategy) -> PreTrainedModel:
    model = tuning.load_classifier(source, outputs=OUTPUTS, pad_token_id=0, seed=5)
    return moved(tuning.apply(strategy, model, read_spec(source)))


def padded(family: str, rows: int = 4, length: int = 9) -> dict[str, torch.Tensor]:
    """Rows of which two are shorter, padded where the family's tokenizer pads."""
    ids = torch.randint(4, 40, (rows, length), generator=torch.Generator().manual_seed(3))
    mask = torch.ones_like(ids)
    for row, short in ((0, 4), (2, 1)):
        where = slice(None, short) if family in DECODERS else slice(length - short, None)
        ids[row, where], mask[row, where] = 0, 0
    types = {"token_type_ids": torch.arange(length).ge(5).long().expand(rows, -1) * mask}
    return {"input_ids": ids, "attention_mask": mask} | (types if family == "bert" else {})


@torch.inference_mode()
def said(model: torch.nn.Module, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
    return model(**inputs).logits


def of_peft(folder: Path, base: PreTrainedModel) -> PeftModel:
    base.config.pad_token_id = 0
    return PeftModel.from_pretrained(base, str(folder)).eval()


def assert_peft_says_the_same(family: str, method: str, tmp_path: Path) -> None:
    source = tiny_model(tmp_path / "base", family, layers=LAYERS)
    spec = read_spec(source)
    strategy = strategy_of(spec, method)
    model = classifier(source, strategy)
    (tmp_path / "adapter").mkdir()
    tuning.save_adapter(strategy, model, spec, tmp_path / "adapter", str(source.folder))
    torch.manual_seed(99)  # a head that is certainly not ours
    base = AutoModelForSequenceClassification.from_pretrained(source.folder, num_labels=OUTPUTS)
    theirs = of_peft(tmp_path / "adapter", base)
    inputs = padded(family)
    torch.testing.assert_close(said(theirs, inputs), said(model, inputs), atol=1e-5, rtol=1e-5)
    assert theirs.peft_config["default"].num_virtual_tokens == strategy.positions == 8


@every_method
@pytest.mark.parametrize("family", ["bert", "llama"])
def test_plain_peft_says_the_same_of_padded_rows(family: str, method: str, tmp_path: Path) -> None:
    assert_peft_says_the_same(family, method, tmp_path)


@pytest.mark.soak
@every_method
@pytest.mark.parametrize("family", MORE)
def test_plain_peft_says_the_same_for_more_families(family: str, method: str, tmp_path: Path) -> None:
    spec = read_spec(tiny_model(tmp_path / "spec", family))
    if method_named(method).refusal(spec, Choices()):
        assert (family, method) == ("distilbert", "prefix")
        return
    assert_peft_says_the_same(family, method, tmp_path)


@every_method
def test_plain_peft_writes_the_same(method: str, tmp_path: Path) -> None:
    """A language model: the logits of a text, and what it goes on to write."""
    source = chat_model(tmp_path / "base", "llama", tied=True, layers=LAYERS)
    spec = read_spec(source)
    strategy = strategy_of(spec, method, "instruct")
    model = moved(tuning.apply(strategy, tuning.load_language_model(source, pad_token_id=0), spec))
    (tmp_path / "adapter").mkdir()
    tuning.save_adapter(strategy, model, spec, tmp_path / "adapter", str(source.folder))
    theirs = of_peft(tmp_path / "adapter", AutoModelForCausalLM.from_pretrained(source.folder))
    inputs = padded("llama")
    ours = said(model, inputs)
    seen = inputs["attention_mask"].bool()
    torch.testing.assert_close(said(theirs, inputs)[:, -ours.shape[1] :][seen], ours[seen], atol=1e-5, rtol=1e-5)
    ids = inputs["input_ids"][1:2]
    settings = GenerationConfig(do_sample=False, max_new_tokens=12, eos_token_id=3, pad_token_id=0, use_cache=True)
    written, expected = (
        x.generate(input_ids=ids, attention_mask=torch.ones_like(ids), generation_config=settings)
        for x in (model, theirs)
    )
    assert written.tolist() == expected.tolist()
    base = AutoModelForCausalLM.from_pretrained(source.folder)
    assert written.tolist() != base.generate(ids, generation_config=settings).tolist()
    # Without a cache every step reads the whole text again.
    settings.use_cache = False
    assert model.generate(ids, generation_config=settings).tolist() == written.tolist()


@every_method
@pytest.mark.parametrize("family", ["bert", "llama"])
def test_a_row_does_not_depend_on_the_rows_beside_it(family: str, method: str, tmp_path: Path) -> None:
    source, tokenizer = tiny_model(tmp_path, family), tiny_tokenizer(family)
    strategy = strategy_of(read_spec(source), method)
    model = classifier(source, strategy)
    draw = np.random.default_rng(1)
    rows = [Example((" ".join(draw.choice(WORDS, int(n))),), 0) for n in draw.integers(1, 30, 20)]
    encoded, collator = encode(rows, tokenizer, 40), Collator.of(tokenizer, 40).beside(strategy)
    together, alone = (logits(model, encoded, collator, tokens=tokens) for tokens in (4096, 1))
    np.testing.assert_allclose(together, alone, atol=1e-5, rtol=1e-4)
    assert np.ptp(together, axis=0).max() > 0.01
    inputs = {name: x for name, x in tokenizer(rows[0].texts[0], return_tensors="pt").items()}
    np.testing.assert_allclose(alone[:1], said(model, inputs), atol=1e-5, rtol=1e-4)


@every_method
def test_the_positions_of_the_model_are_what_virtual_tokens_and_text_share(method: str, tmp_path: Path) -> None:
    source = tiny_model(tmp_path, "bert", positions=30)
    spec = read_spec(source)
    model = classifier(source, strategy_of(spec, method))
    most = spec.longest_text - strategy_of(spec, method).positions
    ids = torch.full((1, most + 1), 5)
    said(model, {"input_ids": ids[:, :most], "attention_mask": torch.ones_like(ids[:, :most])})
    with pytest.raises((IndexError, RuntimeError)):
        said(model, {"input_ids": ids, "attention_mask": torch.ones_like(ids)})


def test_a_prompt_starts_as_tokens_of_the_vocabulary(tmp_path: Path) -> None:
    source = tiny_model(tmp_path, "bert")
    starts = []
    for seed in (1, 1, 2):
        model = tuning.load_classifier(source, outputs=OUTPUTS, pad_token_id=0)
        torch.manual_seed(seed)
        tuning.apply(strategy_of(read_spec(source), "prompt"), model, read_spec(source))
        starts.append(tuning.virtual_tokens(model)().detach())
    table = model.get_input_embeddings().weight
    assert all((table == vector).all(1).any() for vector in starts[2])
    assert torch.equal(starts[0], starts[1]) and not torch.equal(starts[0], starts[2])


def test_a_prompt_starts_as_a_text_cut_or_repeated(tmp_path: Path) -> None:
    source, tokenizer = tiny_model(tmp_path, "bert"), tiny_tokenizer("bert")
    spec, words = read_spec(source), "good bad fine"
    ids = tokenizer(words, add_special_tokens=False)["input_ids"]
    for tokens, expected in ((2, ids[:2]), (7, [*ids, *ids, ids[0]])):
        strategy = strategy_of(spec, "prompt", virtual_tokens=tokens, init_text=words)
        model = tuning.load_classifier(source, outputs=OUTPUTS, pad_token_id=0)
        model, _ = make_trainable(model, strategy, spec, torch.device("cpu"), tokenizer=tokenizer)
        table = model.get_input_embeddings().weight
        assert torch.equal(tuning.virtual_tokens(model)(), table[torch.tensor(expected)])
    with pytest.raises(UsageError) as caught:
        tuning.start_from_text(strategy_of(spec, "prompt", init_text="\t"), model, tokenizer)
    assert caught.value.code == "TT-P083"


@every_method
@pytest.mark.parametrize("family", ["bert", "llama"])
def test_recompute_gives_the_same_gradients(family: str, method: str, tmp_path: Path) -> None:
    source = tiny_model(tmp_path, family, layers=LAYERS, dropout=0.0)
    strategy, found = strategy_of(read_spec(source), method), []
    for recompute in (False, True):
        model = classifier(source, strategy)
        if recompute:
            recompute_layers(model)
        tuning.train_mode(strategy, model, read_spec(source))
        model(**padded(family)).logits.logsumexp(1).sum().backward()
        found.append([p.grad for p in model.parameters() if p.requires_grad])
    for plain, again in zip(*found, strict=True):
        torch.testing.assert_close(again, plain, rtol=1e-4, atol=1e-7)
        assert plain.any()


def test_what_p_tuning_keeps_is_what_its_network_gives(tmp_path: Path) -> None:
    from safetensors.torch import load_file

    source = tiny_model(tmp_path / "base", "bert", layers=LAYERS)
    spec = read_spec(source)
    strategy = strategy_of(spec, "ptuning")
    model = classifier(source, strategy)
    (tmp_path / "adapter").mkdir()
    tuning.save_adapter(strategy, model, spec, tmp_path / "adapter", str(source.folder))
    kept = load_file(tmp_path / "adapter" / "adapter_model.safetensors")
    vectors, network = (getattr(tuning.virtual_tokens(model), name) for name in ("vectors", "network"))
    assert torch.equal(kept["prompt_embeddings"], network(vectors))
    numbers = sum(part.kept_parameters(spec, OUTPUTS) for part in strategy.parts)
    assert sum(tensor.numel() for tensor in kept.values()) == numbers
    opened = tuning.apply(strategy, tuning.load_classifier(source, outputs=OUTPUTS, pad_token_id=0), spec)
    tuning.load_adapter(strategy, opened, tmp_path / "adapter")
    assert torch.equal(said(opened.eval(), padded("bert")), said(model, padded("bert")))


@every_method
def test_bare_it_is_its_base_again(method: str, tmp_path: Path) -> None:
    source = tiny_model(tmp_path, "llama")
    spec = read_spec(source)
    plain = tuning.load_classifier(source, outputs=OUTPUTS, pad_token_id=0, seed=5).eval()
    model = tuning.load_classifier(source, outputs=OUTPUTS, pad_token_id=0, seed=5)
    tuning.apply(strategy_of(spec, method), model, spec).eval()
    with tuning.bare(model):
        assert torch.equal(said(model, padded("llama")), said(plain, padded("llama")))
    assert not torch.allclose(said(model, padded("llama")), said(plain, padded("llama")))


def test_a_chat_model_learns_with_a_prompt_and_is_held_to_its_base(tmp_path: Path) -> None:
    job, corpus = chat_job(tmp_path, "prompt", schedule=Schedule(epochs=6, learning_rate=0.3, warmup_share=0.1))
    events, session = run(job, corpus)
    answers = session.objective
    done = events[-1].run
    base = tuning.load_language_model(job.source, pad_token_id=0)
    of_base = answers.score(base, session.scored("dev", session.dev))
    assert done.untrained_metric == pytest.approx(of_base.loss, rel=1e-6)
    assert done.dev.loss < of_base.loss - 0.3
    # What the loop computes is what transformers computes of the longer text.
    inputs, targets = session.inputs(np.arange(3))
    logits = said(session.model.eval(), inputs)[:, :-1].flatten(0, 1).log_softmax(1)
    labels = inputs["input_ids"][:, 1:].flatten()
    width = inputs["input_ids"].shape[1]
    at = (targets[0] // width) * (width - 1) + targets[0] % width
    assert torch.equal(labels[at], targets[1])
    plain = -logits[at, targets[1]].sum()
    ours = answers.loss_sum(session.model, inputs, targets, job.strategy)
    assert float(ours.detach()) == pytest.approx(float(plain), rel=1e-5)
