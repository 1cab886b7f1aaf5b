"""Every sentence a user reads: in both languages, with the same facts, and none that nobody says."""

import re
import string
from collections.abc import Iterator, Mapping
from pathlib import Path

import trimtab
from trimtab.errors import LANGUAGES, catalogue

SOURCE = Path(trimtab.__file__).parent
KEYS = {"en", "en_next", "zh", "zh_next"}
CONVERSIONS = {None, "b", "t", "n", "p"}
CODE = re.compile(r"TT-[A-Z]\d{3}")
RAISED = re.compile(r"raise (?:\w*Error|BadInput|Diverged|NoPlan|Interrupted)\(\s*\"(TT-[A-Z]\d{3})\"")
HAN = re.compile(r"[一-鿿]")


def sources(*suffixes: str) -> Iterator[str]:
    for suffix in suffixes:
        yield from (file.read_text(encoding="utf-8") for file in SOURCE.rglob(f"*{suffix}"))


def codes_said() -> set[str]:
    return {code for text in sources(".py", ".html") for code in CODE.findall(text)}


def facts(template: str) -> set[tuple[str, str | None]]:
    """(name, conversion) of each placeholder; languages may order them differently."""
    return {(name, conversion) for _, name, _, conversion in string.Formatter().parse(template) if name}


def differing(entry: Mapping[str, str]) -> list[str]:
    """What the two languages of an entry do not have in common."""
    pairs = (("en", "zh"), ("en_next", "zh_next"))
    return [en for en, zh in pairs if facts(entry.get(en, "")) != facts(entry.get(zh, ""))]


def test_the_catalogue_is_found() -> None:
    assert len(catalogue()) > 200


def test_each_entry_has_both_languages_and_a_next_step_in_both_or_none() -> None:
    wrong = [
        code
        for code, entry in catalogue().items()
        if not {"en", "zh"} <= set(entry) <= KEYS or ("en_next" in entry) != ("zh_next" in entry)
    ]
    assert not wrong


def test_both_languages_give_the_same_facts_in_the_same_units() -> None:
    assert not {code: differing(entry) for code, entry in catalogue().items() if differing(entry)}


def test_every_conversion_is_one_of_ours() -> None:
    used = {fact for entry in catalogue().values() for text in entry.values() for fact in facts(text)}
    assert {conversion for _, conversion in used} <= CONVERSIONS


def test_english_is_english_and_a_sentence_is_translated() -> None:
    untranslated = []
    for code, entry in catalogue().items():
        words = re.sub(r"\{[^}]*\}|`[^`]*`", "", entry["en"])
        sentence = len(re.findall(r"[a-z]{3,}", words)) > 3  # not a symbol, a unit or a name
        english = entry["en"] + entry.get("en_next", "")
        if HAN.search(english) or (sentence and not HAN.search(entry["zh"])):
            untranslated.append(code)
    assert not untranslated


def test_what_is_raised_is_a_whole_sentence() -> None:
    raised = {code for text in sources(".py") for code in RAISED.findall(text)}
    assert len(raised) > 50
    ends = {(code, catalogue()[code][language].rstrip()[-1]) for code in raised for language in LANGUAGES}
    assert not {(code, end) for code, end in ends if end not in ".?。？}"}


def test_every_code_said_stands_in_the_catalogue() -> None:
    assert not sorted(codes_said() - set(catalogue()))


def test_every_sentence_of_the_catalogue_is_said_somewhere() -> None:
    assert not sorted(set(catalogue()) - codes_said())
