"""How many of the trainable parameters a training can change: of the token embedding, the rows its texts read.

The loop keeps gradients, masters and states for these alone (`training.table`); a multilingual vocabulary has
250,000 rows, and a data set of one language reads a few thousand of them.
"""

from functools import lru_cache

from trimtab.data.spec import DataSpec
from trimtab.methods import Part, Shapes, Strategy
from trimtab.models.spec import ModelSpec


def updated_parameters(strategy: Strategy, spec: ModelSpec, data: DataSpec) -> int:
    """Trainable parameters less those in rows of the token embedding that the training texts never read."""
    trained = strategy.trainable_parameters(spec, data.outputs)
    if strategy.lowest_layer(spec) >= 0:
        return trained
    return trained - (spec.vocab - table_rows(spec, data)) * _width(spec)


def table_parameters(strategy: Strategy, spec: ModelSpec, data: DataSpec) -> int:
    """Of them, those in the token embedding: 0 where it is frozen."""
    return table_rows(spec, data) * _width(spec) if strategy.lowest_layer(spec) < 0 else 0


def updated_shapes(strategy: Strategy, spec: ModelSpec, data: DataSpec) -> Shapes:
    """Shapes of the tensors whose numbers these are, with how many there are of each."""
    rows = table_rows(spec, data) if strategy.lowest_layer(spec) < 0 else spec.vocab
    return _shapes(strategy.parts, spec, data.outputs, rows)


@lru_cache(maxsize=1024)
def _shapes(parts: tuple[Part, ...], spec: ModelSpec, outputs: int, rows: int) -> Shapes:
    """Kept, since the parts of many candidates are the same."""
    table, read = (spec.vocab, _width(spec)), (rows, _width(spec))
    found = (shape for part in parts for shape in part.trained_shapes(spec, outputs))
    return tuple((read if shape == table else shape, count) for shape, count in found)


def table_rows(spec: ModelSpec, data: DataSpec) -> int:
    """Rows of the token embedding that training reads, the padding's included. Where the tokens have not been
    counted: at most one a token of text."""
    return min(spec.vocab, 1 + (data.vocabulary or data.lengths.tokens(data.lengths.longest)))


def _width(spec: ModelSpec) -> int:
    return spec.embedding_size or spec.hidden
