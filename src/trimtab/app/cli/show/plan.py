"""A plan on a terminal: the facts it rests on, the table, the memory of the chosen row, what to type next."""

import shlex
from typing import TYPE_CHECKING

from rich import box
from rich.console import Group
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from trimtab.app.cli.face import Face
from trimtab.app.cli.facts import plan_facts
from trimtab.app.cli.flow import Flow
from trimtab.app.cli.show.data import data_line, show_problems
from trimtab.app.cli.show.layout import facts_grid, is_plain, two_lines
from trimtab.app.cli.show.machine import machine_line
from trimtab.app.cli.show.words import (
    bytes_range,
    bytes_word,
    depth_word,
    evidence_word,
    form_word,
    money_range,
    money_word,
    points_range,
    points_word,
    rate_words,
    seconds_range,
    seconds_word,
    short_count,
    trained_words,
)
from trimtab.errors.quantities import format_bytes, format_seconds, format_share
from trimtab.estimation.estimate import MoneyEstimate
from trimtab.estimation.prefix import cached_depths
from trimtab.hardware.prices import own_prices
from trimtab.methods import LayerAdapter, Strategy, Weights
from trimtab.models.spec import ModelSpec
from trimtab.planning import Candidate, Plan, needs_price, part_word, phase_word, price_word, span_word
from trimtab.study.jsonable import jsonable

if TYPE_CHECKING:
    from trimtab.study import Planned

_ROOM_FOR_REASONS = 118  # columns from which the reasons have a place in the table
_PART_FIELDS = (
    "weights",
    "gradients",
    "optimizer",
    "activations",
    "logits",
    "temporaries",
    "prefix",
    "teacher",
    "runtime",
)


def show_plan(face: Face, planned: "Planned", *, next_step: bool = True, model_typed: bool = True) -> None:
    """Everything a person wants to know before they train, or all of it as JSON. `model_typed`: the words typed
    name the model."""
    if face.json:
        face.print_json(planned_facts(planned, face.language))
        return
    for notice in planned.warnings:
        face.err.print(Flow(f"{notice.code}: {face.tell(notice)}", "yellow"))
    header = {
        "TT-V201": model_line(planned.model, face),
        "TT-V202": data_line(planned.data, face),
        "TT-V203": machine_line(planned.machine, face),
        "TT-V204": goal_line(planned.plan, face),
    }
    face.out.print(facts_grid(face, header))
    show_table(face, planned.plan)
    _show_memory(face, planned)
    if planned.trained:
        _show_trained(face, planned)
    show_problems(face, planned.data)
    if next_step:
        _show_next(face, planned, model_typed)


def show_no_plan(face: Face, plan: Plan) -> None:
    """The table of a plan in which nothing fits; the error itself is told elsewhere, on stderr."""
    if face.json:
        face.print_json({"plan": plan_facts(plan, face.language)})
    else:
        show_table(face, plan)


def planned_facts(planned: "Planned", language: str) -> dict[str, object]:
    return {
        "model": jsonable(planned.model) | {"parameters": planned.model.parameters},
        "data": jsonable(planned.data, language),
        "machine": jsonable(planned.machine),
        "plan": plan_facts(planned.plan, language),
        "notices": jsonable(planned.warnings, language),
    } | ({"trained": jsonable(planned.trained)} if planned.trained else {})


def model_line(spec: ModelSpec, face: Face) -> str:
    size = face.say("TT-V211", size=spec.stored_bytes, dtype=spec.weights_dtype) if spec.stored_bytes else ""
    words = face.say(
        "TT-V210",
        name=spec.name,
        family=spec.family,
        kind=face.say({"encoder": "TT-V311", "decoder": "TT-V312"}.get(spec.kind, "TT-V313")),
        layers=spec.layers,
        hidden=spec.hidden,
        parameters=short_count(spec.parameters),
        size=size,
    )
    return words if spec.can_be_trained else face.say("TT-V219", model=words)


def goal_line(plan: Plan, face: Face) -> str:
    limits = []
    if plan.limits.memory_bytes is not None:
        limits.append(format_bytes(plan.limits.memory_bytes))
    if plan.limits.seconds is not None:
        limits.append(format_seconds(plan.limits.seconds))
    if plan.limits.money is not None:
        limits.append(str(plan.limits.money))
    if not limits:
        return plan.goal
    return face.say("TT-V216", goal=plan.goal, limits=", ".join(limits))


