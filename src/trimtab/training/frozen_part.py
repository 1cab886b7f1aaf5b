"""The frozen part of a training: run once before a stage, let go while the rest is trained, put back at the end.

Between `prepare` and `complete` the session's model runs from the stage's lowest trained layer up, and its rows
carry the states of what lies below (`evaluation.states`). Where the model's class turns out not to run in two
parts, or nothing can be kept, it is trained whole, with a line said. Leaves out where states are kept
(`prefix_cache`)."""

import errno
import os
import shutil
import time
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from transformers import PreTrainedModel

from trimtab.errors import message, system_reason
from trimtab.evaluation.encode import Collator, Encoded
from trimtab.evaluation.predict import device_of
from trimtab.evaluation.states import States
from trimtab.methods import Strategy
from trimtab.models.spec import ModelSpec
from trimtab.training import prefix_cache
from trimtab.training.events import Event, Notice, PrefixProgress, PrefixReady
from trimtab.training.meter import give_back_heap
from trimtab.tuning import STATES, UpperPart, lower_states, structure

_SAME = {torch.float32: 1e-4, torch.bfloat16: 3e-2, torch.float16: 1e-2}  # of the length of a token's vector
_SECONDS_BETWEEN_EVENTS = 2.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Whole:
    """What has to be at hand to run a model's lower part. `again`: makes the model once more, as it was made."""

    model: PreTrainedModel
    spec: ModelSpec
    collator: Collator
    opened: tuple[str, ...]
    again: Callable[[], PreTrainedModel]


@dataclass(frozen=True, slots=True)
class _Kept:
    """States of the splits, at layer `depth`."""

    depth: int
    train: States
    dev: States

    @property
    def bytes(self) -> int:
        return self.train.bytes + self.dev.bytes

    def close(self) -> None:
        for states in (self.train, self.dev):
            states.file.close()


