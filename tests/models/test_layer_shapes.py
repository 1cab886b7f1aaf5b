"""Shapes of pruned layers: read from somebody else's config.json with care, and counted layer by layer."""

from dataclasses import replace

import pytest

from trimtab.errors import ModelError
from trimtab.models import ModelSpec, shape_named
from trimtab.models.config import shape_from
from trimtab.models.layer_shapes import KEY, LayerShape, LayerShapes
from trimtab.models.pruned import config_changes, expressible, with_shapes

BERT = {
    "model_type": "bert", "num_hidden_layers": 2, "hidden_size": 48, "num_attention_heads": 4,
    "intermediate_size": 96, "vocab_size": 50, "max_position_embeddings": 20,
}  # fmt: skip
LLAMA = shape_named("llama-2-7b")


def pruned(**lists: object) -> ModelSpec:
    written = {"heads": [1, 4], "kv_heads": [1, 4], "neurons": [32, 96]} | lists
    return shape_from(BERT | {KEY: written}, "small")


def alike(spec: ModelSpec, heads: int, kv_heads: int, neurons: int) -> LayerShapes:
    return LayerShapes.alike(LayerShape(heads=heads, kv_heads=kv_heads, neurons=neurons), spec.layers)


def test_every_layer_is_counted_with_its_own_shape() -> None:
    """By hand: BERT has 12 numbers a head, four matrices of attention and two of the network."""
    norms = 2 * 2 * 48
    first = 3 * (48 * 12 + 12) + (12 * 48 + 48) + (48 * 32 + 32) + (32 * 48 + 48) + norms
    second = 4 * (48 * 48 + 48) + (48 * 96 + 96) + (96 * 48 + 48) + norms
    spec = pruned()
    assert spec.parameters_of_layers() == first + second
    assert spec.parameters_of_layers(1) == second
    assert spec.parameters == spec.embedding_parameters + first + second
    assert spec.layer(0).layer_parameters == first
    assert [shape.heads for shape in spec.shapes.layers] == [1, 4]


@pytest.mark.parametrize(
    "lists",
    [
        {"heads": [1]},
        {"heads": [1, 5], "kv_heads": [1, 5]},
        {"heads": [0, 4], "kv_heads": [0, 4]},
        {"heads": [2, 4]},
        {"neurons": [32, 97]},
        {"neurons": [32, True]},
        {"neurons": [32, 2.0]},
        {"neurons": None},
        {"kv_heads": "14"},
    ],
    ids=str,
)
def test_shapes_that_cannot_be_are_refused(lists: dict[str, object]) -> None:
    with pytest.raises(ModelError) as refused:
        pruned(**lists)
    assert refused.value.code == "TT-C200"


def test_a_family_that_is_not_pruned_has_no_such_key() -> None:
    albert = BERT | {"model_type": "albert", "embedding_size": 16, KEY: {}}
    with pytest.raises(ModelError) as refused:
        shape_from(albert, "small")
    assert refused.value.code == "TT-C201"


def test_what_is_written_is_read_as_the_same() -> None:
    spec = shape_from(BERT, "small")
    shapes = LayerShapes(
        layers=(LayerShape(heads=3, kv_heads=3, neurons=64), LayerShape(heads=1, kv_heads=1, neurons=32))
    )
    changed = BERT | dict(config_changes(spec, shapes))
    assert shape_from(changed, "small") == with_shapes(spec, shapes)


def test_a_config_says_what_its_class_can_build() -> None:
    bert = shape_from(BERT, "small")
    assert expressible(bert, alike(bert, 4, 4, 32))
    assert not expressible(bert, alike(bert, 2, 2, 96))  # its heads would be twice as large
    assert expressible(LLAMA, alike(LLAMA, 16, 16, 1024))
    assert not expressible(LLAMA, alike(LLAMA, 20, 20, 1024))  # 4096 is no multiple of 20
    assert with_shapes(LLAMA, alike(LLAMA, 16, 16, 1024)).head_dim == 128


def test_groups_stay_whole() -> None:
    grouped = replace(LLAMA, kv_heads=8)
    assert with_shapes(grouped, alike(grouped, 16, 4, 1024)).kv_heads == 4
    with pytest.raises(ModelError, match="TT-C202"):
        with_shapes(grouped, alike(grouped, 16, 8, 1024))
    with pytest.raises(ModelError, match="TT-C202"):
        with_shapes(grouped, alike(grouped, 36, 9, 1024))
