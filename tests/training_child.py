"""A training in a process of its own, to be stopped and killed.

Started by a fork server that has imported everything once: a child is training after a tenth of a second.
"""

import multiprocessing
import random
import signal
import sys
import time
from dataclasses import replace
from multiprocessing.process import BaseProcess
from pathlib import Path

from trimtab.data import open_corpus
from trimtab.errors import Interrupted, TrimtabError
from trimtab.home import write_atomically
from trimtab.training import Job, Step, Training
from trimtab.training.checkpoint import Checkpoints

_SERVER = multiprocessing.get_context("forkserver")
_SERVER.set_forkserver_preload(["trimtab.training"])  # torch and all


def start(job: Job, data: Path, steps_file: Path) -> BaseProcess:
    """A child that trains `job`, writing the number of every finished step to `steps_file`. It exits as the
    command line does."""
    child = _SERVER.Process(target=_train, args=(job, data, steps_file))
    child.start()
    return child


def _train(job: Job, data: Path, steps_file: Path) -> None:
    try:
        for event in Training(job, open_corpus(str(data))):
            if isinstance(event, Step):
                write_atomically(steps_file, str(event.step))
    except Interrupted as error:
        sys.exit(error.exit_status)
    except TrimtabError as error:
        print(error, file=sys.stderr)
        sys.exit(error.exit_code)


def steps_done(child: BaseProcess, steps_file: Path, at_least: int, seconds: float = 60.0) -> int:
    """Wait until the child has told of that many steps."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        told = steps_file.read_text() if steps_file.exists() else ""
        if told and int(told) >= at_least:
            return int(told)
        assert child.is_alive(), f"the child has ended with {child.exitcode}"
        time.sleep(0.002)
    raise AssertionError(f"no step {at_least} in {seconds} s")


def kill_again_and_again(job: Job, data: Path, kills: int, seed: int) -> None:
    """Train in children that are killed at random moments, each going on from the checkpoints of the last; no
    kill may leave a damaged one."""
    draw = random.Random(seed)
    steps_file = job.folder.parent / "steps"
    for number in range(kills):
        steps_file.unlink(missing_ok=True)
        child = start(replace(job, resume=number > 0), data, steps_file)
        steps_done(child, steps_file, 1)
        time.sleep(draw.uniform(0.0, 0.1))
        child.kill()
        child.join()
        assert child.exitcode == -signal.SIGKILL, "ended before it was killed: give it more steps"
        found, damaged = Checkpoints(job.checkpoints).newest()
        assert damaged == (), [note.text() for note in damaged]
        assert number == 0 or found is not None
