"""The step `prune`: the same model with fewer heads, neurons or layers, trained again by what it was.

Each of `steps` parts of the way is: what heads and neurons are worth on dev, the least of them gone, and a
training in which the unpruned model is the teacher. With `until_floor` the way ends before the part after which
dev has lost more than the floor.
"""

import hashlib
import shutil
from collections.abc import Generator, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

import numpy as np

from trimtab import tuning
from trimtab.artifacts import FACTS_FILE, OneText, sha256_of
from trimtab.compression.choose import Removal, Size, choose, pruned_size, shares_in_steps
from trimtab.compression.enough import MOST_SHARE, FastEnough, Tried, least_share
from trimtab.compression.importance import DevRows, importance
from trimtab.compression.lesson import learn, loss_of
from trimtab.compression.recipe import Happening, Made, Making, Recipe, Steps
from trimtab.compression.student import OtherModel, merge_in_place
from trimtab.compression.wanted import Floor, Prune
from trimtab.compression.worth import Importance
from trimtab.errors import TrimtabError, UsageError, message
from trimtab.estimation.work import forward_flop
from trimtab.evaluation import Artifact, open_artifact, save_artifact
from trimtab.evaluation.timing import time_models
from trimtab.methods import Precision, Strategy
from trimtab.models import ModelSource, read_spec
from trimtab.models.layer_shapes import Kept, LayerShapes
from trimtab.models.pruned import with_shapes
from trimtab.models.spec import ModelSpec

_WORTH_ROWS = 512  # of dev: what heads are worth changes little with more
_MOST_TOKENS = 128  # of the text that is timed, where texts are longer
_ROUNDS = 50
_FARTHEST, _PARTS = 0.9, 9  # until the floor, where nothing is said of shares


class PruneStep(Recipe):
    """Final."""

    floor: ClassVar[Floor | None] = Floor(points=2.0)

    def __init__(self, wanted: Prune) -> None:
        self._wanted = wanted

    @property
    def wanted(self) -> Prune:
        return self._wanted

    def check(self) -> None:
        """Raises UsageError TT-C041 where it is not clear how much is to go, TT-C115 where it is and goes on until
        the floor besides, TT-C207 for a share that is none, what `DistillLoss.check` raises."""
        wanted = self._wanted
        if wanted.until_floor and (wanted.weight_bytes or wanted.seconds or not wanted.recovers):
            raise UsageError("TT-C115")
        if not _says_how_much(wanted):
            raise UsageError("TT-C041")
        _asked(wanted, wanted.share or 0.0)
        loss_of(wanted.lesson).check()

    def make(self, making: Making) -> Steps:
        """Raises what `choose`, `tuning.shrink` and `learn` raise; UsageError TT-C042 for a size that no share
        meets, TT-C116, TT-C117 for a latency that is met already, or by no share; TrimtabError TT-C121 where the
        first part of the way is beyond the floor."""
        if not self._wanted.recovers:
            yield from self._cut(making, making.parent, making.folder, _shares(self._wanted)[-1], None)
        elif self._wanted.until_floor:
            yield from self._until_floor(making)
        else:
            yield from self._step_by_step(making)
        if self._wanted.seconds is None:
            return Made()
        timed = _timed(making)
        yield message(
            "TT-C120", tokens=timed.tokens, after=1e3 * timed.seconds_after, before=1e3 * timed.seconds_before,
            wanted=1e3 * self._wanted.seconds,
        )  # fmt: skip
        return Made(one_text=timed)

    def _place(self, making: Making, number: int) -> Path:
        """Of a part of the way. The same for the same order of the same model and data: what another one left is
        not taken for ours."""
        assert making.corpus is not None
        again = replace(self._wanted, lesson=replace(self._wanted.lesson, resume=False))
        named = (repr(again), sha256_of(making.parent / FACTS_FILE), making.corpus.fingerprint)
        key = hashlib.sha256("\0".join(named).encode()).hexdigest()[:12]
        return making.work / f"{number}-{key}"

    def _step_by_step(self, making: Making) -> Iterator[Happening]:
        before, original, shares = making.parent, None, _shares(self._wanted)
        for number, share in enumerate(shares, start=1):
            place = self._place(making, number)
            made = place / "made" if number < len(shares) else making.folder
            original = yield from self._part(making, before, place, made, share, original)
            before = made

    def _until_floor(self, making: Making) -> Iterator[Happening]:
        """The last that holds becomes what is made. What was trained before an interruption is looked at again."""
        before, original, held = making.parent, None, None
        for number, share in enumerate(_shares(self._wanted), start=1):
            place = self._place(making, number)
            before, last = place / "made", before
            original = yield from self._part(making, last, place, before, share, original)
            found = making.compare(open_artifact(before, trust_remote_code=making.trust_remote_code))
            facts = {
                "share": share, "metric": found.metric, "after": found.after, "before": found.before,
                "rows": found.rows, "floor": str(making.floor),
            }  # fmt: skip
            if not making.holds(found):
                if held is None:
                    raise TrimtabError("TT-C121", **facts)
                yield message("TT-C119", **facts)
                break
            held = before
            yield message("TT-C118", **facts)
        assert held is not None, "there is a first part"
        shutil.copytree(held, making.folder, dirs_exist_ok=True)

    def _part(
        self,
        making: Making,
        before: Path,
        place: Path,
        made: Path,
        share: float | None,
        original: LayerShapes | None,
    ) -> Generator[Happening, None, LayerShapes]:
        """Prune the artifact `before` in `place` and train it into `made`, unless that was done. `original`: what
        its layers were like first, None = as they are; of those that stay it is the generator's return value."""
        student = place / "pruned"
        source = ModelSource(folder=student, name=str(student))
        if (student / FACTS_FILE).is_file():  # an interrupted one does not know which layers went
            original = original or _opened(making, before).spec.shapes
            original = original.only(range(len(read_spec(source).shapes)))
        else:
            original = yield from self._cut(making, before, student, share, original)
        if not (made / FACTS_FILE).is_file():
            yield from learn(replace(making, work=place), OtherModel(model=source), self._wanted.lesson, made)
            if made.parent == place:  # it stands; what is beside the result may still be gone on from
                shutil.rmtree(place / "checkpoints", ignore_errors=True)
        return original

    def _cut(
        self, making: Making, before: Path, folder: Path, share: float | None, original: LayerShapes | None
    ) -> Generator[Happening, None, LayerShapes]:
        """The pruned model as an artifact in `folder`, untrained. Returns what the layers that stay were like
        first."""
        dropped = self._wanted.dropped_layers if original is None else 0
        looked = _Looked.at(making, before, replace(self._wanted, dropped_layers=dropped))
        if share is not None:
            kept = looked.left(share, original)
        elif self._wanted.seconds is not None:
            kept = yield from looked.fast_enough(making, before, self._wanted.seconds)
        else:
            kept = looked.small_enough()
        yield looked.said(kept)
        _save(making, before, kept, folder)
        return (original or looked.spec.shapes).only(layer.number for layer in kept.layers)


