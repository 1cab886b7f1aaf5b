"""Offers: the shipped ones carry their facts, a user's own replace them, and a bad file is refused by its cell."""

import csv
import os
from collections.abc import Iterator
from dataclasses import replace
from datetime import date
from pathlib import Path

import pytest

from trimtab.errors import BadInput
from trimtab.hardware import machine_catalogue, machine_named
from trimtab.hardware.prices import (
    COLUMNS,
    Offer,
    cheapest_price,
    known_offers,
    offers_for,
    own_prices,
    read_offers,
    shipped_offers,
)
from trimtab.units import DEFAULT_RATE, GIB, Money, exchange_rate

SHARED = Path(os.environ.get("TRIMTAB_SHARED") or Path(__file__).resolve().parents[2] / "../shared")
PUBLISHED = SHARED / "facts/prices.csv"
TODAY = date(2026, 11, 25)
ROW = {
    "provider": "aws", "region": "us-east-1", "instance": "g5.xlarge", "device": "a10g", "accelerator_count": "1",
    "vcpu": "4", "ram_gib": "16", "on_demand_price": "1.5", "spot_price": "", "currency": "USD",
    "as_of": "2026-11-20", "source_url": "",
}  # fmt: skip


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TRIMTAB_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def write(path: Path, *rows: dict[str, str], encoding: str = "utf-8") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding=encoding) as file:
        writer = csv.DictWriter(file, tuple(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


@pytest.fixture
def short_fields() -> Iterator[None]:
    """The csv module's limit, which is of the process and may have been raised by others."""
    limit = csv.field_size_limit(1_000)
    yield
    csv.field_size_limit(limit)


def named(offers: tuple[Offer, ...], instance: str, region: str = "us-east-1") -> Offer:
    (found,) = (offer for offer in offers if (offer.instance, offer.region) == (instance, region))
    return found


def test_every_shipped_offer_has_a_price_a_date_a_source_and_a_machine_that_exists() -> None:
    names = {machine.name for machine in machine_catalogue()}
    for offer in shipped_offers():
        assert 0.1 < DEFAULT_RATE.amount(offer.on_demand_hourly, "CNY") < 1000
        assert offer.spot_hourly is None or offer.spot_hourly.amount < offer.on_demand_hourly.amount
        assert 0 <= offer.age_days(TODAY) < 1000
        assert offer.source and offer.device in names | {""}


@pytest.mark.skipif(not PUBLISHED.is_file(), reason="the shared facts are not beside this checkout")
def test_the_published_prices_are_shipped_as_they_were_read() -> None:
    """An hour of one accelerator, whether the source gives it for one or the shape; a blog's claims stay out."""
    rows = csv.DictReader(PUBLISHED.read_text(encoding="utf-8").splitlines())
    trusted = [row for row in rows if row["provider"] not in ("tencent", "huawei")]
    assert len(trusted) == len(shipped_offers()) == 166
    for row, offer in zip(trusted, shipped_offers(), strict=True):
        assert offer.on_demand_hourly.currency == row["currency"]
        each = offer.on_demand_hourly.amount / max(1, offer.accelerator_count)
        assert each == pytest.approx(float(row["on_demand_price"]) / max(1, int(row["accelerator_count"])))
        assert (offer.as_of, offer.source) == (row["as_of"], row["source_url"])
        if offer.device and offer.accelerator_count:
            assert machine_named(offer.device).device.name == row["device"]


def test_what_the_sellers_of_a_market_ask_is_no_list_price() -> None:
    """The sources say it in the names of such offers."""
    for offer in shipped_offers():
        said = [word for word in ("lowest", "median") if word in offer.instance]
        assert offer.basis == (said[0] if said else "list")
        price = offer.price(DEFAULT_RATE, TODAY)
        assert price is not None and price.basis == offer.basis


def test_a_price_is_of_the_whole_shape() -> None:
    eight = named(shipped_offers(), "gpu_8x_h100_sxm5", "any")
    assert (eight.accelerator_count, eight.vcpu, eight.ram_bytes) == (8, 208, 1800 * GIB)
    assert eight.hourly() == Money(31.92, "USD")  # 3.99 for each
    shape = named(shipped_offers(), "c6i.4xlarge")
    assert shape.accelerator_count == 0 and shape.hourly() == Money(0.68, "USD")


def test_offers_for_a_machine_have_its_device_often_enough() -> None:
    offers = shipped_offers()
    single, pair = (offers_for(machine_named(name), offers) for name in ("rtx-a6000", "2xrtx-a6000"))
    assert {offer.accelerator_count for offer in single} == {1, 2}
    assert [offer.instance for offer in pair] == ["gpu_2x_a6000"]
    assert offers_for(machine_named("laptop-16g"), offers) == ()
    assert {offer.vcpu for offer in offers_for(machine_named("cloud-cpu-16"), offers)} == {16}


def test_spot_offers_are_those_with_such_a_price() -> None:
    spot = offers_for(machine_named("a100-40g-sxm"), shipped_offers(), spot=True)
    assert [offer.instance for offer in spot] == ["a2-highgpu-1g", "a2-highgpu-8g"]
    price = cheapest_price(machine_named("a100-40g-sxm"), spot, DEFAULT_RATE, TODAY, spot=True)
    assert price is not None and price.hourly == Money(1.92802, "USD")


def test_the_cheapest_is_found_across_currencies(tmp_path: Path) -> None:
    yuan = ROW | {"region": "cn", "on_demand_price": "9", "currency": "CNY"}
    offers = read_offers(write(tmp_path / "p.csv", ROW, yuan), TODAY)
    machine = machine_named("a10g")
    cheapest = [cheapest_price(machine, offers, exchange_rate(rate), TODAY) for rate in (5.9, 6.1)]
    assert [price and price.hourly.currency for price in cheapest] == ["USD", "CNY"]  # 8.85 and 9.15 against 9
    assert cheapest_price(machine_named("t4"), offers, DEFAULT_RATE, TODAY) is None


def test_a_firm_price_is_taken_before_a_cheaper_one_of_a_market(tmp_path: Path) -> None:
    (offer,) = read_offers(write(tmp_path / "p.csv", ROW), TODAY)
    asked = (("lowest", 0.5), ("median", 0.8), ("list", 1.5), ("list", 1.4), ("median", 0.7))
    offers = [replace(offer, basis=basis, on_demand_hourly=Money(amount, "USD")) for basis, amount in asked]
    firsts = (offers[:count] for count in range(1, 6))
    taken = [cheapest_price(machine_named("a10g"), first, DEFAULT_RATE, TODAY) for first in firsts]
    assert [(price.basis, price.hourly.amount) for price in taken if price] == [
        ("lowest", 0.5), ("median", 0.8), ("list", 1.5), ("list", 1.4), ("list", 1.4),
    ]  # fmt: skip


def test_a_file_may_say_what_its_prices_are(tmp_path: Path) -> None:
    rows = [ROW | {"region": basis or "unsaid", "basis": basis} for basis in ("list", "median", "lowest", "")]
    offers = read_offers(write(tmp_path / "p.csv", *rows), TODAY)
    assert [offer.basis for offer in offers] == ["list", "median", "lowest", "list"]
    with pytest.raises(BadInput, match='row 1, column basis: "cheap" is not one of list, median, lowest'):
        read_offers(write(tmp_path / "p.csv", ROW | {"basis": "cheap"}), TODAY)


@pytest.mark.parametrize(
    ("as_of", "days"),
    [
        ("2026-11-26", -1),
        ("2026-11-25", 0),
        ("2026-09-26", 60),
        ("2026-09-25", 61),
        ("2026-09", 85),
        ("2026", 328),
    ],
)
def test_age_counts_from_the_first_day_a_date_may_mean(tmp_path: Path, as_of: str, days: int) -> None:
    (offer,) = read_offers(write(tmp_path / "p.csv", ROW | {"as_of": as_of}), TODAY)
    assert offer.age_days(TODAY) == days
    assert offer.is_old(TODAY) == (days > 60)
    price = offer.price(DEFAULT_RATE, TODAY)
    assert price is not None and (price.as_of, price.is_old) == (as_of, days > 60)


def test_a_file_replaces_the_same_offer_and_adds_others(tmp_path: Path) -> None:
    added = ROW | {"provider": "mine", "instance": "under the desk", "device": "rtx3060-12g"}
    offers = known_offers(str(write(tmp_path / "p.csv", ROW, added)), TODAY)
    assert len(offers) == len(shipped_offers()) + 1
    replaced = named(offers, "g5.xlarge")
    assert replaced.on_demand_hourly == Money(1.5, "USD")
    assert replaced.source == str(tmp_path / "p.csv")  # where the row names none
    assert named(offers, "g5.2xlarge") == named(shipped_offers(), "g5.2xlarge")


def test_prices_at_home_are_taken_where_no_file_is_named(tmp_path: Path, home: Path) -> None:
    assert known_offers(None, TODAY) == shipped_offers() and own_prices() == home / "prices.csv"
    write(own_prices(), ROW)
    assert named(known_offers(None, TODAY), "g5.xlarge").on_demand_hourly == Money(1.5, "USD")
    other = str(write(tmp_path / "p.csv", ROW | {"on_demand_price": "2"}))
    assert named(known_offers(other, TODAY), "g5.xlarge").on_demand_hourly == Money(2, "USD")


def test_a_file_as_spreadsheets_write_it_is_read(tmp_path: Path) -> None:
    """With a byte order mark, empty lines, and columns of one's own."""
    path = write(tmp_path / "p.csv", ROW, encoding="utf-8-sig")
    head, row = path.read_text(encoding="utf-8").splitlines()
    path.write_text(f'{head},note\r\n,,,,,,,,,,,,\r\n{row},"two\r\nlines"\r\n\r\n', encoding="utf-8")
    (offer,) = read_offers(path, TODAY)
    assert offer.on_demand_hourly == Money(1.5, "USD")


@pytest.mark.parametrize(
    ("column", "value", "said"),
    [
        ("on_demand_price", "", "a price above 0"),
        ("on_demand_price", "free", "a price above 0"),
        ("on_demand_price", "0", "a price above 0"),
        ("on_demand_price", "1e400", "a price above 0"),
        ("spot_price", "-1", "a price above 0"),
        ("currency", "EUR", "one of CNY, USD"),
        ("currency", "", "one of CNY, USD"),
        ("as_of", "yesterday", "a date such as 2026-09-30"),
        ("as_of", "2026-13", "a date such as 2026-09-30"),
        ("as_of", "", "a date such as 2026-09-30"),
        ("as_of", "2026-11-27", "a date up to 2026-11-26"),
        ("as_of", "2026-12", "a date up to 2026-11-26"),
        ("as_of", "2062", "a date up to 2026-11-26"),
        ("device", "a10gg", "a machine of the catalogue (near: a10g"),
        ("device", "2xl4", "a machine of the catalogue (near: l4"),
        ("accelerator_count", "0", "1 or more, and a10g is an accelerator"),
        ("accelerator_count", "one", "a whole number"),
        ("vcpu", "4.5", "a whole number"),
        ("ram_gib", "0", "a size in GiB above 0"),
        ("provider", " ", "a name"),
    ],
)
def test_a_bad_cell_is_named(tmp_path: Path, column: str, value: str, said: str) -> None:
    path = write(tmp_path / "p.csv", ROW | {"region": "elsewhere"}, ROW | {column: value})
    with pytest.raises(BadInput) as caught:
        known_offers(str(path), TODAY)
    told = caught.value.message
    assert told.code == "TT-H034"
    assert f"{path}, row 2, column {column}:" in told.text() and said in told.text()
    assert f"第 2 行，{column} 列" in told.text("zh")


def test_a_cpu_has_no_accelerators(tmp_path: Path) -> None:
    path = write(tmp_path / "p.csv", ROW | {"device": "cloud-cpu-16"})
    with pytest.raises(BadInput, match="not 0, and cloud-cpu-16 has no accelerator"):
        read_offers(path, TODAY)


@pytest.mark.parametrize(
    ("content", "code", "said"),
    [
        (None, "TT-H031", "there is no such file"),
        (b"", "TT-H032", "provider, region"),
        (b"provider,region\naws,us\n", "TT-H032", "instance, device"),
        ((",".join(COLUMNS) + "\na,b\n").encode(), "TT-H033", "row 1: 2 fields where the header has 12"),
        ((",".join(COLUMNS) + '\n"a,b\n').encode(), "TT-H031", "a quote that row 1 opens is never closed"),
        ("区域".encode("gb18030"), "TT-H036", "byte 1"),
    ],
)
def test_a_file_that_is_no_list_of_prices_is_refused(
    tmp_path: Path, content: bytes | None, code: str, said: str
) -> None:
    path = tmp_path / "p.csv"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(BadInput) as caught:
        known_offers(str(path), TODAY)
    assert caught.value.code == code and caught.value.exit_code == 5
    assert str(path) in caught.value.message.text() and said in caught.value.message.text()
    assert caught.value.message.next_step("zh")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "没有这个文件"),
        ("", "它是一个文件夹"),
        (f'{",".join(COLUMNS)}\na,"b\n', "第 1 行的引号没有成对"),
        (f'{",".join(COLUMNS)}\n\n"a" b,c\n', "第 2 行的右引号后面还有内容"),
        (f"{','.join(COLUMNS)}\n{'x' * 1_001}\n", "第 1 行有单元格超过 1,000 个字符"),
        ('"provider', "第 0 行的引号没有成对"),
    ],
)
def test_in_chinese_the_reason_is_chinese(
    tmp_path: Path, short_fields: None, content: str | None, said: str
) -> None:
    path = tmp_path / "p.csv"
    if content == "":
        path.mkdir()
    elif content is not None:
        path.write_text(content, encoding="utf-8")
    with pytest.raises(BadInput) as caught:
        read_offers(path, TODAY)
    assert caught.value.message.text("zh") == f"无法把 {path} 作为价格 csv 文件读取：{said}。"


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (PermissionError(13, "Permission denied"), "没有读取权限。"),
        (OSError(5, "Input/output error"), "系统提示“Input/output error”。"),
    ],
)
def test_what_the_system_refuses_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: OSError, said: str
) -> None:
    def refuse(*arguments: object, **options: object) -> str:
        raise error

    monkeypatch.setattr(Path, "read_text", refuse)
    with pytest.raises(BadInput) as caught:
        read_offers(tmp_path / "p.csv", TODAY)
    assert caught.value.message.text("zh").endswith(said)


def test_one_offer_twice_in_a_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"rows 1 and 2 are the same offer: aws us-east-1 g5\.xlarge"):
        read_offers(write(tmp_path / "p.csv", ROW, ROW | {"on_demand_price": "3"}), TODAY)
