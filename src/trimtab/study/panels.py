"""Small drawings side by side, one a strategy, all on the same scale: learning curves, what each rate gave.

Each shows its own line among those of the others, so that it is compared at a glance. Leaves out how they are laid
out (a grid of the page, `plane.sheet` in a file).
"""

from collections.abc import Sequence

from trimtab.study.bakeoff import Bakeoff, Standing, TrialResult
from trimtab.study.charts import short, thin
from trimtab.study.comparison_facts import rate_trials, rate_words, score_words
from trimtab.study.frontier_chart import short_name
from trimtab.study.html import Html, element
from trimtab.study.page_parts import Words, metric_words
from trimtab.study.plane import Axis, Drawing, Plane, dot, line, path, words

WIDTH, HEIGHT = 212, 150
_MARGINS = (36, 10, 28, 22)
_LONGEST = 18  # letters of a heading
_CURVE_POINTS = 48
_HIGHEST = 0.98  # share of the losses that fit below the top; the first few of a training are far above

Curve = Sequence[tuple[float, float]]


def curve_drawings(bakeoff: Bakeoff, told: Words) -> list[Drawing]:
    """The loss on train by step, of every strategy's best trial that has a curve."""
    curves = [(one, thin(_curve(one), _CURVE_POINTS)) for one in bakeoff.standings]
    drawn = [(one, curve) for one, curve in curves if len(curve) > 1]
    if not drawn:
        return []
    losses = sorted(loss for _, curve in drawn for _, loss in curve)
    top = losses[min(len(losses) - 1, int(_HIGHEST * len(losses)))] or 1.0
    steps = max(curve[-1][0] for _, curve in drawn)
    plane = _plane(Axis(low=0.0, high=float(steps)), Axis(low=min(0.0, losses[0]), high=top))
    lines = [[(plane.x(x), plane.y(min(y, top))) for x, y in curve] for _, curve in drawn]
    return [_curve_drawing(plane, bakeoff, one, curve, lines, at, told) for at, (one, curve) in enumerate(drawn)]


def rate_drawings(bakeoff: Bakeoff, told: Words) -> list[Drawing]:
    """The metric on dev of every learning rate that was tried, of every strategy that was tried at all."""
    tried = [(one, rate_trials(one)) for one in bakeoff.standings]
    known = [r.dev for _, results in tried for r in results if r.dev is not None]
    if not known:
        return []
    y_axis = Axis.of_scores(
        [measure.value for measure in known], lower_is_better=any(m.lower_is_better for m in known)
    )
    return [_rate_drawing(bakeoff, one, results, y_axis, told) for one, results in tried if results]


def _plane(x_axis: Axis, y_axis: Axis) -> Plane:
    return Plane(width=WIDTH, height=HEIGHT, x_axis=x_axis, y_axis=y_axis, margins=_MARGINS)


def _curve(standing: Standing) -> Curve:
    best = standing.best
    return [(float(step), loss) for step, loss in best.curve] if best is not None else []


def _curve_drawing(
    plane: Plane,
    bakeoff: Bakeoff,
    standing: Standing,
    curve: Curve,
    lines: Sequence[Curve],
    mine: int,
    told: Words,
) -> Drawing:
    name, last = standing.entrant.name, curve[-1][1]
    others = [path(points, "others") for at, points in enumerate(lines) if at != mine]
    x, y = lines[mine][-1]
    shapes = [
        *plane.y_grid(),
        *_step_ticks(plane),
        *others,
        path(lines[mine], "curve"),
        dot(x, y, 3, "dot"),
        *_heading(bakeoff, standing, f"{last:.2f}"),
    ]
    title = told.say("TT-B140", name=name, loss=f"{last:.3f}", step=round(curve[-1][0]))
    return Drawing(title=title, width=WIDTH, height=HEIGHT, shapes=tuple(shapes))


def _step_ticks(plane: Plane) -> list[Html]:
    end = plane.x_axis.high
    return [
        words(plane.left, plane.bottom + 15, "0", "tick middle"),
        words(plane.right, plane.bottom + 15, short(round(end)), "tick end"),
    ]


def _rate_drawing(
    bakeoff: Bakeoff, standing: Standing, results: Sequence[TrialResult], y_axis: Axis, told: Words
) -> Drawing:
    rates = [result.trial.learning_rate for result in results]
    room = 1.7  # a third of the step from one rate to the next, at both ends
    x_axis = Axis(low=min(rates) / room, high=max(rates) * room, logarithmic=True)
    plane = _plane(x_axis, y_axis)
    good = [(result.trial.learning_rate, result.dev) for result in results if result.dev is not None]
    points = [(plane.x(rate), plane.y(measure.value)) for rate, measure in good]
    best = max(good, key=lambda pair: pair[1].merit, default=None)
    shapes = [
        *plane.y_grid(),
        *plane.x_ticks([(rate, rate_words(rate)) for rate in dict.fromkeys(rates)]),
        path(points, "curve thin"),
        *(dot(x, y, 3, "dot soft") for x, y in points),
        *(_cross(plane, result) for result in results if result.dev is None),
    ]
    if best is not None:
        shapes.append(dot(plane.x(best[0]), plane.y(best[1].value), 5, "dot"))
    shapes += _heading(bakeoff, standing, score_words(best[1].value) if best else "–")
    said = ", ".join(f"{rate_words(rate)}: {score_words(measure.value)}" for rate, measure in good)
    title = told.say(
        "TT-B141", name=standing.entrant.name, metric=metric_words(bakeoff.metric), scores=said or "–"
    )
    return Drawing(title=title, width=WIDTH, height=HEIGHT, shapes=tuple(shapes))


def _cross(plane: Plane, result: TrialResult) -> Html:
    """A rate with which it failed: at the bottom, where there is no score."""
    x, y = plane.x(result.trial.learning_rate), plane.bottom - 6
    return element(
        "g", line((x - 4, y - 4), (x + 4, y + 4), "failed"), line((x - 4, y + 4), (x + 4, y - 4), "failed")
    )


def _heading(bakeoff: Bakeoff, standing: Standing, figure: str) -> list[Html]:
    style = "name chosen" if standing is bakeoff.chosen else "name"
    return [
        words(0, 12, short_name(standing.entrant.name, _LONGEST), style),
        words(WIDTH - _MARGINS[1], 12, figure, "figure end"),
    ]
