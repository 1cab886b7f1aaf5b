"""Halving in a made-up world: strategies with a quality, a best rate and a cost of their own, which the scheduler
learns only by trying them."""

import math
import random
from dataclasses import replace

import pytest

from trimtab.errors import message
from trimtab.methods import Choices
from trimtab.planning import Entrant, Field, Outcome, Trial, TrialCosts, fit, next_trials
from trimtab.planning.halving import RATE_STEP, RUNGS, latest

COSTS = TrialCosts(
    once_seconds=0.0, row_seconds=0.004, dev_row_seconds=0.001, around_seconds=2.0, keeping_seconds=10.0
)


def entrant(name: str, **changed: object) -> Entrant:
    whole = Entrant(
        name=name, model="m", method="lora", choices=Choices(), base_precision="same", learning_rate=1e-3,
        epochs=3, max_length=64, costs=COSTS,
    )  # fmt: skip
    return replace(whole, **changed)


def field(count: int = 10, *, seconds: float = 900.0, rows: int = 7000, **changed: object) -> Field:
    entrants = tuple(entrant(f"s{number}") for number in range(count))
    whole = Field(entrants=entrants, train_rows=rows, dev_rows=900, seconds=seconds, batch=32, spent_seconds=15.0)
    return replace(whole, **changed)


class World:
    """`ceilings` of merit by name; a rate off the best by a factor of RATE_STEP costs 0.05. `slow`: seconds over
    those predicted."""

    def __init__(self, ceilings: dict[str, float], *, best: float = 1e-3, slow: float = 1.0, noise: float = 0.0):
        self.ceilings, self.best, self.slow, self.noise = ceilings, best, slow, noise
        self.draw = random.Random(0)

    def run(self, field: Field, trial: Trial) -> Outcome:
        costs = field.named(trial.entrant).costs
        off = abs(math.log(trial.learning_rate / self.best) / math.log(RATE_STEP))
        learned = 1 - math.exp(-trial.samples / 3000)
        chance = self.draw.gauss(0, self.noise) if self.noise else 0.0
        merit = 0.5 + (self.ceilings[trial.entrant] - 0.5) * learned - 0.05 * off + chance
        trained = self.slow * costs.train_seconds(trial)
        around = costs.around_seconds + (costs.keeping_seconds if trial.kept else 0.0)
        return Outcome(trial=trial, seconds=trained + around, train_seconds=trained, merit=merit, loss=1 - merit)


def bake(field: Field, world: World, done: list[Outcome] | None = None) -> list[Outcome]:
    done = [] if done is None else done
    while trials := next_trials(field, done):
        done.append(world.run(field, trials[0]))
    return done


def ceilings(count: int = 10) -> dict[str, float]:
    """The last one is the best."""
    return {f"s{number}": 0.80 + 0.015 * number for number in range(count)}


def seconds(outcomes: list[Outcome]) -> float:
    return sum(outcome.seconds for outcome in outcomes)


def test_the_best_is_found_for_a_third_of_what_all_would_cost():
    asked = field()
    done = bake(asked, World(ceilings()))
    finals = [outcome for outcome in done if outcome.trial.kept]
    assert max(finals, key=lambda outcome: outcome.merit).trial.entrant == "s9"
    # Everything: each strategy at its three rates, in earnest.
    earnest = COSTS.train_seconds(replace(finals[0].trial, rows=7000, dev_rows=900, epochs=3))
    firsts = [o for o in done if o.trial.rung <= RUNGS.index("finals")]
    assert sum(outcome.train_seconds for outcome in firsts) < 0.35 * 10 * 3 * earnest


@pytest.mark.parametrize("slow", [0.5, 1.0, 1.7])
@pytest.mark.parametrize("budget", [120.0, 300.0, 900.0, 3600.0])
def test_the_budget_holds_whatever_the_machine_does(slow: float, budget: float):
    asked = field(seconds=budget)
    inside, _ = fit(asked)
    asked = replace(asked, entrants=inside)
    done = bake(asked, World(ceilings(), slow=slow))
    last = max(done, key=lambda outcome: outcome.trial.rung)
    assert any(outcome.trial.kept for outcome in done)
    # The first rung is planned by predictions that are off by `slow`: later ones make up for it.
    assert seconds(done) + asked.spent_seconds <= 1.05 * budget, last.trial


