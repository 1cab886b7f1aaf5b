"""The catalogue: every published device is reachable under one name, with the figures of its source."""

import csv
import math
import os
from pathlib import Path

import pytest

from trimtab.errors import UsageError
from trimtab.hardware.catalogue import (
    device_by_capability,
    device_by_driver_name,
    machine_catalogue,
    machine_named,
)
from trimtab.units import GIB, MIB

SHARED = Path(os.environ.get("TRIMTAB_SHARED") or Path(__file__).resolve().parents[2] / "../shared")
PUBLISHED = SHARED / "facts/devices.csv"


def test_names_are_unique_and_typable() -> None:
    names = [machine.name for machine in machine_catalogue()]
    assert len(set(names)) == len(names)
    assert all(name == name.lower() and " " not in name for name in names)


@pytest.mark.parametrize("machine", machine_catalogue(), ids=lambda machine: machine.name)
def test_figures_of_every_row_are_possible(machine) -> None:
    device = machine.device
    assert 0 < device.usable_bytes <= device.memory_bytes
    assert device.usable_bytes / device.memory_bytes > 0.3
    assert 1e9 < device.bandwidth < 1e13
    assert device.peak("fp32") or device.peak("bf16")  # no fp32 figure is published for Ascend
    assert all(1e10 < flops < 1e16 and math.isfinite(flops) for _, flops in device.peaks)
    assert device.source
    assert machine_named(machine.name) == machine


@pytest.mark.skipif(not PUBLISHED.is_file(), reason="the shared facts are not beside this checkout")
def test_every_published_device_is_reachable_with_its_own_figures() -> None:
    rows = list(csv.DictReader(PUBLISHED.read_text(encoding="utf-8").splitlines()))
    assert len(rows) == 65
    for row in rows:
        device = machine_named(row["name"]).device
        assert device.bandwidth == pytest.approx(float(row["bandwidth_gb_s"]) * 1e9)
        assert device.memory_bytes == pytest.approx(float(row["memory_gib"]) * GIB)
        assert (device.peak("bf16") is not None) == bool(row["bf16_tflops_dense"])
        assert row["source_url"] in device.source


def test_usable_memory_is_what_a_process_gets_not_what_the_box_says() -> None:
    usable = {machine.name: machine.device.usable_bytes / GIB for machine in machine_catalogue()}
    assert usable["t4"] == pytest.approx(14.6, abs=0.3)
    assert usable["rtx4090"] == pytest.approx(23.5, abs=0.3)
    assert usable["m2-pro"] / 32 == pytest.approx(0.72, abs=0.06)
    assert usable["laptop-8g"] < 6


def test_a_t4_has_no_bf16() -> None:
    assert machine_named("t4").device.peak("bf16") is None
    assert machine_named("t4").device.peak("fp16") == 65e12


def test_a_count_in_the_name_or_beside_it() -> None:
    pair = machine_named("2xa100-40g-sxm")
    assert (pair.count, pair.name) == (2, "2xa100-40g-sxm")
    assert machine_named("A100-40G-SXM", count=2) == pair
    assert machine_named("2xa100-40g-sxm", count=2) == pair


@pytest.mark.parametrize(("name", "count"), [("0xl4", 1), ("l4", 0), ("2xl4", 3)])
def test_a_count_that_is_none_is_refused(name: str, count: int) -> None:
    with pytest.raises(UsageError) as caught:
        machine_named(name, count)
    assert caught.value.code == "TT-H002"


@pytest.mark.parametrize(
    ("typed", "offered"),
    [("rtx3060", "rtx3060-12g"), ("a100", "a100-40g-sxm"), ("rtx 4900", "rtx4090"), ("", "t4")],
)
def test_an_unknown_name_offers_the_nearest(typed: str, offered: str) -> None:
    with pytest.raises(UsageError) as caught:
        machine_named(typed)
    assert caught.value.code == "TT-H001"
    suggestions = str(caught.value.message.fact("suggestions")).split(", ")
    assert len(suggestions) == 3
    assert offered in suggestions or typed == ""


def test_a_driver_name_counts_only_with_its_memory() -> None:
    twelve = device_by_driver_name("NVIDIA GeForce RTX 3060", 12288 * MIB)
    assert twelve is not None and twelve.name == "RTX 3060 12GB"
    assert device_by_driver_name("NVIDIA GeForce RTX 3060", 8192 * MIB) is None
    ecc = device_by_driver_name("NVIDIA A10G", 22731 * MIB)
    assert ecc is not None and ecc.name == "A10G"


def test_an_unknown_card_borrows_from_its_generation() -> None:
    like = device_by_capability("sm_89", 12282 * MIB)  # an RTX 4070 SUPER
    assert like is not None and like.name == "RTX 4070"
    assert device_by_capability("sm_35", 12 * GIB) is None
