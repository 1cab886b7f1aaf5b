"""Each row answered: memory, step time, and of a whole training seconds and money; errors row by row."""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from trimtab.errors import BadInput, Message, TrimtabError, message
from trimtab.estimation import MoneyEstimate
from trimtab.estimation.money import money
from trimtab.estimation.setups import Setup, SetupEstimate, estimate_setup
from trimtab.estimation.setups.setup import MemoryKind
from trimtab.hardware.machine import Machine, Price
from trimtab.hardware.prices import cheapest_price, known_offers
from trimtab.study.dry_runs import traced_setup_phases
from trimtab.study.request import Pricing
from trimtab.study.rows.cells import Row
from trimtab.study.rows.setup import read_kind, read_machine, read_setup
from trimtab.study.rows.table import records_of
from trimtab.units import Figure, exchange_rate


@dataclass(frozen=True, kw_only=True, slots=True)
class RowEstimate:
    """The answer to one row. `kind`: the memory it asks for, reserved where it says nothing. `assumed`: cells
    that took a default, as "column=value". Exactly one of `estimate` and `error` is there. `train_seconds`: of all
    its epochs, where it says how many examples there are; `money`: where its device is rented out besides."""

    id: str
    kind: MemoryKind = "reserved"
    assumed: tuple[str, ...] = ()
    estimate: SetupEstimate | None = None
    train_seconds: Figure | None = None
    money: MoneyEstimate | None = None
    error: Message | None = None


def estimate_rows(path: str, *, exact: bool = False, pricing: Pricing = Pricing()) -> Iterator[RowEstimate]:
    """One answer a row of the csv file (UTF-8), in order. `exact`: memory by a dry run, seconds a row and torch.
    `pricing`: where the price of a row's device is looked up.

    Raises BadInput TT-W001 to TT-W004 for a file that cannot be read as a table at all; what is wrong with one
    row is in its answer.

    >>> import csv, pathlib, tempfile
    >>> file = pathlib.Path(tempfile.mkdtemp(), "rows.csv")
    >>> _ = file.write_text("model_key,method,rank,micro_batch,seq_len\\nllama-2-7b,lora,8,1,2048\\n")
    >>> [row] = estimate_rows(str(file))
    >>> 15e9 < row.estimate.memory.allocated.value < 40e9
    True
    """
    prices = _Prices(pricing)
    for number, cells in enumerate(records_of(Path(path).expanduser()), start=1):
        yield estimate_row(cells, str(number), exact=exact, price_of=prices.of)


def estimate_row(
    cells: Mapping[str, str],
    name: str,
    *,
    exact: bool = False,
    price_of: Callable[[Machine], Price | None] = lambda machine: None,
) -> RowEstimate:
    """The answer to one row of cells by column; `name` is its id where it has none of its own. `price_of`: what
    an hour of a machine costs."""
    name = cells.get("id", "").strip() or name
    row = Row(cells)
    try:
        machine = read_machine(row)
        setup, kind = read_setup(row, machine), read_kind(row)
        traced = traced_setup_phases(setup) if exact else ()
        found = estimate_setup(setup, traced=traced)
        seconds = _train_seconds(row, setup, found)
        price = None if seconds is None or machine is None else price_of(machine)
        return RowEstimate(
            id=name,
            kind=kind,
            assumed=tuple(row.assumed),
            estimate=found,
            train_seconds=seconds,
            money=None if seconds is None or price is None else money(seconds, price),
        )
    except TrimtabError as error:
        return RowEstimate(id=name, error=error.message)
    except Exception as error:  # a library's, of a dry run: no other row shall suffer for it
        reason = f"{type(error).__name__}: {error}".strip().partition("\n")[0][:200]
        return RowEstimate(id=name, error=message("TT-W021", reason=reason))


def _train_seconds(row: Row, setup: Setup, found: SetupEstimate) -> Figure | None:
    """Of all epochs; None where the row does not say how many examples there are, or has no time."""
    examples = row.count("examples", None)
    if examples is None or found.time is None:
        return None
    epochs = row.number("epochs", 1.0)
    a_step = setup.micro_batch * setup.micro_batches * setup.devices
    return found.time.step_seconds.times(math.ceil(epochs * -(-examples // a_step)))


class _Prices:
    """The price of an hour of a catalogue machine; offers are read once, and where the user's own file of them
    cannot be, nothing has a price. Raises BadInput at once for a file that is named."""

    def __init__(self, pricing: Pricing) -> None:
        self._today = pricing.today or date.today()
        self._rate = exchange_rate(pricing.cny_per_usd)
        try:
            self._offers = known_offers(pricing.file, self._today)
        except BadInput:
            if pricing.file is not None:
                raise
            self._offers = ()

    def of(self, machine: Machine) -> Price | None:
        return cheapest_price(machine, self._offers, self._rate, self._today)