def _says_how_much(wanted: Prune) -> bool:
    """One of share, size and latency, or layers, or the floor; steps are parts of a share."""
    if sum(one is not None for one in (wanted.share, wanted.weight_bytes, wanted.seconds)) > 1:
        return False
    if wanted.steps < 1 or (wanted.steps > 1 and wanted.share is None and not wanted.until_floor):
        return False
    return bool(
        wanted.share or wanted.weight_bytes or wanted.seconds or wanted.dropped_layers or wanted.until_floor
    )


def _shares(wanted: Prune) -> tuple[float | None, ...]:
    """What is gone after each step; None: as much as the size or the latency wants."""
    if wanted.weight_bytes is not None or wanted.seconds is not None:
        return (None,)
    if wanted.until_floor:
        share, steps = wanted.share or _FARTHEST, wanted.steps if wanted.steps > 1 else _PARTS
        return shares_in_steps(share, steps)
    return shares_in_steps(wanted.share or 0.0, wanted.steps)


def _asked(wanted: Prune, share: float) -> Removal:
    return Removal(share=share, layers=wanted.dropped_layers, even=wanted.even)


# ------------------------------------------------------------------ what stays


@dataclass(frozen=True, kw_only=True, slots=True)
class _Looked:
    """A model that was looked at, and is closed. `strategy`: in which format the result will be; `tokens`: of the
    usual text, at most `_MOST_TOKENS`."""

    wanted: Prune
    spec: ModelSpec
    worth: Importance
    strategy: Strategy
    outputs: int
    tokens: int

    @classmethod
    def at(cls, making: Making, folder: Path, wanted: Prune) -> "_Looked":
        artifact = _opened(making, folder)
        strategy = artifact.facts.strategy
        precision = wanted.lesson.settings.precision if wanted.recovers else None
        return cls(
            wanted=wanted,
            spec=artifact.spec,
            worth=importance(artifact.model, artifact.spec, _rows(making, artifact)),
            strategy=replace(strategy, precision=precision or strategy.precision),
            outputs=artifact.facts.outputs,
            tokens=_usual_tokens(making),
        )

    def left(self, share: float, original: LayerShapes | None = None) -> Kept:
        return choose(self.spec, self.worth, _asked(self.wanted, share), original)

    def size(self, kept: Kept) -> Size:
        return pruned_size(self.spec, kept.shapes(self.spec.shapes), self.strategy, self.outputs)

    def work(self, kept: Kept) -> float:
        """Of a forward pass, as a share of what it is before."""
        left = with_shapes(self.spec, kept.shapes(self.spec.shapes))
        return forward_flop(left, self.tokens) / forward_flop(self.spec, self.tokens)

    def small_enough(self) -> Kept:
        """Raises UsageError TT-C042."""
        most = self.wanted.weight_bytes
        assert most is not None
        share = least_share(lambda share: self.size(self.left(share)).weight_bytes <= most)
        if share is None:
            raise UsageError("TT-C042", size=most, least=self.size(self.left(MOST_SHARE)).weight_bytes)
        return self.left(share)

    def fast_enough(self, making: Making, folder: Path, wanted_seconds: float) -> Generator[Happening, None, Kept]:
        """What is measured to be fast enough. Raises UsageError TT-C116, TT-C117."""
        whole = _seconds(_opened(making, folder), self.tokens, self.strategy.precision)
        facts = {"tokens": self.tokens, "whole": 1e3 * whole, "wanted": 1e3 * wanted_seconds}
        if whole <= wanted_seconds:
            raise UsageError("TT-C116", **facts)

        def measure(kept: Kept) -> float:
            return _seconds(_shrunk(making, folder, kept)[0], self.tokens, self.strategy.precision)

        search = FastEnough(
            wanted_seconds=wanted_seconds, whole_seconds=whole, left=self.left, work=self.work, measure=measure
        )
        tried: list[Tried] = []
        for one in search.tries():
            tried.append(one)
            yield message(
                "TT-C122", work=one.work_share, seconds=1e3 * one.seconds, predicted=1e3 * one.predicted_seconds,
                **facts,
            )  # fmt: skip
        best = search.best(tried)
        if best is None:
            raise UsageError("TT-C117", least=1e3 * min(one.seconds for one in tried), **facts)
        return best.kept

    def said(self, kept: Kept) -> Happening:
        was, left = self.spec.shapes, kept.shapes(self.spec.shapes)
        after = self.size(kept)
        return message(
            "TT-C043",
            before=pruned_size(self.spec, was, self.strategy, self.outputs).parameters,
            after=after.parameters,
            size=after.weight_bytes,
            heads=left.heads,
            heads_before=was.heads,
            neurons=left.neurons,
            neurons_before=was.neurons,
        )


