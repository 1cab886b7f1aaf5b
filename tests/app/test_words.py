"""No word of the command line is missing, and none is left over."""

import re
import string
from pathlib import Path

import pytest

from trimtab.errors import LANGUAGES, catalogue

SOURCE = Path(__file__).resolve().parents[2] / "src" / "trimtab"
ROOMS = {"TT-V": SOURCE / "app", "TT-P": SOURCE}


@pytest.mark.parametrize("prefix", ROOMS)
def test_every_code_in_the_source_has_a_sentence_and_every_sentence_a_use(prefix: str) -> None:
    source = "".join(path.read_text(encoding="utf-8") for path in ROOMS[prefix].rglob("*.py"))
    used = set(re.findall(rf"{prefix}\d{{3}}", source))
    assert used == {code for code in catalogue() if code.startswith(prefix)}


@pytest.mark.parametrize("code", [code for code in catalogue() if code.startswith(tuple(ROOMS))])
def test_both_languages_say_the_same_facts(code: str) -> None:
    entry = catalogue()[code]
    for ending in ("", "_next"):
        texts = [entry.get(f"{language}{ending}", "") for language in LANGUAGES]
        facts = [{name for _, name, _, _ in string.Formatter().parse(text) if name} for text in texts]
        assert facts[0] == facts[1]
        assert bool(texts[0]) == bool(texts[1])
