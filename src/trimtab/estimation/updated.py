"""How many of the trainable parameters a training can change: of the token embedding, the rows its texts read.

The loop keeps gradients, masters and states for these alone (`training.table`); a multilingual vocabulary has
250,000 rows, and a data set of one language reads a few thousand of them.
"""

from trimtab.data.spec import DataSpec
from trimtab.methods import Strategy
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


def table_rows(spec: ModelSpec, data: DataSpec) -> int:
    """Rows of the token embedding that training reads, the padding's included. Where the tokens have not been
    counted: at most one a token of text."""
    return min(spec.vocab, 1 + (data.vocabulary or data.lengths.tokens(data.lengths.longest)))


def _width(spec: ModelSpec) -> int:
    return spec.embedding_size or spec.hidden
