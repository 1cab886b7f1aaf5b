"""The verb `compress --for`: steps composed for a machine, each predicted and then measured.

Rungs of the ladder are gone up from the gentlest until one holds: bytes, seconds of one text, and what the metric
on dev may lose. What a rung made stays beside `out` until the ladder is done, so that one that was interrupted
goes on where it was; a step that two rungs share is carried out once.
"""

import hashlib
import json
import shutil
from collections.abc import Generator, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from trimtab.artifacts import (
    FACTS_FILE,
    Change,
    artifact_named,
    glance,
    read_facts,
    sha256_of,
    stored,
    weight_bytes,
)
from trimtab.compression.ladder import Rung, Target, calls_for_trim, rungs, target_named
from trimtab.compression.outlook import Outlook, Trimmed, vocabularies
from trimtab.compression.vocabulary import named_ids
from trimtab.compression.wanted import Floor, Lesson, Wanted
from trimtab.data import Corpus, count_ids
from trimtab.data.spec import DataSpec, Task
from trimtab.errors import ArtifactError, Message, ModelError, TrimtabError, message
from trimtab.hardware import this_machine
from trimtab.models import ModelSource, TokenizerFile, read_spec
from trimtab.study import gather
from trimtab.study.adapters import ArtifactRow, artifact_row, free_folder
from trimtab.study.compressing import Compressed, CompressRequest, bench, carried_out, corpus_of
from trimtab.study.request import Planned, Reading
from trimtab.units import format_bytes

if TYPE_CHECKING:
    from trimtab.store import VariantRecord
    from trimtab.training.events import Event

    Happening: TypeAlias = "Event | Message | Planned | Compressed | Climbed | Laddered"

_MOST_TOKENS = 128  # of the text that is timed, where texts are longer
_WRITE: tuple[Task, ...] = ("instruct", "text")  # whose result is a GGUF file: of all heads, and all tokens
_TOKENIZER = "tokenizer.json"


@dataclass(frozen=True, kw_only=True, slots=True)
class LadderRequest:
    """What is to be made of the artifact in `folder` for the machine `target`, into `out`. What is None is the
    target's own. `lesson`: how students are taught."""

    folder: str
    out: str
    target: str
    data: str
    reading: Reading = Reading()
    floor: Floor | None = None
    bytes_at_most: int | None = None
    seconds_at_most: float | None = None
    lesson: Lesson = Lesson()
    trust_remote_code: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Climbed:
    """A rung that was carried out: predicted and measured bytes of weights, seconds of one text of `tokens`
    tokens, and the metric on dev before and after, of which `lost` is what became worse. `predicted_seconds` None:
    nothing was measured to predict from."""

    steps: tuple[str, ...]
    predicted_bytes: int
    weight_bytes: int
    tokens: int
    predicted_seconds: float | None
    seconds: float
    metric: str
    before: float
    after: float
    lost: float
    holds: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class Laddered:
    """The ladder is done: the artifact, and every rung that was carried out, the one that holds last."""

    row: ArtifactRow
    target: Target
    rungs: tuple[Climbed, ...]


def compress_for(
    request: LadderRequest,
) -> "Iterator[Happening]":
    """Carry out the ladder while it is iterated over; last the Laddered.

    Raises at once as `compress`; UsageError TT-C017 for a target that is not known; while it runs TrimtabError
    TT-C050 where no rung is predicted to do, TT-C051 where none of those that were carried out holds (exit 1, what
    they made stays beside `out`); what steps raise.
    """
    asked = target_named(request.target)
    target = replace(
        asked,
        floor=request.floor or asked.floor,
        bytes_at_most=request.bytes_at_most or asked.bytes_at_most,
        seconds_at_most=request.seconds_at_most or asked.seconds_at_most,
    )
    place, out = artifact_named(request.folder), free_folder(request.out)
    facts = read_facts(place)
    if facts.engine != "transformers":
        raise ArtifactError(
            "TT-C015", folder=str(place), engine=facts.engine, step="compress", parent=facts.came_from
        )
    begun = replace(request, folder=str(place), out=str(out))
    corpus = corpus_of(request.data, request.reading, facts)
    data = gather.describe(corpus, TokenizerFile(place / _TOKENIZER))
    return _Ladder(begun, target, place, out, corpus, data).events()


