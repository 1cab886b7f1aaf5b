"""Cost: what a training costs on machines that are rented out, what it costs to answer requests, and both over
months. Nothing here imports torch."""

import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import urlencode

from starlette.requests import Request
from starlette.responses import Response

from trimtab.app.cli import options, serving_options
from trimtab.app.cli.show.serving_cost import basis_word, money_interval
from trimtab.app.cli.show.words import (
    depth_word,
    money_range,
    money_word,
    points_range,
    points_word,
    rate_words,
    seconds_range,
)
from trimtab.app.web.folders import Folders
from trimtab.app.web.forms import DEMO, data_of, model_of, number, spoken, whole
from trimtab.app.web.site import Site, is_fragment
from trimtab.app.web.words import Voice
from trimtab.errors import Message, TrimtabError
from trimtab.errors.quantities import format_count, format_money, format_seconds, format_share
from trimtab.hardware import Offer, Price, machine_catalogue
from trimtab.models import catalogue
from trimtab.planning import hourly_word
from trimtab.study.costs import cost_train
from trimtab.study.request import TrainingCost
from trimtab.study.serving_costs import cost_serve
from trimtab.study.serving_request import ServedOffer, ServingCost, Traffic
from trimtab.study.total_costs import cost_total
from trimtab.study.total_request import ApiPrice, TotalCost, WayCost, WayName
from trimtab.units import Figure

_SHOWN = 40
_LONGEST = 500
_WAYS: Mapping[WayName, str] = {
    "small": "TT-P531",
    "adapters": "TT-P532",
    "whole": "TT-P533",
    "api": "TT-P534",
}

Cell = tuple[str, str]
Fields = Mapping[str, str]


@dataclass(frozen=True, kw_only=True, slots=True)
class Field:
    """One field of a form. `kind`: text, number, choice or check; `choices` of one that is chosen or offered."""

    name: str
    usual: str = ""
    kind: str = "text"
    choices: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Table:
    """What was found, in words: headings, and cells of two lines each."""

    heads: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    lead: str = ""
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Question:
    """One of the three: its fields, and what answers them. `command`: the words that ask the same."""

    name: str
    fields: tuple[Field, ...]
    answer: Callable[[Fields, Folders, Voice], Table]
    command: Callable[[Fields, Folders], list[str]]


@dataclass(frozen=True, kw_only=True, slots=True)
class Found:
    """A table and the command that asks for it, or the refusal."""

    table: Table | None = None
    command: str = ""
    refusal: TrimtabError | None = None


@dataclass(frozen=True, slots=True)
class CostPage:
    """The section."""

    site: Site

    def show(self, request: Request, question: str) -> Response:
        """The page, or what was found alone where htmx asks. Nothing is computed for an empty address."""
        asked = QUESTIONS[question]
        said = request.query_params
        fields = {one.name: said.get(one.name, one.usual)[:_LONGEST].strip() for one in asked.fields}
        voice = self.site.voice(request)
        if not is_fragment(request):
            found = self._found(asked, fields, voice) if "model" in said else None  # a form sent without a script
            return self.site.show(
                request,
                "cost.html",
                section="cost",
                question=asked,
                fields=fields,
                questions=tuple(QUESTIONS),
                offered=self._offered(),
                found=found,
                oob=False,
            )
        found = self._found(asked, fields, voice)
        answer = self.site.show(request, "cost_answer.html", question=asked, found=found, oob=True)
        query = urlencode({name: value for name, value in fields.items() if value != _usual(asked, name)})
        answer.headers["HX-Replace-Url"] = f"/cost/{question}" + (f"?{query}" if query else "")
        return answer

    def _found(self, asked: Question, fields: Fields, voice: Voice) -> Found:
        try:
            table = asked.answer(fields, self.site.folders, voice)
            command = shlex.join(["trimtab", "cost", asked.name, *asked.command(fields, self.site.folders)])
            return Found(table=table, command=command)
        except TrimtabError as error:
            return Found(refusal=error)

    def _offered(self) -> dict[str, tuple[str, ...]]:
        models = (DEMO, *self.site.folders.models(), *(spec.name for spec in catalogue()))
        return {
            "model": models,
            "data": (DEMO, *self.site.folders.data_sets()),
            "on": tuple(machine.name for machine in machine_catalogue()),
        }


