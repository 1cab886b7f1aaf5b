"""The frozen prefix, run once: how large its states are, what it takes to make them, and what is saved.

    bytes       tokens of train and dev, each text cut at the longest, x width of the model x bytes of a number
    build       a forward pass of what lies below the lowest trained layer, over train and dev, and the states
                written, read back and summed
    saved       that part's share of every step and of every evaluation of dev but the last, which is of the whole
                model
    released    weights of the embeddings and of layers that run in no stage

`training.frozen_part` does it. Leaves out what an earlier run may have left, of which nothing is built again.
"""

from trimtab.data.spec import DataSpec
from trimtab.estimation.held import BYTES, layer_held_bytes
from trimtab.methods import Strategy
from trimtab.models.spec import ModelSpec
from trimtab.units import GIB, MIB

HELD_BYTES = 256 * MIB  # the states of a split up to here are held in memory, larger ones stay in their file
KEPT_BYTES = 32 * GIB  # of all that is kept on a disk for later runs, and the most that is planned
# Bytes moved for a byte of states: made in memory, written, read and summed; measured as a share of a memory
# bandwidth, on a disk that keeps up with it.
_PASSES = 8.0


def prefix_tokens(strategy: Strategy, data: DataSpec) -> tuple[int, int]:
    """Tokens of train and of dev that states are kept of. Exact where the tokens of both were counted and a row is
    one sequence."""
    of_train = round(data.lengths.tokens(strategy.max_length) * data.texts.mean)
    if data.dev_lengths is not None:
        return of_train, round(data.dev_lengths.tokens(strategy.max_length) * data.texts.mean)
    return of_train, round(data.dev_rows * data.lengths.mean(strategy.max_length) * data.texts.mean)


def prefix_bytes(strategy: Strategy, spec: ModelSpec, data: DataSpec) -> int:
    """The states of the largest stage; 0 where no stage keeps any."""
    return sum(_split_bytes(strategy, spec, data)) if any(cached_depths(strategy, spec)) else 0


def held_prefix_bytes(strategy: Strategy, spec: ModelSpec, data: DataSpec) -> int:
    """Of them, those in memory."""
    if not any(cached_depths(strategy, spec)):
        return 0
    return sum(size for size in _split_bytes(strategy, spec, data) if size <= HELD_BYTES)


def cached_depths(strategy: Strategy, spec: ModelSpec) -> tuple[int, ...]:
    """Of every stage, how many layers are run once."""
    return tuple(stage.cached_layers(spec) for stage in strategy.stages)


def released_bytes(strategy: Strategy, spec: ModelSpec, depth: int) -> int:
    """Weights of the embeddings and of the lowest `depth` layers; a table that the head over the vocabulary shares
    is not among them."""
    if not depth:
        return 0
    shared = strategy.language_head is not None and spec.tied_embeddings
    table = spec.vocab * (spec.embedding_size or spec.hidden) if shared else 0
    embeddings = (spec.embedding_parameters - table) * BYTES[strategy.precision]
    return embeddings + sum(layer_held_bytes(strategy, spec, layer) for layer in range(depth))


def copied_bytes(size: int) -> float:
    """Bytes moved to keep states of `size`."""
    return _PASSES * size


def _split_bytes(strategy: Strategy, spec: ModelSpec, data: DataSpec) -> tuple[int, ...]:
    number = spec.hidden * BYTES[strategy.precision]
    return tuple(tokens * number for tokens in prefix_tokens(strategy, data))
