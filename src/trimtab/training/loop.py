"""The loop: one for every strategy. It yields events and keeps its promises:

the longest batch goes first, so that memory fails in the first minute; running out of memory halves the
micro-batch and never the global batch; a loss or gradient that is not finite stops the run before the update;
the best weights on dev are the ones kept; a stop, a kill or a full disk leaves the last checkpoint whole; a
resumed run ends with the same weights, bit for bit on a CPU.
"""

import math
import time
from collections.abc import Generator, Iterator
from pathlib import Path
from statistics import mean

import numpy as np
import torch
from filelock import FileLock, Timeout

from trimtab.data import Corpus
from trimtab.errors import BadInput, Diverged, Interrupted, TrimtabError, message, system_reason
from trimtab.evaluation.encode import Encoded
from trimtab.metrics import Score
from trimtab.stop import StopRequest
from trimtab.training import batches, checkpoint
from trimtab.training.checkpoint import Checkpoints, Progress
from trimtab.training.events import (
    Evaluated,
    Event,
    Finished,
    Notice,
    PrefixReady,
    Preflight,
    Saved,
    StageStarted,
    Started,
    Step,
)
from trimtab.training.meter import MemoryMeter, give_back_heap, held_heap
from trimtab.training.run import LossPoint, Run
from trimtab.training.session import Job, Session, prepare, versions
from trimtab.training.step import forward_backward
from trimtab.training.timetable import Timetable
from trimtab.tuning import bare, count_parameters, train_mode

_ETA_STEPS = 20  # the remaining time is judged by the last steps
_LET_GO_STEPS = 64  # after which what was read of mapped rows is given back


class Training:
    """One training. Iterate over it once; afterwards `session.model` holds the best weights."""

    def __init__(self, job: Job, corpus: Corpus) -> None:
        self.job = job
        self._corpus = corpus
        self.session: Session | None = None
        self._meter = MemoryMeter(torch.device("cuda" if torch.cuda.is_available() else "cpu"))
        self._stop = StopRequest()

    def peak_memory_bytes(self) -> int:
        """The highest so far, since the training began; it goes on rising with what is done after it."""
        return self._meter.peak_bytes()

    def release(self) -> None:
        """Let the model, its optimiser and its rows go, and give their memory back to the system: what was saved
        is opened next."""
        if self.session is not None:
            self.session.optimizer.give_up()  # hooks of weights that hold the optimiser, which holds them
        self.session = None
        give_back_heap()

    def __iter__(self) -> Iterator[Event]:
        self.job.folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(self.job.folder / ".lock")
        try:
            with lock.acquire(timeout=0), self._stop.listening():
                yield from self._locked()
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
            raise MemoryError(str(error)) from error  # outside a step there is no micro-batch to halve
        except Timeout as error:
            raise BadInput("TT-T010", folder=str(self.job.folder)) from error

    def _locked(self) -> Iterator[Event]:
        runtime_bytes = self._meter.now_bytes()
        with self._meter.running(), held_heap():
            start = time.perf_counter()
            session = prepare(self.job, self._corpus)
            self.session = session
            loop = _Loop(session, self._meter, self._stop)
            yield from (Notice(message=note) for note in session.notices)
            yield from loop.restore()
            load_seconds = time.perf_counter() - start
            yield loop.started(load_seconds)
            yield from loop.frozen_part()
            yield from loop.preflight()
            yield from loop.untrained()
            yield from loop.epochs()
            yield from loop.finish(load_seconds, runtime_bytes)


