"""Dry run: the real training step without weights and without the device, to count what it keeps alive.

The transformers class is built from the model's shape on the meta device, the strategy attached, everything turned
into fake tensors (shapes and storages, no numbers), and `traced_step` run: forward, loss, backward, optimiser, the
functions that train for real. Layers are alike, so two or three shallow models are traced and the rest is a
straight line: at every site of the step live bytes are linear in the trained layers, in the frozen ones below and
in those above, which a stage may have; and the largest site is the peak. Tests hold the line to traces in full
depth and traces to real steps.

Leaves out what the allocator loses, workspaces inside kernels, loading (`estimation.memory` adds them), and the
sparse gradient of the token embedding, whose fake has no storage: a row of the width a token of the batch.
"""

from collections.abc import Iterable
from dataclasses import dataclass, fields, replace

import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from transformers import PreTrainedModel

from trimtab import tuning
from trimtab.estimation.estimate import PARTS, MemoryParts, Phase
from trimtab.estimation.question import Question
from trimtab.evaluation.objective import Inputs
from trimtab.evaluation.objectives import OBJECTIVES
from trimtab.methods import Part, Strategy
from trimtab.models.spec import ModelSpec
from trimtab.training.kernels import use_cpu_kernels
from trimtab.training.live import LiveBytes
from trimtab.training.optimizer import Optimizer
from trimtab.training.session import recompute_layers
from trimtab.training.stand_ins import pack_stand_ins, use_gpu_stand_ins
from trimtab.training.traced_step import trace_evaluation, trace_step

_PHASE_OF = {
    "load": "load",
    "collect": "optimizer",
    "clip": "optimizer",
    "update": "optimizer",
    "evaluate": "evaluate",
}  # the others: forward-backward
_CUDA_UNIT_BYTES = 512  # torch's CUDA allocator gives memory in these
_FROZEN, _TRAINED = 2, 2  # from here on one layer more is the same as the one before, at every site


def dry_run(question: Question) -> tuple[Phase, ...]:
    """Live bytes of the phases forward-backward, optimizer and evaluate, each at its worst moment.

    Raises ModelError TT-T007 where transformers has no classifier of the family, TT-T006 where the one it is built
    from has other matrices.
    """
    depth = _Depth.of(question)
    if depth.is_shallow:
        return _phases(traced(question))
    least = (_FROZEN, _TRAINED, _FROZEN)
    base = sites = traced(depth.scaled(*least))
    for kind, layers in enumerate((depth.below, depth.trained, depth.above)):
        if layers:
            more = traced(depth.scaled(*(count + (kind == at) for at, count in enumerate(least))))
            sites = along(sites, base, more, layers - least[kind])
    return _phases(sites)


