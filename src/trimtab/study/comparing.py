"""The verb `compare`: a bake-off of strategies under a budget of time or money, and its verdict.

Trials come from `planning.halving`, one after the other, each in a process of its own; what is finished is in the
store, so that a killed bake-off goes on, and several processes may share one. Nothing here imports torch.
"""

import hashlib
import json
import re
import time
import uuid
from collections.abc import Generator, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from filelock import FileLock

from trimtab.data import Corpus, Sample
from trimtab.errors import BadInput, Interrupted, NothingFits, UsageError, message
from trimtab.hardware import Machine, calibration_key, this_machine
from trimtab.hardware.calibration import cached_calibration
from trimtab.home import write_atomically
from trimtab.methods import method_named
from trimtab.planning import Field, Limits, Trial, fit, next_trials
from trimtab.planning.candidates import DEFAULT_BATCH
from trimtab.planning.halving import predicted_seconds
from trimtab.planning.request import refuse_unanswering, refuse_untrained
from trimtab.stop import StopRequest
from trimtab.store import open_store
from trimtab.study import gather
from trimtab.study.bakeoff import (
    DEFAULT_SECONDS,
    OBJECTIVES,
    BakeoffStarted,
    Baseline,
    BaselineDone,
    CompareRequest,
    Happening,
    Measure,
    TrialDone,
    TrialResult,
    TrialStarted,
    WaitingForOthers,
)
from trimtab.study.bakeoff_records import from_start, from_text, outcome, start_text, to_text
from trimtab.study.baselines import baselines
from trimtab.study.entrants import Listed, ModelFacts, entrants, out_of_time, questions
from trimtab.study.margins import with_margins
from trimtab.study.orders import CalibrationOrder, TrialOrder
from trimtab.study.prepared import Prepared, Started
from trimtab.study.request import TrainRequest
from trimtab.study.verdict import settled
from trimtab.study.workshop import Answered, Crashed, Waiting, run_apart

if TYPE_CHECKING:
    from trimtab.store import Trials

BAKEOFF_FILE = "bakeoff.json"
_CALIBRATE, RUN_TRIAL = "trimtab.study.trial:calibrate", "trimtab.study.trial:run_trial"
_START = "start"  # the claim under which the first process gets everything ready
_JUDGING_SECONDS = 25.0  # kept for the verdict: finalists on test, and how fast they answer
_JUDGING_SHARE = 0.1  # of a small budget
_WAIT_SECONDS = 1.0
_RENEW_SECONDS = 15.0


def compare(request: CompareRequest) -> Iterator[Happening]:
    """Bake off while it is iterated over: what happens, last BakeoffDone. In `out`: runs/ with the artifacts of
    those trained in earnest, comparison.html, .json, .csv, charts/.

    Raises at once BadInput TT-B001 for a folder that is somebody else's, TT-B002 for that of another bake-off,
    DataError, ModelError, UsageError, NothingFits where no strategy fits into memory; while it runs Interrupted,
    after which the same request goes on, TrimtabError TT-B004 where no training came to an end.
    """
    return _carried_out(open_bakeoff(request))


def open_bakeoff(request: CompareRequest) -> Prepared:
    """The question with all facts, and its folder marked. Raises what `compare` raises at once."""
    began = time.time()
    _check(request)
    out = Path(request.out)
    _refuse_foreign_folder(out)
    corpus = gather.open_corpus(request.data, request.reading)  # before gigabytes are fetched
    machine, seconds = _machine_and_seconds(request)
    models = tuple(_facts_of(request, model, corpus) for model in request.models)
    for facts in models:
        for question in questions(request, facts, machine):
            question.check()
    identity = _identity(out, _question(request, models, machine))
    return Prepared(
        request=request,
        corpus=corpus,
        models=models,
        machine=machine,
        identity=identity,
        seconds=seconds,
        began=began,
    )


def _check(request: CompareRequest) -> None:
    if not request.models or len(set(request.models)) < len(request.models):
        raise UsageError("TT-U015", models=", ".join(request.models) or "-")
    for method in request.methods:
        method_named(method)
    if request.seeds < 1:
        raise UsageError("TT-B005", seeds=request.seeds)
    strange = next((word for word in request.objectives if word not in OBJECTIVES), None)
    if strange is not None or len(request.objectives) < 2:
        raise UsageError("TT-B008", asked=", ".join(request.objectives) or "-", known=", ".join(OBJECTIVES))
    if request.limits.seconds is not None and not request.limits.seconds > 0:
        raise UsageError("TT-B006", seconds=request.limits.seconds)


def _refuse_foreign_folder(out: Path) -> None:
    if out.exists() and not out.is_dir():
        raise BadInput("TT-T029", path=str(out))
    names = sorted(path.name for path in out.iterdir() if not path.name.startswith(".")) if out.is_dir() else []
    if names and BAKEOFF_FILE not in names:
        raise BadInput("TT-B001", folder=str(out), found=names[0])


