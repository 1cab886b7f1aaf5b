"""The verdict of a bake-off: who is chosen, who is not worse than that, who was out, and why; then its files.

Chosen on dev, by the mean over seeds; differences are those of test, with intervals over the same rows. Where none
is shown the two are called tied, whichever has the higher figure.
"""

import importlib.metadata
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from statistics import mean

from trimtab.errors import Message, TrimtabError, message
from trimtab.planning.halving import RUNGS, latest
from trimtab.store import open_store
from trimtab.study.bakeoff import (
    Bakeoff,
    BakeoffDone,
    Compared,
    Happening,
    Smaller,
    Standing,
    Status,
    TrialResult,
)
from trimtab.study.bakeoff_records import outcome
from trimtab.study.commands import compare_command_of
from trimtab.study.entrants import Listed
from trimtab.study.orders import Judged, JudgingOrder
from trimtab.study.prepared import Prepared, Started
from trimtab.study.workshop import Answered, Crashed, run_apart

JUDGE = "trimtab.study.judging:judge"
_LIBRARIES = ("torch", "transformers", "peft", "trimtab")


def settled(
    prepared: Prepared, started: Started, results: Sequence[TrialResult], stop: Callable[[], int | None]
) -> Iterator[Happening]:
    """Judge what was measured and write it down: Message where something could not be had, last BakeoffDone.
    Raises TrimtabError TT-B004 where no training came to an end."""
    finals = _finals(results)
    if not finals:
        why = next((result.failure for result in results if result.failure is not None), message("TT-B025"))
        raise TrimtabError("TT-B004", count=len(results), why=why)
    judged: Mapping[str, Judged] = {}
    for said in run_apart(JUDGE, _order(prepared, finals), stop=stop):
        if isinstance(said, Answered):
            judged = {one.folder: one for one in said.answer}
        elif isinstance(said, Crashed):
            yield message("TT-B026", why=said.why or said.status)
    bakeoff = _bakeoff(prepared, started, results, finals, judged)
    from trimtab.study.comparison_files import write_comparison

    page = write_comparison(bakeoff, prepared.out, prepared.request.language)
    yield BakeoffDone(bakeoff=bakeoff, comparison_path=str(page))


@dataclass(frozen=True, slots=True)
class _Final:
    """A strategy trained in earnest: with the first seed, and with others."""

    first: TrialResult
    again: tuple[TrialResult, ...]

    @property
    def merit(self) -> float:
        """On dev, mean over seeds."""
        return mean(one.dev.merit for one in (self.first, *self.again) if one.dev is not None)

    @property
    def name(self) -> str:
        return self.first.trial.entrant


def _finals(results: Iterable[TrialResult]) -> tuple[_Final, ...]:
    """The best first."""
    rung = RUNGS.index("finals")
    kept = [one for one in results if one.trial.kept and one.dev is not None]
    firsts = [one for one in kept if one.trial.rung == rung]
    found = [
        _Final(first, tuple(one for one in kept if one.trial.rung > rung and _same(one, first)))
        for first in firsts
    ]
    return tuple(sorted(found, key=lambda final: (-final.merit, final.first.dev_loss)))


def _same(one: TrialResult, other: TrialResult) -> bool:
    return one.trial.entrant == other.trial.entrant


def _order(prepared: Prepared, finals: Sequence[_Final]) -> JudgingOrder:
    return JudgingOrder(
        folders=tuple(final.first.folder for final in finals),
        data=prepared.request.data,
        reading=prepared.request.reading,
        trust_remote_code=prepared.request.trust_remote_code,
    )


def _bakeoff(
    prepared: Prepared,
    started: Started,
    results: Sequence[TrialResult],
    finals: Sequence[_Final],
    judged: Mapping[str, Judged],
) -> Bakeoff:
    assert finals[0].first.dev is not None
    split = "test" if finals[0].first.test is not None else "dev"
    standings = (
        *(_final_standing(started, final, finals[0], results, judged, split) for final in finals),
        *_others(started, results, finals),
        *(one.standing for one in started.listed if one.standing is not None),
    )
    used = sum(result.seconds for result in results) + started.field.spent_seconds
    return Bakeoff(
        models=prepared.request.models,
        data=prepared.models[0].data,
        machine=prepared.machine,
        metric=finals[0].first.dev.name,
        split=split,
        budget_seconds=prepared.seconds,
        spent_seconds=used,
        verdict=_verdict(standings, split),
        standings=standings,
        baselines=started.baselines,
        objectives=prepared.request.objectives,
        smaller=tuple(_smaller(finals)),
        command=compare_command_of(prepared.request),
        created_at=datetime.now(UTC).isoformat(timespec="seconds"),
        versions=tuple((name, importlib.metadata.version(name)) for name in _LIBRARIES),
    )


def _smaller(finals: Sequence[_Final]) -> Iterator[Smaller]:
    """Of each finalist, as the store has them."""
    names = {str(Path(final.first.folder).resolve()): final.name for final in finals}
    for one in open_store().variants():
        name = names.get(str(Path(one.parent).resolve()))
        if name is not None and one.folder and Path(one.folder).is_dir():
            yield Smaller(
                entrant=name,
                folder=one.folder,
                steps=one.steps,
                weight_bytes_before=one.weight_bytes_before,
                weight_bytes=one.weight_bytes,
                split=one.split,
                rows=one.rows,
                before=one.before,
                after=one.after,
                text_tokens=one.text_tokens,
                text_seconds=one.text_seconds,
            )


