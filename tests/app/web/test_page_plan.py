"""The plan page: it says what `trimtab plan` says, live, escaped, and without torch."""

import re
import shlex
import subprocess
import sys
import time
from dataclasses import replace

import pytest

from page_asked import Asked
from trimtab import study
from trimtab.app.cli import application, options
from trimtab.app.web.drawings import best_of
from trimtab.app.web.forms import PlanForm
from trimtab.app.web.pages.plan import answer_of
from trimtab.app.web.words import Voice
from trimtab.errors import UsageError
from trimtab.hardware import machine_named
from trimtab.planning import KeptEstimates, Limits, plan_for

ON = "laptop-16g"
_ASK = """
import sys
from starlette.testclient import TestClient
from trimtab.app.web.app import make_page
from trimtab.app.web.settings import PageSettings, chosen_folders
from trimtab.app.web.site import Site
settings = PageSettings(folders=chosen_folders(({folder!r},)), key="k" * 30)
client = TestClient(
    make_page(Site(settings)), base_url="http://127.0.0.1", cookies={{settings.cookie: settings.key}}
)
answer = client.get({address!r}, headers={{"hx-request": "true"}})
assert answer.status_code == 200 and "<tbody>" in answer.text, answer.text
assert client.get("/runs").status_code == client.get("/ledger").status_code == 200
sys.exit(any(name in sys.modules for name in ("torch", "transformers", "peft")))
"""


def command_in(text: str) -> str:
    found = re.search(r'data-copy="([^"]*)"', text)
    assert found is not None
    return found[1].replace("&#39;", "'").replace("&#34;", '"').replace("&amp;", "&")


def test_it_says_what_the_verb_says(page: Asked, reviews: str) -> None:
    text = page.part(f"/plan?data={reviews}&on={ON}")
    planned = study.plan("demo", str(page.folder / "reviews.csv"), on=ON)
    names = re.findall(r'<span class="name">([^<]*)</span>', text)
    assert names == [candidate.estimate.strategy.method for candidate in planned.plan.candidates]
    for candidate in planned.plan.candidates:
        assert candidate.reason.text("en").replace("'", "&#39;") in text
    assert text.count('class="dot') >= 4 * len(names), "a point for each, in two charts of two widths"


def test_the_command_that_is_shown_asks_the_same(page: Asked, reviews: str) -> None:
    said = "goal=quality&memory=2GiB&time=1h&method=lora&rank=4&epochs=2&lr=1e-4&max_length=64&seed=3&label=label"
    words = shlex.split(command_in(page.part(f"/plan?data={reviews}&on={ON}&{said}")))
    assert words[:3] == ["trimtab", "plan", "demo"] and reviews in words
    params = application_params(words[1:])
    form = PlanForm.of(dict(pair.split("=") for pair in said.split("&")) | {"data": reviews, "on": ON})
    asked = form.request(page.site.folders)
    limits = {name: params[name] for name in ("memory", "time", "money", "price")}
    assert options.Limits(**limits).limits() == asked.limits
    assert (params["goal"], params["method"], params["rank"], params["seed"]) == ("quality", "lora", 4, 3)
    assert (params["epochs"], params["lr"], params["max_length"], params["on"]) == (2, 1e-4, 64, ON)


def application_params(words: list[str]) -> dict[str, object]:
    import typer

    verb, *rest = words
    return typer.main.get_command(application()).commands[verb].make_context(verb, rest).params


def test_why_not_stands_beside_every_row_with_its_numbers(page: Asked, reviews: str) -> None:
    text = page.part(f"/plan?data={reviews}&on={ON}&memory=800MiB")
    misfits = re.findall(r'<tr class="misfit">(.*?)</tr>', text, re.S)
    assert misfits and all(re.search(r'class="why"[^>]*>[^<]*(MiB|GiB)', row) for row in misfits)
    assert 'class="limit"' in text, "the limit is drawn"


def test_where_nothing_fits_the_nearest_miss_and_advice_are_shown(page: Asked, reviews: str) -> None:
    text = page.part(f"/plan?data={reviews}&on={ON}&memory=1MiB")
    assert "Nothing fits" in text and 'class="tag misfit"' in text and 'name="pick"' not in text