class FrozenPart:
    """Of one training. `folder`: where states are kept, `passing` whether only until it ends. Mutable."""

    def __init__(self, whole: Whole, stages: tuple[Strategy, ...], folder: Path, *, passing: bool) -> None:
        self._whole, self._stages, self._folder, self._passing = whole, stages, folder, passing
        self._upper: UpperPart | None = None
        self._kept: _Kept | None = None
        self._off = False

    @property
    def runs_upper_part(self) -> bool:
        """Whether rows have to carry states."""
        return self._kept is not None

    def with_states(self, train: Encoded, dev: Encoded) -> tuple[Encoded, Encoded]:
        """Rows as the model needs them now."""
        kept = self._kept
        states = (None, None) if kept is None else (kept.train, kept.dev)
        return replace(train, states=states[0]), replace(dev, states=states[1])

    # ---------------------------------------------------------------- from stage to stage

    def is_ready_for(self, stage: Strategy) -> bool:
        """Whether the states that are there are those of `stage`."""
        depth = stage.cached_layers(self._whole.spec)
        return self._kept is not None and self._kept.depth == depth and not self._below_is_trained(depth)

    def prepare(self, stage: Strategy, train: Encoded, dev: Encoded) -> Iterator[Event]:
        """Run the frozen part of `stage` over both splits, which have no states, or find what it gave, and train
        without it from now on; where the stage has none that is kept, make the model whole."""
        depth = 0 if self._off else stage.cached_layers(self._whole.spec)
        self.complete()
        if not depth:
            return
        found = yield from self._states(depth, train, dev)
        if found is None:
            self._off = True
            self.complete()
            return
        self._kept = found
        assert self._upper is not None, "states have been made"
        self._upper.run_from(depth)
        self._upper.let_go(self._least_depth(), self._whole.opened)
        give_back_heap()

    def rehearse(self, stage: Strategy) -> None:
        """Run the part that `stage` will run, on states of another one's, which are as wide: for the preflight."""
        if self._kept is not None and self._upper is not None:
            self._upper.run_from(stage.cached_layers(self._whole.spec))

    def put_aside(self) -> None:
        """Have what is held in its place while an optimiser is made."""
        if self._upper is not None:
            self._upper.run_from(0)

    def complete(self) -> None:
        """Make the model whole; what was let go is read again."""
        if self._kept is not None:
            self._kept.close()
        self._kept = None
        if self._upper is not None and self._upper.lacks:
            give_back_heap()
            self._upper.complete(self._whole.again())
        if self._upper is not None:
            self._upper.complete(None)
            self._upper.leave()
            self._upper = None

    def end(self) -> None:
        """Whole, and nothing left beside the run."""
        self.complete()
        if self._passing:
            shutil.rmtree(self._folder, ignore_errors=True)

    def _least_depth(self) -> int:
        """Below it nothing runs in any stage."""
        return min(stage.cached_layers(self._whole.spec) for stage in self._stages)

    def _below_is_trained(self, depth: int) -> bool:
        """Whether something below layer `depth` is trained in some stage, and may be another by now."""
        numbers = structure.layer_numbers(self._whole.model, self._whole.spec)
        return any(numbers[name] < depth for name in self._whole.opened)

    # ---------------------------------------------------------------- states

    def _states(self, depth: int, train: Encoded, dev: Encoded) -> Generator[Event, None, _Kept | None]:
        """None, with a line said, where the model is to be trained whole."""
        start = time.perf_counter()
        self._whole.model.eval()
        if not self._splits_at(depth, train):
            yield Notice(message=message("TT-T201", family=str(self._whole.model.config.model_type), depth=depth))
            return None
        clock = _Clock(depth, sum(len(prefix_cache.sequences_of(split).ids) for split in (train, dev)), start)
        try:
            of_train = yield from self._of_split(train, depth, clock)
            of_dev = yield from self._of_split(dev, depth, clock)
        except OSError as error:
            yield Notice(message=message("TT-T200", folder=str(self._folder), why=system_reason(error)))
            return None
        kept = _Kept(depth, of_train, of_dev)
        yield PrefixReady(
            depth=depth,
            layers=self._whole.spec.layers,
            tokens=clock.of,
            bytes=kept.bytes,
            seconds=time.perf_counter() - start,
            reused=not clock.built,
        )
        return kept

    def _of_split(self, split: Encoded, depth: int, clock: "_Clock") -> Generator[Event, None, States]:
        """Raises OSError where they cannot be kept."""
        model, spec, collator = self._whole.model, self._whole.spec, self._whole.collator
        folder = self._folder / prefix_cache.key_of(model, spec, depth, split, collator)
        states = self._found(folder, depth, split)
        if states is None:
            tokens = len(prefix_cache.sequences_of(split).ids)
            prefix_cache.require_room(self._folder, tokens * spec.hidden * model.dtype.itemsize)
            for built in prefix_cache.build(model, spec, depth, split, collator, folder):
                yield from clock.at(built.tokens)
            states = self._found(folder, depth, split)
        if states is None:
            raise OSError(errno.EIO, os.strerror(errno.EIO), str(folder))
        clock.done += states.tokens
        return states

    def _found(self, folder: Path, depth: int, split: Encoded) -> States | None:
        """What is kept, if a row of it is what the model gives now."""
        found = prefix_cache.find(folder, split)
        if found is None:
            return None
        sequences = prefix_cache.sequences_of(split)
        row = int(sequences.lengths.argmax())
        states, _ = lower_states(self._whole.model, self._whole.spec, depth, self._batch(sequences, [row]))
        kept = replace(sequences, states=found)
        if _are_same(states, self._batch(kept, [row])[STATES], self._batch(kept, [row])["attention_mask"]):
            return found
        shutil.rmtree(folder, ignore_errors=True)
        return None

    @torch.no_grad()
    def _splits_at(self, depth: int, train: Encoded) -> bool:
        """Whether the model's class gives for rows of unlike length, padded together, what its upper part gives on
        the states that each row has alone."""
        model, spec = self._whole.model, self._whole.spec
        sequences = prefix_cache.sequences_of(train)
        some = np.flatnonzero(sequences.lengths)
        order = some[np.argsort(sequences.lengths[some], kind="stable")]
        rows = sorted({int(order[0]), int(order[-1])})
        inputs, backbone = self._batch(sequences, rows), structure.backbone(model)
        try:
            whole = backbone(**inputs)[0]
            alone = [lower_states(model, spec, depth, self._batch(sequences, [row])) for row in rows]
            self._upper = UpperPart(model, spec, alone[0][1])
            self._upper.run_from(depth)
            laid = torch.zeros(*inputs["input_ids"].shape, alone[0][0].shape[2], dtype=alone[0][0].dtype)
            mask = inputs["attention_mask"].bool()
            for at, (row, (states, _)) in enumerate(zip(rows, alone, strict=True)):
                own = self._batch(sequences, [row])["attention_mask"].bool()
                laid[at, mask[at].cpu()] = states[own].cpu()
            upper = backbone(**inputs, **{STATES: laid.to(device_of(model))})[0]
        except (TypeError, ValueError, AttributeError, IndexError, AssertionError, RuntimeError):
            return False  # a class of another kind
        finally:
            self.put_aside()
        return _are_same(whole, upper, inputs["attention_mask"])

    def _batch(self, sequences: Encoded, rows: list[int]) -> dict[str, torch.Tensor]:
        device = device_of(self._whole.model)
        batch = self._whole.collator.batch(sequences, np.array(rows))
        return {name: x.to(device) for name, x in batch.items()}


@dataclass(slots=True)
class _Clock:
    """How far a build is, of `of` tokens; `done`: those of splits that are complete. Mutable."""

    depth: int
    of: int
    start: float
    done: int = 0
    built: bool = False
    _said: float = 0.0

    def at(self, tokens: int) -> Iterator[Event]:
        """Say it now and then."""
        self.built = True
        now, tokens = time.perf_counter(), self.done + tokens
        if now - self._said < _SECONDS_BETWEEN_EVENTS:
            return
        self._said = now
        seconds = now - self.start
        left = seconds * (self.of - tokens) / max(1, tokens)
        yield PrefixProgress(depth=self.depth, tokens=tokens, of=self.of, seconds=seconds, eta_seconds=left)


def _are_same(some: torch.Tensor, others: torch.Tensor, mask: torch.Tensor) -> bool:
    """(rows, tokens, width): alike but for rounding, padding left out."""
    there = mask.bool()
    mine, theirs = some[there].float(), others[there].float()
    return bool(((mine - theirs).norm(dim=1) <= _SAME[some.dtype] * mine.norm(dim=1)).all())
