"""The CPU kernels: exact keep rates, gradients through the very mask of the forward pass, eager attention's
numbers."""

import pytest
import torch
from torch import nn

from tiny_models import tiny_model
from trimtab.training import kernels
from trimtab.training.kernels import Dropout, keep_mask, use_cpu_kernels
from trimtab.tuning import load_classifier

LENGTH = 7


def kept(shape: tuple[int, ...], p: float) -> torch.Tensor:
    """Which of `shape` elements the next mask keeps; True = kept. Draws as a mask for any dtype does."""
    return keep_mask(torch.Size(shape), p, torch.float32) != 0


@pytest.mark.parametrize("p", [0.1, 0.5, 0.9, 1 / 65536])
def test_the_keep_rate_is_exact(p: float) -> None:
    torch.manual_seed(0)
    count = 1_000_001  # not a multiple of four
    dropped = count - int(kept((count,), p).sum())
    deviation = (count * p * (1 - p)) ** 0.5
    assert abs(dropped - count * p) < 4 * deviation


def test_masks_are_independent_draws() -> None:
    torch.manual_seed(0)
    mask = kept((4, 250_000), 0.5).float() - 0.5
    # neighbours share one 64-bit draw; their correlation must still be nil
    for distance in (1, 2, 3, 4):
        correlation = 4 * (mask[:, :-distance] * mask[:, distance:]).mean()
        assert abs(float(correlation)) < 0.005


def test_a_seed_decides_the_mask() -> None:
    masks = []
    for seed in (3, 3, 4):
        torch.manual_seed(seed)
        masks.append(kept((100,), 0.5))
    assert torch.equal(masks[0], masks[1])
    assert not torch.equal(masks[0], masks[2])


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_a_mask_keeps_every_bit_or_none(dtype: torch.dtype) -> None:
    """Infinities and NaNs that are dropped are gone; what is kept is kept to the bit."""
    torch.manual_seed(0)
    mask = keep_mask(torch.Size([1000]), 0.5, dtype)
    x = torch.randn(1000).to(dtype)
    x[mask == 0] = torch.tensor([float("nan"), float("inf")]).repeat(500)[: int((mask == 0).sum())].to(dtype)
    dropped = kernels._drop(x, mask, 1.0)
    assert torch.equal(dropped[mask != 0], x[mask != 0])
    assert (dropped[mask == 0] == 0).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
def test_dropout_scales_what_it_keeps_and_its_gradient_alike(dtype: torch.dtype) -> None:
    torch.manual_seed(1)
    x = (torch.randn(50, 40).abs() + 0.1).to(dtype).requires_grad_()
    out = Dropout(0.25)(x)
    kept = out != 0
    assert out.dtype == dtype
    torch.testing.assert_close(out[kept], x.detach()[kept] / 0.75)
    upstream = torch.randn(50, 40).to(dtype)
    out.backward(upstream)
    torch.testing.assert_close(x.grad, torch.where(kept, upstream / 0.75, 0))


def test_dropout_rests_in_evaluation_and_at_rate_zero() -> None:
    x = torch.randn(3, 3)
    assert Dropout(0.5).eval()(x) is x
    assert Dropout(0.0)(x) is x


def attention_inputs(dtype: torch.dtype, before: int = 0) -> tuple[torch.Tensor, ...]:
    """`before`: so many keys and values more than queries, as a prefix puts there."""
    torch.manual_seed(2)
    keys = LENGTH + before
    q, k, v = (torch.randn(2, 3, n, 4, dtype=dtype, requires_grad=True) for n in (LENGTH, keys, keys))
    mask = torch.ones(2, 1, 1, keys, dtype=torch.bool)
    mask[1, ..., 5 + before :] = False
    return q, k, v, mask.expand(2, 1, LENGTH, keys)


def eager(q, k, v, mask, scaling, keep, p):
    """Written down anew from the formula."""
    scores = q @ k.transpose(-1, -2) * scaling
    if mask is not None:
        scores = scores.masked_fill(~mask, float("-inf"))
    return (scores.softmax(-1) * keep / (1 - p)) @ v


@pytest.mark.parametrize("before", [0, 3])
@pytest.mark.parametrize("masked", [True, False])
@pytest.mark.parametrize("p", [0.0, 0.3])
def test_attention_and_its_gradients_are_those_of_eager_attention(p: float, masked: bool, before: int) -> None:
    q, k, v, mask = attention_inputs(torch.float64, before)
    mask = mask if masked else None
    torch.manual_seed(9)
    ours = kernels._Attention.apply(q, k, v, mask, 0.5, p)
    torch.manual_seed(9)
    keep = kept((2, 3, LENGTH, LENGTH + before), p)
    assert p == 0.0 or not keep.all()
    theirs = eager(q, k, v, mask, 0.5, keep, p)
    torch.testing.assert_close(ours, theirs)
    upstream = torch.randn_like(ours)
    mine = torch.autograd.grad(ours, (q, k, v), upstream)
    expected = torch.autograd.grad(theirs, (q, k, v), upstream)
    torch.testing.assert_close(mine, expected)


def test_attention_passes_gradcheck() -> None:
    q, k, v, mask = attention_inputs(torch.float64)

    def seeded(q, k, v):
        torch.manual_seed(9)
        return kernels._Attention.apply(q, k, v, mask, 0.5, 0.3)

    assert torch.autograd.gradcheck(seeded, (q, k, v))