def show_table(face: Face, plan: Plan) -> None:
    """One row a strategy. Where the terminal is narrow, the reasons stand below the table, and money in them."""
    beside = face.out.width >= _ROOM_FOR_REASONS
    plain = is_plain(face)
    table = Table(box=None if plain else box.SIMPLE_HEAD, padding=(0, 1), pad_edge=False, show_edge=False)
    table.add_column("", width=1)
    for code in ("TT-V220", "TT-V221", "TT-V222", "TT-V223", "TT-V224", "TT-V225", "TT-V226"):
        table.add_column(face.say(code), no_wrap=True)
    money = beside and plan.chosen.estimate.money is not None
    if money:
        table.add_column(face.say("TT-V228"), no_wrap=True)
    if beside:
        table.add_column(face.say("TT-V227"))
    for candidate in plan.candidates:
        chosen = candidate.fits and candidate is plan.chosen
        style = "bold" if chosen else "" if candidate.fits else "dim"
        words = [*_cells(candidate, face), *_money_cells(candidate)] if money else _cells(candidate, face)
        cells = [two_lines(cell, plain) for cell in words]
        reason = [Flow(face.tell(candidate.reason))] if beside else []
        table.add_row(_mark(candidate, chosen), *cells, *reason, style=style)
    face.out.print()
    face.out.print(table)
    if not beside:
        face.out.print()
        face.out.print(_reasons(face, plan))


def _mark(candidate: Candidate, chosen: bool) -> Text:
    if chosen:
        return Text("✓", style="green")
    return Text("") if candidate.fits else Text("✗", style="red")


def _cells(candidate: Candidate, face: Face) -> list[tuple[str, str]]:
    """Each cell has what counts, and below it what goes with it."""
    estimate = candidate.estimate
    strategy, quality = estimate.strategy, estimate.quality.relative
    cut = f"{strategy.micro_batch} x {strategy.accumulation}" if strategy.accumulation > 1 else ""
    return [
        (strategy.method, depth_word(strategy, face)),
        trained_words(estimate.trainable_parameters, estimate.total_parameters),
        (strategy.number_formats, form_word(strategy, face)),
        (str(strategy.batch), cut),
        (bytes_word(estimate.memory.peak_bytes), bytes_range(estimate.memory.peak_bytes)),
        (seconds_word(estimate.time.total_seconds), seconds_range(estimate.time.total_seconds)),
        (points_word(quality), points_range(quality)),
    ]


def _money_cells(candidate: Candidate) -> list[tuple[str, str]]:
    money = candidate.estimate.money
    return [(money_word(money.cny, "CNY"), money_range(money.cny, "CNY"))] if money else []


def _reasons(face: Face, plan: Plan) -> Table:
    grid = Table.grid(padding=(0, 2))
    grid.add_column(no_wrap=True)
    grid.add_column(ratio=1)
    for candidate in plan.candidates:
        strategy = candidate.estimate.strategy
        name = f"{strategy.method} {depth_word(strategy, face)}".rstrip()
        grid.add_row(
            Text(name, style="bold" if candidate is plan.chosen else ""), Flow(face.tell(candidate.reason))
        )
    return grid


def _show_memory(face: Face, planned: "Planned") -> None:
    """The parts of the chosen row's peak, largest first, its stages, and where the figures come from."""
    estimate = planned.plan.chosen.estimate
    memory, peak = estimate.memory, estimate.memory.peak_bytes
    title = face.say(
        "TT-V230",
        method=estimate.strategy.method,
        peak=peak.value,
        range=bytes_range(peak),
        phase=phase_word(memory.phase),
        evidence=evidence_word(peak.evidence, face),
    )
    grid = Table.grid(padding=(0, 2))
    grid.add_column()
    grid.add_column(justify="right")
    grid.add_column(justify="right")
    sizes = {part: getattr(memory.parts, f"{part}_bytes") for part in _PART_FIELDS}
    for part, size in sorted(sizes.items(), key=lambda item: -item[1]):
        if size:
            share = size / memory.parts.total_bytes
            grid.add_row(face.tell(part_word(part)), format_bytes(size), format_share(share))
    time = face.say(
        "TT-V231",
        step=estimate.time.step_seconds.value,
        steps=estimate.time.steps,
        epochs=estimate.strategy.schedule.epochs,
        evidence=evidence_word(estimate.time.total_seconds.evidence, face),
    )
    stages = Padding(
        Group(*_stage_lines(face, planned), *_prefix_lines(face, planned)), (0, 0, 0, 2), expand=False
    )
    adapter = any(part.adapter for part in estimate.strategy.parts)
    disk = face.say(
        "TT-V235",
        what=face.say("TT-V236" if adapter else "TT-V237"),
        kept=estimate.kept_bytes,
        most=estimate.disk_bytes.value,
    )
    quality = face.say("TT-V232", source=estimate.quality.source)
    parts = Padding(grid, (0, 0, 0, 2), expand=False)
    money = Group(*_money_lines(face, estimate.money))
    face.out.print()
    face.out.print(Group(Flow(title), parts, Flow(time), stages, Flow(disk), money, Flow(quality, "dim")))


