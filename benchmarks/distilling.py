"""A student of fewer layers, with a teacher and without one, on the same rows and test rows.

    python benchmarks/distilling.py --model DIR --data DIR [--rows 1500] [--layers 3] [--epochs 3] [--seeds 1]
              [--cases alone,labels,soft,hidden,relations,noise] [--precision bf16]

The teacher is the model, fully tuned on the rows. alone: the same layers of the model as it came, tuned on the
labels; labels: the teacher's layers, tuned on the labels again; soft: with its outputs; hidden, relations: with
what is inside besides; noise: soft, on four noisy copies of every text too. All with the same rate and epochs, but
noise, whose epochs are longer. A difference is that of the same test rows, seed by seed; its interval is normal,
over the rows, each the mean of its seeds. One thread. DIR of the data holds train, dev and test as jsonl.
"""

import argparse
import itertools
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from machine_facts import print_facts

from trimtab import __version__
from trimtab.artifacts import ArtifactFacts, base_of
from trimtab.compression.augment import Noise
from trimtab.compression.distillation import DistillLoss
from trimtab.compression.distilling import DistilJob, Distillation
from trimtab.compression.student import FewerLayers
from trimtab.compression.unlabelled import with_unlabelled
from trimtab.data import Corpus, count_tokens, describe, open_corpus
from trimtab.evaluation import Opening, open_artifact, save_artifact
from trimtab.methods import Choices, Schedule, Strategy, method_named, parts_for
from trimtab.models import ModelSource, read_spec
from trimtab.training import Finished, Job, Session, Training

LOSSES = {
    "labels": None,
    "soft": DistillLoss(),
    "hidden": DistillLoss(hidden_share=0.5),
    "relations": DistillLoss(attention_share=0.5),
    "noise": DistillLoss(),
}


@dataclass(frozen=True)
class Result:
    """`right`: which test rows, bool."""

    right: np.ndarray
    seconds: float

    @property
    def accuracy(self) -> float:
        return float(self.right.mean())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--rows", type=int, default=1500)
    parser.add_argument("--layers", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--rate", type=float, default=5e-5)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--precision", default="bf16")
    parser.add_argument("--cases", default="alone,labels,soft,hidden,relations,noise")
    arguments = parser.parse_args()
    print_facts()
    with tempfile.TemporaryDirectory() as folder:
        found = list(run_all(Path(folder), arguments))
    show(found)


def run_all(folder: Path, arguments: argparse.Namespace) -> Iterator[tuple[str, int, Result]]:
    data = folder / "data"
    data.mkdir()
    for split in ("train", "dev", "test"):
        lines = (arguments.data / f"{split}.jsonl").read_text(encoding="utf-8").splitlines(keepends=True)
        (data / f"{split}.jsonl").write_text("".join(lines[: arguments.rows] if split == "train" else lines))
    corpus = open_corpus(str(data))
    source = ModelSource(folder=arguments.model.expanduser(), name=str(arguments.model))
    for seed in range(arguments.seeds):
        work = folder / str(seed)
        strategy = strategy_of(source, seed, arguments)
        teacher = work / "teacher"
        yield "teacher", seed, train(job_of(source, corpus, strategy, work / "t"), corpus, keep=teacher)
        for case in arguments.cases.split(","):
            yield case, seed, student(case, source, teacher, corpus, strategy, work / case, arguments.layers)


def strategy_of(source: ModelSource, seed: int, arguments: argparse.Namespace) -> Strategy:
    return Strategy(
        method="full",
        parts=parts_for(method_named("full"), "classify", read_spec(source), Choices()),
        precision=arguments.precision,
        schedule=Schedule(epochs=arguments.epochs, learning_rate=arguments.rate),
        batch=16,
        micro_batch=16,
        max_length=64,
        seed=seed,
    )


def job_of(source: ModelSource, corpus: Corpus, strategy: Strategy, folder: Path) -> Job:
    data = describe(corpus, count_tokens(corpus.train, source.folder / "tokenizer.json"))
    return Job(source=source, spec=read_spec(source), data=data, strategy=strategy, folder=folder, threads=1)


