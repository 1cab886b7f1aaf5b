"""What pruning does to a ModelSpec, and to config.json: exact shapes of the smaller model before it exists.

Pruned are the families whose layers have their queries, keys, values and inner neurons in matrices of their own.
Leaves out: choosing what goes (compression) and doing it to a real model (tuning.shrink).
"""

from collections.abc import Mapping
from dataclasses import replace

from trimtab.errors import ModelError
from trimtab.models.config_keys import CONFIG_TABLES
from trimtab.models.layer_shapes import KEY, LayerShape, LayerShapes, Pruned, shapes_written
from trimtab.models.spec import ModelSpec

PRUNED_FAMILIES = (
    "bert",
    "camembert",
    "distilbert",
    "electra",
    "llama",
    "mistral",
    "qwen2",
    "qwen3",
    "roberta",
    "xlm-roberta",
)
# Their configuration class refuses heads that do not divide the hidden size, whatever head_dim says.
_HEADS_DIVIDE_HIDDEN = frozenset({"llama"})


def prunable(spec: ModelSpec) -> bool:
    """Whether heads and neurons of the family can be taken out one by one."""
    return spec.family in PRUNED_FAMILIES and not spec.experts


def require_prunable(spec: ModelSpec) -> None:
    """Raises ModelError TT-C201 where they cannot."""
    if not prunable(spec):
        known = ", ".join(PRUNED_FAMILIES)
        raise ModelError("TT-C201", name=spec.name, family=spec.family, known=known)


def built_shape(spec: ModelSpec) -> LayerShape:
    """A layer as the class makes it from the config."""
    if spec.pruned is not None:
        return spec.pruned.built
    return LayerShape(heads=spec.heads, kv_heads=spec.kv_heads, neurons=spec.ffn)


def with_shapes(spec: ModelSpec, shapes: LayerShapes) -> ModelSpec:
    """The spec of `spec` pruned to `shapes`: what `read_spec` says of the folder it is saved to, but for what is
    known of files alone. Of layers that are not alike `heads`, `kv_heads` and `ffn` are the most that any has.

    Raises ModelError TT-C201 where the family cannot be pruned, TT-C202 where a layer would have more than it
    has, or nothing.
    """
    require_prunable(spec)
    built, most = built_shape(spec), shapes.largest
    for number, shape in enumerate(shapes.layers):
        if not built.holds(shape):
            raise _no_layer(spec, number, shape)
    return replace(
        spec,
        layers=len(shapes),
        heads=most.heads,
        kv_heads=most.kv_heads,
        ffn=most.neurons,
        pruned=None if expressible(spec, shapes) else Pruned(built=built, left=shapes),
        stored_bytes=0,
        fingerprint="",
    )


def expressible(spec: ModelSpec, shapes: LayerShapes) -> bool:
    """Whether the family's own config can say `shapes`: layers alike, and as many heads as before, or a class
    whose head size is a key of its own."""
    if not shapes.even:
        return False
    keys, heads = CONFIG_TABLES[spec.family].keys, shapes.layers[0].heads
    if heads * spec.head_dim == spec.hidden:
        return True
    divides = spec.family not in _HEADS_DIVIDE_HIDDEN or spec.hidden % heads == 0
    return "head_dim" in keys and "kv_heads" in keys and divides


def config_changes(spec: ModelSpec, shapes: LayerShapes) -> Mapping[str, object]:
    """The keys of config.json that say `shapes`, with their values; `KEY` is None where it has no place there.
    Raises what `with_shapes` raises."""
    after = with_shapes(spec, shapes)
    keys, built = CONFIG_TABLES[spec.family].keys, built_shape(after)
    said: dict[str, object] = {
        keys["layers"]: after.layers,
        keys["heads"]: built.heads,
        keys["ffn"]: built.neurons,
        KEY: None if after.pruned is None else after.pruned.left.written(),
    }
    if "kv_heads" in keys:
        said[keys["kv_heads"]] = built.kv_heads
    if "head_dim" in keys:
        said[keys["head_dim"]] = spec.head_dim
    return said


def read_shapes(spec: ModelSpec, written: object) -> ModelSpec:
    """`spec`, read from a config without `KEY`, with what its value there says of the layers. Raises ModelError
    TT-C200, TT-C201."""
    require_prunable(spec)
    shapes = shapes_written(written, built_shape(spec), spec.layers, spec.name)
    most = shapes.largest
    pruned = Pruned(built=built_shape(spec), left=shapes)
    return replace(spec, heads=most.heads, kv_heads=most.kv_heads, ffn=most.neurons, pruned=pruned)


def _no_layer(spec: ModelSpec, number: int, shape: LayerShape) -> ModelError:
    return ModelError(
        "TT-C202", name=spec.name, layer=number, heads=shape.heads, kv_heads=shape.kv_heads, neurons=shape.neurons
    )
