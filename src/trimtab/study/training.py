"""The verb `train`: plan, train, keep the artifact, prove the prediction, write it into the ledger.

The folder it leaves: the artifact (weights or adapter, tokenizer, artifact.json), README.md, report.html,
report.json; while training also checkpoints/ and request.json.
"""

import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from safetensors import SafetensorError

from trimtab import __version__, planning
from trimtab.artifacts import FACTS_FILE, ArtifactFacts, base_of
from trimtab.data import Corpus
from trimtab.errors import BadInput, TrimtabError, system_reason
from trimtab.estimation import estimate
from trimtab.evaluation import open_artifact, require_equal, save_artifact
from trimtab.hardware import Machine
from trimtab.hardware.calibration import calibration_key
from trimtab.home import cache_folder, write_atomically
from trimtab.methods import Strategy, strategy_from_json, strategy_to_json
from trimtab.metrics import Findings
from trimtab.models import ModelSource
from trimtab.study.card import model_card
from trimtab.study.commands import command_of
from trimtab.study.gather import token_store
from trimtab.study.opening import REQUEST_FILE, Opened
from trimtab.study.record import record
from trimtab.study.report import Report, comparisons, report_html, report_json
from trimtab.study.request import Planned, Reading, Trained, TrainRequest
from trimtab.training import Event, Finished, Job, Run, Session, Started, Training, checkpoint
from trimtab.training.calibrate import calibrated

_GATE_ROWS = 32


def carry_out(request: TrainRequest, opened: Opened) -> Iterator[Event | Planned | Trained]:
    """What `trimtab.study.train` does once the request has been opened; yields and raises as it does."""
    out = Path(request.out)
    if (out / FACTS_FILE).exists() and not (request.resume and (out / REQUEST_FILE).exists()):
        raise BadInput("TT-T026", folder=str(out))
    source, corpus = opened.source, opened.corpus
    planned = plan_training(request, opened, _measured(opened.machine))
    yield planned

    training = Training(job_of(request, source, planned), corpus)
    run = None
    for event in training:
        if isinstance(event, Started):  # before that the folder may turn out to be somebody else's
            _remember(request, out, planned.plan.chosen.estimate.strategy)
        if isinstance(event, Finished):
            run = event.run
        yield event
    assert run is not None, "a training ends with Finished"

    try:
        findings = _keep(training, source, corpus, out, request.reading)
        run = replace(run, peak_memory_bytes=max(run.peak_memory_bytes, training.peak_memory_bytes()))
        report = _report(request, planned, run, findings)
        _write_pages(report, out, request.language)
    except (OSError, SafetensorError) as error:
        raise TrimtabError("TT-T027", folder=str(out), why=system_reason(error)) from error
    record(report, out)
    (out / REQUEST_FILE).unlink(missing_ok=True)
    checkpoint.remove_all(out / "checkpoints")
    yield Trained(
        artifact_path=str(out),
        report_path=str(out / "report.html"),
        run=run,
        rows=comparisons(planned.plan, run),
    )


def _question(request: TrainRequest) -> str:
    """Everything of a request that decides what is trained. Equal for two requests of the same training."""
    asked = (request.goal, request.limits, request.method, request.choices, request.settings, request.reading)
    return repr((request.model, request.data, *asked))


def _measured(machine: Machine) -> Machine:
    """With the rates of the training stack on it; measured where nobody has."""
    if machine.device.kind != "cpu":
        return machine
    return replace(machine, calibration=calibrated(calibration_key(machine), machine.cores))


def plan_training(request: TrainRequest, opened: Opened, machine: Machine) -> Planned:
    """Plan on `machine`; a resumed training keeps the strategy it was begun with."""
    spec, facts = opened.spec, opened.data
    made = planning.plan_for(request.question(spec, facts, machine))
    begun = _begun(request) if request.resume else None
    if begun is not None:
        chosen = replace(made.chosen, estimate=estimate(begun, spec, facts, machine))
        made = replace(made, candidates=(chosen, *made.candidates[1:]))
    return Planned(plan=made, model=spec, data=facts, machine=machine)


