"""A bake-off on a terminal of 80 columns, in a pipe, and as JSON; its events as lines that programs read."""

import io
import json
from collections.abc import Iterator
from contextlib import redirect_stdout
from dataclasses import replace

import pytest
from bakeoff_cases import CASES, EVIL, entrant, hostile, measure, result, rich
from rich.cells import cell_len
from rich.console import Console

from trimtab.app.cli.face import Face
from trimtab.app.cli.show.comparing import follow
from trimtab.app.cli.show.events import print_events
from trimtab.app.cli.show.scatter import Spot, scatter
from trimtab.errors import message
from trimtab.study import comparison_facts as facts
from trimtab.study.bakeoff import (
    Bakeoff,
    BakeoffDone,
    BakeoffStarted,
    Baseline,
    BaselineDone,
    Happening,
    TrialDone,
    TrialStarted,
    TrialStep,
    WaitingForOthers,
)
from trimtab.study.plane import Axis
from trimtab.training.events import Preflight, Step

PAGE = "runs/compared/comparison.html"


def happenings(bakeoff: Bakeoff) -> Iterator[Happening]:
    left = bakeoff.budget_seconds
    yield BakeoffStarted(
        entrants=tuple(one.entrant for one in bakeoff.standings if one.trials),
        skipped=tuple(one for one in bakeoff.standings if not one.trials),
        budget_seconds=left, spent_seconds=3.0, metric="", resumed=4,
    )  # fmt: skip
    yield from (BaselineDone(baseline=one) for one in bakeoff.baselines)
    for one in facts.all_trials(bakeoff):
        yield TrialStarted(trial=one.trial, predicted_seconds=one.predicted_seconds, left_seconds=left)
        yield TrialStep(trial=one.trial, step=3, steps=20, loss=0.4)
        yield TrialDone(result=one)
        left -= one.seconds
    yield WaitingForOthers(trials=2)
    yield message("TT-D061", count=37)
    yield BakeoffDone(bakeoff=bakeoff, comparison_path=PAGE)


def shown(
    bakeoff: Bakeoff, language: str = "en", *, terminal: bool = True, width: int = 80, json_asked: bool = False
) -> tuple[str, str]:
    """stdout, stderr."""
    face = Face.of(("--lang", language, *(("--json",) if json_asked else ())), {})
    out, err = io.StringIO(), io.StringIO()
    for name, file in (("out", out), ("err", err)):
        console = Console(
            file=file, width=width, force_terminal=terminal, color_system=None, highlight=False, markup=False,
            emoji=False,
        )  # fmt: skip
        vars(face)[name] = console  # where cached_property keeps what it has made
    follow(face, happenings(bakeoff))
    return out.getvalue(), err.getvalue()


def lines_of(printed: str) -> list[str]:
    """Without what moves the cursor, and without the bar."""
    lines = printed.replace("\x1b", "\n\x1b").splitlines()
    return [line for line in lines if not line.startswith("\x1b") and "━" not in line]


@pytest.mark.parametrize("language", ["en", "zh"])
@pytest.mark.parametrize("case", CASES)
def test_no_line_is_wider_than_the_terminal_but_commands(case: str, language: str) -> None:
    out, err = shown(CASES[case](), language)
    wide = [line for line in (*out.splitlines(), *lines_of(err)) if cell_len(line) > 80]
    assert not [line for line in wide if "trimtab " not in line and PAGE not in line]


@pytest.mark.parametrize("case", ["rich", "without_test", "of_errors"])
def test_the_table_has_the_figures_whole(case: str) -> None:
    bakeoff = CASES[case]()
    out, _ = shown(bakeoff)
    assert "…" not in out.replace("…−", "").replace("…+", ""), "nothing is cut"
    for one in bakeoff.measured:
        measured = facts.shown_measure(one.best, bakeoff.split)
        assert measured is not None
        assert f"{measured.value:.3f}" in out and f"{measured.low:.3f}–{measured.high:.3f}" in out
    assert "922 KiB" in out and "~2 min 40 s" in out and "2 min 51 s" in out
    assert bakeoff.verdict.text() in " ".join(out.split())


def test_those_who_were_out_are_told_with_their_reasons() -> None:
    out, _ = shown(rich())
    together = " ".join(out.split())
    for one in rich().standings[4:]:
        assert f"{one.entrant.name} {facts.status_word(one).text()}: {one.reason.text()}" in together


def test_next_commands_are_whole_lines() -> None:
    out, _ = shown(rich())
    assert "  trimtab predict runs/compared/lora-0 --text ...\n" in out
    assert PAGE in out


def test_each_trial_is_a_line_with_the_best_so_far_of_as_many_rows() -> None:
    _, err = shown(rich(), terminal=False, width=10_000)
    rows = [line.split() for line in err.splitlines()]
    trials = [row for row in rows if row and row[0] in ("rates", "more", "better", "in", "other")]
    assert len(trials) == len(facts.all_trials(rich()))
    full = next(row for row in trials if row[:3] == ["rates", "full", "9e-5"])
    assert full[3:6] == ["640", "0.887", "0.887"]
    after = next(row for row in trials if row[:3] == ["rates", "head", "1e-3"])
    assert after[4:6] == ["0.732", "0.887"], "the best of this round so far"
    first = next(row for row in trials if row[:2] == ["better", "half"])
    assert first[5] == first[6] == "0.884", "on more rows scores are counted anew"
    assert err.count("✗") == 3 and "9 strategies take part" in err and "4 trainings were there already" in err


