"""What a training costs, on a terminal: the offers, the cheapest first, each with its price and date."""

from typing import TYPE_CHECKING

from rich.text import Text

from trimtab.app.cli.face import Face
from trimtab.app.cli.flow import Flow
from trimtab.app.cli.show.data import data_line
from trimtab.app.cli.show.layout import facts_grid, hanging, is_plain, new_table, two_lines
from trimtab.app.cli.show.plan import model_line
from trimtab.app.cli.show.words import (
    depth_word,
    evidence_word,
    money_range,
    money_word,
    rate_words,
    seconds_range,
    seconds_word,
)
from trimtab.hardware.prices import OLD_AFTER_DAYS, own_prices

if TYPE_CHECKING:
    from trimtab.study import CostedOffer, TrainingCost

_OFFERS_SHOWN = 10
_ROOM_FOR_OFFERS = 110  # columns from which the offers have a place in the table
_COLUMNS = ("TT-V228", "TT-V355", "TT-V356", "TT-V357", "TT-V358")
_OLD = " !"


def show_training_cost(face: Face, cost: "TrainingCost") -> None:
    """The question, a row an offer, and what to know about the prices."""
    header = {
        "TT-V201": model_line(cost.model, face),
        "TT-V202": data_line(cost.data, face),
        "TT-V351": _paid(face, cost),
    }
    face.out.print(facts_grid(face, header))
    shown = cost.offers[:_OFFERS_SHOWN]
    _show_offers(face, shown)
    for line in _notes(face, cost, shown):
        face.out.print(line)


def _paid(face: Face, cost: "TrainingCost") -> str:
    return face.say(
        "TT-V352",
        runs=cost.runs,
        idle=cost.idle_share,
        kind=face.say("TT-V354" if cost.spot else "TT-V353"),
        rate=rate_words(cost.rate),
        evidence=evidence_word(cost.offers[0].money.cny.evidence, face),
    )


def _show_offers(face: Face, offers: "tuple[CostedOffer, ...]") -> None:
    """A row an offer. Where the terminal is narrow, whose offers they are stands below, by number."""
    beside, plain = face.out.width >= _ROOM_FOR_OFFERS, is_plain(face)
    table = new_table(face, *(() if beside else ("TT-V363",)), *_COLUMNS, *(("TT-V359",) if beside else ()))
    for column in table.columns:
        column.justify, column.overflow = "left", "fold"
    for number, costed in enumerate(offers, start=1):
        offer = costed.offer
        cells = [two_lines(cell, plain) for cell in _cells(face, costed)]
        if beside:
            cells.append(two_lines((f"{offer.provider}, {offer.region}", offer.instance), plain))
        else:
            cells.insert(0, Text(str(number)))
        table.add_row(*cells)
    face.out.print()
    face.out.print(table)
    if not beside:
        face.out.print()
        for number, costed in enumerate(offers, start=1):
            offer = costed.offer
            words = f"{offer.provider}, {offer.region}, {offer.instance}"
            face.out.print(hanging(Text(f"{number:>2}", "dim"), Flow(words)))
    face.out.print()


def _cells(face: Face, costed: "CostedOffer") -> list[tuple[str, str]]:
    """Each cell has what counts, and below it what goes with it."""
    offer, money, strategy = costed.offer, costed.money, costed.strategy
    count = f"{offer.accelerator_count} x " if offer.accelerator_count > 1 else ""
    return [
        (money_word(money.cny, "CNY"), money_word(money.usd, "USD")),
        (money_range(money.cny, "CNY"), money_range(money.usd, "USD")),
        (seconds_word(costed.seconds), seconds_range(costed.seconds)),
        (f"{count}{offer.device}", f"{strategy.method} {depth_word(strategy, face)}".rstrip()),
        (str(money.price.hourly), f"{offer.as_of}{_OLD if money.price.is_old else ''}"),
    ]


def _notes(face: Face, cost: "TrainingCost", shown: "tuple[CostedOffer, ...]") -> list[Flow]:
    lines = []
    if len(cost.offers) > len(shown):
        lines.append(Flow(face.say("TT-V360", count=len(cost.offers) - len(shown)), "dim"))
    if cost.misfits:
        machines = ", ".join(misfit.machine for misfit in cost.misfits)
        lines.append(Flow(face.say("TT-V361", machines=machines), "dim"))
    if any(costed.offer.accelerator_count > 1 for costed in shown):
        lines.append(Flow(face.say("TT-V364"), "dim"))
    if any(costed.money.price.is_old for costed in shown):
        lines.append(Flow(face.say("TT-V362", days=OLD_AFTER_DAYS, file=own_prices()), "yellow"))
    return lines
