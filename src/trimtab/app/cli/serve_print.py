"""trimtab serve --print: how another server takes over, on a terminal or as JSON. The verb itself is in serve."""

import shlex
from typing import TYPE_CHECKING

from trimtab.app.cli.face import Face

if TYPE_CHECKING:
    from trimtab.study.handover import HandedOver, HandoverRequest


def print_for(face: Face, request: "HandoverRequest") -> None:
    """Hand over and say so. On stdout stands the command alone, so that it can be piped into a shell; JSON where
    that was asked for. Raises as `study.hand_over`."""
    from trimtab.study.handover import hand_over

    face.show(hand_over(request), _show)


def _show(face: Face, done: "HandedOver") -> None:
    from trimtab.app.cli.flow import Flow

    face.err.print(face.say("TT-V800", server=done.server))
    face.out.print(done.command, soft_wrap=True)
    if done.taken:
        face.err.print(Flow(face.say("TT-V801", names=", ".join(one.name for one in done.taken))))
    if done.left_out:
        face.err.print(Flow(face.say("TT-V802", count=len(done.left_out)), "yellow"))
    for one in done.left_out:
        face.err.print(Flow(f"✗ {face.tell(one.why)} {face.tell(one.instead)}", "yellow"))
    for note in done.notes:
        face.err.print(Flow(f"· {face.tell(note)}", "dim"))
    face.err.print(Flow(_where(face, done)))


def _where(face: Face, done: "HandedOver") -> str:
    if done.folder is None:
        return face.say("TT-V804")
    size = sum(size for _, size in done.files)
    start = shlex.join(["sh", f"{done.folder}/command.sh"])
    return face.say("TT-V803", folder=done.folder, files=len(done.files), size=size, command=start)
