"""What to type after a bake-off: predict with the chosen artifact, serve it, make it smaller."""

import shlex

from trimtab.study.bakeoff import Bakeoff


def next_commands(bakeoff: Bakeoff) -> tuple[tuple[str, str], ...]:
    """(code of a heading, command line) each; none where no artifact was kept."""
    chosen = bakeoff.chosen
    folder = chosen.best.folder if chosen.best is not None else ""
    if not folder:
        return ()
    data = _data(bakeoff)
    served = [chosen.entrant.model, "--adapter", f"mine={folder}"] if chosen.switchable else [folder]
    smaller = [folder, "quantize", "--to", "q8", "--data", data, "--out", f"{folder.rstrip('/')}-q8"]
    return (
        ("TT-B174", _line("predict", folder, "--text", "...")),
        ("TT-B175", _line("serve", *served)),
        ("TT-B176", _line("compress", *smaller)),
    )


def _data(bakeoff: Bakeoff) -> str:
    """As it was typed, which may be more than its name."""
    typed = shlex.split(bakeoff.command)
    return typed[typed.index("--data") + 1] if "--data" in typed[:-1] else bakeoff.data.name


def _line(*words: str) -> str:
    return shlex.join(("trimtab", *words))
