"""Training and serving over months, on a terminal: the ways, the months, where they cross, and which to take."""

from typing import TYPE_CHECKING

from rich.console import Group
from rich.text import Text

from trimtab.app.cli.face import Face
from trimtab.app.cli.flow import Flow
from trimtab.app.cli.show.layout import cut_nowhere, facts_grid, hanging, is_plain, new_table, two_lines
from trimtab.app.cli.show.plan import model_line
from trimtab.app.cli.show.serving_cost import basis_word, money_interval, traffic_line
from trimtab.app.cli.show.words import money_word, rate_words
from trimtab.errors.quantities import format_count, format_money, format_share
from trimtab.hardware.prices import OLD_AFTER_DAYS, own_prices

if TYPE_CHECKING:
    from trimtab.study.total_request import TotalCost, WayCost, WayName

_NAMES: "dict[WayName, str]" = {
    "small": "TT-P531", "adapters": "TT-P532", "whole": "TT-P533", "api": "TT-P534",
}  # fmt: skip
_WORTH_TELLING = 0.05  # months: what begins dearer by less is told by the table


def show_total_cost(face: Face, cost: "TotalCost") -> None:
    """The question, each way, the table by month, where ways cross, and the advice."""
    face.out.print(
        facts_grid(
            face,
            {
                "TT-V201": model_line(cost.model, face),
                "TT-V752": traffic_line(face, cost),
                "TT-V351": face.say("TT-V792", tasks=cost.tasks, months=cost.months, rate=rate_words(cost.rate)),
            },
        )
    )
    face.out.print()
    for one in cost.ways:
        face.out.print(hanging(Text(face.say(_NAMES[one.name]), "bold"), Text("")))
        face.out.print(hanging(Text(" "), Group(*(Flow(line) for line in _way_lines(face, one, cost.tasks)))))
    face.out.print()
    _show_months(face, cost)
    face.out.print()
    for line in (*_crossings(face, cost), *_refused(face, cost), _advice(face, cost), *_notes(face, cost)):
        face.out.print(line)


def _way_lines(face: Face, one: "WayCost", tasks: int) -> list[str]:
    """What is trained, and what is served where, each with its price."""
    if one.served is None or one.offer is None:
        return [face.say("TT-P535", monthly=money_word(one.way.monthly.cny, "CNY"))]
    trained = [
        face.say(
            "TT-P536",
            model=training.model,
            method=training.strategy.method,
            device=training.offer.device,
            tasks=tasks,
            money=money_word(training.spend.cny, "CNY"),
        )
        for training in one.trainings
    ]
    served = face.say(
        "TT-P537",
        model=one.serves,
        count=one.machines,
        device=one.offer.device,
        engine=one.served.engine,
        weights=one.served.weights,
        used=one.served.fleet.used,
        basis=basis_word(face, one.served),
        offer=one.offer.name,
        money=money_word(one.way.monthly.cny, "CNY"),
        interval=_in_brackets(money_interval(one.way.monthly.cny, "CNY")),
    )
    return [*trained, served]


def _in_brackets(words: str) -> str:
    return f" ({words})" if words else ""


def _show_months(face: Face, cost: "TotalCost") -> None:
    table, plain = new_table(face, "TT-P538", *(_NAMES[one.name] for one in cost.ways)), is_plain(face)
    for row in cost.rows:
        cells = [(money_word(total.cny, "CNY"), money_interval(total.cny, "CNY")) for total in row.totals]
        table.add_row(str(row.month), *(two_lines(cell, plain) for cell in cells))
    last = [two_lines((money_word(total.usd, "USD"), ""), plain) for total in cost.rows[-1].totals]
    table.add_row("USD", *last)
    face.out.print(cut_nowhere(table))


def _crossings(face: Face, cost: "TotalCost") -> list[Flow]:
    """Months and volumes from which on one way is cheaper than another."""
    names = {one.name: face.say(_NAMES[one.name]) for one in cost.ways}
    lines = [
        Flow(face.say("TT-P539", cheaper=names[one.cheaper], than=names[one.than], month=f"{one.month:.1f}"))
        for one in cost.break_evens
        if one.month >= _WORTH_TELLING
    ]
    if "api" in names:
        own = [one for one in cost.ways if one.name != "api"]
        lines += [Flow(_volume_line(face, one, cost.months)) for one in own]
    return lines


def _volume_line(face: Face, one: "WayCost", months: int) -> str:
    name = face.say(_NAMES[one.name])
    if one.volume is None:
        return face.say("TT-P540", name=name)
    return face.say("TT-P541", name=name, daily=format_count(one.volume), months=months)


def _refused(face: Face, cost: "TotalCost") -> list[Flow]:
    return [Flow(f"✗ {face.say(_NAMES[one.name])}: {face.tell(one.reason)}", "dim") for one in cost.refused]


def _advice(face: Face, cost: "TotalCost") -> Flow:
    """The cheapest way, by how much, and whether that is sure."""
    best, *others = cost.ways
    total = best.way.total(cost.months).cny
    if not others:
        return Flow(face.say("TT-P542", name=face.say(_NAMES[best.name]), total=format_money(total.value, "CNY")))
    second = others[0].way.total(cost.months).cny
    line = face.say(
        "TT-P543",
        name=face.say(_NAMES[best.name]),
        total=format_money(total.value, "CNY"),
        months=cost.months,
        second=face.say(_NAMES[others[0].name]),
        other=format_money(second.value, "CNY"),
        share=format_share((second.value - total.value) / second.value),
        sure=face.say("TT-P544" if cost.sure else "TT-P545"),
    )
    return Flow(line, "bold")


def _notes(face: Face, cost: "TotalCost") -> list[Flow]:
    lines = []
    if any(one.name == "small" for one in cost.ways):
        lines.append(Flow(face.say("TT-P546"), "yellow"))
    if any(one.name == "api" for one in cost.ways):
        lines.append(Flow(face.say("TT-P547"), "yellow"))
    if any(one.name == "adapters" and cost.tasks > 1 for one in cost.ways):
        lines.append(Flow(face.say("TT-P548"), "dim"))
    lines.append(Flow(face.say("TT-P549", days=OLD_AFTER_DAYS, file=own_prices()), "dim"))
    return lines
