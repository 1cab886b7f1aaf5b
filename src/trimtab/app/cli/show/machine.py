"""A machine in one line, and what `trimtab doctor` found."""

from rich.console import Group
from rich.text import Text

from trimtab.app.cli.face import Face
from trimtab.app.cli.flow import Flow
from trimtab.app.cli.show.layout import facts_grid, hanging
from trimtab.app.cli.show.words import evidence_word
from trimtab.hardware.doctor import Diagnosis
from trimtab.hardware.machine import Machine
from trimtab.units import Evidence


def machine_line(machine: Machine, face: Face) -> str:
    """Name, device, memory, and its speed with the source of that figure."""
    device, probe = machine.device, machine.calibration
    rate = (probe.rate("fp32") if probe else None) or device.peak("fp32")
    evidence = probe.evidence if probe and probe.rate("fp32") else Evidence.RULE
    speed = face.say("TT-V213", rate=f"{rate / 1e9:,.0f}", evidence=evidence_word(evidence, face)) if rate else ""
    name = device.name if machine.count == 1 else f"{machine.count} x {device.name}"
    return face.say(
        "TT-V212",
        name=machine.name,
        device=name,
        cores=face.say("TT-V218", cores=machine.cores) if machine.cores else "",
        memory=device.memory_bytes,
        usable=device.usable_bytes,
        speed=speed,
    )


def show_diagnosis(face: Face, diagnosis: Diagnosis) -> None:
    """The machine, its software, and each finding; what asks for something to be done comes with the step."""
    libraries = [library for library in diagnosis.libraries if library.version]
    face.out.print(
        facts_grid(
            face,
            {
                "TT-V203": machine_line(diagnosis.machine, face),
                "TT-V290": f"{diagnosis.system}, Python {diagnosis.python}",
                "TT-V291": ", ".join(f"{library.name} {library.version}" for library in libraries),
                "TT-V292": face.say("TT-V293", folder=diagnosis.hub_folder, free=diagnosis.disk_free_bytes),
            },
        )
    )
    face.out.print()
    to_do = [finding for finding in diagnosis.findings if finding.next_step()]
    for finding in diagnosis.findings:
        if finding not in to_do:
            face.out.print(hanging(Text("-"), Flow(face.tell(finding))))
    for finding in to_do:
        step = Flow(finding.next_step(face.language), "cyan")
        face.out.print(hanging(Text("!", "yellow"), Group(Flow(face.tell(finding)), step)))
    face.out.print()
    face.out.print(face.say("TT-V294", count=len(to_do)) if to_do else face.say("TT-V295"))