def _usual(asked: Question, name: str) -> str:
    return next(field.usual for field in asked.fields if field.name == name)


# ---- training


def _train(fields: Fields, folders: Folders, voice: Voice) -> Table:
    found = cost_train(
        model_of(fields["model"] or DEMO, folders),
        data=data_of(fields["data"] or DEMO, folders),
        on=fields["on"] or None,
        method=options.method_of(fields["method"] or "auto"),
        runs=whole("runs", fields["runs"], 1),
        idle_share=number("idle", fields["idle"], 0.0) or 0.0,
        spot=fields["spot"] == "yes",
    )
    heads = ("TT-V357", "TT-V228", "TT-V355", "TT-V356", "TT-V226", "TT-V358", "TT-V359")
    return Table(
        heads=tuple(map(voice.code, heads)),
        rows=tuple(_training_row(found, at, voice) for at in range(min(_SHOWN, len(found.offers)))),
        lead=voice("cost.train_lead", offers=len(found.offers), rate=rate_words(found.rate)),
        notes=_misfit_notes([(one.machine, one.reason) for one in found.misfits], voice),
    )


def _training_row(found: TrainingCost, at: int, voice: Voice) -> tuple[Cell, ...]:
    costed = found.offers[at]
    money, offer = costed.money, costed.offer
    quality = costed.quality.relative
    method = f"{costed.strategy.method} {depth_word(costed.strategy, voice.face)}".rstrip()
    return (
        (_device(offer), method),
        (money_word(money.cny, "CNY"), money_word(money.usd, "USD")),
        (money_range(money.cny, "CNY"), money_range(money.usd, "USD")),
        (format_seconds(costed.seconds.value), seconds_range(costed.seconds)),
        (points_word(quality), points_range(quality)),
        _hour(money.price, voice),
        (f"{offer.provider}, {offer.region}", offer.instance),
    )


def _train_words(fields: Fields, folders: Folders) -> list[str]:
    return [
        *_model_words(fields, folders),
        *_flags(fields, {"--on": "on", "--runs": "runs", "--idle": "idle"}),
        *(["--method", fields["method"]] if fields["method"] not in ("", "auto") else []),
        *_spot(fields),
    ]


# ---- answering requests


def _traffic(fields: Fields) -> Traffic:
    return Traffic(
        per_day=number("per-day", fields["per_day"], 100_000.0),
        peak=number("peak", fields["peak"], None),
        input_tokens=whole("input-tokens", fields["input_tokens"], 128),
        output_tokens=whole("output-tokens", fields["output_tokens"], 0),
    )


def _serve(fields: Fields, folders: Folders, voice: Voice) -> Table:
    found = cost_serve(
        model_of(fields["model"] or DEMO, folders),
        _traffic(fields),
        adapters=whole("adapters", fields["adapters"], 0),
        on=serving_options.machine_names(fields["on"] or None),
        spot=fields["spot"] == "yes",
        price=options.sum_of(fields["price"] or None),
    )
    heads = ("TT-V357", "TT-V772", "TT-V355", "TT-V773", "TT-V774", "TT-V775", "TT-V776", "TT-V358", "TT-V359")
    return _without_empty(
        heads=tuple(map(voice.code, heads)),
        rows=tuple(_serving_row(one, voice) for one in found.offers[:_SHOWN]),
        lead=voice("cost.serve_lead", daily=format_count(found.load.mean * 86_400), rate=rate_words(found.rate)),
        notes=(*_here_note(found, voice), *_misfit_notes([(m.machine, m.reason) for m in found.misfits], voice)),
    )