@pytest.mark.parametrize(
    ("said", "code"),
    [
        ("memory=much", "TT-U001"), ("time=soon", "TT-U002"), ("epochs=two", "TT-W123"), ("data=../x", "TT-W120"),
        ("data=/etc/passwd", "TT-W120"), ("model=nothing-like-it", "TT-W121"), ("data=none.csv", "TT-W122"),
        ("on=abacus", "TT-H001"), ("goal=fame", "TT-P0"), ("method=prayer", "TT-"), ("task=dance", "TT-V163"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_said_in_the_answer(page: Asked, reviews: str, said: str, code: str) -> None:
    said = said if said.startswith("data") else f"{said}&data={reviews}"
    text = page.part(f"/plan?on={ON}&{said}" if "on=" not in said else f"/plan?{said}")
    assert 'role="alert"' in text and code in text
    assert page.get(f"/plan?on={ON}&{said}").status_code == 200, "the form stays"


def test_names_of_strangers_are_text(page: Asked) -> None:
    name = "<script>alert(1)</script>.csv"
    rows = "".join(f"good film {n},<b>x</b>\nbad film {n},y\n" for n in range(20))
    (page.folder / name.replace("/", "_")).write_text("text,label\n" + rows)
    whole = page.get("/plan").text
    assert "<script>alert" not in whole and "&lt;script&gt;alert" in whole
    for field in ("model", "data", "memory", "task", "on"):
        text = page.part(f"/plan?data=x&{field}=%3Cscript%3Ealert(1)%3C/script%3E")
        assert "<script>" not in text, field
    found = page.part(f"/plan?on={ON}&data=./%3Cscript%3Ealert(1)%3C_script%3E.csv")
    assert "<script>" not in found and "&lt;script&gt;" in found


def test_a_page_is_there_before_its_facts_are(page: Asked, reviews: str) -> None:
    first = page.get(f"/plan?data={reviews}&on={ON}").text
    assert 'hx-trigger="load"' in first and "<tbody>" not in first
    page.part(f"/plan?data={reviews}&on={ON}")
    again = page.get(f"/plan?data={reviews}&on={ON}").text
    assert 'hx-trigger="load"' not in again and "<tbody>" in again


def test_the_address_follows_the_form(page: Asked, reviews: str) -> None:
    headers = {"hx-request": "true"}
    answer = page.client.get(f"/plan?data={reviews}&on={ON}&goal=time&memory=&method=auto", headers=headers)
    assert answer.headers["hx-replace-url"] == "/plan?data=.%2Freviews.csv&on=laptop-16g&goal=time"


def test_facts_are_read_again_when_a_file_changes(page: Asked, reviews: str) -> None:
    address = f"/plan?data={reviews}&on={ON}"
    assert "reviews: classify, 48 rows" in page.part(address)
    file = page.folder / "reviews.csv"
    file.write_text(file.read_text() + "".join(f"a third film number {n},good\n" for n in range(40)))
    assert "reviews: classify, 80 rows" in page.part(address)


def test_both_languages(page: Asked, reviews: str) -> None:
    english = page.part(f"/plan?data={reviews}&on={ON}&lang=en")
    chinese = page.part(f"/plan?data={reviews}&on={ON}&lang=zh")
    assert not re.search("[一-鿿]", english.replace("reviews", ""))
    assert "选中" in chinese and "Chosen" not in chinese
    assert page.get("/plan").text.count('lang="zh-CN"') >= 2, "the choice stays, in a cookie"


def test_a_change_of_limits_is_arithmetic(page: Asked, reviews: str) -> None:
    """200 ms on one core of a machine at work; a tenth of it where facts and estimates are at hand."""
    address = f"/plan?data={reviews}&on={ON}"
    page.part(address)
    seconds = []
    for goal in ("time", "memory", "quality", "balanced") * 2:
        began = time.process_time()
        page.part(f"{address}&goal={goal}")
        seconds.append(time.process_time() - began)
    assert sorted(seconds)[len(seconds) // 2] < 0.2, seconds


def test_kept_estimates_change_no_plan(page: Asked, reviews: str) -> None:
    planned = study.plan("demo", str(page.folder / "reviews.csv"), on=ON)
    asked = PlanForm.of({"data": reviews, "on": ON}).request(page.site.folders)
    machine = replace(machine_named(ON), memory_margin=None)
    question = asked.question(planned.model, planned.data, machine)
    kept = KeptEstimates(spec=planned.model, data=planned.data, machine=machine)
    for limits in (Limits(), Limits(memory_bytes=900 << 20), Limits(seconds=100.0)):
        plain = plan_for(replace(question, limits=limits))
        assert plan_for(replace(question, limits=limits, kept=kept)) == plain
        assert plan_for(replace(question, limits=limits, kept=kept)) == plain
    assert kept.made


def test_the_frontier_keeps_what_none_beats() -> None:
    pairs = [(3.0, 5.0), (1.0, 1.0), (2.0, 1.0), (2.0, 4.0), (4.0, 5.0), (5.0, 9.0)]
    brute = {
        at for at, (x, y) in enumerate(pairs)
        if not any(a <= x and b >= y and (a, b) != (x, y) for a, b in pairs)
    }  # fmt: skip
    assert set(best_of(pairs)) == brute == {0, 1, 3, 5}


def test_a_plan_page_loads_no_torch(page: Asked, reviews: str) -> None:
    code = _ASK.format(folder=str(page.folder), address=f"/plan?on={ON}&data={reviews}")
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_an_answer_is_told_in_one_language(page: Asked, reviews: str) -> None:
    asked = PlanForm.of({"data": reviews, "on": ON}).request(page.site.folders)
    planned = page.site.facts.plan(asked)
    told = answer_of(planned, asked, "x", Voice("zh"))
    assert re.search("[一-鿿]", told.verdict) and all(re.search("[一-鿿]", row.reason) for row in told.rows)
    with pytest.raises(UsageError):
        PlanForm.of({"data": "../x"}).request(page.site.folders)
