"""Artifacts on a terminal: a list, one of them whole, and what came of a merge or an import."""

from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from trimtab.app.cli.face import Face
from trimtab.app.cli.flow import Flow
from trimtab.app.cli.show.layout import facts_grid, is_plain, new_table, two_lines
from trimtab.artifacts import default_folder
from trimtab.errors.quantities import format_bytes, format_share
from trimtab.methods import Strategy
from trimtab.study import ArtifactRow, ArtifactView, MadeArtifact

_COLUMNS = ("TT-V410", "TT-V411", "TT-V412", "TT-V413", "TT-V414", "TT-V415", "TT-V416")
_HASH_SHOWN = 12
_LABELS_SHOWN = 6
_ORIGINS = {"trained": "TT-V421", "merged": "TT-V422", "imported": "TT-V423", "compressed": "TT-V546"}


def show_rows(face: Face, rows: tuple[ArtifactRow, ...]) -> None:
    """A row an artifact; those that cannot be used below, with the reason."""
    if not rows:
        face.out.print(Flow(face.say("TT-V430", folder=str(default_folder())), "dim"))
        return
    table, plain = new_table(face, *_COLUMNS), is_plain(face)
    for column in table.columns:
        column.justify, column.overflow = "left", "fold"
    for row in (row for row in rows if row.damage is None):
        table.add_row(*(two_lines(cell, plain) for cell in _cells(face, row)))
    if table.row_count:
        face.out.print(table)
    for row in rows:
        if row.damage is not None:
            face.err.print(Flow(f"✗ {row.name}: {row.damage.code}: {face.tell(row.damage)}", "yellow"))


def show_view(face: Face, view: ArtifactView) -> None:
    """All that is known of one artifact: what it is, how it was trained, what is trained."""
    row, facts, strategy = view.row, view.facts, view.facts.strategy
    lines = {
        "TT-V410": f"{row.name} ({row.folder})",
        "TT-V411": f"{row.method}, {_kind(face, row)}",
        "TT-V412": _task(row),
        "TT-V431": ", ".join(row.labels) or "-",
        "TT-V413": f"{facts.base.name} ({facts.base.family}, {row.base_weights_sha256[:_HASH_SHOWN]})",
        "TT-V414": format_bytes(row.size_bytes),
        "TT-V415": _score(row)[0] or "-",
        "TT-V416": row.trained_at or "-",
        "TT-V432": strategy.number_formats,
    }
    if row.origin == "trained":
        lines["TT-V433"] = _schedule(strategy)
    face.out.print(facts_grid(face, lines))
    if view.trained:
        face.out.print()
        _show_trained(face, view)
    if view.unmergeable is not None:
        face.out.print()
        face.out.print(Flow(face.tell(view.unmergeable), "dim"))


def show_made(face: Face, made: MadeArtifact, code: str) -> None:
    """Where it is, and how far it is from what it was made of."""
    row = made.row
    face.out.print(Text(face.say(code, folder=row.folder, size=row.size_bytes, method=row.method), style="bold"))
    said = face.say("TT-V442", rows=made.compared_rows, difference=made.difference, allowed=made.allowed)
    face.out.print(Flow(said))


def _cells(face: Face, row: ArtifactRow) -> list[tuple[str, str]]:
    """Each cell has what counts, and below it what goes with it."""
    return [
        (row.name, ""),
        (row.method, _kind(face, row)),
        (row.task, _labels(row)),
        (row.base, row.base_weights_sha256[:_HASH_SHOWN]),
        (format_bytes(row.size_bytes), ""),
        _score(row),
        (row.trained_at[:10], ""),
    ]


def _kind(face: Face, row: ArtifactRow) -> str:
    kind = face.say("TT-V424" if row.adapter else "TT-V425")
    return kind if row.origin == "trained" else f"{kind}, {face.say(_ORIGINS[row.origin])}"


def _task(row: ArtifactRow) -> str:
    return row.task if not row.labels else f"{row.task} ({len(row.labels)})"


def _labels(row: ArtifactRow) -> str:
    shown = ", ".join(row.labels[:_LABELS_SHOWN])
    return shown if len(row.labels) <= _LABELS_SHOWN else f"{shown}, … ({len(row.labels)})"


def _score(row: ArtifactRow) -> tuple[str, str]:
    return ("", "") if row.score is None else (f"{row.metric} {row.score:.4f}", row.split)


def _schedule(strategy: Strategy) -> str:
    schedule = strategy.schedule
    words = [f"--epochs {schedule.epochs}", f"--lr {schedule.learning_rate:g}", f"--batch {strategy.batch}"]
    words += [f"--max-length {strategy.max_length}", f"--seed {strategy.seed}", strategy.optimizer.name]
    return " ".join(words)


def _show_trained(face: Face, view: ArtifactView) -> None:
    """Place by place: how many tensors of which shape, and their share of what is trained."""
    total = sum(tensors.parameters for tensors in view.trained)
    table = Table.grid(padding=(0, 2))
    table.add_column(overflow="fold")
    for _ in range(3):
        table.add_column(justify="right", no_wrap=True)
    for tensors in view.trained:
        shape = " x ".join(map(str, tensors.shape))
        counted = f"{tensors.count} x ({shape})" if tensors.count > 1 else f"({shape})"
        table.add_row(tensors.name, counted, f"{tensors.parameters:,}", format_share(tensors.parameters / total))
    face.out.print(Flow(face.say("TT-V434", count=total)))
    face.out.print(Padding(table, (0, 0, 0, 2), expand=False))
