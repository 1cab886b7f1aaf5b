"""Timetable: which stage a step belongs to, and what that means for it: its learning rate, the rows it reads,
whether an evaluation follows.

All of it is a function of strategy, rows and progress, so that a resumed training finds its place. A training
without stages is one of a single stage. Leaves out what a stage trains (`Session.enter`).
"""

from dataclasses import dataclass

from trimtab.methods import Strategy
from trimtab.training.checkpoint import Progress
from trimtab.training.optimizer import learning_rate_at
from trimtab.training.run import StageRun


@dataclass(frozen=True, slots=True)
class Timetable:
    """Of a training of `strategy` on so many `rows`, which is as far as `progress` says. Steps are counted over
    all stages, as progress has them."""

    strategy: Strategy
    rows: int
    progress: Progress

    @property
    def number(self) -> int:
        """Of the stage (0 = first)."""
        return len(self.progress.stage_ends)

    @property
    def stage(self) -> Strategy:
        return self.strategy.stages[self.number]

    @property
    def is_last(self) -> bool:
        return self.number + 1 == len(self.strategy.stages)

    @property
    def begun(self) -> int:
        """The step after which the stage began."""
        return self.progress.stage_ends[-1] if self.progress.stage_ends else 0

    @property
    def end(self) -> int:
        """The last step of the stage, without early stop."""
        return self.begun + self.stage.steps(self.rows)

    @property
    def is_over(self) -> bool:
        """Whether the stage is."""
        return self.progress.stopped_early or self.progress.step >= self.end

    @property
    def steps(self) -> int:
        """Of the whole training, if no stage stops early from now on."""
        return self.end + sum(stage.steps(self.rows) for stage in self.strategy.stages[self.number + 1 :])

    @property
    def steps_per_epoch(self) -> int:
        return self.strategy.steps_per_epoch(self.rows)

    @property
    def epoch(self) -> int:
        """Which order of the rows: every epoch of every stage has its own."""
        earlier = sum(stage.schedule.epochs for stage in self.strategy.stages[: self.number])
        return earlier + (self.progress.step - self.begun) // self.steps_per_epoch

    @property
    def position(self) -> int:
        """Steps of the epoch that are done."""
        return (self.progress.step - self.begun) % self.steps_per_epoch

    @property
    def evaluation_due(self) -> bool:
        """At the end of every epoch, and at even distances within one where more evaluations are wanted."""
        each = max(1, self.steps_per_epoch // max(1, self.strategy.schedule.evaluations))
        last_part = self.steps_per_epoch - self.position < each
        return self.position == 0 or (self.position % each == 0 and not last_part)

    def rate(self, step: int) -> float:
        """Learning rate of a step of the stage."""
        return learning_rate_at(self.stage, step - self.begun, self.end - self.begun)

    def stages_run(self) -> tuple[StageRun, ...]:
        """What has been run, stage by stage, once all is over; empty where there was to be but one. Those that
        were not begun when the time was up are not among them."""
        stages, begun, found = self.strategy.stages, 0, []
        if len(stages) == 1:
            return ()
        for stage, end in zip(
            stages[: self.number + 1], (*self.progress.stage_ends, self.progress.step), strict=True
        ):
            assert stage.span is not None, "a stage has its layers"
            metrics = [point.dev_metric for point in self.progress.history if begun < point.step <= end]
            found.append(
                StageRun(
                    first=stage.span[0],
                    last=stage.span[1],
                    steps=end - begun,
                    learning_rate=stage.schedule.learning_rate,
                    stopped_early=end - begun < stage.steps(self.rows),
                    dev_metric=metrics[-1] if metrics else None,
                )
            )
            begun = end
        return tuple(found)