def _final_standing(
    started: Started,
    final: _Final,
    chosen: _Final,
    results: Sequence[TrialResult],
    judged: Mapping[str, Judged],
    split: str,
) -> Standing:
    compared = judged[final.first.folder].compared if final.first.folder in judged else None
    status = _status(final, chosen, compared)
    listed = _listed(started, final.name)
    parts = listed.estimate.strategy.parts
    adapters = [part for part in parts if part.adapter]
    return Standing(
        entrant=listed.entrant,
        status=status,
        reason=_why(status, final, chosen, compared, split),
        estimate=listed.estimate,
        trials=_of(results, final.name),
        best=final.first,
        again=final.again,
        artifact_bytes=judged[final.first.folder].kept_bytes if final.first.folder in judged else 0,
        switchable=bool(adapters),
        mergeable=bool(adapters) and all(part.mergeable for part in adapters),
        compared=compared,
    )


def _status(final: _Final, chosen: _Final, compared: Compared | None) -> Status:
    if final is chosen:
        return "chosen"
    return "finalist" if compared is None or compared.shows_difference else "tied"


def _why(status: Status, final: _Final, chosen: _Final, compared: Compared | None, split: str) -> Message:
    seeds = 1 + len(final.again)
    assert final.first.dev is not None
    if status == "chosen":
        return message("TT-B030", metric=final.first.dev.name, value=_value(final), seeds=seeds)
    lost = chosen.merit - final.merit
    if compared is None:
        return message("TT-B033", lost=lost)
    code = "TT-B031" if status == "tied" else "TT-B032"
    shown = final.first.test or final.first.dev
    return message(code, lost=lost, low=compared.low, high=compared.high, split=split, rows=shown.rows)


def _value(final: _Final) -> float:
    """Of the metric on dev, mean over seeds."""
    return mean(one.dev.value for one in (final.first, *final.again) if one.dev is not None)


def _others(started: Started, results: Sequence[TrialResult], finals: Sequence[_Final]) -> Iterator[Standing]:
    """Those that were tried and not trained in earnest, the best first; then those of which no trial came to an
    end."""
    done = {final.name for final in finals}
    order = [one.trial.entrant for one in latest(map(outcome, results)) if one.trial.entrant not in done]
    for name in order:
        yield _out(started, results, name)
    tried = {result.trial.entrant for result in results}
    for entrant in started.field.entrants:
        if entrant.name not in done and entrant.name not in order:
            mine = _of(results, entrant.name)
            failure = next((one.failure for one in mine if one.failure is not None), None)
            why = failure or message("TT-B025")
            status: Status = "failed" if entrant.name in tried else "no time"
            listed = _listed(started, entrant.name)
            yield Standing(entrant=entrant, status=status, reason=why, estimate=listed.estimate, trials=mine)


def _out(started: Started, results: Sequence[TrialResult], name: str) -> Standing:
    listed, mine = _listed(started, name), _of(results, name)
    rung = max(one.trial.rung for one in mine if one.dev is not None)
    best = _best(one for one in mine if one.trial.rung == rung)
    rivals = {one.trial.entrant: one for one in results if one.trial.rung == rung and one.dev is not None}
    top = _best(one for one in results if one.trial.rung == rung)
    better = {
        one.trial.entrant
        for one in results
        if one.trial.rung == rung and one.dev is not None and best.dev is not None
        if one.dev.merit > best.dev.merit
    }
    assert best.dev is not None and top.dev is not None
    reason = message(
        "TT-B034",
        rows=best.trial.samples,
        metric=best.dev.name,
        value=best.dev.value,
        place=len(better) + 1,
        count=len(rivals),
        lost=top.dev.merit - best.dev.merit,
    )
    return Standing(
        entrant=listed.entrant, status="out", reason=reason, estimate=listed.estimate, trials=mine, best=best
    )


def _best(results: Iterable[TrialResult]) -> TrialResult:
    scored = [one for one in results if one.dev is not None]
    return max(scored, key=lambda one: (one.dev.merit if one.dev else 0.0, -one.dev_loss))


def _of(results: Iterable[TrialResult], name: str) -> tuple[TrialResult, ...]:
    mine = (result for result in results if result.trial.entrant == name)
    return tuple(sorted(mine, key=lambda result: (result.trial.rung, result.trial.learning_rate)))


def _listed(started: Started, name: str) -> Listed:
    return next(one for one in started.listed if one.entrant.name == name)


def _verdict(standings: Sequence[Standing], split: str) -> Message:
    """In a sentence: what is chosen, and what is as good as far as can be told."""
    chosen = standings[0]
    assert chosen.best is not None and chosen.best.dev is not None
    shown = chosen.best.test or chosen.best.dev
    facts = {
        "name": chosen.entrant.name,
        "metric": shown.name,
        "value": shown.value,
        "low": shown.low,
        "high": shown.high,
        "split": split,
        "rows": shown.rows,
        "seconds": chosen.best.train_seconds,
        "memory": chosen.best.peak_memory_bytes,
    }
    tied = [one for one in standings if one.status == "tied"]
    cheaper = [one for one in tied if one.best is not None and one.best.train_seconds < chosen.best.train_seconds]
    if cheaper:
        quick = min(cheaper, key=lambda one: one.best.train_seconds if one.best else 0.0)
        assert quick.best is not None
        return message("TT-B042", **facts, other=quick.entrant.name, their_seconds=quick.best.train_seconds)
    if tied:
        return message("TT-B041", **facts, others=", ".join(one.entrant.name for one in tied))
    return message("TT-B040", **facts)