@dataclass(frozen=True, slots=True)
class _Ladder:
    request: LadderRequest
    target: Target
    place: Path
    out: Path
    corpus: Corpus
    data: DataSpec

    @property
    def beside(self) -> Path:
        """Where rungs are made."""
        return self.out.with_name(f".{self.out.name}.ladder")

    @property
    def tokens(self) -> int:
        """Of the text that is timed: the usual one of the data."""
        return max(1, min(_MOST_TOKENS, self.data.lengths.quantile(0.5)))

    def events(self) -> "Iterator[Happening]":
        source = self._source()
        spec = read_spec(source)
        model = Outlook(
            spec=spec,
            parameters=spec.parameters + (spec.hidden + 1) * glance(self.place).outputs,
            tokenizer_bytes=(self.place / _TOKENIZER).stat().st_size,
        )
        fewer = self._fewer_tokens(model, source) if calls_for_trim(model, self.target) else ()
        if fewer:
            most, least = fewer[0].tokens, fewer[-1].tokens
            yield message("TT-C054", share=model.table_share, before=spec.vocab, most=most, least=least)
        yield from self._climb(self._rungs(model, fewer))

    def _rungs(self, model: Outlook, fewer_tokens: tuple[Trimmed, ...]) -> Iterator[Rung]:
        prunes = self.data.task not in _WRITE
        return rungs(
            model, self.request.lesson, self.target, tokens=self.tokens, fewer_tokens=fewer_tokens, prunes=prunes
        )  # fmt: skip

    def _climb(self, ladder: Iterator[Rung]) -> "Iterator[Happening]":
        climbed: list[Climbed] = []
        variants: list[VariantRecord] = []
        whole: float | None = None
        for rung in ladder:
            if not rung.fits(self.target, whole):
                yield message("TT-C052", steps=" + ".join(rung.names), size=rung.bytes)
                continue
            made = yield from self._carried_out(rung)
            found = self._measured(rung, made, None if whole is None else whole * rung.work_share)
            # Part of a pass does not depend on its work: of a small share the whole is guessed too slow.
            guess = found.seconds / rung.work_share
            whole = guess if whole is None else min(whole, guess)
            climbed.append(found)
            variants.append(self._variant(rung, made, found))
            yield found
            if found.holds:
                yield self._done(made, tuple(climbed))
                self._record(variants)
                return
        self._record(variants)
        raise self._refusal(tuple(climbed))

    def _source(self) -> ModelSource:
        """Of the model, or of the base of an adapter."""
        facts = glance(self.place)
        if not facts.adapter:
            return ModelSource(folder=self.place, name=str(self.place))
        from trimtab.evaluation.artifact import base_source

        return base_source(facts, self.request.trust_remote_code)

    def _fewer_tokens(self, model: Outlook, source: ModelSource) -> tuple[Trimmed, ...]:
        """Empty where its vocabulary cannot be made smaller."""
        if self.data.task in _WRITE:
            return ()
        file, config = self.place / _TOKENIZER, source.folder / "config.json"
        always = named_ids(json.loads(config.read_text(encoding="utf-8")))
        counts = count_ids(self.corpus.train, file)
        try:
            return vocabularies(model.spec, json.loads(file.read_text(encoding="utf-8")), counts, always)
        except ModelError:
            return ()

    def _carried_out(self, rung: Rung) -> "Generator[Happening, None, Path]":
        """The folder of what it made is the generator's return value."""
        before = self.place
        for step in rung.steps:
            made = self.beside / _key(before, step, self.corpus)
            if not (made / FACTS_FILE).is_file():
                yield message("TT-C053", step=step.step, words=" ".join(step.words))
                yield from carried_out(self._step(step, before, made), self.corpus)
            before = made
        return before

    def _step(self, step: Wanted, before: Path, made: Path) -> CompressRequest:
        """Kept whatever it loses: what counts is what all of a rung lose together."""
        request = self.request
        return CompressRequest(
            folder=str(before), out=str(made), wanted=step, data=request.data, reading=request.reading,
            force=True, trust_remote_code=request.trust_remote_code,
        )  # fmt: skip

    def _measured(self, rung: Rung, made: Path, predicted: float | None) -> Climbed:
        first, last = self._changes(made)[0].compared[0], self._changes(made)[-1].compared[0]
        assert first.before is not None and last.after is not None, "steps with data have a metric"
        (timed,) = bench([str(made)], length=self.tokens, batch=1, rounds=50)
        size, tokenizer, target = weight_bytes(made), (made / _TOKENIZER).stat().st_size, self.target
        lost = last.after - first.before if last.lower_is_better else first.before - last.after
        holds = (
            lost <= target.floor.allowed(first.before, lower_is_better=last.lower_is_better) + 1e-9
            and (target.bytes_at_most is None or size + tokenizer <= target.bytes_at_most)
            and (target.seconds_at_most is None or timed.speed.median_seconds <= target.seconds_at_most)
        )
        return Climbed(
            steps=rung.names,
            predicted_bytes=rung.weight_bytes,
            weight_bytes=size,
            tokens=self.tokens,
            predicted_seconds=predicted,
            seconds=timed.speed.median_seconds,
            metric=first.metric,
            before=first.before,
            after=last.after,
            lost=lost,
            holds=holds,
        )

    def _record(self, variants: "list[VariantRecord]") -> None:
        """In the study of what the ladder began with, when it has come to an end."""
        from trimtab.study.record import record_variant

        for variant in variants:
            record_variant(variant)

    def _variant(self, rung: Rung, made: Path, found: Climbed) -> "VariantRecord":
        from trimtab.study.record import variant_of

        return replace(
            variant_of(made, self._changes(made), this_machine()),
            parent=str(self.place.resolve()),
            steps=tuple(" ".join((step.step, *step.words)) for step in rung.steps),
            folder=str(self.out.resolve()) if found.holds else "",
            predicted_bytes=found.predicted_bytes,
            text_tokens=found.tokens,
            text_seconds=found.seconds,
            predicted_text_seconds=found.predicted_seconds,
            holds=found.holds,
        )

    def _changes(self, made: Path) -> tuple[Change, ...]:
        """Those of this ladder."""
        return glance(made).changes[len(glance(self.place).changes) :]

    def _done(self, made: Path, climbed: tuple[Climbed, ...]) -> Laddered:
        if self.out.is_dir():
            self.out.rmdir()
        made.rename(self.out)
        shutil.rmtree(self.beside, ignore_errors=True)
        return Laddered(row=artifact_row(stored(self.out)), target=self.target, rungs=climbed)

    def _refusal(self, climbed: tuple[Climbed, ...]) -> TrimtabError:
        size = "-" if self.target.bytes_at_most is None else format_bytes(self.target.bytes_at_most)
        if not climbed:
            return TrimtabError("TT-C050", target=self.target.name, size=size)
        best = min(climbed, key=lambda one: one.lost)
        return TrimtabError(
            "TT-C051", target=self.target.name, tried=len(climbed), metric=best.metric, after=best.after,
            before=best.before, steps=" + ".join(best.steps), size=best.weight_bytes, seconds=best.seconds,
            floor=str(self.target.floor), folder=str(self.beside),
        )  # fmt: skip


def _key(before: Path, step: Wanted, corpus: Corpus) -> str:
    """Equal for the same step of the same artifact on the same data."""
    named = "\0".join((sha256_of(before / FACTS_FILE), corpus.fingerprint, step.step, *step.words))
    return f"{step.step}-{hashlib.sha256(named.encode()).hexdigest()[:12]}"
