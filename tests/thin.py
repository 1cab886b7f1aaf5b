"""Which cases are left to `make soak` because another case of the same test proves as much.

Virtual tokens come in at one place, whatever the family, and exams run over every method, family and precision: of
each kind one case a test is run every time on an encoder, one on a decoder, of p-tuning none there, whose only
difference is a network beside the model. Of the families whose layers are those of another (RoBERTa and DistilBERT
of BERT, Qwen2 of Llama) the exams run full tuning and LoRA every time. Of the largest grids every fifth
case is run every time, which all methods, families and precisions take part in. `make soak` runs all.
"""

import re
from collections import Counter
from typing import Any

_ASKED = {"prompt": 2, "prefix": 2, "ptuning": 1}  # kinds of model on which one case is run every time
_DECODERS = re.compile("llama|qwen|smollm|gemma|mistral|phi|gpt|mixtral|falcon|santacoder")
_LIKE_ANOTHER = re.compile(r"(roberta|distilbert|qwen2)/(?!(full|lora)$)")
_WHOLE = "test_virtual_tokens"  # their own test
# Of the cases of these tests, in their order, one in so many is run every time.
_ONE_IN = {
    "test_dry_run.py::test_the_formula_is_near_the_dry_run": 5,
    "test_dry_run.py::test_a_straight_line_through_shallow_models_meets_the_full_depth": 5,
    "test_dry_run_instruct.py::test_the_formula_is_near_the_dry_run": 5,
    "test_exam_dry_run.py::test_a_dry_run_keeps_what_the_real_step_keeps": 5,
    "test_exam_states.py::test_the_formula_counts_the_states_of_the_real_tensors": 5,
    "test_families.py::test_a_trained_family_takes_every_method": 5,
}


def repeats(tests: list[tuple[str, dict[str, Any]]]) -> list[bool]:
    """Of tests, told by name and parameters in the order of their run, which prove nothing new."""
    seen: set[tuple[str, str, bool]] = set()
    counts: Counter[str] = Counter()
    found = []
    for name, params in tests:
        test = name.partition("[")[0]
        one_in = next((many for grid, many in _ONE_IN.items() if test.endswith(grid)), 1)
        counts[test] += 1
        words = [_word(value) for value in params.values()]
        kind = next((kind for word in words for kind in _ASKED if re.search(rf"(^|[/:]){kind}(-|$)", word)), "")
        decoder = any(_DECODERS.search(word) for word in words)
        case = (test, kind, decoder)
        again = case in seen or (decoder and _ASKED.get(kind) == 1)
        alike = any(_LIKE_ANOTHER.match(word) for word in words)
        left = _WHOLE not in name and (alike or (bool(kind) and again))
        thinned = not left and kind == "" and counts[test] % one_in != 0
        found.append(left or thinned)
        seen.add(case)
    return found


def _word(value: object) -> str:
    name = getattr(value, "name", value)
    return name if isinstance(name, str) else ""
