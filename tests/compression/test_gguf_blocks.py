"""Blocks that keep a layer's outputs: the format's own reader finds the numbers meant, and outputs are nearer than
by rounding to the nearest."""

import gguf
import numpy as np
import pytest
import torch
from tiny_language import artifact_of, language_folder, opened, talks

from trimtab.compression.calibration import input_moments
from trimtab.compression.gguf import write_gguf
from trimtab.compression.gguf_blocks import FORMATS, inverse_factor, kept_outputs
from trimtab.errors import DataError
from trimtab.models.gguf_layout import TYPES

KINDS = [gguf.GGMLQuantizationType(kind) for kind in FORMATS]
OUTPUTS, INPUTS = 48, 96


def weights() -> torch.Tensor:
    torch.manual_seed(1)
    return torch.randn(OUTPUTS, INPUTS) * torch.logspace(-2, 0, OUTPUTS)[:, None]


def inputs() -> torch.Tensor:
    """Inputs that go together: 12 causes, some a hundred times as strong as others."""
    torch.manual_seed(2)
    causes = torch.randn(512, 12) * torch.logspace(-1, 1, 12)
    return causes @ torch.randn(12, INPUTS) + 0.05 * torch.randn(512, INPUTS)


def test_every_kind_of_few_bits_has_its_blocks() -> None:
    assert set(FORMATS) == set(TYPES.values()) - {TYPES["f32"], TYPES["f16"], TYPES["bf16"]}


@pytest.mark.parametrize("kind", KINDS)
def test_of_unrelated_inputs_it_is_rounding_to_the_nearest(kind: gguf.GGMLQuantizationType) -> None:
    rows = weights()
    rows[3, :32] = 0.0
    packed = kept_outputs(rows.clone(), [torch.eye(INPUTS)], int(kind)).numpy()
    found, nearest = gguf.dequantize(packed, kind), gguf.dequantize(gguf.quantize(rows.numpy(), kind), kind)
    assert packed.shape == gguf.quantize(rows.numpy(), kind).shape
    assert np.abs(found - rows.numpy()).mean() <= 1.001 * np.abs(nearest - rows.numpy()).mean()
    assert not found[3, :32].any()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("groups", [(96,), (64, 32)])
def test_outputs_are_nearer(kind: gguf.GGMLQuantizationType, groups: tuple[int, ...]) -> None:
    rows, given = weights(), inputs()
    factors = [inverse_factor(part.T @ part) for part in given.split(list(groups), 1)]
    found = torch.from_numpy(gguf.dequantize(kept_outputs(rows.clone(), factors, int(kind)).numpy(), kind))
    nearest = torch.from_numpy(gguf.dequantize(gguf.quantize(rows.numpy(), kind), kind))
    wanted = given @ rows.T
    error, plain = (((given @ one.T) - wanted).square().mean() for one in (found, nearest))
    assert error < (0.2 if len(groups) == 1 else 0.5) * plain


def test_a_moment_that_cannot_be_inverted() -> None:
    """Inputs that never came, one that always was another, and numbers that are none."""
    one = torch.ones(64, 1) @ torch.ones(1, 32)
    assert inverse_factor(one.T @ one).isfinite().all()
    assert inverse_factor(torch.zeros(32, 32)).isfinite().all()
    assert torch.equal(inverse_factor(torch.full((32, 32), float("nan"))), torch.eye(32))


def test_moments_are_of_what_a_layer_is_given(tmp_path) -> None:  # type: ignore[no-untyped-def]
    folder = language_folder(tmp_path / "model", tie_word_embeddings=True)
    model = opened(folder)
    artifact = artifact_of(folder, model)
    moments = input_moments(artifact, talks())
    encoded = artifact.encode(talks())
    with torch.no_grad():  # what the first layer's queries are given depends on no other token
        embedded = model.model.embed_tokens(torch.from_numpy(encoded.ids).long())
        first = model.model.layers[0].input_layernorm(embedded)
    (found,) = moments.of("model.layers.0.self_attn.v_proj.weight")
    assert moments.tokens == len(encoded.ids)
    torch.testing.assert_close(found, first.T @ first, rtol=1e-4, atol=1e-3)
    assert {tuple(group.shape) for group in moments.of("model.layers.1.mlp.down_proj.weight")} == {(96, 96)}
    assert moments.of("model.embed_tokens.weight") == ()
    fewer = input_moments(artifact, talks(), tokens=50)
    assert fewer.tokens <= 50
    with pytest.raises(DataError) as refused:
        input_moments(artifact, [])
    assert refused.value.code == "TT-C415"


def test_a_calibrated_file_is_nearer_to_the_model(tmp_path) -> None:  # type: ignore[no-untyped-def]
    folder = language_folder(tmp_path / "model")
    model = opened(folder)
    artifact = artifact_of(folder, model)
    moments = input_moments(artifact, talks(40))
    encoded = artifact.encode(talks())
    before, sizes, errors = artifact.logits(encoded), [], []
    for number, known in enumerate((None, moments)):
        written = write_gguf(folder, tmp_path / f"{number}.gguf", "q4_0", moments=known)
        reader = gguf.GGUFReader(written.path)
        down = next(tensor for tensor in reader.tensors if tensor.name == "blk.0.ffn_down.weight")
        with torch.no_grad():
            layer = opened(folder)
            rows = torch.from_numpy(gguf.dequantize(down.data, down.tensor_type))
            layer.model.layers[0].mlp.down_proj.weight.copy_(rows)
        errors.append(float(np.abs(artifact_of(folder, layer).logits(encoded) - before).mean()))
        sizes.append(written.nbytes)
    assert sizes[0] == sizes[1] and errors[1] < 0.8 * errors[0]
