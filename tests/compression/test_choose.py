"""What goes: shares, floors, multiples and steps, on made-up importance and on a real small model."""

from pathlib import Path

import numpy as np
import pytest

from tiny_models import tiny_model
from tiny_training import tiny_strategy
from trimtab import tuning
from trimtab.compression.choose import Removal, choose, pruned_size, shares_in_steps
from trimtab.compression.worth import Importance
from trimtab.errors import ModelError, UsageError
from trimtab.models import ModelSource, ModelSpec, read_spec, shape_named
from trimtab.models.layer_shapes import LayerShapes
from trimtab.models.pruned import with_shapes
from trimtab.models.weights_header import read_headers

MINILM = shape_named("minilm-l6-h384")  # 6 layers of 12 heads and 1536 neurons


def random_worth(spec: ModelSpec, seed: int = 0) -> Importance:
    draw = np.random.default_rng(seed)
    shapes = spec.shapes.layers
    return Importance(
        groups=tuple(draw.gamma(0.5, size=shape.kv_heads) for shape in shapes),
        neurons=tuple(draw.gamma(0.5, size=shape.neurons) / 100 for shape in shapes),
    )


def left(spec: ModelSpec, wanted: Removal, worth: Importance | None = None) -> LayerShapes:
    return choose(spec, worth or random_worth(spec), wanted).shapes(spec.shapes)


@pytest.mark.parametrize("share", [0.0, 0.2, 0.4, 0.7])
def test_a_share_of_heads_and_of_neurons_goes(share: float) -> None:
    shapes = left(MINILM, Removal(share=share))
    assert shapes.heads == round((1 - share) * 72)
    assert shapes.neurons == pytest.approx((1 - share) * 6 * 1536, abs=16)
    assert all(layer.neurons % 32 == 0 for layer in shapes.layers)


def test_nothing_that_goes_is_worth_more_than_what_stays() -> None:
    """Second implementation: rank all heads at once, by hand."""
    worth = random_worth(MINILM)
    kept = choose(MINILM, worth, Removal(share=0.4))
    stay = sorted(worth.groups[layer.number][group] for layer in kept.layers for group in layer.groups)
    best = np.sort(np.concatenate(worth.groups))[-len(stay) :]
    assert stay == pytest.approx(best.tolist())
    for layer in kept.layers:
        values = worth.neurons[layer.number]
        gone = np.delete(values, list(layer.neurons))
        assert not len(gone) or gone.max() <= values[list(layer.neurons)].min()


def test_a_layer_that_is_worth_nothing_keeps_a_head_and_a_floor_of_neurons() -> None:
    worth = random_worth(MINILM)
    worth.groups[2][:] = 0
    worth.neurons[2][:] = 0
    shapes = left(MINILM, Removal(share=0.5, least=0.1), worth)
    assert (shapes.layers[2].heads, shapes.layers[2].neurons) == (1, 160)  # 154 and up to a multiple of 32


def test_layers_alike_are_nearest_to_the_share() -> None:
    shapes = left(MINILM, Removal(share=0.4, even=True))
    assert shapes.even
    assert (shapes.layers[0].heads, shapes.layers[0].neurons) == (7, 928)  # 7.2 and 921.6


def test_the_least_important_layers_are_dropped_and_the_share_is_of_the_others() -> None:
    worth = random_worth(MINILM)
    for array in (worth.groups[1], worth.neurons[1], worth.groups[4], worth.neurons[4]):
        array[:] = 0
    kept = choose(MINILM, worth, Removal(share=0.25, layers=2))
    assert [layer.number for layer in kept.layers] == [0, 2, 3, 5]
    assert kept.shapes(MINILM.shapes).heads == 36


def test_steps_end_where_one_step_does() -> None:
    assert shares_in_steps(0.4, 1) == (0.4,)
    assert shares_in_steps(0.4, 4) == pytest.approx((0.1, 0.2, 0.3, 0.4))
    spec, original = MINILM, MINILM.shapes
    for share in shares_in_steps(0.4, 3):
        shapes = choose(spec, random_worth(spec), Removal(share=share), original).shapes(spec.shapes)
        spec = with_shapes(spec, shapes)
        assert spec.shapes.heads == round((1 - share) * 72)
    assert spec.shapes.neurons == pytest.approx(0.6 * 6 * 1536, abs=16)


def test_shares_and_layers_that_cannot_go_are_refused() -> None:
    with pytest.raises(UsageError, match="TT-C207"):
        Removal(share=1.0)
    with pytest.raises(ModelError, match="TT-C206"):
        left(MINILM, Removal(share=0.1, layers=6))


@pytest.mark.parametrize("even", [False, True])
@pytest.mark.parametrize("family", ["bert", "xlm-roberta", "distilbert", "llama", "qwen2"])
def test_the_size_is_known_before(tmp_path: Path, family: str, even: bool) -> None:
    source = tiny_model(tmp_path / "whole", family, layers=3)
    spec, strategy = read_spec(source), tiny_strategy(source)
    kept = choose(spec, random_worth(spec), Removal(share=0.4, multiple=8, even=even))
    size = pruned_size(spec, kept.shapes(spec.shapes), strategy, 3)
    model = tuning.load_classifier(source, outputs=3, pad_token_id=0)
    tuning.shrink(model, spec, kept)
    model.save_pretrained(tmp_path / "small")
    assert size.parameters == sum(parameter.numel() for parameter in model.parameters())
    assert size.weight_bytes == read_headers(tmp_path / "small").nbytes
    found = read_spec(ModelSource(folder=tmp_path / "small", name="small"))
    assert strategy.total_parameters(found, 3) == size.parameters