def _stage_lines(face: Face, planned: "Planned") -> list[Flow]:
    """The chosen row stage by stage; nothing where there is but one."""
    return [
        Flow(
            face.say(
                "TT-V278",
                stage=number,
                span=span_word(stage.first, stage.last, planned.model.layers),
                trainable=stage.trainable_parameters,
                steps=stage.steps,
                step=stage.step_seconds.value,
                rate=f"{stage.learning_rate:.1e}",
                peak=stage.peak_bytes.value,
            )
        )
        for number, stage in enumerate(planned.plan.chosen.estimate.stages, start=1)
    ]


def _prefix_lines(face: Face, planned: "Planned") -> list[Flow]:
    """What is run once of the chosen row, and what of it is kept; nothing where it is run in every step."""
    estimate = planned.plan.chosen.estimate
    depths, built = cached_depths(estimate.strategy, planned.model), estimate.time.prefix_seconds
    if built is None:
        return []
    layers = ", ".join(str(depth) for depth in depths if depth)
    return [
        Flow(
            face.say(
                "TT-V852",
                layers=layers,
                of=planned.model.layers,
                seconds=built.value,
                bytes=estimate.prefix_bytes,
            )
        )
    ]


def _show_trained(face: Face, planned: "Planned") -> None:
    """What the chosen row trains, place by place: how many tensors of which shape, and their share of it."""
    estimate = planned.plan.chosen.estimate
    table = Table.grid(padding=(0, 2))
    table.add_column(overflow="fold")
    for _ in range(3):
        table.add_column(justify="right", no_wrap=True)
    for tensors in planned.trained:
        shape = " x ".join(map(str, tensors.shape))
        table.add_row(
            tensors.name,
            f"{tensors.count} x ({shape})" if tensors.count > 1 else f"({shape})",
            f"{tensors.parameters:,}",
            format_share(tensors.parameters / estimate.trainable_parameters),
        )
    said = face.say(
        "TT-V186",
        trained=estimate.trainable_parameters,
        total=estimate.total_parameters,
        share=estimate.trainable_parameters / estimate.total_parameters,
    )
    face.out.print()
    face.out.print(Group(Flow(said), Padding(table, (0, 0, 0, 2), expand=False)))


def _money_lines(face: Face, money: MoneyEstimate | None) -> list[Flow]:
    """What the chosen row costs, and whose price that is; nothing where no price is known."""
    if money is None:
        return []
    price = money.price
    said = face.say(
        "TT-V233",
        cny=money_word(money.cny, "CNY"),
        range=money_range(money.cny, "CNY"),
        usd=money_word(money.usd, "USD"),
        price=price_word(price),
        rate=rate_words(price.rate),
    )
    market = [Flow(face.say("TT-V369"), "yellow")] if price.basis != "list" else []
    old = [Flow(face.say("TT-V234", file=own_prices()), "yellow")] if price.is_old else []
    return [Flow(said), *market, *old]


def _show_next(face: Face, planned: "Planned", model_typed: bool) -> None:
    """The command that carries the plan out, here or on the machine it was made for: the one typed, with another
    verb, the model and the method named."""
    words = [word for word in face.arguments if word != "--json"]
    if not words or words[0] != "plan":
        return
    strategy = planned.plan.chosen.estimate.strategy
    method = strategy.method
    model = [] if model_typed else [planned.model.name]
    chosen = [] if _typed(words, "--method") else ["--method", method, *_depth(strategy, words)]
    there = _there(words[1:], planned)
    command = shlex.join(["trimtab", "train", *model, *there, *chosen, "--out", f"runs/{method}"])
    here = planned.machine.is_here
    said = face.say("TT-V240") if here else face.say("TT-V241", machine=planned.machine.name)
    face.out.print()
    face.out.print(Text.assemble((said, "bold"), f" {command}"), soft_wrap=True)


def _depth(strategy: Strategy, words: list[str]) -> list[str]:
    """The depth that was chosen: a method that is named has its own."""
    depths = [part.top_layers for part in strategy.parts if isinstance(part, LayerAdapter | Weights)]
    chosen = next((depth for depth in depths if depth is not None), None)
    return [] if chosen is None or _typed(words, "--top-layers") else ["--top-layers", str(chosen)]


def _there(words: list[str], planned: "Planned") -> list[str]:
    """The options of a plan as a training on its machine takes them: that machine is "this" one there, and has no
    price but the one that is said."""
    price, limits = planned.machine.price, planned.plan.limits
    asked = needs_price(planned.plan.goal, limits) or _typed(words, "--rate")
    said = ["--price", price.hourly.typed] if price and asked and not _typed(words, "--price") else []
    return [*_without(words, "--on", "--prices"), *said]


def _typed(words: list[str], option: str) -> bool:
    return any(word.partition("=")[0] == option for word in words)


def _without(words: list[str], *options: str) -> list[str]:
    """Leave out options and their values, which stand behind them or after an equals sign."""
    kept, value_follows = [], False
    for word in words:
        if value_follows:
            value_follows = False
        elif word in options:
            value_follows = True
        elif word.partition("=")[0] not in options:
            kept.append(word)
    return kept
