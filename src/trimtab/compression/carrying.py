"""The one way to run a recipe: open the artifact, let its model and the made one see the same rows, write what
changed into what was made, and keep it only if it holds."""

import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from trimtab.artifacts import FACTS_FILE, ArtifactFacts, Change, Compared, sha256_of, weight_bytes
from trimtab.compression.gate import Sight, compared, see, see_made_rows
from trimtab.compression.recipe import Making, Recipe
from trimtab.compression.wanted import Floor
from trimtab.data import Corpus
from trimtab.errors import Message, TrimtabError
from trimtab.evaluation import Artifact, open_artifact
from trimtab.evaluation.artifact import allowed_difference
from trimtab.home import folder_atomically
from trimtab.training import Event


@dataclass(frozen=True, kw_only=True, slots=True)
class Order:
    """What is to be made: of the artifact in `folder`, into `out`, which is not there yet, or is empty. `floor`
    None = the recipe's own; `force`: keep also what is beyond it."""

    folder: Path
    out: Path
    corpus: Corpus | None
    floor: Floor | None = None
    force: bool = False
    trust_remote_code: bool = False


def carry_out(recipe: Recipe, order: Order) -> Iterator[Event | Message | Change]:
    """Run `recipe`, its events first, last the Change. Nothing is left in `order.out` where it fails.

    Raises TrimtabError TT-C012 beyond the floor, TT-C013 where
    outputs that are to be the same are not; what opening, scoring and the recipe raise; OSError.
    """
    begun = time.monotonic()
    parent = open_artifact(order.folder, trust_remote_code=order.trust_remote_code)
    before = _sights(parent, order.corpus)
    with folder_atomically(order.out) as beside:
        making = Making(
            parent=parent,
            corpus=order.corpus,
            folder=beside,
            before=before[0],
            floor=order.floor or recipe.floor,
        )
        yield from recipe.make(making)
        made = open_artifact(beside, trust_remote_code=order.trust_remote_code)
        found = tuple(compared(made, *pair) for pair in zip(before, _sights(made, order.corpus), strict=True))
        if not order.force:
            _require(recipe, making, found[0], parent.facts)
        change = _change(recipe, making, made, found, order, time.monotonic() - begun)
        facts = replace(made.facts, origin="compressed", changes=(*parent.facts.changes, change))
        facts.write(beside)
    yield change


def _sights(artifact: Artifact, corpus: Corpus | None) -> tuple[Sight, ...]:
    """What the model gives for dev, which decides, and for test; without data for made rows."""
    if corpus is None:
        return (see_made_rows(artifact),)
    main = artifact.objective.main_metric(corpus.label_counts)
    splits = (corpus.dev,) if corpus.test is None else (corpus.dev, corpus.test)
    return tuple(see(artifact, split, main) for split in splits)


def _require(recipe: Recipe, making: Making, found: Compared, facts: ArtifactFacts) -> None:
    if not making.holds(found):
        assert making.floor is not None
        raise TrimtabError(
            "TT-C012", metric=found.metric, before=found.before, after=found.after, split=found.split,
            rows=found.rows, floor=str(making.floor), step=recipe.wanted.step,
        )  # fmt: skip
    allowed = allowed_difference(making.before.outputs, facts.strategy.precision)
    if recipe.same_numbers and not found.largest_difference <= allowed:
        raise TrimtabError(
            "TT-C013",
            rows=found.rows,
            difference=found.largest_difference,
            allowed=allowed,
            step=recipe.wanted.step,
        )


def _change(
    recipe: Recipe, making: Making, made: Artifact, found: tuple[Compared, ...], order: Order, seconds: float
) -> Change:
    floor, first = making.floor, found[0]
    return Change(
        step=recipe.wanted.step,
        settings=recipe.wanted.words,
        parent=str(order.folder.resolve()),
        parent_sha256=sha256_of(order.folder / FACTS_FILE),
        weight_bytes_before=weight_bytes(order.folder, making.parent.base_folder),
        weight_bytes_after=weight_bytes(making.folder, made.base_folder),
        seconds=seconds,
        floor=None if floor is None or first.before is None else floor.allowed(first.before),
        compared=found,
    )