def traced(question: Question) -> tuple[Phase, ...]:
    """The same in full depth, by site of the step (`traced_step`); the extrapolation stands on it."""
    live = LiveBytes(unit_bytes=1 if question.device == "cpu" else _CUDA_UNIT_BYTES)
    model = on_meta(question)
    with FakeTensorMode(allow_non_fake_inputs=True):
        inputs = _inputs(question.rows, question.length)
        evaluated = _inputs(question.evaluated, question.length)
        objective = OBJECTIVES[question.task]
        targets, scored = (
            objective.imagined_targets(rows // question.texts, question.texts, question.learned * rows)
            for rows in (question.rows, question.evaluated)
        )
        with live:
            model.to_empty(device="cpu")
            model.tie_weights()  # emptying makes two of a shared table
            optimizer = Optimizer(model, question.strategy, torch.arange(question.tokens))
            _prepare(model, question)
            inputs, evaluated = _on_states(model, question, inputs, evaluated)
            trace_step(live, model, optimizer, question.strategy, question.spec, inputs, targets, objective)
            trace_evaluation(live, model, evaluated, scored, objective)
    return sites_of(live)


def sites_of(live: LiveBytes) -> tuple[Phase, ...]:
    """What has been counted, site by site."""
    return tuple(_site(name, peak) for name, peak in live.peaks.items())


def on_meta(question: Question) -> PreTrainedModel:
    """The transformers class of a question with its strategy attached, without numbers. Raises ModelError TT-T007
    and TT-T006 as `dry_run`."""
    strategy, spec = question.strategy, question.spec
    with torch.device("meta"):
        model = OBJECTIVES[question.task].shape(spec, question.outputs)
        tuning.apply(replace(strategy, base_precision="same"), model, spec)
        tuning.cast(model, strategy.precision)
        pack_stand_ins(model, strategy, spec)
    return model


def _prepare(model: PreTrainedModel, question: Question) -> None:
    if question.device == "cpu":
        use_cpu_kernels(model)
    else:
        use_gpu_stand_ins(model)
    if question.strategy.recompute:
        recompute_layers(model)
    # The gradient of a padded token is left out of a sparse gradient by looking at the numbers: fakes have none.
    model.get_input_embeddings().padding_idx = None


def _on_states(model: PreTrainedModel, question: Question, *batches: Inputs) -> tuple[Inputs, ...]:
    """Where the frozen part is run once: `model` without it, and the batches with states of it."""
    strategy, spec = question.strategy, question.spec
    depth = strategy.cached_layers(spec)
    if not depth:
        return batches
    model.eval()
    found = [tuning.lower_states(model, spec, depth, batch) for batch in batches]
    upper = tuning.UpperPart(model, spec, found[0][1])
    upper.run_from(depth)
    if not question.held_below:
        upper.let_go(depth, tuning.trained_names(model))
    # Of one number each: a step makes its own, as it reads them.
    states = [states.new_zeros(()).expand(states.shape) for states, _ in found]
    return tuple(batch | {tuning.STATES: one} for batch, one in zip(batches, states, strict=True))


def _inputs(rows: int, length: int) -> dict[str, torch.Tensor]:
    ids = torch.zeros(rows, length, dtype=torch.int64)
    return {"input_ids": ids, "attention_mask": torch.ones_like(ids)}


# -------------------------------------------------------------------- depth


@dataclass(frozen=True, slots=True)
class _Depth:
    """How many layers lie below the lowest trained one, from there to the highest trained one, and above that."""

    question: Question
    below: int
    trained: int
    above: int

    @classmethod
    def of(cls, question: Question) -> "_Depth":
        strategy, spec = question.strategy, question.spec
        below, end = (min(max(0, layer), spec.layers) for layer in _trained_layers(strategy, spec))
        return cls(question, below, end - below, spec.layers - end)

    @property
    def is_shallow(self) -> bool:
        """Not worth it, or not possible: parts that begin at different layers are not one straight line."""
        spec, parts = self.question.spec, self.question.strategy.parts
        starts = {max(0, start) for part in parts if (start := part.lowest_layer(spec)) < spec.layers}
        alike = len(starts) <= 1 and starts <= {0, self.below} and spec.shapes.even
        return not alike or spec.layers <= _FROZEN + _TRAINED + 1 + (_FROZEN if self.above else 0)

    def scaled(self, below: int, trained: int, above: int) -> Question:
        """The same question of a shallower model; where this one has no layers of a kind, neither has that."""
        below, trained, above = (
            count if there else 0
            for count, there in ((below, self.below), (trained, self.trained), (above, self.above))
        )
        strategy, spec = self.question.strategy, self.question.spec.of_depth(below + trained + above)
        parts = tuple(_cut(part, trained + above) for part in strategy.parts)
        span = None
        if strategy.span is not None:
            first = min(below, strategy.span[0]) if self.trained else spec.layers
            span = (first, below + trained - 1 if self.trained else spec.layers)
        shallow = replace(strategy, parts=parts, span=span, schedule=replace(strategy.schedule, stages=()))
        return replace(self.question, spec=spec, strategy=shallow)


def _trained_layers(strategy: Strategy, spec: ModelSpec) -> tuple[int, int]:
    """The lowest trained layer and the one above the highest."""
    lowest, highest = strategy.lowest_layer(spec), strategy.highest_layer(spec)
    return lowest, min(highest + 1, spec.layers)


def _cut(part: Part, top: int) -> Part:
    names = {field.name for field in fields(part)}
    if "top_layers" not in names or getattr(part, "top_layers") is None:  # noqa: B009
        return part
    return replace(part, top_layers=top)  # type: ignore[call-arg]


def along(sites: Iterable[Phase], base: Iterable[Phase], more: Iterable[Phase], layers: int) -> tuple[Phase, ...]:
    """`sites` plus `layers` times what one layer added from `base` to `more`."""
    step = {name: (low, high) for name, low, high in _pairs(base, more)}
    return tuple(Phase(name=site.name, parts=_line(site.parts, *step[site.name], layers)) for site in sites)


def _pairs(base: Iterable[Phase], more: Iterable[Phase]) -> Iterable[tuple[str, MemoryParts, MemoryParts]]:
    for low, high in zip(base, more, strict=True):
        assert low.name == high.name, "a deeper model goes through the same sites"
        yield low.name, low.parts, high.parts


def _line(start: MemoryParts, low: MemoryParts, high: MemoryParts, layers: int) -> MemoryParts:
    names = [f"{part}_bytes" for part in PARTS]
    return MemoryParts(
        **{name: getattr(start, name) + layers * (getattr(high, name) - getattr(low, name)) for name in names}
    )


# -------------------------------------------------------------------- sites to phases


def _site(name: str, peak: dict[str, int]) -> Phase:
    return Phase(name=name, parts=MemoryParts(**{f"{part}_bytes": peak.get(part, 0) for part in PARTS}))


def _phases(sites: Iterable[Phase]) -> tuple[Phase, ...]:
    """The worst site of each phase. Loading is not the dry run's to say."""
    worst: dict[str, Phase] = {}
    for site in sites:
        name = _PHASE_OF.get(site.name, "forward-backward")
        if name not in worst or site.parts.total_bytes > worst[name].parts.total_bytes:
            worst[name] = Phase(name=name, parts=site.parts)
    worst.pop("load", None)
    return tuple(worst.values())
