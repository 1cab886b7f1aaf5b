"""How good a language model is at given answers, and at answers of its own: loss, perplexity, token accuracy;
exact match and ROUGE-L.

Means are over tokens; tokens of one answer are not independent, so intervals are those of a ratio of sums over
answers (Cochran 1977, Sampling Techniques, section 6.4), Student's.
"""

import math
import re
from collections.abc import Sequence

import numpy as np

from trimtab.errors import message
from trimtab.metrics.intervals import t_quantile
from trimtab.metrics.score import Metric, Score

_WORDS = re.compile(r"[^\W_]+|[^\w\s]")
_HAN = re.compile(r"[\u2e80-\u9fff\uf900-\ufaff]")
_FINAL = re.compile(r"####\s*(.+)\s*$")
_LARGEST_EXPONENT = 700.0


def score_answers(
    split: str, losses: np.ndarray, right: np.ndarray, tokens: np.ndarray, *, main: str = "loss"
) -> Score:
    """Score of answers, or of blocks of plain text: the sum of the losses of the tokens of each, float[n]; how
    many of them are the most likely one, int[n]; how many there are, int[n], in one of them at least: those with
    none are left out. `main` decides: the loss, or perplexity, of which less is better."""
    answered = tokens > 0
    left_out = int((~answered).sum())
    losses, right, tokens = losses[answered], right[answered], tokens[answered]
    assert len(losses) == len(right) == len(tokens) > 0, "a score needs answers"
    loss = _ratio(losses, tokens)
    note = message("TT-E004") if len(tokens) == 1 else None
    value, low, high = loss
    metrics = (
        Metric(name="loss", value=value, low=low, high=high, lower_is_better=True, note=note),
        Metric(
            name="perplexity",
            value=_exp(value),
            low=_exp(low),
            high=_exp(high),
            lower_is_better=True,
            note=note,
        ),
        _share("token_accuracy", _ratio(right, tokens)),
    )
    ordered = tuple(sorted(metrics, key=lambda metric: metric.name != main))
    return Score(split=split, n=len(tokens), loss=value, metrics=ordered, left_out=left_out)


def exact_match(expected: str, written: str) -> bool:
    """Whether two answers come to the same: what stands behind "####", where the expected one has that (GSM8K),
    else all of it, without regard to case and white space."""
    final = _FINAL.search(expected)
    if final is None:
        return _plain(expected) == _plain(written)
    found = _FINAL.search(written)
    return found is not None and _plain(found[1]) == _plain(final[1])


def rouge_l(expected: str, written: str) -> float:
    """F1 of the longest common subsequence of words (Lin 2004), lower case; a Chinese character is a word."""
    left, right = _words(expected), _words(written)
    if not left or not right:
        return float(left == right)
    common = _common(left, right)
    return 2 * common / (len(left) + len(right))


def _ratio(sums: np.ndarray, counts: np.ndarray) -> tuple[float, float, float]:
    """sum(sums) / sum(counts) with its interval, over answers; of one answer alone only the value."""
    n, mean = len(counts), float(counts.mean())
    value = float(sums.sum() / counts.sum())
    if n == 1:
        return value, value, value
    residuals = sums - value * counts
    half = t_quantile(n - 1) * math.sqrt(float(residuals @ residuals) / (n - 1) / n) / mean
    return value, max(0.0, value - half), value + half


def _share(name: str, ratio: tuple[float, float, float]) -> Metric:
    value, low, high = ratio
    return Metric(name=name, value=value, low=low, high=min(1.0, high))


def _exp(value: float) -> float:
    return math.exp(min(value, _LARGEST_EXPONENT))


def _plain(text: str) -> str:
    return " ".join(text.lower().split()).rstrip(".")


def _words(text: str) -> list[str]:
    spaced = _HAN.sub(lambda found: f" {found[0]} ", text.lower())
    return _WORDS.findall(spaced)


def _common(left: Sequence[str], right: Sequence[str]) -> int:
    """Length of the longest common subsequence."""
    row = [0] * (len(right) + 1)
    for word in left:
        before = row
        row = [0]
        for at, other in enumerate(right, start=1):
            row.append(before[at - 1] + 1 if word == other else max(before[at], row[-1]))
    return row[-1]