def _without_empty(
    heads: tuple[str, ...], rows: tuple[tuple[Cell, ...], ...], lead: str, notes: tuple[str, ...]
) -> Table:
    """Without the columns that say nothing."""
    told = [at for at in range(len(heads)) if any(row[at] != ("", "") for row in rows)]
    return Table(
        heads=tuple(heads[at] for at in told),
        rows=tuple(tuple(row[at] for at in told) for row in rows),
        lead=lead,
        notes=notes,
    )


def _serving_row(one: ServedOffer, voice: Voice) -> tuple[Cell, ...]:
    money, served, offer = one.money, one.served, one.offer
    monthly, fleet = money.monthly, served.fleet
    how = f"{served.engine} {served.weights}, {basis_word(voice.face, served)}"
    return (
        (_device(offer), how),
        (money_word(monthly.cny, "CNY"), money_word(monthly.usd, "USD")),
        (money_interval(monthly.cny, "CNY"), money_interval(monthly.usd, "USD")),
        (money_word(money.million_tokens.cny, "CNY"), money_word(money.million_tokens.usd, "USD")),
        (money_word(money.million_requests.cny, "CNY"), money_word(money.million_requests.usd, "USD")),
        (f"{money.machines.value:,.0f}", format_share(fleet.used)),
        (format_seconds(fleet.seconds.value), f"{_rate(fleet.per_second.value)}/s"),
        _hour(money.price, voice),
        (f"{offer.provider}, {offer.region}", offer.instance),
    )


def _here_note(found: ServingCost, voice: Voice) -> tuple[str, ...]:
    if found.here is None:
        return ()
    served, money = found.here.served, found.here.money
    return (
        voice(
            "cost.here",
            machine=served.machine,
            engine=served.engine,
            rate=_rate(served.fleet.per_second.value),
            count=f"{served.fleet.devices.value:,.0f}",
            paid=f": {money_word(money.monthly.cny, 'CNY')}" if money else "",
        ),
    )


def _serve_words(fields: Fields, folders: Folders) -> list[str]:
    flags = {"--peak": "peak", "--input-tokens": "input_tokens", "--output-tokens": "output_tokens"}
    return [
        spoken(model_of(fields["model"] or DEMO, folders), folders),
        "--per-day",
        fields["per_day"] or "100000",
        *_flags(fields, {**flags, "--adapters": "adapters", "--on": "on", "--price": "price"}),
        *_spot(fields),
    ]


# ---- both, over months


def _total(fields: Fields, folders: Folders, voice: Voice) -> Table:
    found = cost_total(
        model_of(fields["model"] or DEMO, folders),
        _traffic(fields),
        tasks=whole("tasks", fields["tasks"], 1),
        months=whole("months", fields["months"], 12),
        data=data_of(fields["data"] or DEMO, folders),
        api=ApiPrice.parse(fields["api_price"]) if fields["api_price"] else None,
        spot=fields["spot"] == "yes",
    )
    months = tuple(row.month for row in found.rows)
    return Table(
        heads=(voice("cost.way"), *(voice("cost.after", month=month) for month in months)),
        rows=tuple(_way_row(found, at, voice) for at in range(len(found.ways))),
        lead=_best_way(found, voice),
        notes=(
            *_crossings(found, voice),
            *_misfit_notes([(voice.code(_WAYS[one.name]), one.reason) for one in found.refused], voice),
        ),
    )


def _way_row(found: TotalCost, at: int, voice: Voice) -> tuple[Cell, ...]:
    way = found.ways[at]
    cells = [(money_word(row.totals[at].cny, "CNY"), _interval(row.totals[at].cny)) for row in found.rows]
    return ((voice.code(_WAYS[way.name]), _served_words(way)), *cells)


def _interval(figure: Figure) -> str:
    """Nothing where both ends are printed alike."""
    alike = format_money(figure.low, "CNY") == format_money(figure.high, "CNY")
    return "" if alike else money_interval(figure, "CNY")


