"""docs/serving.md names every route and every metric that there is."""

import re
from pathlib import Path

from http_served import client_of, place

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "serving.md").read_text(encoding="utf-8")


def test_every_route_is_shown_with_a_line_to_type() -> None:
    client = client_of(place().service("mood"))
    for route in client.app.routes:  # type: ignore[attr-defined]
        path = route.path.replace("{name:path}", "{name}")
        assert path.replace("{name}", "law") in PAGE or path in PAGE, path


def test_every_metric_stands_on_the_page_and_no_other() -> None:
    client = client_of(place().service("mood"))
    client.get("/v1/models")
    told = client.get("/metrics").text
    ours = {
        name for name in re.findall(r"^# HELP (trimtab_\w+)", told, re.MULTILINE) if not name.endswith("_created")
    }
    assert set(re.findall(r"`(trimtab_\w+)`", PAGE)) == ours
