"""Which cases are left to `make soak` because another case of the same test proves as much.

Virtual tokens come in at one place, whatever the family, and exams run over every method, family and precision: of
each kind one case a test is run every time on an encoder, one on a decoder, of p-tuning none there, whose only
difference is a network beside the model. Of the families whose layers are those of another (RoBERTa and DistilBERT
of BERT, Qwen2 of Llama) the exams run full tuning and LoRA every time. `make soak` runs all.
"""

import re
from typing import Any

_ASKED = {"prompt": 2, "prefix": 2, "ptuning": 1}  # kinds of model on which one case is run every time
_DECODERS = re.compile("llama|qwen|smollm|gemma|mistral|phi|gpt|mixtral|falcon|santacoder")
_LIKE_ANOTHER = re.compile(r"(roberta|distilbert|qwen2)/(?!(full|lora)$)")
_WHOLE = "test_virtual_tokens"  # their own test


def repeats(tests: list[tuple[str, dict[str, Any]]]) -> list[bool]:
    """Of tests, told by name and parameters in the order of their run, which prove nothing new."""
    seen: set[tuple[str, str, bool]] = set()
    found = []
    for name, params in tests:
        words = [_word(value) for value in params.values()]
        kind = next((kind for word in words for kind in _ASKED if re.search(rf"(^|[/:]){kind}(-|$)", word)), "")
        decoder = any(_DECODERS.search(word) for word in words)
        case = (name.partition("[")[0], kind, decoder)
        again = case in seen or (decoder and _ASKED.get(kind) == 1)
        alike = any(_LIKE_ANOTHER.match(word) for word in words)
        found.append(_WHOLE not in name and (alike or (bool(kind) and again)))
        seen.add(case)
    return found


def _word(value: object) -> str:
    name = getattr(value, "name", value)
    return name if isinstance(name, str) else ""