def test_time_that_is_there_is_used():
    asked = field(seconds=3600.0)
    done = bake(asked, World(ceilings()))
    seeds = {outcome.trial.seed for outcome in done if outcome.trial.kept}
    assert seeds == {0, 1, 2}  # more than three are of no use
    asked = field(seconds=300.0)
    done = bake(asked, World(ceilings()))
    assert seconds(done) + asked.spent_seconds > 0.75 * 300.0


def test_a_rate_that_is_best_at_the_edge_is_followed_further():
    asked = field(4)
    done = bake(asked, World(ceilings(4), best=1e-3 * RATE_STEP**2))
    edges = [outcome for outcome in done if outcome.trial.rung == RUNGS.index("edges")]
    assert len(edges) == 3  # the better half, at least three
    assert {round(o.trial.learning_rate / (1e-3 * RATE_STEP**2), 6) for o in edges} == {1.0}
    finals = [outcome for outcome in done if outcome.trial.kept]
    assert {round(outcome.trial.learning_rate, 9) for outcome in finals} == {0.009}


def test_a_killed_bake_off_goes_on_to_the_same_end():
    asked = field()
    whole = bake(asked, World(ceilings()))
    for stop in (1, 7, 31, len(whole) - 1):
        again = bake(asked, World(ceilings()), list(whole[:stop]))
        assert [outcome.trial.key for outcome in again] == [outcome.trial.key for outcome in whole]


def test_two_processes_in_any_order_run_the_same_trials():
    asked, draw = field(), random.Random(1)
    world, done = World(ceilings()), []
    while trials := next_trials(asked, done):
        done.append(world.run(asked, draw.choice(trials)))
    keys = [outcome.trial.key for outcome in done]
    assert len(keys) == len(set(keys))
    assert set(keys) == {outcome.trial.key for outcome in bake(asked, World(ceilings()))}


def test_a_strategy_that_fails_is_out_and_the_others_go_on():
    asked, done = field(5), []
    world = World(ceilings(5))
    while trials := next_trials(asked, done):
        trial = trials[0]
        failed = Outcome(trial=trial, seconds=1.0, failure=message("TT-B020"))
        done.append(failed if trial.entrant == "s4" else world.run(asked, trial))
    assert all(outcome.trial.rung == 0 for outcome in done if outcome.trial.entrant == "s4")
    assert latest(done)[0].trial.entrant == "s3"


def test_all_fail():
    asked, done = field(3), []
    while trials := next_trials(asked, done):
        done += [Outcome(trial=trial, seconds=1.0, failure=message("TT-B020")) for trial in trials]
    assert {outcome.trial.rung for outcome in done} == {0}


def test_small_data_are_trained_in_several_epochs_before_the_last_rung():
    asked = field(4, rows=300, seconds=1800.0, dev_rows=60)
    done = bake(asked, World(ceilings(4)))
    assert all(outcome.trial.rows <= 300 and outcome.trial.dev_rows <= 60 for outcome in done)
    assert max(outcome.trial.epochs for outcome in done if outcome.trial.kept) == 3


def test_where_time_is_short_the_last_entrants_are_left_out():
    asked = field(10, seconds=90.0)
    inside, outside = fit(asked)
    assert (*inside, *outside) == asked.entrants and inside and outside


def test_a_baseline_is_trained_in_earnest_though_it_was_out():
    asked = field(8, seconds=1800.0)
    entrants = tuple(replace(one, baseline=one.name == "s0") for one in asked.entrants)
    done = bake(replace(asked, entrants=entrants), World(ceilings(8)))
    kept = {outcome.trial.entrant for outcome in done if outcome.trial.rung == RUNGS.index("finals")}
    assert "s0" in kept and "s7" in kept
