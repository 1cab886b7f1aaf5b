"""What machines cost by the hour: the dated offers of prices.csv, and those of a user's own file.

One row a shape as it is rented: its price is for all of it, however many of its accelerators a training uses.
Prices were read off the sources that stand beside them, lists of providers and indexes of sellers alike; nothing
is fetched. Leaves out: subscriptions, discounts, disks, traffic, and rounding up to whole hours.
"""

import csv
import difflib
import io
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from functools import cache
from importlib import resources
from pathlib import Path
from typing import cast

from trimtab.errors import BadInput, Message, message
from trimtab.hardware.catalogue import machine_catalogue
from trimtab.hardware.machine import Basis, DeviceKind, Machine, Price
from trimtab.home import cache_folder
from trimtab.units import CURRENCIES, GIB, Currency, ExchangeRate, Money

OLD_AFTER_DAYS = 60  # one rent of an A100 went from 1.39 to 1.79 dollars in three months of 2026
COLUMNS = (
    "provider", "region", "instance", "device", "accelerator_count", "vcpu", "ram_gib", "on_demand_price",
    "spot_price", "currency", "as_of", "source_url",
)  # fmt: skip
# The firmest first. A file may have a column `basis` that says it of a row; without a word it is a list price.
BASES: tuple[Basis, ...] = ("list", "median", "lowest")
_SHIPPED = "prices.csv"
_UNREAD: dict[type[OSError], str] = {
    FileNotFoundError: "TT-H051",
    IsADirectoryError: "TT-H052",
    PermissionError: "TT-H053",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Offer:
    """A machine somebody rents out. Prices are for an hour of the whole shape.

    `device` is a name of the machine catalogue; empty = none there fits. `accelerator_count` 0 = a shape without
    accelerator. `vcpu` and `ram_bytes` 0 = not published. `spot_hourly`: may be taken away at any time; None = no
    such price known. `as_of` is a day, a month or a year (2026-09-30, 2026-09, 2026). `basis`: the provider's list
    price, or the median or the lowest of what the sellers of a market ask, at which none may be had.
    """

    provider: str
    region: str
    instance: str
    device: str
    accelerator_count: int
    vcpu: int
    ram_bytes: int
    on_demand_hourly: Money
    spot_hourly: Money | None
    as_of: str
    source: str
    basis: Basis

    @property
    def name(self) -> str:
        return f"{self.provider} {self.region} {self.instance}"

    def hourly(self, *, spot: bool = False) -> Money | None:
        """An hour of the whole shape."""
        return self.spot_hourly if spot else self.on_demand_hourly

    def age_days(self, today: date) -> int:
        """Days since the price was read, at most: a month or a year counts from its first day."""
        return (today - _first_day(self.as_of)).days

    def is_old(self, today: date) -> bool:
        return self.age_days(today) > OLD_AFTER_DAYS

    def price(self, rate: ExchangeRate, today: date, *, spot: bool = False) -> Price | None:
        """The fact a plan is made with; None where there is no such price."""
        hourly = self.hourly(spot=spot)
        if hourly is None:
            return None
        return Price(
            hourly=hourly,
            rate=rate,
            origin=self.name,
            as_of=self.as_of,
            is_old=self.is_old(today),
            basis=self.basis,
        )


def own_prices() -> Path:
    """Where a user's own prices are looked for; the file need not exist."""
    return cache_folder() / _SHIPPED


def known_offers(file: str | None, today: date) -> tuple[Offer, ...]:
    """The shipped offers with those of `file` (None = the user's own prices, where there are any) laid over them.

    A row replaces the one of the same provider, region and instance. Raises BadInput TT-H031 to TT-H036 for a file
    that is not what it should be.
    """
    if file is not None:
        return _over(shipped_offers(), read_offers(Path(file).expanduser(), today))
    own = own_prices()
    return _over(shipped_offers(), read_offers(own, today)) if own.is_file() else shipped_offers()


def offers_for(machine: Machine, offers: Iterable[Offer], *, spot: bool = False) -> tuple[Offer, ...]:
    """The offers of a catalogue machine that have its device, at least as often as the machine has."""
    device = machine.name.removeprefix(f"{machine.count}x")
    return tuple(
        offer
        for offer in offers
        if offer.device == device
        and max(1, offer.accelerator_count) >= machine.count
        and offer.hourly(spot=spot) is not None
    )


def machines_offered(offers: Iterable[Offer], *, spot: bool = False) -> tuple[Machine, ...]:
    """The catalogue machines that somebody rents out."""
    known = tuple(offers)
    return tuple(machine for machine in machine_catalogue() if offers_for(machine, known, spot=spot))


def cheapest_price(
    machine: Machine, offers: Iterable[Offer], rate: ExchangeRate, today: date, *, spot: bool = False
) -> Price | None:
    """The least that an hour of such a machine costs, the whole shape paid; None where nobody offers one. A list
    price comes before a market's median, and that before a market's lowest: a plan is not to rest on a price that
    only one seller asked, once."""
    prices = (offer.price(rate, today, spot=spot) for offer in offers_for(machine, offers, spot=spot))
    found = [price for price in prices if price is not None]
    return min(found, key=lambda price: _firmest_and_cheapest(price, rate), default=None)


def _firmest_and_cheapest(price: Price, rate: ExchangeRate) -> tuple[int, float]:
    return firmness(price.basis), rate.amount(price.hourly, "CNY")


def firmness(basis: Basis) -> int:
    """Sort key: 0 for a list price, more for what can be relied on less."""
    return BASES.index(basis)


@cache
def shipped_offers() -> tuple[Offer, ...]:
    """The offers that come with the package, in the order of the file."""
    text = (resources.files("trimtab.hardware") / _SHIPPED).read_text(encoding="utf-8")
    return _offers(_SHIPPED, text, date.max)


def read_offers(path: Path, today: date) -> tuple[Offer, ...]:
    """The offers of a csv file in UTF-8. A date may be tomorrow's, which is today's further east, and no later.
    Raises BadInput, as `known_offers` does, with row and column."""
    try:
        text = path.read_text(encoding="utf-8-sig")  # spreadsheets begin a UTF-8 file with a mark
    except OSError as error:
        raise BadInput("TT-H031", path=str(path), reason=_why_unread(error)) from error
    except UnicodeDecodeError as error:
        raise BadInput("TT-H036", path=str(path), byte=error.start + 1) from error
    return _offers(str(path), text, today + timedelta(days=1))


def _over(below: tuple[Offer, ...], above: tuple[Offer, ...]) -> tuple[Offer, ...]:
    offers = {_identity(offer): offer for offer in below}
    return tuple((offers | {_identity(offer): offer for offer in above}).values())


def _identity(offer: Offer) -> tuple[str, str, str]:
    return offer.provider, offer.region, offer.instance


def _offers(path: str, text: str, latest: date) -> tuple[Offer, ...]:
    first_row: dict[tuple[str, str, str], int] = {}
    found = []
    for row in _rows(path, text):
        offer = _offer(row, latest)
        if (first := first_row.setdefault(_identity(offer), row.number)) != row.number:
            raise BadInput("TT-H035", path=path, first=first, row=row.number, offer=offer.name)
        found.append(offer)
    return tuple(found)


@dataclass(frozen=True, slots=True)
class _Row:
    """One row of a file of prices; `number` counts from 1, the first row below the header. A cell whose column the
    file does not have is empty."""

    path: str
    number: int
    cells: Mapping[str, str]

    def cell(self, column: str) -> str:
        return self.cells.get(column, "").strip()

    def refuse(self, column: str, kind: Message) -> BadInput:
        return BadInput(
            "TT-H034", path=self.path, row=self.number, column=column, value=self.cell(column), kind=kind
        )


def _rows(path: str, text: str) -> Iterator[_Row]:
    records = csv.reader(io.StringIO(text, newline=""), strict=True)
    number = -1
    try:
        header, number = [name.strip() for name in next(records, [])], 0
        if missing := [column for column in COLUMNS if column not in header]:
            raise BadInput("TT-H032", path=path, missing=", ".join(missing), columns=",".join(COLUMNS))
        for number, fields in enumerate(records, start=1):
            if not any(field.strip() for field in fields):
                continue
            if len(fields) != len(header):
                raise BadInput("TT-H033", path=path, row=number, fields=len(fields), columns=len(header))
            yield _Row(path, number, dict(zip(header, fields, strict=True)))
    except csv.Error as error:
        raise BadInput("TT-H031", path=path, reason=_why_unparsed(error, number + 1)) from error


def _why_unread(error: OSError) -> Message:
    """In words of ours: the system's are English in any language."""
    for kind, code in _UNREAD.items():
        if isinstance(error, kind):
            return message(code)
    return message("TT-H054", reason=error.strerror or str(error))


def _why_unparsed(error: csv.Error, row: int) -> Message:
    """What the parser complains of; row 0 is the header."""
    text = str(error)
    if "field limit" in text:
        return message("TT-H057", row=row, most=csv.field_size_limit())
    return message("TT-H055" if "unexpected end" in text else "TT-H056", row=row)


def _offer(row: _Row, latest: date) -> Offer:
    device, accelerators = _device(row)
    currency = _currency(row)
    spot = _number(row, "spot_price", least=0, kind="TT-H041") if row.cell("spot_price") else None
    on_demand = _number(row, "on_demand_price", least=0, kind="TT-H041")
    return Offer(
        provider=_text(row, "provider"),
        region=_text(row, "region"),
        instance=_text(row, "instance"),
        device=device,
        accelerator_count=accelerators,
        vcpu=_count(row, "vcpu") if row.cell("vcpu") else 0,
        ram_bytes=round(_number(row, "ram_gib", least=0, kind="TT-H042") * GIB) if row.cell("ram_gib") else 0,
        on_demand_hourly=Money(on_demand, currency),
        spot_hourly=None if spot is None else Money(spot, currency),
        as_of=_day(row, latest),
        source=row.cell("source_url") or row.path,
        basis=_basis(row),
    )


def _text(row: _Row, column: str) -> str:
    if not row.cell(column):
        raise row.refuse(column, message("TT-H045"))
    return row.cell(column)


def _number(row: _Row, column: str, *, least: float, kind: str) -> float:
    """A number above `least`, in plain digits."""
    cell = row.cell(column)
    if not re.fullmatch(r"[0-9]*\.?[0-9]+", cell) or not least < float(cell) < 1e9:
        raise row.refuse(column, message(kind))
    return float(cell)


def _count(row: _Row, column: str) -> int:
    cell = row.cell(column)
    if not re.fullmatch(r"[0-9]{1,6}", cell):
        raise row.refuse(column, message("TT-H043"))
    return int(cell)


def _currency(row: _Row) -> Currency:
    if row.cell("currency") not in CURRENCIES:
        raise row.refuse("currency", message("TT-H046", known=", ".join(CURRENCIES)))
    return cast(Currency, row.cell("currency"))


def _basis(row: _Row) -> Basis:
    word = row.cell("basis") or "list"
    if word not in BASES:
        raise row.refuse("basis", message("TT-H046", known=", ".join(BASES)))
    return word


def _device(row: _Row) -> tuple[str, int]:
    """The device's name in the catalogue, and how many there are: none of a CPU, one at least of anything else."""
    device, count, kinds = row.cell("device"), _count(row, "accelerator_count"), _kinds()
    if not device:
        return "", count
    if device not in kinds:
        nearest = difflib.get_close_matches(device.lower(), kinds, n=3, cutoff=0.0)
        raise row.refuse("device", message("TT-H047", suggestions=", ".join(nearest)))
    accelerator = kinds[device] in ("gpu", "npu")
    if accelerator != (count > 0):
        raise row.refuse("accelerator_count", message("TT-H048" if accelerator else "TT-H049", device=device))
    return device, count


@cache
def _kinds() -> Mapping[str, DeviceKind]:
    return {machine.name: machine.device.kind for machine in machine_catalogue()}


def _day(row: _Row, latest: date) -> str:
    try:
        first = _first_day(row.cell("as_of"))
    except ValueError as error:
        raise row.refuse("as_of", message("TT-H044")) from error
    if first > latest:
        raise row.refuse("as_of", message("TT-H050", latest=latest))
    return row.cell("as_of")


def _first_day(as_of: str) -> date:
    """Raises ValueError for anything but 2026-09-30, 2026-09 or 2026."""
    if not re.fullmatch(r"[0-9]{4}(-[0-9]{2}){0,2}", as_of):
        raise ValueError(as_of)
    year, month, day = (as_of + "-01-01")[:10].split("-")
    return date(int(year), int(month), int(day))
