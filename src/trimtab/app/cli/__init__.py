"""The command line: one file a verb, and `main`, which starts a verb and makes what it raises an exit code.

A verb reads its options, calls the facade `trimtab.study` and shows what comes back (show/). It imports what
is heavy inside its function, so that `trimtab --help` stays instant.
"""

import gc
import os
import sys
from collections.abc import Mapping, Sequence
from typing import NoReturn

import typer

from trimtab.app.cli import adapters, compress, cost
from trimtab.app.cli.bench import bench
from trimtab.app.cli.compare import compare
from trimtab.app.cli.data import check
from trimtab.app.cli.demo import demo
from trimtab.app.cli.doctor import doctor
from trimtab.app.cli.estimate import estimate
from trimtab.app.cli.evaluate import evaluate
from trimtab.app.cli.face import Face
from trimtab.app.cli.failures import explain
from trimtab.app.cli.help import VerbCommand, VerbGroup
from trimtab.app.cli.ledger import ledger
from trimtab.app.cli.plan import plan
from trimtab.app.cli.predict import predict
from trimtab.app.cli.root import help_if_alone, root
from trimtab.app.cli.serve import serve
from trimtab.app.cli.train import train
from trimtab.app.cli.ui import ui

__all__ = ["main", "run"]

# In the order of a beginner's day; each with the code of its help.
_VERBS = (
    (demo, "TT-V010"),
    (doctor, "TT-V011"),
    (plan, "TT-V012"),
    (estimate, "TT-V013"),
    (train, "TT-V014"),
    (compare, "TT-B054"),
    (predict, "TT-V015"),
    (evaluate, "TT-V016"),
    (bench, "TT-V503"),
    (serve, "TT-V700"),
    (ledger, "TT-V017"),
    (ui, "TT-W106"),
)

_ADAPTER_VERBS = (
    ("list", adapters.list_, "TT-V023"),
    ("show", adapters.show, "TT-V024"),
    ("merge", adapters.merge, "TT-V025"),
    ("import", adapters.import_, "TT-V026"),
    ("delete", adapters.delete, "TT-V027"),
)

_COMPRESS_VERBS = (
    ("auto", compress.auto, "TT-V506"),
    ("distill", compress.distill, "TT-V504"),
    ("prune", compress.prune, "TT-V505"),
    ("trim", compress.trim, "TT-V590"),
    ("quantize", compress.quantize, "TT-V502"),
    ("export", compress.export, "TT-V501"),
)

_COST_VERBS = ((cost.train, "TT-V021"), (cost.serve, "TT-V750"), (cost.total, "TT-V751"))


def main() -> NoReturn:
    """Run the command line of this process and leave with its exit code; see failures.py for the codes."""
    code = run(sys.argv[1:], os.environ)
    gc.freeze()  # the last collection would go through all of torch: most of a second
    sys.exit(code)


def run(argv: Sequence[str], environment: Mapping[str, str]) -> int:
    """Run one command line; returns its exit code. Every exception ends here, in one line."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")  # a terminal without UTF-8 must not end a run
    face = Face.of(argv, environment)
    try:
        face.check()
        command = typer.main.get_command(application())
        with command.make_context("trimtab", list(face.arguments), obj=face) as context:
            command.invoke(context)
        sys.stdout.flush()
    except BaseException as error:
        return explain(error, face)
    return 0


def application() -> typer.Typer:
    """All verbs. Help texts are codes of the catalogue, which the help page looks up."""
    app = typer.Typer(cls=VerbGroup, help="TT-V001", add_completion=False, rich_markup_mode=None)
    app.callback(invoke_without_command=True)(root)
    for verb, help_code in _VERBS:
        app.command(cls=VerbCommand, help=help_code)(verb)
    cards = _group("TT-V022")
    for name, verb, help_code in _ADAPTER_VERBS:
        cards.command(name, cls=VerbCommand, help=help_code)(verb)
    app.add_typer(cards, name="adapters")
    steps = _group("TT-V500", compress.FolderFirst)
    for name, verb, help_code in _COMPRESS_VERBS:
        steps.command(name, cls=VerbCommand, help=help_code)(verb)
    app.add_typer(steps, name="compress")
    data, costs = _group("TT-V018"), _group("TT-V020")
    data.command(cls=VerbCommand, help="TT-V019")(check)
    app.add_typer(data, name="data")
    for verb, help_code in _COST_VERBS:
        costs.command(cls=VerbCommand, help=help_code)(verb)
    app.add_typer(costs, name="cost")
    return app


def _group(help_code: str, kind: type[VerbGroup] = VerbGroup) -> typer.Typer:
    """A verb with verbs below it."""
    group = typer.Typer(cls=kind, help=help_code, add_completion=False, rich_markup_mode=None)
    group.callback(invoke_without_command=True)(help_if_alone)
    return group
