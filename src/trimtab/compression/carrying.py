"""The one way to run a recipe: let the model it begins with and the one it makes see the same rows, write what
changed into what was made, and keep it only if it holds."""

import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from filelock import FileLock, Timeout

from trimtab.artifacts import FACTS_FILE, Change, Compared, glance, sha256_of, weight_bytes
from trimtab.compression.gate import Sight, compared, see, see_made_rows
from trimtab.compression.recipe import Happening, Making, Recipe, require_engine
from trimtab.compression.wanted import Floor, is_published
from trimtab.data import Corpus
from trimtab.errors import BadInput, TrimtabError
from trimtab.evaluation import Artifact, open_artifact
from trimtab.evaluation.artifact import allowed_difference
from trimtab.hardware import Machine
from trimtab.home import folder_atomically
from trimtab.training.meter import give_back_heap


@dataclass(frozen=True, kw_only=True, slots=True)
class Order:
    """What is to be made: of the artifact in `folder`, into `out`, which is not there yet, or is empty. `floor`
    None = the recipe's own; `force`: keep also what is beyond it. `machine`: this one, for a step that trains."""

    folder: Path
    out: Path
    corpus: Corpus | None
    machine: Machine
    floor: Floor | None = None
    force: bool = False
    trust_remote_code: bool = False

    @property
    def work(self) -> Path:
        """Beside `out`: what an interrupted step goes on from. Gone when the step is done."""
        return self.out.with_name(f".{self.out.name}.work")


@dataclass(frozen=True, slots=True)
class _Seen:
    """What a model gave for dev, which decides, and for test; without data for made rows."""

    sights: tuple[Sight, ...]
    weight_bytes: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Carried:
    """A step is done and holds. `folder` becomes `Order.out` when the next is asked for: what else belongs into it
    is written now."""

    folder: Path
    change: Change


def carry_out(recipe: Recipe, order: Order) -> Iterator[Happening | Carried]:
    """Run `recipe`, what happens first, last the Carried. Where it fails nothing is left in `order.out`; of a step
    that trains, `order.work` is, for it to go on.

    Raises UsageError where what was asked contradicts itself; ArtifactError TT-C015 where transformers does not
    open the artifact; TrimtabError TT-C012, TT-C045 beyond the floor, TT-C013 where outputs that are to be the
    same are not; BadInput TT-C049 while another process makes the same; what opening, scoring and the recipe
    raise; OSError.
    """
    recipe.check()
    require_engine(recipe, order.folder, glance(order.folder))
    lock = FileLock(order.out.with_name(f".{order.out.name}.lock"))
    order.out.parent.mkdir(parents=True, exist_ok=True)
    try:
        lock.acquire(timeout=0)
    except Timeout as error:
        raise BadInput("TT-C049", folder=str(order.out)) from error
    try:
        yield from _alone(recipe, order)
    finally:
        lock.release()
        Path(lock.lock_file).unlink(missing_ok=True)


def _alone(recipe: Recipe, order: Order) -> Iterator[Happening | Carried]:
    begun = time.monotonic()
    parent = open_artifact(order.folder, trust_remote_code=order.trust_remote_code)
    before, facts = _seen(parent, order.corpus), parent.facts
    del parent
    give_back_heap()
    with folder_atomically(order.out) as beside:
        making = Making(
            parent=order.folder,
            facts=facts,
            corpus=order.corpus,
            folder=beside,
            work=order.work,
            before=before.sights[0],
            floor=order.floor or recipe.floor,
            machine=order.machine,
            trust_remote_code=order.trust_remote_code,
        )
        remembered = yield from recipe.make(making)
        made = open_artifact(beside, trust_remote_code=order.trust_remote_code)
        after = _seen(made, order.corpus)
        found = tuple(compared(made, *pair) for pair in zip(before.sights, after.sights, strict=True))
        if not order.force:
            _require(recipe, making, found[0])
        change = Change(
            step=recipe.wanted.step,
            settings=recipe.wanted.words,
            parent=str(order.folder.resolve()),
            parent_sha256=sha256_of(order.folder / FACTS_FILE),
            weight_bytes_before=before.weight_bytes,
            weight_bytes_after=after.weight_bytes,
            seconds=time.monotonic() - begun,
            floor=_allowed(making, found[0]),
            forced=order.force,
            kept_whole=remembered.kept_whole,
            compared=found,
            read_alike=remembered.read_alike,
            one_text=remembered.one_text,
        )
        told = replace(made.facts, origin="compressed", changes=(*facts.changes, change))
        (told.without_places() if is_published(recipe.wanted) else told).write(beside)
        yield Carried(folder=beside, change=change)
    if recipe.wanted.trains:
        shutil.rmtree(order.work, ignore_errors=True)


def _seen(artifact: Artifact, corpus: Corpus | None) -> _Seen:
    size = weight_bytes(artifact.folder, artifact.base_folder)
    if corpus is None:
        return _Seen((see_made_rows(artifact),), size)
    main = artifact.objective.main_metric(corpus.label_counts)
    splits = (corpus.dev,) if corpus.test is None else (corpus.dev, corpus.test)
    return _Seen(tuple(see(artifact, split, main) for split in splits), size)


def _allowed(making: Making, found: Compared) -> float | None:
    """What the metric may lose, in its own units."""
    if making.floor is None or found.before is None:
        return None
    return making.floor.allowed(found.before, lower_is_better=found.lower_is_better)


def _require(recipe: Recipe, making: Making, found: Compared) -> None:
    step = recipe.wanted.step
    if not making.holds(found):
        raise TrimtabError(
            "TT-C045" if recipe.wanted.trains else "TT-C012",
            metric=found.metric, before=found.before, after=found.after, split=found.split,
            rows=found.rows, floor=str(making.floor), step=step,
        )  # fmt: skip
    allowed = allowed_difference(making.before.outputs, making.facts.strategy.precision)
    if recipe.same_numbers(making) and not found.largest_difference <= allowed:
        raise TrimtabError(
            "TT-C013", rows=found.compared_outputs, difference=found.largest_difference, allowed=allowed, step=step
        )