def _machine_and_seconds(request: CompareRequest) -> tuple[Machine, float]:
    """This machine, measured, with its price where that is said; and the budget, that of money in time."""
    machine = with_margins(this_machine())
    machine = gather.priced(machine, request.price, request.pricing, needed=request.needs_price).machine
    seconds, money = request.limits.seconds, request.limits.money
    if money is not None:
        if machine.price is None:
            raise UsageError("TT-B007", money=money)
        hourly = machine.price.rate.amount(machine.price.hourly, money.currency)
        paid_for = 3600 * money.amount / hourly
        seconds = paid_for if seconds is None else min(seconds, paid_for)
    return machine, DEFAULT_SECONDS if seconds is None else seconds


def _facts_of(request: CompareRequest, model: str, corpus: Corpus) -> ModelFacts:
    spec, data = gather.model_and_data(request, model, request.data)
    refuse_untrained(spec)
    refuse_unanswering(corpus.task, spec)
    return ModelFacts(model=model, spec=spec, data=data)


def _question(request: CompareRequest, models: tuple[ModelFacts, ...], machine: Machine) -> str:
    """What must be the same for a bake-off to go on: the question, the weights, the rows, the kind of machine."""
    asked = (request.methods, request.choices, request.settings, request.reading, request.limits, request.seeds)
    facts = [(facts.model, facts.spec.fingerprint, facts.data.fingerprint) for facts in models]
    whole = repr((asked, facts, machine.device.name, machine.cores))
    return hashlib.sha256(whole.encode()).hexdigest()[:32]


def _identity(out: Path, question: str) -> str:
    """The name of the bake-off in the store, as its folder keeps it: a folder that was deleted begins another one.
    Raises BadInput TT-B002 where the folder is that of another question."""
    out.mkdir(parents=True, exist_ok=True)
    file = out / BAKEOFF_FILE
    with FileLock(out / ".lock"):
        if not file.exists():
            write_atomically(file, json.dumps({"question": question, "identity": uuid.uuid4().hex}))
        try:
            kept = json.loads(file.read_text(encoding="utf-8"))
            same, identity = kept["question"] == question, str(kept["identity"])
        except (ValueError, KeyError, TypeError) as error:
            raise BadInput("TT-B002", folder=str(out)) from error
    if not same:
        raise BadInput("TT-B002", folder=str(out))
    return identity


def _carried_out(prepared: Prepared) -> Iterator[Happening]:
    with StopRequest().listening() as stop:
        trials = open_store(prepared.request.store).trials(prepared.identity)
        machine = yield from _calibrated(prepared.machine, stop)
        prepared = replace(prepared, machine=machine)
        listed = entrants(prepared.request, prepared.models, machine)
        started = yield from _started(prepared, trials, listed, stop)
        yield from _trials(prepared, trials, started.field, stop)
        yield from settled(prepared, started, _results(trials), lambda: stop.status)


def _calibrated(machine: Machine, stop: StopRequest) -> Generator[Happening, None, Machine]:
    """With the rates of the training stack on it, as a training plans."""
    if machine.device.kind != "cpu":
        return machine
    key = calibration_key(machine)
    if cached_calibration(key) is None:
        yield message("TT-B024")
        for _ in run_apart(_CALIBRATE, CalibrationOrder(key=key, cores=machine.cores), stop=lambda: stop.status):
            pass
    return replace(machine, calibration=cached_calibration(key))


def _started(
    prepared: Prepared, trials: "Trials", listed: tuple[Listed, ...], stop: StopRequest
) -> Generator[Happening, None, Started]:
    """The first process of a bake-off makes the baselines and says what getting ready has taken: with it every
    other one comes to the same trials."""
    if all(one.standing is not None for one in listed):
        raise NothingFits("TT-B003", count=len(listed))
    kept = _start_of(trials)
    while kept is None:
        if trials.claim(_START):
            found = []
            for baseline in baselines(prepared.corpus):
                found.append(baseline)
                yield BaselineDone(baseline=baseline)
            trials.finish(_START, start_text(time.time() - prepared.began, found))
        else:
            _pause(stop)
        kept = _start_of(trials)
    spent, found_baselines = from_start(kept)
    field = field_of(prepared, listed, spent)
    inside, outside = fit(field)
    late = [one for one in listed if one.entrant in outside]
    told = tuple(out_of_time(one) if one in late else one for one in listed)
    skipped = tuple(one.standing for one in told if one.standing is not None)
    results = _results(trials)
    yield BakeoffStarted(
        entrants=inside,
        skipped=skipped,
        budget_seconds=prepared.seconds,
        spent_seconds=spent + sum(result.seconds for result in results),
        metric=next((dev.name for dev in _scored(found_baselines, results)), ""),
        resumed=len(results),
    )
    return Started(field=replace(field, entrants=inside), listed=told, baselines=found_baselines)