def _begun(request: TrainRequest) -> Strategy | None:
    """The strategy of the unfinished training in the folder, where the same was asked for."""
    try:
        plain = json.loads((Path(request.out) / REQUEST_FILE).read_text(encoding="utf-8"))
        return strategy_from_json(plain["strategy"]) if plain["question"] == _question(request) else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _remember(request: TrainRequest, out: Path, strategy: Strategy) -> None:
    if request.resume and (out / REQUEST_FILE).exists():
        return
    plain = {"question": _question(request), "strategy": strategy_to_json(strategy)}
    write_atomically(out / REQUEST_FILE, json.dumps(plain, indent=1))


def job_of(request: TrainRequest, source: ModelSource, planned: Planned) -> Job:
    """What the loop is asked to do."""
    calibration = planned.machine.calibration
    return Job(
        source=source,
        spec=planned.model,
        data=planned.data,
        strategy=planned.plan.chosen.estimate.strategy,
        folder=Path(request.out),
        threads=calibration.threads if calibration else 0,
        save_seconds=request.save_seconds,
        save_steps=request.save_steps,
        resume=request.resume,
        allow_changed=request.allow_changed,
        trust_remote_code=request.trust_remote_code,
        prefix_folder=cache_folder() / "prefix",
        stop_at=request.stop_at,
        tokens=token_store(),
    )


def _keep(training: Training, source: ModelSource, corpus: Corpus, out: Path, reading: Reading) -> Findings:
    """Save the artifact, let the model go, open the artifact, and hold it to what the model computed: at no time
    are two models in memory. Returns what is found in the rows of the split that is reported."""
    session = training.session
    assert session is not None, "a training that finished has a session"
    rows = session.dev.first(_GATE_ROWS)
    trained = session.objective.outputs(session.model, rows, session.collator)
    findings = _findings(session, corpus)
    facts = _artifact_facts(session, source, corpus, reading)
    save_artifact(out, facts, session.model, session.tokenizer, session.job.spec)
    del session
    training.release()
    require_equal(open_artifact(out, trust_remote_code=source.trust_remote_code), rows, trained)
    return findings


def _findings(session: Session, corpus: Corpus) -> Findings:
    split, encoded = corpus.dev, session.dev
    if corpus.test is not None and session.test is not None:
        split, encoded = corpus.test, session.test
    rows = session.scored(split.name, encoded)
    return session.objective.findings(session.model, session.tokenizer, rows, split)


def _artifact_facts(session: Session, source: ModelSource, corpus: Corpus, reading: Reading) -> ArtifactFacts:
    strategy = session.job.strategy
    return ArtifactFacts(
        adapter=any(part.adapter for part in strategy.parts),
        task=corpus.task,
        labels=corpus.labels,
        columns=corpus.columns,
        label_column=corpus.label_column,
        outputs=session.job.data.outputs,
        base=base_of(source, session.job.spec.family),
        strategy=strategy,
        trimtab_version=__version__,
        split_seed=reading.seed,
        prefixes=reading.prefixes,
    )


def _library(report: Report) -> str:
    """The library that opens the artifact without Trimtab."""
    parts = report.plan.chosen.estimate.strategy.parts
    return "peft" if any(part.adapter for part in parts) else "transformers"


def _report(request: TrainRequest, planned: Planned, run: Run, findings: Findings) -> Report:
    return Report(
        plan=planned.plan,
        run=run,
        data=planned.data,
        model=planned.model,
        machine=planned.machine,
        command=command_of(request),
        created_at=datetime.now(UTC).isoformat(timespec="seconds"),
        worst=findings.worst,
        confusion=findings.confusion,
        samples=findings.samples,
    )


def _write_pages(report: Report, out: Path, language: str) -> None:
    words: Literal["en", "zh"] = "zh" if language == "zh" else "en"
    text = json.dumps(report_json(report, words), ensure_ascii=False, indent=1, allow_nan=False)
    write_atomically(out / "report.json", text)
    write_atomically(out / "report.html", report_html(report, words))
    write_atomically(out / "README.md", model_card(report, library_name=_library(report), language=words))
