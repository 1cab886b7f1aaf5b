"""How many of the trainable parameters a training can change: of the token embedding, the rows its texts read.

The loop keeps gradients, masters and states for these alone (`training.table`); a multilingual vocabulary has
250,000 rows, and a data set of one language reads a few thousand of them. A table that is the language-model head
too is another matter: every row of it has a gradient at every learned token."""

from functools import lru_cache, partial

from trimtab.data.spec import DataSpec
from trimtab.methods import Shapes, Strategy
from trimtab.models.spec import ModelSpec


def updated_parameters(strategy: Strategy, spec: ModelSpec, data: DataSpec) -> int:
    """Trainable parameters less those in rows of the token embedding that the training texts never read."""
    trained = strategy.trainable_parameters(spec, data.outputs)
    if not strategy.trains_table(spec) or shares_table(strategy, spec):
        return trained
    return trained - (spec.vocab - table_rows(spec, data)) * _width(spec)


def table_parameters(strategy: Strategy, spec: ModelSpec, data: DataSpec) -> int:
    """Of them, those that the loop keeps by rows of the token embedding: 0 where it is frozen, or the head too."""
    by_rows = strategy.trains_table(spec) and not shares_table(strategy, spec)
    return table_rows(spec, data) * _width(spec) if by_rows else 0


def shares_table(strategy: Strategy, spec: ModelSpec) -> bool:
    """Whether the token embedding is the head over the vocabulary as well."""
    return strategy.language_head is not None and spec.tied_embeddings


def updated_shapes(strategy: Strategy, spec: ModelSpec, data: DataSpec) -> Shapes:
    """Shapes of the tensors whose numbers these are, with how many there are of each."""
    whole = not strategy.trains_table(spec) or shares_table(strategy, spec)
    rows = spec.vocab if whole else table_rows(spec, data)
    return _shapes(strategy.what_is_trained, spec, data.outputs, rows)


@lru_cache(maxsize=1024)
def _shapes(strategy: Strategy, spec: ModelSpec, outputs: int, rows: int) -> Shapes:
    """Kept, since the parts of many candidates are the same."""
    table, read = (spec.vocab, _width(spec)), (rows, _width(spec))
    return tuple(
        (read if shape == table and part.trains_table else shape, count)
        for part in strategy.parts
        for shape, count in part.trained_shapes(spec, outputs, partial(strategy.trains, spec))
    )


def table_rows(spec: ModelSpec, data: DataSpec) -> int:
    """Rows of the token embedding that training reads, the padding's included. Where the tokens have not been
    counted: at most one a token of text."""
    texts = data.lengths.tokens(data.lengths.longest) * data.texts.mean
    return min(spec.vocab, 1 + (data.vocabulary or round(texts)))


def _width(spec: ModelSpec) -> int:
    return spec.embedding_size or spec.hidden
