"""What a bake-off has found, as its page, its files and the terminal show it: derived figures, no words of layout.

Every figure is one of `Bakeoff` or simple arithmetic on it, done here once so that all that show it agree.
"""

import math
from collections.abc import Iterable
from statistics import median
from typing import Literal

from trimtab.errors import Message, message
from trimtab.planning.frontier import frontier
from trimtab.planning.halving import RUNGS
from trimtab.study.bakeoff import Bakeoff, Baseline, Measure, Objective, Standing, Status, TrialResult
from trimtab.units import Evidence, Figure, Foretold

Cost = Literal["memory", "seconds"]

STATUS: dict[Status, str] = {
    "chosen": "TT-B110",
    "tied": "TT-B111",
    "finalist": "TT-B112",
    "out": "TT-B113",
    "failed": "TT-B114",
    "no time": "TT-B115",
}
_RUNG_WORDS = {
    "rates": "TT-B120",
    "edges": "TT-B121",
    "half": "TT-B122",
    "finals": "TT-B123",
    "again": "TT-B124",
}
OBJECTIVE_WORDS: dict[Objective, str] = {
    "score": "TT-B060",
    "memory": "TT-B061",
    "time": "TT-B062",
    "money": "TT-B063",
    "size": "TT-B064",
    "latency": "TT-B065",
}
_BASELINES = {"majority": "TT-B125", "bag of words": "TT-B126"}
_LAST_OF_RATES = RUNGS.index("edges")


def status_word(standing: Standing) -> Message:
    return message(STATUS[standing.status])


def rung_word(rung: int) -> Message:
    return message(_RUNG_WORDS[RUNGS[rung]])


def baseline_word(name: str) -> Message | str:
    """Its name in the reader's language; one we do not know stays as it is."""
    code = _BASELINES.get(name)
    return message(code) if code else name


def shown_measure(result: TrialResult | None, split: str) -> Measure | None:
    """What it scored on the rows that finalists are compared on, else on dev."""
    if result is None:
        return None
    return result.test if split == "test" and result.test is not None else result.dev


def better_baseline(bakeoff: Bakeoff) -> Message | None:
    """That a baseline does better than what was chosen, on the rows that are reported; None where none does."""
    chosen = shown_measure(bakeoff.chosen.best, bakeoff.split)
    known = [(one, baseline_measure(one, bakeoff.split)) for one in bakeoff.baselines]
    scored = [(one, measure) for one, measure in known if measure is not None]
    if chosen is None or not scored:
        return None
    best, measure = max(scored, key=lambda pair: pair[1].merit)
    if measure.merit <= chosen.merit:
        return None
    scores = {"score": score_words(measure.value), "chosen": score_words(chosen.value)}
    return message("TT-B165", name=baseline_word(best.name), seconds=best.seconds, **scores)


def baseline_measure(one: Baseline, split: str) -> Measure | None:
    """On the rows that finalists are compared on, else on dev."""
    return one.test if split == "test" and one.test is not None else one.dev


def short_model(model: str) -> str:
    """Of a folder its own name; the name of a hub stays whole."""
    return model.rstrip("/").rsplit("/", 1)[-1] or model if model.startswith(("/", "./", "../", "~")) else model


def difference(bakeoff: Bakeoff, standing: Standing) -> float | None:
    """What it has more of the metric than the chosen one, on the rows both were compared on."""
    mine = shown_measure(standing.best, bakeoff.split)
    theirs = shown_measure(bakeoff.chosen.best, bakeoff.split)
    if standing.compared is None or mine is None or theirs is None:
        return None
    return mine.value - theirs.value


def difference_interval(standing: Standing) -> tuple[float, float] | None:
    """The 95 % interval of that difference; None where rows do not tell the two apart one by one."""
    compared = standing.compared
    if compared is None or not (math.isfinite(compared.low) and math.isfinite(compared.high)):
        return None
    return compared.low, compared.high


def is_tie(bakeoff: Bakeoff, standing: Standing) -> bool:
    """No difference to the chosen one is shown."""
    known = difference_interval(standing) is not None and standing is not bakeoff.chosen
    return known and standing.compared is not None and not standing.compared.shows_difference


def memory_beside(standing: Standing) -> Foretold | None:
    """Peak memory of the training it is judged by: the interval is that of the estimate, as wide in proportion."""
    best = standing.best
    if best is None or not best.peak_memory_bytes:
        return None
    peak = standing.estimate.memory.peak_bytes
    asked = best.predicted_memory_bytes or peak.value
    return Foretold(predicted=_scaled(peak, asked / peak.value), measured=float(best.peak_memory_bytes))


