"""A data set on a terminal: one line of facts, its labels and lengths, and the problems found."""

from rich.console import Group
from rich.table import Table
from rich.text import Text

from trimtab.app.cli.face import Face
from trimtab.app.cli.flow import Flow
from trimtab.app.cli.show.layout import facts_grid, hanging, new_table
from trimtab.data.spec import DataSpec, Place, Problem
from trimtab.errors.quantities import format_count, format_share

_SEVERITY = {
    "fatal": ("TT-V321", "bold red"),
    "repaired": ("TT-V322", "green"),
    "reported": ("TT-V323", "yellow"),
}
_PLACES_SHOWN = 3
_LABELS_SHOWN = 20


def data_line(data: DataSpec, face: Face) -> str:
    if data.labels:
        target = face.say("TT-V215", labels=len(data.labels)) + (f" ({data.form})" if data.form else "")
    else:
        target = face.say("TT-V259", form=data.form) if data.form else face.say("TT-V217")
    return face.say(
        "TT-V214",
        name=data.name,
        task=data.task,
        train=data.train_rows,
        dev=data.dev_rows,
        test=data.test_rows,
        target=target,
        mean=round(data.lengths.mean(data.lengths.longest)),
        longest=data.lengths.longest,
    )


def show_problems(face: Face, data: DataSpec) -> None:
    """Each kind of finding once, with its count, the first few places and the next step where there is one."""
    if not data.problems:
        return
    face.out.print()
    face.out.print(Text(face.say("TT-V250"), style="bold"))
    for problem in data.problems:
        code, style = _SEVERITY[problem.severity]
        told = [Flow(f"{problem.message.code} {face.tell(problem.message)}{_places(problem)}")]
        if step := problem.message.next_step(face.language):
            told.append(Flow(step, "dim"))
        face.out.print(hanging(Text(f"  {face.say(code)}", style=style), Group(*told)))


def show_data(face: Face, data: DataSpec) -> None:
    """What `trimtab data check` found: facts, labels with their shares, lengths, problems."""
    lines = {
        "TT-V202": data_line(data, face),
        "TT-V251": ", ".join(dict.fromkeys(name for name in (*data.columns, data.label_column) if name)),
    }
    lines["TT-V252"] = face.say(
        "TT-V253",
        median=data.lengths.quantile(0.5),
        most=data.lengths.quantile(0.95),
        longest=data.lengths.longest,
    )
    face.out.print(facts_grid(face, lines))
    if data.labels:
        face.out.print()
        face.out.print(_labels(face, data))
    show_problems(face, data)
    if not data.problems:
        face.out.print(face.say("TT-V257"))


def _labels(face: Face, data: DataSpec) -> Table:
    """Train rows of each label, or words, the most frequent first."""
    table = new_table(face, "TT-V264", "TT-M062" if data.labels_words else "TT-V254", "TT-V255")
    counted = sorted(zip(data.labels, data.label_counts, strict=True), key=lambda pair: -pair[1])
    for label, count in counted[:_LABELS_SHOWN]:
        table.add_row(label, format_count(count), format_share(count / max(data.labelled, 1)))
    if len(counted) > _LABELS_SHOWN:
        table.add_row(face.say("TT-V256", count=len(counted) - _LABELS_SHOWN), "", "")
    return table


def _places(problem: Problem) -> str:
    shown = ", ".join(_place(place) for place in problem.places[:_PLACES_SHOWN])
    return f" ({shown})" if shown else ""


def _place(place: Place) -> str:
    """ "reviews.csv:17", the way editors write a place; row 0 is the whole file."""
    return f"{place.file}:{place.row}" if place.row else place.file
