"""What a training costs, on a terminal: the offers, the cheapest first, each with its price and date."""

from typing import TYPE_CHECKING

from rich.table import Table
from rich.text import Text

from trimtab.app.cli.face import Face
from trimtab.app.cli.flow import Flow
from trimtab.app.cli.show.data import data_line
from trimtab.app.cli.show.layout import (
    cut_nowhere,
    facts_grid,
    hanging,
    needed_width,
    new_table,
    two_lines,
    unbroken_table,
)
from trimtab.app.cli.show.plan import model_line
from trimtab.app.cli.show.words import (
    depth_word,
    evidence_word,
    money_range,
    money_word,
    points_range,
    points_word,
    rate_words,
    seconds_range,
    seconds_word,
)
from trimtab.hardware.prices import OLD_AFTER_DAYS, own_prices
from trimtab.planning import hourly_word

if TYPE_CHECKING:
    from trimtab.study import CostedOffer, TrainingCost

_OFFERS_SHOWN = 10
_FIGURES = ("TT-V228", "TT-V355", "TT-V356", "TT-V226", "TT-V358")
_WORDS = ("TT-V357", "TT-V359")
_OLD = " !"


def show_training_cost(face: Face, cost: "TrainingCost") -> None:
    """The question, a row an offer, and what to know about the prices."""
    header = {
        "TT-V201": model_line(cost.model, face),
        "TT-V202": data_line(cost.data, face),
        "TT-V204": face.say("TT-V366", goal=cost.goal),
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
    """A row an offer. Where its words have no room beside the figures, they stand below, by number."""
    whole = _whole_table(face, offers)
    face.out.print()
    if needed_width(face, whole) <= face.out.width:
        face.out.print(whole)
    else:
        face.out.print(_figures_by_number(face, offers))
        face.out.print()
        for number, costed in enumerate(offers, start=1):
            face.out.print(hanging(Text(f"{number:>2}", "dim"), Flow(_sentence(face, costed))))
    face.out.print()


def _whole_table(face: Face, offers: "tuple[CostedOffer, ...]") -> Table:
    """Figures and words. Only the last column may wrap, between its words."""
    rows = [(*_figures(face, costed), *_words(face, costed)) for costed in offers]
    return unbroken_table(face, (*_FIGURES, *_WORDS), rows)


def _figures_by_number(face: Face, offers: "tuple[CostedOffer, ...]") -> Table:
    table = new_table(face, "TT-V363", *_FIGURES)
    for number, costed in enumerate(offers, start=1):
        table.add_row(str(number), *(two_lines(cell, plain=False) for cell in _figures(face, costed)))
    return cut_nowhere(table)


def _figures(face: Face, costed: "CostedOffer") -> list[tuple[str, str]]:
    """Each cell has what counts, and below it what goes with it."""
    money, price, quality = costed.money, costed.money.price, costed.quality.relative
    return [
        (money_word(money.cny, "CNY"), money_word(money.usd, "USD")),
        (money_range(money.cny, "CNY"), money_range(money.usd, "USD")),
        (seconds_word(costed.seconds), seconds_range(costed.seconds)),
        (points_word(quality), points_range(quality)),
        (face.tell(hourly_word(price)), f"{price.as_of}{_OLD if price.is_old else ''}"),
    ]


def _words(face: Face, costed: "CostedOffer") -> list[tuple[str, str]]:
    """What is run on which machine, and whose offer it is."""
    offer, strategy = costed.offer, costed.strategy
    count = f"{offer.accelerator_count} x " if offer.accelerator_count > 1 else ""
    return [
        (f"{count}{offer.device}", f"{strategy.method} {depth_word(strategy, face)}".rstrip()),
        (f"{offer.provider}, {offer.region}", offer.instance),
    ]


def _sentence(face: Face, costed: "CostedOffer") -> str:
    """ "2 x t4 (lora): shop, here, their server" """
    (machine, method), (seller, instance) = _words(face, costed)
    return face.say("TT-V365", machine=machine, method=method, offer=f"{seller}, {instance}")


def _notes(face: Face, cost: "TrainingCost", shown: "tuple[CostedOffer, ...]") -> list[Flow]:
    lines = [Flow(face.say("TT-V367"), "dim")]
    if len({costed.quality.relative for costed in shown}) > 1:
        lines.append(Flow(face.say("TT-V368"), "yellow"))
    if len(cost.offers) > len(shown):
        lines.append(Flow(face.say("TT-V360", count=len(cost.offers) - len(shown)), "dim"))
    if cost.misfits:
        machines = ", ".join(misfit.machine for misfit in cost.misfits)
        lines.append(Flow(face.say("TT-V361", machines=machines), "dim"))
    if any(costed.offer.accelerator_count > 1 for costed in shown):
        lines.append(Flow(face.say("TT-V364"), "dim"))
    if any(costed.offer.basis != "list" for costed in shown):
        lines.append(Flow(face.say("TT-V369"), "yellow"))
    if any(costed.money.price.is_old for costed in shown):
        lines.append(Flow(face.say("TT-V362", days=OLD_AFTER_DAYS, file=own_prices()), "yellow"))
    return lines
