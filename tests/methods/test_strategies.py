"""Methods, parts and strategies as values."""

from dataclasses import replace

import pytest

from trimtab.errors import UsageError
from trimtab.methods import (
    METHODS,
    PARTS,
    UPDATE_RULES,
    AdamW,
    Bottleneck,
    Choices,
    Head,
    Lora,
    Part,
    Prompt,
    Schedule,
    Strategy,
    UpdateRule,
    Weights,
    balanced_weights,
    method_named,
    strategy_from_json,
    strategy_to_json,
)
from trimtab.models import shape_named

BERT = shape_named("bert-base-uncased")
QWEN = shape_named("qwen2-0.5b")
every_method = pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)


def made(name: str, spec=BERT, **choices) -> Strategy:
    return Strategy(method=name, parts=method_named(name).parts(spec, Choices(**choices)))


@every_method
@pytest.mark.parametrize("rule", [AdamW(betas=(0.8, 0.9)), *(rule() for rule in UPDATE_RULES)])
def test_a_strategy_comes_back_from_json(method, rule: UpdateRule) -> None:
    import json

    strategy = replace(
        made(method.name),
        precision="bf16",
        optimizer=rule,
        schedule=Schedule(epochs=7, decay="cosine"),
        recompute=True,
        ema_decay=0.999,
        label_smoothing=0.1,
        class_weights=(0.5, 2.5),
    )
    assert strategy_from_json(json.loads(json.dumps(strategy_to_json(strategy)))) == strategy


def test_an_optimiser_without_a_name_is_adamw() -> None:
    """As older artifacts have it."""
    plain = strategy_to_json(made("lora"))
    del plain["optimizer"]["rule"]
    assert strategy_from_json(plain).optimizer == AdamW()
    with pytest.raises(KeyError):
        strategy_from_json({**plain, "optimizer": {"rule": "sgd"}})


def test_balanced_weights_by_hand() -> None:
    """30 rows of one class, 10 of another: each class counts 20 in all, and a row 1 on average."""
    weights = balanced_weights((30, 10, 0))
    assert weights == pytest.approx((40 / 60, 2.0, 1.0))
    assert 30 * weights[0] == 10 * weights[1] == pytest.approx(20)
    assert balanced_weights((7, 7)) == (1.0, 1.0)


@pytest.mark.parametrize("part", PARTS, ids=lambda part: part.name)
def test_every_part_can_be_stored(part: type[Part]) -> None:
    strategy = Strategy(method="x", parts=(part(),))
    assert strategy_from_json(strategy_to_json(strategy)) == strategy


def test_an_unknown_key_or_part_is_an_error() -> None:
    plain = strategy_to_json(made("lora"))
    with pytest.raises(TypeError):
        strategy_from_json({**plain, "warp": 9})
    with pytest.raises(KeyError):
        strategy_from_json({**plain, "parts": [{"part": "magic"}]})


def test_names_are_unique_and_a_near_miss_is_helped() -> None:
    assert len({method.name for method in METHODS}) == len(METHODS)
    assert len({part.name for part in PARTS}) == len(PARTS)
    with pytest.raises(UsageError) as caught:
        method_named("lroa")
    assert (caught.value.code, caught.value.message.fact("suggestion")) == ("TT-U010", "lora")


def test_lora_of_the_paper_by_hand() -> None:
    """Hu et al. 2021: RoBERTa base, rank 8 on q and v: 0.3 M parameters = 12 x 2 x 8 x (768 + 768)."""
    part = Lora(rank=8)
    assert part.trainable_parameters(BERT, 2) == 12 * 2 * 8 * (768 + 768) == 294_912
    assert Lora(rank=8, top_layers=3).trainable_parameters(BERT, 2) == 3 * 2 * 8 * 1536


def test_dora_adds_a_number_a_row_and_rslora_none() -> None:
    """Liu et al. 2024: a magnitude for each output of a matrix."""
    plain, dora, rslora = (made("lora", lora_variant=variant).parts[0] for variant in (None, "dora", "rslora"))
    assert plain.trainable_parameters(BERT, 2) == rslora.trainable_parameters(BERT, 2)
    assert dora.trainable_parameters(BERT, 2) - plain.trainable_parameters(BERT, 2) == 12 * 2 * 768
    assert (plain.alpha, rslora.alpha, made("lora", lora_variant="rslora", rank=64).parts[0].alpha) == (16, 16, 16)


def test_lora_on_a_decoder_reaches_every_matrix() -> None:
    """Qwen2 0.5B: hidden 896, keys and values 128 wide, inner 4864, 24 layers."""
    sizes = [(896, 896), (896, 128), (896, 128), (896, 896), (896, 4864), (896, 4864), (4864, 896)]
    lora = made("lora", QWEN).parts[0]
    assert lora.trainable_parameters(QWEN, 2) == 24 * sum(8 * (a + b) for a, b in sizes)