def _served_words(way: WayCost) -> str:
    if way.served is None or way.offer is None:
        return way.serves
    return f"{way.serves}, {way.machines} × {way.offer.device}"


def _best_way(found: TotalCost, voice: Voice) -> str:
    best = found.ways[0]
    total = money_word(best.way.total(found.months).cny, "CNY")
    sure = voice("cost.sure" if found.sure else "cost.unsure")
    return voice("cost.total_lead", name=voice.code(_WAYS[best.name]), total=total, months=found.months, sure=sure)


def _crossings(found: TotalCost, voice: Voice) -> tuple[str, ...]:
    names = {one.name: voice.code(_WAYS[one.name]) for one in found.ways}
    return tuple(
        voice.code("TT-P539", cheaper=names[one.cheaper], than=names[one.than], month=f"{one.month:.1f}")
        for one in found.break_evens
    )


def _total_words(fields: Fields, folders: Folders) -> list[str]:
    flags = {"--peak": "peak", "--input-tokens": "input_tokens", "--output-tokens": "output_tokens"}
    return [
        *_model_words(fields, folders),
        "--per-day",
        fields["per_day"] or "100000",
        *_flags(fields, {**flags, "--tasks": "tasks", "--months": "months", "--api-price": "api_price"}),
        *_spot(fields),
    ]


# ---- what they share


def _model_words(fields: Fields, folders: Folders) -> list[str]:
    model, data = model_of(fields["model"] or DEMO, folders), data_of(fields["data"] or DEMO, folders)
    return [spoken(model, folders), "--data", spoken(data, folders)]


def _flags(fields: Fields, flags: Mapping[str, str]) -> list[str]:
    return [word for flag, name in flags.items() if fields[name] for word in (flag, fields[name])]


def _spot(fields: Fields) -> list[str]:
    return ["--spot"] if fields["spot"] == "yes" else []


def _rate(per_second: float) -> str:
    return f"{per_second:,.0f}" if per_second >= 99.5 else f"{per_second:.3g}"


def _device(offer: Offer) -> str:
    return f"{offer.accelerator_count} × {offer.device}" if offer.accelerator_count > 1 else offer.device


def _hour(price: Price, voice: Voice) -> Cell:
    return voice.tell(hourly_word(price)), f"{price.as_of}{' !' if price.is_old else ''}"


def _misfit_notes(misfits: Sequence[tuple[str, Message]], voice: Voice) -> tuple[str, ...]:
    return tuple(f"{name}: {voice.tell(reason)}" for name, reason in misfits)


_MODEL, _DATA, _ON = Field(name="model", usual=DEMO), Field(name="data", usual=DEMO), Field(name="on")
_SPOT = Field(name="spot", kind="check")
_REQUESTS = (
    Field(name="per_day", usual="100000", kind="number"),
    Field(name="peak", kind="number"),
    Field(name="input_tokens", usual="128", kind="number"),
    Field(name="output_tokens", usual="0", kind="number"),
)
QUESTIONS: Mapping[str, Question] = {
    "train": Question(
        name="train",
        fields=(
            _MODEL,
            _DATA,
            _ON,
            Field(name="method", usual="auto", kind="choice", choices=tuple(options.METHODS.split("|"))),
            Field(name="runs", usual="1", kind="number"),
            Field(name="idle", usual="0", kind="number"),
            _SPOT,
        ),
        answer=_train,
        command=_train_words,
    ),
    "serve": Question(
        name="serve",
        fields=(
            _MODEL,
            *_REQUESTS,
            Field(name="adapters", usual="0", kind="number"),
            _ON,
            Field(name="price"),
            _SPOT,
        ),
        answer=_serve,
        command=_serve_words,
    ),
    "total": Question(
        name="total",
        fields=(
            _MODEL,
            _DATA,
            *_REQUESTS,
            Field(name="tasks", usual="1", kind="number"),
            Field(name="months", usual="12", kind="number"),
            Field(name="api_price"),
            _SPOT,
        ),
        answer=_total,
        command=_total_words,
    ),
}