def _opened(making: Making, folder: Path) -> Artifact:
    """An adapter is in its base."""
    artifact = open_artifact(folder, trust_remote_code=making.trust_remote_code)
    merge_in_place(artifact)
    return artifact


def _rows(making: Making, artifact: Artifact) -> DevRows:
    assert making.corpus is not None, "what heads are worth is measured on dev"
    encoded = artifact.encode(making.corpus.dev)
    return DevRows(
        objective=artifact.objective,
        encoded=encoded.first(_WORTH_ROWS),
        collator=artifact.collator,
        strategy=artifact.facts.strategy,
    )


def _shrunk(making: Making, folder: Path, kept: Kept) -> tuple[Artifact, ModelSpec]:
    artifact = _opened(making, folder)
    return artifact, tuning.shrink(artifact.model, artifact.spec, kept)


def _save(making: Making, before: Path, kept: Kept, folder: Path) -> None:
    """The pruned model as an artifact, whole or not at all."""
    artifact, spec = _shrunk(making, before, kept)
    folder.mkdir(parents=True, exist_ok=True)
    facts = replace(making.facts, adapter=False, files=())
    save_artifact(folder, facts, artifact.model, artifact.tokenizer, spec)


# ------------------------------------------------------------------ how long a text takes


def _usual_tokens(making: Making) -> int:
    """Of a text of dev."""
    return max(1, min(_MOST_TOKENS, int(np.median(making.before.rows.encoded.widths))))


def _seconds(artifact: Artifact, tokens: int, precision: Precision) -> float:
    """In the format that the result will have."""
    artifact.model.to(tuning.DTYPES[precision])
    (speed,) = time_models([artifact], length=tokens, batch=1, rounds=_ROUNDS)
    return speed.median_seconds


def _timed(making: Making) -> OneText:
    """One after the other: two models in memory are one too many."""
    tokens = _usual_tokens(making)
    opened = (_opened(making, folder) for folder in (making.parent, making.folder))
    before, after = (_seconds(one, tokens, one.facts.strategy.precision) for one in opened)
    return OneText(tokens=tokens, seconds_before=before, seconds_after=after)
