"""What serving costs, on a terminal: a row a machine, the cheapest first, with price, date and how it is known."""

from typing import TYPE_CHECKING

from rich.text import Text

from trimtab.app.cli.face import Face
from trimtab.app.cli.flow import Flow
from trimtab.app.cli.show.layout import facts_grid, hanging, needed_width, unbroken_table
from trimtab.app.cli.show.plan import model_line
from trimtab.app.cli.show.words import money_word, rate_words
from trimtab.errors.quantities import format_count, format_money, format_seconds, format_share
from trimtab.hardware.prices import OLD_AFTER_DAYS, own_prices
from trimtab.planning import hourly_word
from trimtab.study.serving_costs import by_firmness_and_cost

if TYPE_CHECKING:
    from trimtab.estimation.serving import Basis
    from trimtab.planning.fleet import ServingMoney
    from trimtab.study import Served, ServedOffer, ServingCost, TotalCost
    from trimtab.units import Currency, Figure

_FIGURES = ("TT-V772", "TT-V355", "TT-V773", "TT-V774", "TT-V775", "TT-V776")
_WORDS = ("TT-V357", "TT-V358", "TT-V359")
_BASES: "dict[Basis, str]" = {
    "measured": "TT-V305", "published": "TT-V777", "calibrated": "TT-V304", "formula": "TT-V302",
}  # fmt: skip
_OFFERS_SHOWN = 10
_OLD = " !"


def show_serving_cost(face: Face, cost: "ServingCost") -> None:
    """The question, a row an offer, this machine, where it cannot be, and what to know about the figures."""
    face.out.print(
        facts_grid(
            face,
            {
                "TT-V201": cost.artifact or model_line(cost.model, face),
                "TT-V752": traffic_line(face, cost) + _adapters(face, cost),
                "TT-V351": face.say("TT-V771", rate=rate_words(cost.rate)),
            },
        )
    )
    shown = _shown(cost)
    if shown:
        _show_offers(face, shown)
    face.out.print()
    for line in (*_here(face, cost), *_misfits(face, cost), *_notes(face, cost, shown)):
        face.out.print(line)


def traffic_line(face: Face, cost: "ServingCost | TotalCost") -> str:
    """How many requests of how many tokens, and how quick they are to be."""
    load, seconds = cost.load, cost.load.latency_seconds
    return face.say(
        "TT-V769",
        daily=format_count(load.mean * 86_400),
        busiest=f"{load.busiest:.3g}",
        input=cost.workload.input_tokens,
        output=cost.workload.output_tokens,
        load=load.target,
        latency="" if seconds is None else face.say("TT-V770", seconds=seconds),
    )


def _adapters(face: Face, cost: "ServingCost") -> str:
    return face.say("TT-V778", count=cost.adapters) if cost.adapters else ""


def _shown(cost: "ServingCost") -> "tuple[ServedOffer, ...]":
    """Of several machines the offer of each that a plan would take, on demand and spot; of one all, up to ten."""
    machines = {one.served.machine for one in cost.offers}
    if len(machines) == 1:
        return cost.offers[:_OFFERS_SHOWN]
    best: dict[tuple[str, bool], ServedOffer] = {}
    for one in sorted(cost.offers, key=by_firmness_and_cost):
        best.setdefault((one.served.machine, one.spot), one)
    return tuple(one for one in cost.offers if best[one.served.machine, one.spot] is one)


def _show_offers(face: Face, offers: "tuple[ServedOffer, ...]") -> None:
    """A row an offer. Where its words have no room beside the figures, they stand below, by number."""
    face.out.print()
    rows = [(*_figures(one.money, one.served), *_words(face, one)) for one in offers]
    whole = unbroken_table(face, (*_FIGURES, *_WORDS), rows)
    if needed_width(face, whole) <= face.out.width:
        face.out.print(whole)
        return
    numbered = [((str(number), ""), *_figures(one.money, one.served)) for number, one in enumerate(offers, 1)]
    face.out.print(unbroken_table(face, ("TT-V363", *_FIGURES), numbered))
    face.out.print()
    for number, one in enumerate(offers, start=1):
        face.out.print(hanging(Text(f"{number:>2}", "dim"), Flow(_sentence(face, one))))