def student(
    case: str, source: ModelSource, teacher: Path, corpus: Corpus, strategy: Strategy, folder: Path, layers: int
) -> Result:
    opened = open_artifact(teacher)
    if case in ("alone", "labels"):
        if case == "alone":
            opening = Opening(source=source, outputs=2, pad_token_id=0, labels=corpus.labels, seed=strategy.seed)
            opened = replace(opened, model=opened.objective.model(opening))
        made = FewerLayers(layers=layers).source(opened, folder / "student")
        return train(job_of(made, corpus, strategy, folder), corpus)
    loss = LOSSES[case]
    assert loss is not None
    if case == "noise":
        corpus = with_unlabelled(corpus, noise=Noise(seed=strategy.seed), mask=opened.tokenizer.mask_token)
    data = describe(corpus, count_tokens(corpus.train, source.folder / "tokenizer.json"))
    job = DistilJob(
        student=FewerLayers(layers=layers), data=data, strategy=strategy, folder=folder, loss=loss, threads=1
    )
    return measured(Distillation(job, opened, corpus), corpus)


def train(job: Job, corpus: Corpus, keep: Path | None = None) -> Result:
    training = Training(job, corpus)
    result = measured(training, corpus)
    if keep is not None:
        assert training.session is not None
        save(keep, job, corpus, training.session)
    return result


def measured(training: Training | Distillation, corpus: Corpus) -> Result:
    start = time.perf_counter()
    run = None
    for event in training:
        run = event.run if isinstance(event, Finished) else run
    seconds = time.perf_counter() - start
    session = training.session
    assert session is not None and session.test is not None and run is not None and run.test is not None
    outputs = session.objective.outputs(session.model, session.test, session.collator)
    right = outputs.argmax(1) == session.test.labels
    assert abs(right.mean() - run.test.main.value) < 1e-9
    print(
        f"  {right.mean():.4f} test, {run.dev.main.value:.4f} dev, best step {run.best_step}/{run.steps}, "
        f"{seconds:.1f} s, step {1000 * run.step_seconds:.1f} ms",
        flush=True,
    )
    return Result(right, seconds)


def save(folder: Path, job: Job, corpus: Corpus, session: Session) -> None:
    folder.mkdir(parents=True)
    facts = ArtifactFacts(
        adapter=False,
        task=corpus.task,
        labels=corpus.labels,
        columns=corpus.columns,
        label_column=corpus.label_column,
        outputs=job.data.outputs,
        base=base_of(job.source, job.spec.family),
        strategy=job.strategy,
        trimtab_version=__version__,
    )
    save_artifact(folder, facts, session.model, session.tokenizer, job.spec)


def show(found: list[tuple[str, int, Result]]) -> None:
    by_case: dict[str, list[Result]] = {}
    for case, _, result in found:
        by_case.setdefault(case, []).append(result)
    teacher = np.mean([result.accuracy for result in by_case["teacher"]])
    print(f"{'case':<10} {'test':>7} {'of the teacher':>14} {'seconds':>8}")
    for case, results in by_case.items():
        accuracy, seconds = (np.mean([getattr(r, name) for r in results]) for name in ("accuracy", "seconds"))
        print(f"{case:<10} {accuracy:7.4f} {accuracy / teacher:14.1%} {seconds:8.1f}")
    for case, other in itertools.product(by_case, ("alone", "labels")):
        if case in ("teacher", other) or other not in by_case:
            continue
        pairs = zip(by_case[case], by_case[other], strict=True)
        rows = np.mean([mine.right.astype(float) - theirs.right for mine, theirs in pairs], axis=0)
        half = 1.96 * rows.std(ddof=1) / np.sqrt(len(rows))
        print(f"{case} - {other}: {100 * rows.mean():+.2f} points, {100 * (rows.mean() - half):+.2f} to "
              f"{100 * (rows.mean() + half):+.2f} (n = {len(rows)})")  # fmt: skip


if __name__ == "__main__":
    main()