@pytest.mark.parametrize("language", ["en", "zh"])
def test_long_names_of_metrics_and_models_break_no_line(language: str) -> None:
    bakeoff = replace(rich(), metric="mean_absolute_percentage_error")
    named = [
        replace(one, entrant=replace(one.entrant, name=f"multilingual-e5-small: {at}"))
        for at, one in enumerate(bakeoff.standings)
    ]
    out, err = shown(replace(bakeoff, standings=tuple(named)), language)
    wide = [line for line in (*out.splitlines(), *lines_of(err)) if cell_len(line) > 80]
    assert not [line for line in wide if "trimtab " not in line]
    assert "small: 3" in out


def test_a_pipe_gets_neither_bar_nor_chart_and_a_row_a_strategy() -> None:
    out, err = shown(rich(), terminal=False, width=10_000)
    assert "━" not in err and "│" not in out and "\x1b" not in out + err
    row = next(line for line in out.splitlines() if line.startswith("full"))
    assert "0.919 (0.902–0.934)" in row and "86.7 MiB" in row


def test_json_is_the_result_alone() -> None:
    face = Face.of(("--json",), {})
    follow(face, iter(()))  # nothing happened, nothing is printed


def test_json_on_stdout_is_one_value(capsys: pytest.CaptureFixture[str]) -> None:
    shown(rich(), json_asked=True)
    told = json.loads(capsys.readouterr().out)
    assert told["comparison_path"] == PAGE and told["chosen"] == "lora"


def test_the_bar_is_taken_away_when_something_breaks() -> None:
    def broken() -> Iterator[Happening]:
        yield TrialStarted(trial=rich().chosen.trials[0].trial, predicted_seconds=1, left_seconds=1)
        raise OSError("disk")

    face = Face.of((), {})
    console = Console(file=io.StringIO(), width=80, force_terminal=True)
    vars(face)["err"] = console
    with pytest.raises(OSError, match="disk"):
        follow(face, broken())
    assert console._live_stack == []


def test_baselines_that_could_not_be_had_say_why() -> None:
    bakeoff = CASES["of_errors"]()
    _, err = shown(bakeoff)
    assert bakeoff.baselines[0].missing is not None
    assert bakeoff.baselines[0].missing.text() in " ".join(err.split())


@pytest.mark.parametrize("lower", [False, True])
def test_letters_stand_where_their_figures_are(lower: bool) -> None:
    spots = [Spot(1.0, 0.9, "A"), Spot(3.0, 0.7, "B"), Spot(2.0, 0.8, "C"), Spot(2.0, 0.8, "D")]
    axis = Axis.of_scores([spot.y for spot in spots], lower_is_better=lower)
    drawn = scatter(spots, Axis.of_sizes(s.x for s in spots), axis, width=39, height=12, across=[0.75]).plain
    lines = drawn.splitlines()
    assert len(lines) == 12 and max(map(len, lines)) <= 39
    at = {
        letter: next((y, line.index(letter)) for y, line in enumerate(lines) if letter in line)
        for letter in "ABCD"
    }
    assert (at["A"][0] < at["C"][0] < at["B"][0]) is not lower
    assert at["A"][1] < at["C"][1] < at["B"][1] and at["C"][0] == at["D"][0] and at["D"][1] == at["C"][1] + 1
    assert any("╌" in line for line in lines)


EVENTS = (
    Step(step=3, steps=9, epoch=0.1, loss=float("nan"), learning_rate=1e-3, seconds=0.2, eta_seconds=3.0,
         memory_bytes=9),
    Preflight(rows=4, tokens_per_row=9, seconds=0.1, memory_bytes=7),
    *happenings(rich()),
    BaselineDone(baseline=Baseline(name=f"{EVIL}\u2028\ud800\n", dev=measure(0.5))),
    TrialDone(
        result=result(entrant("a\nb", "lora", 1e-3), 0, 1e-3, None, seconds=1.0, failure=message("TT-R025"))
    ),
)  # fmt: skip


def event_line(event: object, language: str = "en") -> str:
    out = io.StringIO()
    with redirect_stdout(out):
        print_events(Face((), language), [event])
    return out.getvalue().removesuffix("\n")


@pytest.mark.parametrize("language", ["en", "zh"])
def test_every_event_is_one_line_of_strict_json(language: str) -> None:
    for event in EVENTS:
        line = event_line(event, language)
        assert "\n" not in line and "\r" not in line
        told = json.loads(line, parse_constant=pytest.fail)
        assert told["event"].replace("_", "") == type(event).__name__.lower()


def test_a_step_has_its_fields_and_a_message_its_words() -> None:
    told = json.loads(event_line(EVENTS[0]))
    assert told["loss"] is None and told["learning_rate"] == 1e-3 and told["memory_bytes"] == 9
    said = json.loads(event_line(message("TT-R025"), "zh"))
    assert said["event"] == "message" and said["text"] == message("TT-R025").text("zh")


def test_names_of_strangers_do_not_steer_the_terminal() -> None:
    out, err = shown(hostile(), terminal=False, width=10_000)
    assert "\r" not in out + err and "\t" not in out + err