class _Loop:
    """The moving parts of one training: counters, the last checkpoint, the clock."""

    def __init__(self, session: Session, meter: MemoryMeter, stop: StopRequest) -> None:
        self.session = session
        self.job = session.job
        self.strategy = session.job.strategy
        self.meter = meter
        self.stop = stop
        self.progress = Progress(micro_batch=self.strategy.micro_batch)
        self.checkpoints = Checkpoints(session.job.checkpoints)
        self.last_path: Path | None = None
        self.saved_step = 0
        self.step_seconds: list[float] = []
        self._saved_at = time.perf_counter()
        self._best: Score | None = None  # of the whole model on dev, where this process has it

    @property
    def now(self) -> Timetable:
        return Timetable(self.strategy, len(self.session.train), self.progress)

    # ---------------------------------------------------------------- before the first step

    def restore(self) -> Iterator[Event]:
        """Go on from the newest whole checkpoint where that is asked for; refuse to overwrite one where not."""
        torch.manual_seed(self.strategy.seed)
        found, damaged = self.checkpoints.newest()
        for note in damaged:
            yield Notice(message=note)
        if not self.job.resume:
            if found is not None:
                raise BadInput("TT-T022", folder=str(self.job.folder), step=found.progress.step)
            return
        if found is None:
            yield Notice(message=message("TT-T023", folder=str(self.job.folder)))
            return
        if not self.job.allow_changed:
            checkpoint.require_same(found.identity, self.job.identity())
        self.progress = found.progress
        if self.now.number:
            self.session.enter(self.now.number)
        try:
            self.session.optimizer.restore(found.tensors)
        except (KeyError, IndexError, RuntimeError) as error:
            lost = message("TT-T056", name=error.args[0]) if isinstance(error, KeyError) else str(error)
            raise BadInput("TT-T024", path=str(found.path), why=lost) from error
        _set_random_state(found.tensors)
        self.session.optimizer.loss_scale = found.progress.loss_scale
        self.last_path = found.path

    def started(self, load_seconds: float) -> Started:
        model = self.session.model
        return Started(
            steps=self.now.steps,
            rows=len(self.session.train),
            trainable_parameters=sum(model.get_parameter(name).numel() for name in self.session.opened),
            total_parameters=count_parameters(model),
            resumed_step=self.progress.step,
            load_seconds=load_seconds,
            read_seconds=self.session.read_seconds,
        )

    def frozen_part(self) -> Iterator[Event]:
        """Run once what this stage leaves as it is, where the strategy wants it; that is training time too."""
        start, progress = time.perf_counter(), self.progress
        for event in self.session.prepare_frozen(self.now.number):
            yield event
            if isinstance(event, PrefixReady):
                progress.prefix_bytes = max(progress.prefix_bytes, event.bytes)
                progress.prefix_built = progress.prefix_built or not event.reused
            if self.stop.status is not None:
                yield from self._interrupt()
        if self.strategy.prefix_cache:
            seconds = time.perf_counter() - start
            progress.prefix_seconds += seconds
            progress.seconds += seconds

    def preflight(self) -> Iterator[Event]:
        """One whole step of every stage on the longest rows at learning rate 0, undone, with the optimiser's
        states in place as they will be from the second step on: memory peaks now or never."""
        if self.progress.step:
            return  # a resumed run has been through it, and its optimiser states must stay
        start = time.perf_counter()
        random = _random_state()
        rows = batches.longest_rows(self.session.train.loads, self.strategy.batch)
        train_mode(self.now.stage, self.session.model, self.job.spec)
        yield from self._try(rows)
        for number in range(1, len(self.strategy.stages)):
            self.session.enter(number)
            yield from self._try(rows)
        if not self.now.is_last:
            self.session.enter(0)
        _set_random_state(random)
        yield Preflight(
            rows=len(rows),
            tokens_per_row=int(self.session.train.widths[rows[0]]),
            seconds=time.perf_counter() - start,
            memory_bytes=self.meter.peak_bytes(),
        )

    def _try(self, rows: np.ndarray) -> Iterator[Event]:
        optimizer = self.session.optimizer
        optimizer.reserve()
        yield from self._gradients(rows)
        if math.isfinite(optimizer.clip(self.strategy.max_grad_norm)):
            optimizer.step(0.0)
        else:  # 0 times infinity is not 0: the first step will halve the fp16 scale, or stop the run
            optimizer.zero()
        optimizer.forget()

    def untrained(self) -> Iterator[Event]:
        """Score the model as it came, where it can do the task: what it knew before is then what is kept, if
        training makes nothing better of it."""
        if self.session.objective.can_start and self.progress.best_metric is None:
            yield from self._evaluate()

    # ---------------------------------------------------------------- steps

    def epochs(self) -> Iterator[Event]:
        """All steps that are left, stage by stage, with evaluations and checkpoints between them."""
        if len(self.strategy.stages) > 1:
            yield self._stage_started()
        yield from self._stage()
        while not (self.now.is_last or self._time_is_up):
            yield from self._next_stage()
            yield from self._stage()

    @property
    def _time_is_up(self) -> bool:
        return self.job.stop_at is not None and time.time() >= self.job.stop_at

    def _stage(self) -> Iterator[Event]:
        progress = self.progress
        while not self.now.is_over:
            epoch, position = self.now.epoch, self.now.position
            widths = self.session.train.widths
            plan = batches.epoch_batches(widths, self.strategy.batch, seed=self.strategy.seed, epoch=epoch)
            for rows in plan[position:]:
                yield from self._step(rows)
                if self.now.evaluation_due or self._time_is_up:
                    yield from self._evaluate()
                    progress.stopped_early |= self._time_is_up and progress.step < self.now.end
                elif self._checkpoint_due():
                    yield self._save()
                if self.stop.status is not None:
                    yield from self._interrupt()
                if progress.stopped_early:
                    break

    def _next_stage(self) -> Iterator[Event]:
        """Leave a stage: from the best weights so far where it was stopped for being no better, else from where it
        is. The best ones are kept with what is opened now, as it has been all along."""
        progress, best = self.progress, None
        if progress.best_step != progress.step and self.last_path is not None:
            best = checkpoint.load_best(self.last_path)
        if best is not None and progress.stopped_early:
            self.session.optimizer.restore_masters(best)
        else:
            self.session.optimizer.use_average()
        progress.stage_ends.append(progress.step)
        progress.without_gain, progress.stopped_early = 0, False
        self.session.enter(self.now.number)
        yield from self.frozen_part()
        yield self._stage_started()
        yield self._save(None if best is None else self.session.optimizer.weights() | best)

    def _stage_started(self) -> StageStarted:
        now, model = self.now, self.session.model
        assert now.stage.span is not None, "a stage has its layers"
        return StageStarted(
            stage=now.number + 1,
            stages=len(self.strategy.stages),
            first=now.stage.span[0],
            last=now.stage.span[1],
            layers=self.job.spec.layers,
            step=self.progress.step,
            steps=now.end - now.begun,
            learning_rate=now.stage.schedule.learning_rate,
            trainable_parameters=sum(p.numel() for p in model.parameters() if p.requires_grad),
        )

    def _step(self, rows: np.ndarray) -> Iterator[Event]:
        start = time.perf_counter()
        progress, optimizer = self.progress, self.session.optimizer
        if not self.session.model.training:  # after an evaluation
            train_mode(self.now.stage, self.session.model, self.job.spec)
        rate = self.now.rate(progress.step + 1)
        loss = yield from self._gradients(rows)
        if not math.isfinite(loss):
            raise self._diverged(loss, rate)
        if not math.isfinite(optimizer.clip(self.strategy.max_grad_norm)):
            if not optimizer.skip():
                raise self._diverged(loss, rate)
        else:
            optimizer.step(rate)
        seconds = time.perf_counter() - start
        progress.step += 1
        progress.samples += len(rows)
        progress.tokens += int(self.session.train.lengths_of(rows).sum())
        progress.seconds += seconds
        progress.loss_sum += loss
        progress.loss_count += 1
        self.step_seconds.append(seconds)
        if progress.step % _LET_GO_STEPS == 0:
            self.session.train.let_go()
        steps = self.now.steps
        yield Step(
            step=progress.step,
            steps=steps,
            epoch=progress.step / self.now.steps_per_epoch,
            loss=loss,
            learning_rate=rate,
            seconds=seconds,
            eta_seconds=(steps - progress.step) * float(np.mean(self.step_seconds[-_ETA_STEPS:])),
            memory_bytes=self.meter.now_bytes(),
        )

    def _gradients(self, rows: np.ndarray) -> Generator[Event, None, float]:
        """Gradients of one global batch; its mean loss is the generator's return value.

        Out of memory: the micro-batch is halved, partial gradients are dropped, and the same rows go again with
        the same random numbers. Raises TrimtabError TT-T030 when one row alone is too much.
        """
        while True:
            random = _random_state()
            try:
                return self._sum_micro_batches(rows)
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
            self.session.optimizer.zero()
            if torch.cuda.is_available():
                torch.cuda.empty_cache()
            before = self.progress.micro_batch
            if before == 1:
                raise TrimtabError("TT-T030", tokens=int(self.session.train.widths[rows].max()))
            self.progress.micro_batch = (before + 1) // 2
            _set_random_state(random)
            yield Notice(
                message=message(
                    "TT-T031", before=before, after=self.progress.micro_batch, batch=self.strategy.batch
                )
            )

    def _sum_micro_batches(self, rows: np.ndarray) -> float:
        loss = 0.0
        objective = self.session.objective
        weight = objective.weight(self.session.train, rows)
        for micro in batches.micro_batches(rows, self.progress.micro_batch):
            inputs, targets = self.session.inputs(micro)
            loss += float(
                forward_backward(
                    self.session.model,
                    inputs,
                    targets,
                    objective=objective,
                    strategy=self.strategy,
                    weight=weight,
                    optimizer=self.session.optimizer,
                )
            )
        return loss

    def _diverged(self, loss: float, rate: float) -> Diverged:
        kept = "-" if self.last_path is None else str(self.last_path)
        return Diverged("TT-T040", step=self.progress.step + 1, loss=f"{loss:.3g}", rate=f"{rate:.2g}", kept=kept)

    # ---------------------------------------------------------------- evaluations, checkpoints, stops

    def _evaluate(self) -> Iterator[Event]:
        start = time.perf_counter()
        progress = self.progress
        with self.session.optimizer.averaged():
            result = score_split(self.session, self.session.dev, "dev")
        if not math.isfinite(result.loss):
            raise self._diverged(result.loss, self.now.rate(max(1, progress.step)))
        if progress.step == 0:  # before it is saved: a resumed run must know it too
            progress.untrained_metric = self._of_the_base(result).main.value
        best = progress.best_metric is None or result.main.is_better_than(progress.best_metric)
        progress.without_gain = 0 if best else progress.without_gain + 1
        if best:
            progress.best_metric, progress.best_step = result.main.value, progress.step
            self._best = None if self.session.frozen.runs_upper_part else result
        patience = self.now.stage.schedule.patience
        progress.stopped_early = 0 < patience <= progress.without_gain and progress.step < self.now.end
        self._close_history(result)
        self.session.dev.let_go()
        seconds = time.perf_counter() - start
        progress.seconds += seconds
        progress.evaluate_seconds += seconds
        yield Evaluated(step=progress.step, score=result, best=best, seconds=seconds)
        yield self._save()

    def _of_the_base(self, untrained: Score) -> Score:
        """What the model scored before anything was attached, which is what it scores untrained but for parts that
        do not start there."""
        if all(part.starts_at_base for part in self.strategy.parts):
            return untrained
        with bare(self.session.model):
            return score_split(self.session, self.session.dev, "dev")

    def _close_history(self, result: Score) -> None:
        progress = self.progress
        if progress.loss_count:
            progress.history.append(
                LossPoint(
                    step=progress.step,
                    loss=progress.loss_sum / progress.loss_count,
                    learning_rate=self.now.rate(progress.step),
                    dev_metric=result.main.value,
                )
            )
        progress.loss_sum, progress.loss_count = 0.0, 0

    def _checkpoint_due(self) -> bool:
        every = self.job.save_steps
        overdue = time.perf_counter() - self._saved_at >= self.job.save_seconds
        return overdue or (every > 0 and self.progress.step % every == 0)

    def _save(self, best: dict[str, torch.Tensor] | None = None) -> Saved:
        """`best`: the best weights so far, None = those of now, or of the checkpoint before."""
        optimizer, progress = self.session.optimizer, self.progress
        progress.loss_scale = optimizer.loss_scale
        progress.peak_memory_bytes = max(progress.peak_memory_bytes, self.meter.peak_bytes())
        keeps_older = self.last_path is not None and progress.best_step != progress.step
        try:
            path = self.checkpoints.save(
                progress,
                self.job.identity(),
                {**optimizer.state(), **_random_state()},
                best
                or (checkpoint.best_file(self.last_path) if keeps_older and self.last_path else optimizer.kept()),
            )
        except OSError as error:
            raise TrimtabError("TT-T025", folder=str(self.job.checkpoints), why=system_reason(error)) from error
        self.last_path, self.saved_step = path, progress.step
        self._saved_at = time.perf_counter()
        return Saved(step=progress.step, path=str(path), bytes=checkpoint.size_bytes(path))

    def _interrupt(self) -> Iterator[Event]:
        assert self.stop.status is not None
        if self.saved_step != self.progress.step:
            yield self._save()
        raise Interrupted(
            "TT-T041", exit_status=self.stop.status, step=self.progress.step, folder=str(self.job.folder)
        )

    # ---------------------------------------------------------------- after the last step

    def finish(self, load_seconds: float, runtime_bytes: int) -> Iterator[Event]:
        """Put the best weights back, score dev and test with them, and say what was measured."""
        session, progress = self.session, self.progress
        if self.last_path is not None and progress.best_step != progress.step:
            session.optimizer.restore_masters(checkpoint.load_best(self.last_path))
        else:
            session.optimizer.use_average()
        session.complete()
        session.open_all()
        peak_bytes = max(progress.peak_memory_bytes, self.meter.peak_bytes())
        stages = self.now.stages_run()
        dev = self._best or score_split(session, session.dev, "dev")
        test = None if session.test is None else score_split(session, session.test, "test")
        yield Finished(
            run=Run(
                seconds=progress.seconds,
                load_seconds=load_seconds,
                step_seconds=self._mean_step_seconds(),
                evaluate_seconds=progress.evaluate_seconds,
                steps=progress.step,
                epochs=progress.step / self.now.steps_per_epoch,
                samples=progress.samples,
                tokens=progress.tokens,
                peak_memory_bytes=peak_bytes,
                runtime_memory_bytes=runtime_bytes,
                best_step=progress.best_step,
                untrained_metric=progress.untrained_metric,
                stopped_early=progress.stopped_early or any(stage.stopped_early for stage in stages),
                stages=stages,
                prefix_bytes=progress.prefix_bytes,
                prefix_seconds=progress.prefix_seconds,
                prefix_built=progress.prefix_built,
                seed=self.strategy.seed,
                precision=self.strategy.precision,
                micro_batch=progress.micro_batch,
                threads=torch.get_num_threads(),
                history=tuple(progress.history),
                dev=dev,
                test=test,
                versions=versions(),
            )
        )

    def _mean_step_seconds(self) -> float:
        """Of this process's steps but the first, which compiles kernels; of the whole training where all were
        another process's. Not the median: texts differ in length, and the long ones are what takes time."""
        if self.step_seconds:
            return mean(self.step_seconds[1:] or self.step_seconds)
        progress = self.progress
        return (progress.seconds - progress.evaluate_seconds) / max(1, progress.step)


def score_split(session: Session, split: Encoded, name: str) -> Score:
    """Score the session's model as it is now on one split."""
    return session.objective.score(session.model, session.scored(name, split))


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an exception means memory ran out: torch's own class, Python's, or the CPU allocator's text."""
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return True
    return "not enough memory" in str(error) or "can't allocate memory" in str(error)


def _random_state() -> dict[str, torch.Tensor]:
    """State of the generators training draws from: the CPU's, and every GPU's."""
    tensors = {"random/cpu": torch.get_rng_state()}
    if torch.cuda.is_available():
        tensors |= {f"random/cuda{i}": state for i, state in enumerate(torch.cuda.get_rng_state_all())}
    return tensors


def _set_random_state(tensors: dict[str, torch.Tensor]) -> None:
    torch.set_rng_state(tensors["random/cpu"])
    if torch.cuda.is_available():
        states = [tensors[name] for name in sorted(tensors) if name.startswith("random/cuda")]
        torch.cuda.set_rng_state_all(states)
