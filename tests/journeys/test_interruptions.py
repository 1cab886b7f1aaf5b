"""Ctrl-C, SIGTERM, a second training in the same folder: nothing is lost, and the weights are the same."""

import signal
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from terminal import Terminal

TRAIN = ("--data", "topics.csv", "--method", "full", "--precision", "fp32", "--epochs", "16", "--batch", "4")


@contextmanager
def training(tt: Terminal, *argv: str) -> Iterator[subprocess.Popen[str]]:
    """A training that has made its first steps. It is killed when the block ends, whatever happens."""
    process = tt.start("train", *argv)
    watchdog = threading.Timer(60, process.kill)
    watchdog.start()
    try:
        told = ""
        while "step " not in told.lower():
            told = process.stderr.readline()
            assert told, "the training ended before its first step"
        yield process
    finally:
        watchdog.cancel()
        process.kill()
        process.wait()


def ended(process: subprocess.Popen[str]) -> tuple[int, list[str]]:
    """Exit code and the last two lines of stderr."""
    _, err = process.communicate(timeout=60)
    assert "Traceback" not in err
    return process.returncode, err.splitlines()[-2:]


def weights(folder: Path) -> bytes:
    return (folder / "model.safetensors").read_bytes()


def test_ctrl_c_then_resume_gives_the_weights_of_an_undisturbed_training(tt: Terminal, bert: Path) -> None:
    command = (str(bert), *TRAIN, "--out", "out")
    with training(tt, *command) as process:
        process.send_signal(signal.SIGINT)
        code, (what, following) = ended(process)
    assert code == 130
    assert what.startswith("TT-T041: ") and "out" in what and "--resume" in following

    straight = ("train", str(bert), *TRAIN, "--out", "straight")
    resumed, _ = tt.together(("train", *command, "--resume"), straight)
    assert "going on after step" in resumed.err
    assert weights(tt.folder / "out") == weights(tt.folder / "straight")
    assert not (tt.folder / "out" / "checkpoints").exists()


def test_sigterm_stops_after_a_checkpoint_and_two_trainings_keep_apart(tt: Terminal, bert: Path) -> None:
    command = (str(bert), *TRAIN, "--out", "out")
    with training(tt, *command) as process:
        process.send_signal(signal.SIGSTOP)  # so that it is still there, however slow the second one starts
        before = (tt.folder / "out" / "request.json").read_bytes()
        second = tt("train", str(bert), "--data", "topics.csv", "--method", "head", "--out", "out")
        assert second.code == 5
        assert "TT-T010: " in second.err and "another --out" in second.err
        assert (tt.folder / "out" / "request.json").read_bytes() == before
        process.send_signal(signal.SIGCONT)
        process.send_signal(signal.SIGTERM)
        code, (what, _) = ended(process)
    assert code == 143
    assert what.startswith("TT-T041: ")
    assert list((tt.folder / "out" / "checkpoints").glob("step-*/manifest.json"))

    forgotten = tt("train", *command)
    assert forgotten.code == 5
    assert "TT-T022: " in forgotten.err and "--resume" in forgotten.err


def test_ctrl_c_ends_a_prediction_that_waits_for_input(tt: Terminal, full_artifact: Path) -> None:
    process = tt.start("predict", str(full_artifact), "--file", "-")
    watchdog = threading.Timer(60, process.kill)
    watchdog.start()
    try:
        process.stdin.write("The goalkeeper won the match.\n")
        process.stdin.flush()
        assert process.stdout.readline()
        process.send_signal(signal.SIGINT)
        code, lines = ended(process)
    finally:
        watchdog.cancel()
        process.kill()
    assert code == 130
    assert lines == ["TT-V902: Interrupted."]