def _figures(money: "ServingMoney", served: "Served") -> list[tuple[str, str]]:
    """Each cell has what counts, and below it what goes with it."""
    monthly, fleet = money.monthly, served.fleet
    return [
        (money_word(monthly.cny, "CNY"), money_word(monthly.usd, "USD")),
        (money_interval(monthly.cny, "CNY"), money_interval(monthly.usd, "USD")),
        (money_word(money.million_tokens.cny, "CNY"), money_word(money.million_tokens.usd, "USD")),
        (money_word(money.million_requests.cny, "CNY"), money_word(money.million_requests.usd, "USD")),
        (_counts(money.machines), format_share(fleet.used)),
        (format_seconds(fleet.seconds.value), f"{_rate(fleet.per_second.value)}/s"),
    ]


def _words(face: Face, one: "ServedOffer") -> list[tuple[str, str]]:
    """What is run on which machine, how its speed is known, an hour, and whose offer it is."""
    offer, price = one.offer, one.money.price
    count = f"{offer.accelerator_count} x " if offer.accelerator_count > 1 else ""
    how = f"{one.served.engine} {one.served.weights}, {basis_word(face, one.served)}"
    hour = f"{face.tell(hourly_word(price))}{face.say('TT-V779') if one.spot else ''}"
    return [
        (f"{count}{offer.device}", how),
        (hour, f"{price.as_of}{_OLD if price.is_old else ''}"),
        (f"{offer.provider}, {offer.region}", offer.instance),
    ]


def _sentence(face: Face, one: "ServedOffer") -> str:
    """ "2 x t4 (vllm fp16, formula): 8.58 CNY, 2024-12-31 !: shop, here, their server" """
    (machine, how), (hour, day), (seller, instance) = _words(face, one)
    return face.say("TT-V780", machine=machine, how=how, hour=hour, day=day, offer=f"{seller}, {instance}")


def _here(face: Face, cost: "ServingCost") -> list[Flow]:
    """This machine, in words: an hour of it has a price where the user says so."""
    if cost.here is None:
        return []
    served, money = cost.here.served, cost.here.money
    paid = "" if money is None else face.say("TT-V782", cny=money_word(money.monthly.cny, "CNY"),
                                             usd=money_word(money.monthly.usd, "USD"))  # fmt: skip
    line = face.say(
        "TT-V781",
        machine=served.machine,
        engine=served.engine,
        weights=served.weights,
        rate=_rate(served.fleet.per_second.value),
        low=_rate(served.fleet.per_second.low),
        high=_rate(served.fleet.per_second.high),
        count=_counts(served.fleet.devices),
        used=served.fleet.used,
        seconds=served.fleet.seconds.value,
        basis=basis_word(face, served),
        source=f" ({served.source})" if served.source else "",
        paid=paid,
    )
    return [Flow(line)]


def _misfits(face: Face, cost: "ServingCost") -> list[Flow]:
    return [Flow(f"✗ {misfit.machine}: {face.tell(misfit.reason)}", "dim") for misfit in cost.misfits]


def _notes(face: Face, cost: "ServingCost", shown: "tuple[ServedOffer, ...]") -> list[Flow]:
    lines = [Flow(face.say("TT-V783"), "dim")]
    published = dict.fromkeys(one.served.source for one in shown if one.served.basis in ("published", "measured"))
    lines += [Flow(face.say("TT-V784", source=source), "dim") for source in published]
    if len(cost.offers) > len(shown):
        lines.append(Flow(face.say("TT-V785", count=len(cost.offers) - len(shown)), "dim"))
    if any(one.spot for one in shown):
        lines.append(Flow(face.say("TT-V786"), "dim"))
    if any(one.offer.accelerator_count > 1 for one in shown):
        lines.append(Flow(face.say("TT-V787"), "dim"))
    if any(one.offer.basis != "list" for one in shown):
        lines.append(Flow(face.say("TT-V369"), "yellow"))
    if any(one.money.price.is_old for one in shown):
        lines.append(Flow(face.say("TT-V362", days=OLD_AFTER_DAYS, file=own_prices()), "yellow"))
    return lines


def money_interval(figure: "Figure", currency: "Currency") -> str:
    if figure.low == figure.high:
        return ""
    return f"{format_money(figure.low, '').strip()}–{format_money(figure.high, currency)}"


def basis_word(face: Face, served: "Served") -> str:
    """How the speed is known: "formula"."""
    return face.say(_BASES[served.basis])


def _counts(figure: "Figure") -> str:
    """ "2 (1–4)" """
    exact = figure.low == figure.high
    return f"{figure.value:,.0f}" if exact else f"{figure.value:,.0f} ({figure.low:,.0f}–{figure.high:,.0f})"


def _rate(per_second: float) -> str:
    return f"{per_second:.0f}" if per_second >= 99.5 else f"{per_second:.3g}"