def seconds_beside(standing: Standing) -> Foretold | None:
    """Seconds of the training it is judged by, where that was one in earnest. A training that stopped early after
    half of its steps is compared with half of what was predicted for it."""
    best, total = standing.best, standing.estimate.time.total_seconds
    if best is None or not standing.in_earnest or not best.train_seconds:
        return None
    predicted = predicted_train_seconds(best, standing.estimate.strategy.batch) or total.value
    return Foretold(predicted=_scaled(total, predicted / total.value), measured=best.train_seconds)


def predicted_train_seconds(result: TrialResult, batch: int) -> float:
    """Of the steps that were run; 0 = nothing was predicted."""
    planned = result.trial.epochs * math.ceil(result.trial.rows / max(1, batch))
    share = min(1.0, result.steps / planned) if result.steps else 1.0
    return share * result.predicted_seconds


def cost_beside(standing: Standing, cost: Cost) -> Foretold | None:
    return memory_beside(standing) if cost == "memory" else seconds_beside(standing)


def rate_trials(standing: Standing) -> tuple[TrialResult, ...]:
    """Those in which learning rates were tried, by rate."""
    tried = (result for result in standing.trials if result.trial.rung <= _LAST_OF_RATES)
    return tuple(sorted(tried, key=lambda result: result.trial.learning_rate))


def all_trials(bakeoff: Bakeoff) -> tuple[TrialResult, ...]:
    """Each once, by rung."""
    found = {
        result.trial.key: result for one in bakeoff.standings for result in (*one.trials, *one.again) if result
    }
    return tuple(sorted(found.values(), key=lambda result: (result.trial.rung, result.trial.key)))


def seeds_of(standing: Standing) -> tuple[TrialResult, ...]:
    """The training it is judged by and the same with other seeds."""
    return (standing.best, *standing.again) if standing.best is not None else standing.again


def seconds_by_rung(bakeoff: Bakeoff) -> dict[str, float]:
    """Of the time spent: by the name of the rung, then "rest", what is in no trial (baselines among it)."""
    spent = dict.fromkeys(dict.fromkeys(RUNGS), 0.0)
    for result in all_trials(bakeoff):
        spent[RUNGS[result.trial.rung]] += result.seconds
    spent["rest"] = max(0.0, bakeoff.spent_seconds - sum(spent.values()))
    return spent


def rung_name_word(name: str) -> Message:
    return message(_RUNG_WORDS.get(name, "TT-B127"))


def trial_error(bakeoff: Bakeoff) -> float | None:
    """The median over all trials of how far predicted training seconds were from those it took, as a share."""
    errors = [
        abs(predicted_train_seconds(result, one.estimate.strategy.batch) / result.train_seconds - 1)
        for one in bakeoff.standings
        for result in (*one.trials, *one.again)
        if result.failure is None and result.train_seconds > 0 and result.predicted_seconds > 0
    ]
    return median(errors) if errors else None


def middle_error(besides: Iterable[Foretold | None]) -> float | None:
    errors = [abs(one.error_share) for one in besides if one is not None]
    return median(errors) if errors else None


def stands_in_plane(bakeoff: Bakeoff, cost: Cost) -> tuple[Standing, ...]:
    """Of those trained in earnest the ones that none beats in the metric on dev and in `cost`, the cheapest
    first."""
    points = [(one, cost_beside(one, cost)) for one in bakeoff.measured if one.best and one.best.dev]
    known = [(one, beside.measured) for one, beside in points if beside is not None]
    places = frontier([(-_merit(one), value) for one, value in known])
    return tuple(one for one, _ in sorted((known[place] for place in places), key=lambda pair: pair[1]))


def rate_words(rate: float) -> str:
    """A learning rate, short: 0.0003 -> "3e-4"."""
    if not (math.isfinite(rate) and rate > 0):
        return str(rate)
    mantissa, exponent = f"{rate:.1e}".split("e")
    return f"{mantissa.removesuffix('.0')}e{int(exponent)}"


def score_words(value: float) -> str:
    return f"{value:.3f}"


def signed_words(value: float) -> str:
    """A difference of a score: "+0.004", "−0.012"."""
    return f"{value:+.3f}".replace("-", "\N{MINUS SIGN}")


def _merit(standing: Standing) -> float:
    best = standing.best
    return best.dev.merit if best is not None and best.dev is not None else -math.inf


def _scaled(figure: Figure, share: float) -> Figure:
    evidence: Evidence = figure.evidence
    return Figure(figure.value * share, figure.low * share, figure.high * share, evidence)
