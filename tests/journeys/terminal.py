"""A user's shell for the journeys: `python -m trimtab ...` as a process, in one folder, with its own home.

Leaves out pytest: fixtures are in conftest.py.
"""

import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# Options of a training that takes seconds.
SHORT = ("--epochs", "1", "--batch", "8", "--max-length", "16")


@dataclass(frozen=True)
class Outcome:
    """What a command left: exit code, standard output, standard error."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """Standard output as one JSON value; anything else beside it is an error."""
        return json.loads(self.out)

    @property
    def lines(self) -> list[str]:
        return self.out.splitlines()


@dataclass(frozen=True)
class Terminal:
    """`folder` is the working folder, `home` the TRIMTAB_HOME. No network, no colours, English."""

    folder: Path
    home: Path
    patience_seconds: float = 120.0

    @property
    def environment(self) -> dict[str, str]:
        mine = {
            "TRIMTAB_HOME": str(self.home),
            "TRIMTAB_LANG": "en",
            "HF_HUB_OFFLINE": "1",
            "NO_COLOR": "1",
            # Threads that wait spin by default; where others want the cores, that makes a small step 40 times
            # slower.
            "OMP_WAIT_POLICY": "passive",
        }
        theirs = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "TRIMTAB_DEBUG")}
        return theirs | mine

    def __call__(self, *argv: str, stdin: str = "") -> Outcome:
        """Run one command line to its end."""
        return self._run([sys.executable, "-m", "trimtab", *argv], stdin)

    def python(self, *argv: str) -> Outcome:
        """Run this Python with other arguments."""
        return self._run([sys.executable, *argv])

    def pipe(self, line: str) -> Outcome:
        """Run a line of bash, in which `trimtab` runs under this Python."""
        return self._run(["bash", "-c", f'trimtab() {{ "{sys.executable}" -m trimtab "$@"; }}; {line}'])

    def done(self, *argv: str, stdin: str = "") -> Outcome:
        """Run a command that must succeed."""
        outcome = self(*argv, stdin=stdin)
        assert outcome.code == 0, outcome.err
        return outcome

    def together(self, *commands: tuple[str, ...]) -> list[Outcome]:
        """Run commands that do not touch each other's files side by side; all must succeed."""
        with ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
            return list(pool.map(lambda command: self.done(*command), commands))

    def start(self, *argv: str) -> subprocess.Popen[str]:
        """Start a command and leave it running; all its streams are pipes, line by line."""
        return subprocess.Popen(
            [sys.executable, "-m", "trimtab", *argv],
            cwd=self.folder,
            env=self.environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            bufsize=1,
        )

    def _run(self, command: list[str], stdin: str = "") -> Outcome:
        done = subprocess.run(
            command,
            cwd=self.folder,
            env=self.environment,
            input=stdin,
            capture_output=True,
            text=True,
            timeout=self.patience_seconds,
            check=False,
        )
        return Outcome(done.returncode, done.stdout, done.stderr)