@pytest.mark.parametrize("at_once", [1, 1 << 20])
@pytest.mark.parametrize("before", [0, 3])
@pytest.mark.parametrize("masked", [True, False])
def test_attention_that_is_made_again_has_the_gradients_of_eager_attention(
    masked: bool, before: int, at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kernels, "ATTENTION_PIECE", at_once)
    q, k, v, mask = attention_inputs(torch.float64, before)
    mask = mask if masked else None
    ours = kernels._AttentionAgain.apply(q, k, v, mask, 0.5)
    theirs = eager(q, k, v, mask, 0.5, 1.0, 0.0)
    torch.testing.assert_close(ours, theirs)
    upstream = torch.randn_like(ours)
    mine = torch.autograd.grad(ours, (q, k, v), upstream)
    torch.testing.assert_close(mine, torch.autograd.grad(theirs, (q, k, v), upstream))


@pytest.mark.parametrize("family", ["llama", "qwen2"])
@pytest.mark.parametrize("padding", [True, False])
def test_a_decoder_attends_as_torch_has_it(
    family: str, padding: bool, tmp_path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Keys and values shared by heads, causal with a mask and without. In fp32, where the same can be expected."""
    monkeypatch.setattr(kernels, "_LOW_BYTES", 4)
    source = tiny_model(tmp_path, family, dropout=0.0)
    pair = [load_classifier(source, outputs=2, pad_token_id=0).train() for _ in range(2)]
    use_cpu_kernels(pair[1])
    inputs = padded() if padding else {name: x[:1] for name, x in padded().items()}
    gradients = []
    for model in pair:
        model(**inputs).logits.square().sum().backward()
        gradients.append({name: p.grad for name, p in model.named_parameters()})
    torch.testing.assert_close(gradients[1], gradients[0], atol=1e-5, rtol=1e-4)


def test_long_texts_and_single_tokens_are_left_to_torch() -> None:
    q = torch.randn(1, 4, 6, 8, dtype=torch.bfloat16)
    assert kernels._is_ours(q, q, None, {})
    assert not kernels._is_ours(q[:, :, :1], q, None, {}), "one token beside what has been read"
    assert not kernels._is_ours(q, q, torch.zeros(1, 1, 6, 6), {}), "a mask of numbers"
    assert not kernels._is_ours(q, q, None, {"position_bias": q})
    long = torch.empty(1, 4, 2048, 8, dtype=torch.bfloat16)
    assert not kernels._is_ours(long, long, None, {})
    assert not kernels._is_ours(q.float(), q.float(), None, {})


@pytest.fixture(params=["bert", "roberta", "distilbert", "llama"])
def models(request, tmp_path) -> tuple[nn.Module, nn.Module]:
    """The same model twice, the second with the kernels."""
    source = tiny_model(tmp_path, request.param, dropout=0.2)
    pair = []
    for _ in range(2):
        pair.append(load_classifier(source, outputs=2, pad_token_id=0))
    use_cpu_kernels(pair[1])
    return pair[0], pair[1]


def padded() -> dict[str, torch.Tensor]:
    ids = torch.randint(4, 40, (3, 11), generator=torch.Generator().manual_seed(4))
    mask = torch.ones_like(ids)
    ids[1, 6:], mask[1, 6:] = 0, 0
    return {"input_ids": ids, "attention_mask": mask}


def test_a_whole_model_computes_the_same_in_evaluation(models) -> None:
    plain, fast = models
    with torch.inference_mode():
        ours, theirs = (model.eval()(**padded()).logits for model in (fast, plain))
    torch.testing.assert_close(ours, theirs, atol=1e-6, rtol=1e-6)  # quick products sum in another order


def test_without_dropout_a_whole_model_trains_the_same(models) -> None:
    gradients = []
    for model in models:
        for module in model.modules():
            if isinstance(module, nn.Dropout):
                module.p = 0.0
            if isinstance(getattr(module, "attention_dropout", None), float):
                module.attention_dropout = 0.0
        model.train()
        model(**padded()).logits.square().sum().backward()
        gradients.append({n: p.grad for n, p in model.named_parameters() if p.grad is not None})
    torch.testing.assert_close(gradients[1], gradients[0], atol=1e-5, rtol=1e-4)


def test_with_dropout_a_whole_model_keeps_its_expectation(models) -> None:
    """The mean over many masks is near that of torch's own dropout, within their spread."""
    means, errors = [], []
    for model in models:
        model.train()
        torch.manual_seed(5)
        with torch.inference_mode():
            runs = torch.stack([model(**padded()).logits for _ in range(150)])
        means.append(runs.mean(0))
        errors.append(runs.std(0) / 150**0.5)
    distance = (means[0] - means[1]).abs() / torch.sqrt(errors[0] ** 2 + errors[1] ** 2)
    assert float(distance.max()) < 4.5


def test_a_bert_in_training_draws_from_the_kernels(tmp_path, monkeypatch) -> None:
    """Every dropout of BERT, the attention's included, goes through `keep_mask`: 1 + 3 a layer + 1 on top."""
    source = tiny_model(tmp_path, "bert", layers=2)
    model = load_classifier(source, outputs=2, pad_token_id=0)
    use_cpu_kernels(model)
    calls = []
    monkeypatch.setattr(kernels, "keep_mask", lambda *of: calls.append(of) or keep_mask(*of))
    model.train()(**padded())
    assert len(calls) == 1 + 2 * 3 + 1
