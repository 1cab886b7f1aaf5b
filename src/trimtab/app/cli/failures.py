"""What ends a run: every exception becomes one line of what, one line of what next, and an exit code.

0 done, 1 failure, 2 usage, 3 nothing fits, 4 training diverged, 5 bad data, model or artifact, 130 / 143
interrupted or terminated.
"""

import json
import os
import sys
import traceback

import typer

from trimtab.app.cli.face import Face
from trimtab.errors import Interrupted, Message, NothingFits, TrimtabError, message, system_reason

USAGE, INTERRUPTED = 2, 130
# What an option takes, by its metavar on the help page.
_KINDS = {"N": "TT-V921", "X": "TT-V922"}


def explain(error: BaseException, face: Face) -> int:
    """Say on stderr what ended the run; returns the exit code."""
    if isinstance(error, typer.Exit):
        return error.exit_code
    if isinstance(error, SystemExit):  # Rich leaves this way where the reader of a pipe has gone
        return 1
    if isinstance(error, BrokenPipeError):
        # The reader has gone; nobody is left to tell. Python would complain again when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    if isinstance(error, NothingFits):
        _show_candidates(error, face)
    said, code = _message_of(error, face)
    if face.debug:
        traceback.print_exception(error)
    _print(said, face)
    return code


def _show_candidates(error: NothingFits, face: Face) -> None:
    """What was tried, and how far each was from fitting: facts, and so on stdout."""
    from trimtab.app.cli.show.plan import show_no_plan
    from trimtab.planning import NoPlan

    if isinstance(error, NoPlan):
        show_no_plan(face, error.plan)


def _message_of(error: BaseException, face: Face) -> tuple[Message, int]:
    if isinstance(error, TrimtabError):
        return error.message, error.exit_status if isinstance(error, Interrupted) else error.exit_code
    if isinstance(error, KeyboardInterrupt | typer.Abort):
        return message("TT-V902"), INTERRUPTED
    if isinstance(error, typer.TyperException):
        return _usage_message(error, face.arguments), USAGE
    return _surprise(error), 1


def _surprise(error: BaseException) -> Message:
    """What no room has put into words: the machine's troubles, and our own faults."""
    if isinstance(error, OSError) and error.strerror:
        if error.filename is None:  # of a stream: standard output, say
            return message("TT-V906", reason=system_reason(error))
        return message("TT-V903", reason=system_reason(error), path=error.filename)
    if isinstance(error, MemoryError):
        return message("TT-V904")
    return message("TT-V905", kind=type(error).__name__, text=str(error).partition("\n")[0])


def _usage_message(error: typer.TyperException, typed: tuple[str, ...]) -> Message:
    """The parser's complaints in our words. Its classes are not public in Typer; their attributes tell."""
    parameter = getattr(error, "param", None)
    context = getattr(error, "ctx", None)
    verb = context.command_path if context else "trimtab"
    if option := getattr(error, "option_name", None):
        return _option_message(error, option, verb, typed)
    if parameter is None:
        return message("TT-V915", detail=error.message, verb=verb)
    name = parameter.opts[0] if parameter.param_type_name == "option" else parameter.metavar or parameter.name
    if not error.message:
        return message("TT-V913", name=name, verb=verb)
    kind = _KINDS.get(parameter.metavar)
    if kind is None:
        return message("TT-V915", detail=error.message, verb=verb)
    return message("TT-V914", name=name, kind=message(kind), verb=verb)


def _option_message(error: typer.TyperException, option: str, verb: str, typed: tuple[str, ...]) -> Message:
    """An option that does not exist (the parser then lists what is near), that lacks its value, or that has one
    and takes none."""
    if not hasattr(error, "possibilities") and any(word.startswith(f"{option}=") for word in typed):
        return message("TT-V918", option=option)
    if not hasattr(error, "possibilities"):
        return message("TT-V916", option=option, verb=verb)
    if error.possibilities:
        return message("TT-V911", option=option, verb=verb, nearest=", ".join(sorted(error.possibilities)))
    return message("TT-V912", option=option, verb=verb)


def _print(said: Message, face: Face) -> None:
    if face.json:
        from trimtab.study.jsonable import jsonable

        sys.stderr.write(json.dumps({"error": jsonable(said, face.language)}, ensure_ascii=False) + "\n")
        return
    from rich.text import Text

    # One line each, whatever the width of the terminal: an error must survive grep and copy and paste.
    face.err.print(Text.assemble((f"{said.code}: ", "bold red"), said.text(face.language)), soft_wrap=True)
    if step := said.next_step(face.language):
        face.err.print(Text.assemble(("-> ", "bold"), step), soft_wrap=True)
