"""Every word of the page in both languages, and no template that asks for another."""

import re
from importlib import resources
from string import Formatter

from trimtab.app.web.forms import GOALS
from trimtab.app.web.pages.cost import QUESTIONS
from trimtab.app.web.site import SECTIONS, THEMES, Site
from trimtab.app.web.words import words
from trimtab.errors import LANGUAGES

ROOM = resources.files("trimtab.app.web")
# Keys that are put together: section and word by what is shown.
MADE = {
    *(f"nav.{name}" for name in SECTIONS),
    *(f"site.theme_{name}" for name in THEMES),
    *(f"site.{name}" for name in LANGUAGES),
    *(f"form.goal_{name}" for name in GOALS),
    *(f"plan.state_{name}" for name in ("chosen", "fits", "misfit")),
    *(f"plan.legend_{name}" for name in ("chosen", "best", "fits", "misfit")),
    *(f"phase.{name}" for name in (
        "planning", "loading", "prefix", "training", "finishing", "stopping", "done", "stopped", "failed", "gone"
    )),
    *(f"cost.{name}" for name in QUESTIONS),
    *(f"cost.{name}_title" for name in QUESTIONS),
    *(f"form.{field.name}" for question in QUESTIONS.values() for field in question.fields),
    "runs.running", "runs.over",
}  # fmt: skip


def asked_for() -> set[str]:
    """Keys in templates and code."""
    found = set(MADE)
    for file in (ROOM / "templates").iterdir():
        text = file.read_text(encoding="utf-8")
        found |= set(re.findall(r"\bt\(['\"]([a-z_]+\.[a-z0-9_]+)['\"]", text))
        found |= {f"form.{name}" for name in re.findall(r"parts\.text\(\"([a-z_]+)\"", text)}
        for names in re.findall(r"for name in \(([^)]*)\) %}\s*{{ parts.text\(name", text):
            found |= {f"form.{name}" for name in re.findall(r"\"([a-z_]+)\"", names)}
    for folder in (ROOM, ROOM / "pages"):
        for file in folder.iterdir():
            if file.name.endswith(".py"):
                found |= set(
                    re.findall(r"\bvoice\(\s*\"([a-z_]+\.[a-z0-9_]+)\"", file.read_text(encoding="utf-8"))
                )
                found |= set(re.findall(r"\"(cost\.(?:un)?sure)\"", file.read_text(encoding="utf-8")))
    return found


def test_every_word_that_is_asked_for_is_there_and_no_other() -> None:
    asked = {key for key in asked_for() if not key.endswith("_")}
    assert asked - set(words()) == set()
    assert set(words()) - asked == set()


def test_both_languages_say_it_with_the_same_facts() -> None:
    for key, entry in words().items():
        assert set(entry) == set(LANGUAGES) and all(entry.values()), key
        english, chinese = (
            {name for _, name, _, _ in Formatter().parse(entry[tag]) if name} for tag in ("en", "zh")
        )
        assert english == chinese, key
        if key not in ("site.zh",):
            assert not re.search("[一-鿿]", entry["en"]), key


def test_no_code_or_template_holds_words_of_its_own() -> None:
    for file in (ROOM / "templates").iterdir():
        text = re.sub(r"{[%{#].*?[%}#]}", "", file.read_text(encoding="utf-8"), flags=re.S)
        text = re.sub(r"<[^>]*>", " ", re.sub(r"<meta[^>]*>|<!doctype html>", "", text))
        assert not re.search(r"[A-Za-z一-鿿]{2,}", text), (file.name, text.split())


def test_what_is_vendored_is_what_was_published(page) -> None:
    """The sha256 of the files of htmx.org 2.0.11 and htmx-ext-sse 2.2.4, whose licences lie beside them."""
    import hashlib

    published = {
        "htmx.min.js": "d6fdc75f204e6bdefa99b69bf1e6d4ac69b8a364f77929f45c13476b4000f717",
        "htmx-sse.min.js": "98a46496de0c3605fbffdce9167ba427bdd9553184f83f149c261891a92c0136",
    }
    site: Site = page.site
    for name, sha256 in published.items():
        assert hashlib.sha256(site.files[name].body).hexdigest() == sha256, name
        assert b"Permission" in site.files[name.replace(".min.js", ".LICENSE.txt")].body