def test_bottlenecks_of_bert_by_hand() -> None:
    """Down and up with their biases, after both output matrices of a layer, or after the second."""
    one = 768 * 64 + 64 + 64 * 768 + 768
    assert Bottleneck().trainable_parameters(BERT, 2) == 12 * 2 * one
    assert Bottleneck(placement="pfeiffer", top_layers=5).trainable_parameters(BERT, 2) == 5 * one
    assert made("adapter", replace(BERT, hidden=48)).parts[0] == Bottleneck(width=48)


def test_ia3_of_bert_by_hand() -> None:
    assert made("ia3").parts[0].trainable_parameters(BERT, 2) == 12 * (768 + 768 + 3072)
    qwen = made("ia3", QWEN).parts[0]  # keys and values are 128 wide
    assert qwen.trainable_parameters(QWEN, 2) == 24 * (128 + 128 + 4864)


def test_biases_of_bert_are_as_few_as_the_paper_says() -> None:
    """Ben Zaken et al. 2022: under 0.1 % of BERT. Query, key, value, output, two of the network, two norms."""
    biases = made("bitfit").parts[0].trainable_parameters(BERT, 2)
    assert biases == 12 * (4 * 768 + 3072 + 768 + 2 * 768) == 101_376
    assert biases < 0.001 * BERT.parameters
    qwen = made("bitfit", QWEN).parts[0]
    assert qwen.trainable_parameters(QWEN, 2) == 24 * (896 + 128 + 128)


def test_virtual_tokens_by_hand() -> None:
    """Embeddings of 768 numbers; for p-tuning a network of three matrices; keys and values of 12 layers. Qwen2
    0.5B has keys 128 wide in 24 layers."""
    assert made("prompt").parts[0].trainable_parameters(BERT, 2) == 8 * 768
    assert made("prompt", virtual_tokens=20).parts[0].trainable_parameters(QWEN, 2) == 20 * 896
    network = 3 * (768 * 768 + 768)
    assert made("ptuning").parts[0].trainable_parameters(BERT, 2) == 8 * 768 + network
    assert made("ptuning").parts[0].kept_parameters(BERT, 2) == 8 * 768
    assert made("prefix").parts[0].trainable_parameters(BERT, 2) == 8 * 12 * 2 * 768
    assert made("prefix", virtual_tokens=5).parts[0].trainable_parameters(QWEN, 2) == 5 * 24 * 2 * 128
    assert made("prompt", init_text="bad or good").parts[0] == Prompt(init_text="bad or good")


def test_virtual_tokens_take_room_before_a_text() -> None:
    longer = {name: made(name).virtual_tokens for name in ("prompt", "ptuning", "prefix", "lora")}
    assert longer == {"prompt": 8, "ptuning": 8, "prefix": 0, "lora": 0}
    assert [made(name).positions for name in ("prompt", "ptuning", "prefix", "lora")] == [8, 8, 8, 0]


def test_a_choice_wins_over_the_default() -> None:
    lora = made("lora", rank=16, targets=("q",), top_layers=2).parts[0]
    assert lora == Lora(rank=16, alpha=32, targets=("q",), top_layers=2)
    adapter = made("adapter", bottleneck=16, placement="pfeiffer", top_layers=2).parts[0]
    assert adapter == Bottleneck(width=16, placement="pfeiffer", top_layers=2)
    assert made("freeze", top_layers=5).parts[0] == Weights(top_layers=5)
    assert made("freeze").parts[0] == Weights(top_layers=4)


@pytest.mark.parametrize(
    ("parts", "lowest"),
    [
        ((Weights(), Head()), -1),
        ((Weights(top_layers=3), Head()), 9),
        ((Head(),), 12),
        ((Lora(), Head()), 0),
        ((Lora(top_layers=2), Weights(top_layers=1), Head()), 10),
    ],
)
def test_the_lowest_layer_is_the_lowest_of_all_parts(parts: tuple[Part, ...], lowest: int) -> None:
    assert Strategy(method="x", parts=parts).lowest_layer(BERT) == lowest


def test_steps_count_global_batches() -> None:
    strategy = Strategy(method="head", parts=(Head(),), batch=32, micro_batch=12, schedule=Schedule(epochs=3))
    assert strategy.steps_per_epoch(65) == 3
    assert strategy.steps(65) == 9
    assert strategy.accumulation == 3


@every_method
def test_a_method_says_what_it_takes(method) -> None:
    """Every choice a method takes changes its parts, and no other does."""
    default = method.parts(BERT, Choices())
    tried = {
        "rank": 3, "alpha": 5, "targets": ("o",), "lora_variant": "dora", "top_layers": 2, "bottleneck": 5,
        "placement": "pfeiffer",
    }  # fmt: skip
    tried |= {"virtual_tokens": 5, "init_text": "good or bad"}
    changing = {name for name, value in tried.items() if method.parts(BERT, Choices(**{name: value})) != default}
    assert changing == set(method.takes)