def _scored(found: tuple[Baseline, ...], results: tuple[TrialResult, ...]) -> Iterator[Measure]:
    yield from (one.dev for one in found if one.dev is not None)
    yield from (one.dev for one in results if one.dev is not None)


def field_of(prepared: Prepared, listed: tuple[Listed, ...], spent: float) -> Field:
    """Who takes part, and within what."""
    data, settings = prepared.models[0].data, prepared.request.settings
    return Field(
        entrants=tuple(one.entrant for one in listed if one.standing is None),
        train_rows=data.train_rows,
        dev_rows=data.dev_rows,
        seconds=prepared.seconds - min(_JUDGING_SECONDS, _JUDGING_SHARE * prepared.seconds),
        batch=settings.batch or DEFAULT_BATCH,
        spent_seconds=spent,
        seed=settings.seed,
        seeds=prepared.request.seeds,
    )


def _trials(prepared: Prepared, trials: "Trials", field: Field, stop: StopRequest) -> Iterator[Happening]:
    """All trials that are left, one after the other, each claimed before it begins."""
    waited = False
    while wanted := next_trials(field, map(outcome, _results(trials))):
        trial = next((trial for trial in wanted if trials.claim(trial.key)), None)
        if trial is None:
            if not waited:
                yield WaitingForOthers(trials=len(wanted))
            waited = True
            _pause(stop)
            continue
        waited = False
        yield from _trial(prepared, trials, field, trial, stop)


def _trial(
    prepared: Prepared, trials: "Trials", field: Field, trial: Trial, stop: StopRequest
) -> Iterator[Happening]:
    began, done = time.time(), _results(trials)
    left = field.seconds - field.spent_seconds - sum(result.seconds for result in done)
    predicted = predicted_seconds(field, map(outcome, done), trial)
    yield TrialStarted(trial=trial, predicted_seconds=predicted, left_seconds=left)
    order = TrialOrder(trial=trial, request=training_of(prepared.request, field, trial, began + max(left, 0.0)))
    result, renewed = None, began
    try:
        for said in run_apart(RUN_TRIAL, order, fresh=trial.kept, stop=lambda: stop.status):
            if time.time() - renewed > _RENEW_SECONDS:
                trials.renew(trial.key)
                renewed = time.time()
            if isinstance(said, Answered):
                result = said.answer
            elif isinstance(said, Crashed):
                why = message("TT-B023", status=said.status, why=said.why or "-")
                result = TrialResult(trial=trial, seconds=0.0, failure=why)
            elif not isinstance(said, Waiting):
                yield said
        assert result is not None, "a process answers or crashes"
        result = replace(result, seconds=time.time() - began)
    except BaseException:
        trials.release(trial.key)
        raise
    if trials.finish(trial.key, to_text(result)):
        yield TrialDone(result=result)


def training_of(asked: CompareRequest, field: Field, trial: Trial, stop_at: float | None) -> TrainRequest:
    """The trial as a training: what `trimtab train` would be asked."""
    entrant = field.named(trial.entrant)
    sample = Sample(
        train_rows=trial.rows if trial.rows < field.train_rows else None,
        dev_rows=trial.dev_rows if trial.dev_rows < field.dev_rows else None,
    )
    settings = replace(
        asked.settings,
        learning_rate=trial.learning_rate,
        epochs=trial.epochs,
        batch=field.batch,
        max_length=entrant.max_length,
        base_precision=entrant.base_precision,
        seed=trial.seed,
    )
    return TrainRequest(
        model=entrant.model,
        data=asked.data,
        out=str(Path(asked.out) / ("runs" if trial.kept else "trials") / folder_name(trial)),
        method=entrant.method,
        choices=entrant.choices,
        settings=settings,
        reading=replace(asked.reading, sample=sample),
        limits=Limits(memory_bytes=asked.limits.memory_bytes),
        trust_remote_code=asked.trust_remote_code,
        stop_at=stop_at,
        language=asked.language,
    )


def folder_name(trial: Trial) -> str:
    """Under runs/: letters, digits and dashes, whatever a model is called."""
    name = "-".join(re.findall("[A-Za-z0-9.]+", trial.entrant)).strip(".")
    return f"{name}-seed{trial.seed}"


def _results(trials: "Trials") -> tuple[TrialResult, ...]:
    return tuple(from_text(one.outcome) for one in trials if one.outcome and one.trial != _START)


def _start_of(trials: "Trials") -> str | None:
    return next((one.outcome for one in trials if one.trial == _START and one.outcome), None)


def _pause(stop: StopRequest) -> None:
    if stop.status is not None:
        raise Interrupted("TT-B021", exit_status=stop.status)
    time.sleep(_WAIT_SECONDS)
