"""The step `prune`: the same model with fewer heads, neurons or layers, trained again by what it was.

Each of `steps` parts of the way is: what heads and neurons are worth on dev, the least of them gone, and a
training in which the unpruned model is the teacher.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

from trimtab import tuning
from trimtab.artifacts import FACTS_FILE, sha256_of
from trimtab.compression.choose import Removal, choose, pruned_size, shares_in_steps
from trimtab.compression.importance import DevRows, importance
from trimtab.compression.lesson import learn, loss_of
from trimtab.compression.recipe import Happening, Made, Making, Recipe, Steps
from trimtab.compression.student import OtherModel, merge_in_place
from trimtab.compression.wanted import Floor, Prune
from trimtab.compression.worth import Importance
from trimtab.errors import UsageError, message
from trimtab.evaluation import Artifact, open_artifact, save_artifact
from trimtab.methods import Strategy
from trimtab.models import ModelSource
from trimtab.models.layer_shapes import Kept, LayerShapes

_WORTH_ROWS = 512  # of dev: what heads are worth changes little with more
_HALVINGS = 12  # of the share, to meet a size


class PruneStep(Recipe):
    """Final."""

    floor: ClassVar[Floor | None] = Floor(points=2.0)

    def __init__(self, wanted: Prune) -> None:
        self._wanted = wanted

    @property
    def wanted(self) -> Prune:
        return self._wanted

    def check(self) -> None:
        """Raises UsageError TT-C041 where it is not clear how much is to go, TT-C207 for a share that is none,
        what `DistillLoss.check` raises."""
        wanted = self._wanted
        if not _says_how_much(wanted):
            raise UsageError("TT-C041")
        _asked(wanted, wanted.share or 0.0)
        loss_of(wanted.lesson).check()

    def make(self, making: Making) -> Steps:
        """Raises what `choose`, `tuning.shrink` and `learn` raise; UsageError TT-C042 for a size that no share
        meets."""
        yield from self._step_by_step(making) if self._wanted.recovers else self._without_training(making)
        return ()

    def _key(self, making: Making) -> str:
        """Equal for the same order of the same model and data: what another one left is not taken for ours."""
        assert making.corpus is not None
        again = replace(self._wanted, lesson=replace(self._wanted.lesson, resume=False))
        named = (repr(again), sha256_of(making.parent / FACTS_FILE), making.corpus.fingerprint)
        return hashlib.sha256("\0".join(named).encode()).hexdigest()[:12]

    def _without_training(self, making: Making) -> Iterator[Happening]:
        artifact = making.open()
        merge_in_place(artifact)
        kept, said = _kept(self._wanted, making, artifact, _shares(self._wanted)[-1], None)
        yield said
        _save(making, artifact, kept, making.folder)

    def _step_by_step(self, making: Making) -> Iterator[Happening]:
        wanted, original = self._wanted, None
        before, shares = making.parent, _shares(wanted)
        for number, share in enumerate(shares, start=1):
            last = number == len(shares)
            place = making.work / f"{number}-{self._key(making)}"
            done = making.folder if last else place / "made"
            student = place / "pruned"
            artifact = open_artifact(before, trust_remote_code=making.trust_remote_code)
            merge_in_place(artifact)
            if original is None:
                original = artifact.spec.shapes
            elif len(artifact.spec.shapes) < len(original):  # an interrupted one does not know which layers went
                original = original.only(range(len(artifact.spec.shapes)))
            if not (student / FACTS_FILE).is_file():
                asked = wanted if number == 1 else replace(wanted, dropped_layers=0)
                kept, said = _kept(asked, making, artifact, share, None if number == 1 else original)
                if number == 1:
                    original = original.only(layer.number for layer in kept.layers)
                yield said
                _save(making, artifact, kept, student)
            del artifact
            if not (done / FACTS_FILE).is_file():
                source = ModelSource(folder=student, name=str(student))
                within = replace(making, work=place)
                yield from learn(within, OtherModel(model=source), wanted.lesson, done)
            before = done


def _says_how_much(wanted: Prune) -> bool:
    """One of share and size, or layers; steps are parts of a share."""
    if wanted.share is not None and wanted.weight_bytes is not None:
        return False
    if wanted.steps < 1 or (wanted.steps > 1 and wanted.share is None):
        return False
    return bool(wanted.share or wanted.weight_bytes or wanted.dropped_layers)


def _shares(wanted: Prune) -> tuple[float | None, ...]:
    """What is gone after each step; None: as much as the size wants."""
    return (None,) if wanted.weight_bytes is not None else shares_in_steps(wanted.share or 0.0, wanted.steps)


def _kept(
    wanted: Prune, making: Making, artifact: Artifact, share: float | None, original: LayerShapes | None
) -> tuple[Kept, Happening]:
    """What stays, and the sentence that says so."""
    worth = importance(artifact.model, artifact.spec, _rows(making, artifact))
    kept = _to_size(wanted, artifact, worth) if share is None else choose(
        artifact.spec, worth, _asked(wanted, share), original
    )  # fmt: skip
    was, left, strategy = artifact.spec.shapes, kept.shapes(artifact.spec.shapes), _stored_as(wanted, artifact)
    before, after = (pruned_size(artifact.spec, one, strategy, making.facts.outputs) for one in (was, left))
    said = message(
        "TT-C043",
        before=before.parameters,
        after=after.parameters,
        size=after.weight_bytes,
        heads=left.heads,
        heads_before=was.heads,
        neurons=left.neurons,
        neurons_before=was.neurons,
    )
    return kept, said


def _stored_as(wanted: Prune, artifact: Artifact) -> Strategy:
    """In which format the result will be."""
    strategy = artifact.facts.strategy
    precision = wanted.lesson.settings.precision if wanted.recovers else None
    return replace(strategy, precision=precision or strategy.precision)


def _asked(wanted: Prune, share: float) -> Removal:
    return Removal(share=share, layers=wanted.dropped_layers, even=wanted.even)


def _to_size(wanted: Prune, artifact: Artifact, worth: Importance) -> Kept:
    """The smallest share whose weights are within the size, by halving. Raises UsageError TT-C042."""
    assert wanted.weight_bytes is not None
    strategy, outputs, spec = _stored_as(wanted, artifact), artifact.facts.outputs, artifact.spec
    low, high, best = 0.0, 0.95, None
    for _ in range(_HALVINGS):
        share = (low + high) / 2
        kept = choose(spec, worth, _asked(wanted, share))
        size = pruned_size(spec, kept.shapes(spec.shapes), strategy, outputs).weight_bytes
        if size <= wanted.weight_bytes:
            best, high = kept, share
        else:
            low = share
    if best is None:
        raise UsageError("TT-C042", size=wanted.weight_bytes, least=size)
    return best


def _rows(making: Making, artifact: Artifact) -> DevRows:
    assert making.corpus is not None, "what heads are worth is measured on dev"
    encoded = artifact.encode(making.corpus.dev)
    return DevRows(
        objective=artifact.objective,
        encoded=encoded.first(_WORTH_ROWS),
        collator=artifact.collator,
        strategy=artifact.facts.strategy,
    )


def _save(making: Making, artifact: Artifact, kept: Kept, folder: Path) -> None:
    """The pruned model as an artifact, whole or not at all."""
    spec = tuning.shrink(artifact.model, artifact.spec, kept)
    folder.mkdir(parents=True, exist_ok=True)
    facts = replace(making.facts, adapter=False, files=())
    save_artifact(folder, facts, artifact.model, artifact.tokenizer, spec)
