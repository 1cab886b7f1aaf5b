"""Scores and predictions on a terminal."""

import json
from typing import TYPE_CHECKING

from rich.text import Text

from trimtab.app.cli.face import Face
from trimtab.app.cli.flow import Flow
from trimtab.app.cli.show.layout import new_table
from trimtab.metrics.score import Score

if TYPE_CHECKING:
    from trimtab.evaluation import Prediction

_CLASSES_SHOWN = 20


def show_score(face: Face, score: Score) -> None:
    """Each metric with its 95 % interval; then each class, the worst first."""
    face.out.print(Text(face.say("TT-V260", split=score.split, n=score.n, loss=f"{score.loss:.4f}"), style="bold"))
    table = new_table(face, "TT-V261", "TT-V262", "TT-V263")
    for metric in score.metrics:
        table.add_row(metric.name, f"{metric.value:.4f}", f"{metric.low:.4f}–{metric.high:.4f}")
    face.out.print(table)
    if score.left_out:
        rows = score.n + score.left_out
        face.out.print(Flow(face.say("TT-E005", count=score.left_out, n=rows), "yellow"))
    if score.classes:
        _show_classes(face, score)


def prediction_line(prediction: "Prediction") -> str:
    """Label and probability, or the value, between tabs; labels or entities with theirs, or "-"; or the text of an
    answer, in as many lines as it has; or a vector as JSON."""
    if prediction.text is not None:
        return prediction.text
    if prediction.vector is not None:
        return json.dumps(prediction.vector)
    if prediction.labels is not None:
        return "\t".join(f"{label} {share:.4f}" for label, share in prediction.labels) or "-"
    if prediction.entities is not None:
        said = (f"{one.text} [{one.type} {one.probability:.4f}]" for one in prediction.entities)
        return "\t".join(said) or "-"
    if prediction.value is not None:
        return f"{prediction.value:.4f}"
    return f"{prediction.label}\t{prediction.probability:.4f}"


def score_line(score: Score) -> str:
    """ "accuracy 0.912 (0.894–0.928), macro_f1 0.910 (0.890–0.927)" """
    return ", ".join(f"{m.name} {m.value:.3f} ({m.low:.3f}–{m.high:.3f})" for m in score.metrics[:2])


def _show_classes(face: Face, score: Score) -> None:
    table = new_table(face, "TT-V264", "TT-V265", "TT-V266", "TT-V267", "TT-V268")
    worst_first = sorted(score.classes, key=lambda entry: entry.f1)
    for entry in worst_first[:_CLASSES_SHOWN]:
        table.add_row(
            entry.label,
            f"{entry.precision:.3f}",
            f"{entry.recall:.3f}",
            f"{entry.f1:.3f}",
            f"{entry.support:,}",
        )
    face.out.print()
    face.out.print(table)
    left_out = len(worst_first) - _CLASSES_SHOWN
    if left_out > 0:
        face.out.print(Text(face.say("TT-V269", count=left_out), style="dim"))
