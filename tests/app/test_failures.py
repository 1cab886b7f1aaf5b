"""What ends a run: exit codes, one line of what, one line of what next; JSON where JSON was asked for."""

import errno
import json
import os
import re
import subprocess
import sys

import pytest

from trimtab.app.cli.face import Face
from trimtab.app.cli.failures import explain
from trimtab.errors import ArtifactError, Diverged, Interrupted, TrimtabError
from trimtab.home import write_atomically


@pytest.mark.parametrize(
    ("argv", "code", "exit_code"),
    [
        (["plan"], "TT-V913", 2),
        (["plan", "--data"], "TT-V916", 2),
        (["plan", "--dat", "x"], "TT-V911", 2),
        (["plan", "--data", "x", "--epochs", "three"], "TT-V914", 2),
        (["plan", "--data", "x", "--lr", "fast"], "TT-V914", 2),
        (["plan", "a", "b", "--data", "x"], "TT-V917", 2),
        (["doctor", "x", "y"], "TT-V917", 2),
        (["data", "check", "x", "y"], "TT-V917", 2),
        (["doctor", "--json=yes"], "TT-V918", 2),
        (["plam", "--data", "x"], "TT-V910", 2),
        (["data", "chek"], "TT-V910", 2),
        (["plan", "--data", "x", "--lang", "fr"], "TT-V901", 2),
        (["plan", "--data", "x", "--lang"], "TT-V901", 2),
        (["plan", "--data", "x", "--memory", "lots"], "TT-U001", 2),
        (["plan", "--data", "x", "--time", "soon"], "TT-U002", 2),
        (["plan", "--data", "x", "--task", "sing"], "TT-V163", 2),
        (["predict", "x"], "TT-V162", 2),
        (["predict", "x", "--text", "a", "--file", "b"], "TT-V162", 2),
        (["plan", "--data", "missing.csv", "--on", "laptop-16g"], "TT-D001", 5),
        (["data", "check", "missing.csv"], "TT-D001", 5),
        (["predict", "missing", "--text", "x"], "TT-A001", 5),
    ],
)
def test_every_refusal_has_its_code_and_two_lines(tt, argv: list[str], code: str, exit_code: int) -> None:
    refused = tt(*argv)
    assert refused.code == exit_code
    what, following = refused.err.splitlines()
    assert what.startswith(f"{code}: ") and following.startswith("-> ")
    assert refused.out == ""


def test_refusals_speak_chinese(tt) -> None:
    refused = tt("plan", "--data", "x", "--epochs", "three", environment={"LANG": "zh_CN.UTF-8"})
    assert refused.err.splitlines() == ["TT-V914: --epochs 的值必须是整数。", "-> 请看：trimtab plan --help"]


@pytest.mark.parametrize(
    ("argv", "word"),
    [
        (("plan", "a", "b", "c", "--data", "x"), "b c"),
        (("data", "check", "x", "y"), "y"),
        (("plan", "--dta", "x"), "--dta"),
        (("plan", "-x"), "-x"),
        (("doctor", "--json=yes"), "--json"),
        (("plan", "--data", "x", "--seed"), "--seed"),
        (("plan",), "--data"),
        (("plam",), "plam"),
    ],
)
def test_what_is_typed_wrong_is_told_in_chinese_alone(tt, argv: tuple[str, ...], word: str) -> None:
    what, following = tt(*argv, "--lang", "zh").err.splitlines()
    assert word in what
    for said in (what, following):
        assert re.search("[一-鿿]", said)
        assert not re.search("unexpected|argument|such|option|value|requires", said)


def test_a_near_verb_is_suggested(tt) -> None:
    assert 'did you mean "train"' in tt("trian").err


@pytest.mark.parametrize(
    ("error", "exit_code", "code"),
    [
        (TrimtabError("TT-V902"), 1, "TT-V902"),
        (Diverged("TT-V902"), 4, "TT-V902"),
        (ArtifactError("TT-A001", folder="x"), 5, "TT-A001"),
        (Interrupted("TT-V902", exit_status=143), 143, "TT-V902"),
        (KeyboardInterrupt(), 130, "TT-V902"),
        (PermissionError(13, "Permission denied", "/x"), 1, "TT-V903"),
        (OSError(28, "No space left on device"), 1, "TT-V906"),
        (MemoryError(), 1, "TT-V904"),
        (KeyError("lost"), 1, "TT-V905"),
    ],
)
def test_every_exception_has_its_exit_code(capsys, error: BaseException, exit_code: int, code: str) -> None:
    assert explain(error, Face(arguments=(), language="en")) == exit_code
    printed = capsys.readouterr()
    assert printed.err.startswith(code) and "Traceback" not in printed.err and printed.out == ""


def test_a_full_disk_is_told_with_the_file_that_was_written(capsys, monkeypatch, tmp_path) -> None:
    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError) as failed:
        write_atomically(tmp_path / "request.json", "{}")
    assert explain(failed.value, Face(arguments=(), language="en")) == 1
    assert f"TT-V903: No space left on device: {tmp_path / 'request.json'}\n" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no device that is always full")
def test_output_that_finds_no_room_is_told_without_a_path() -> None:
    with open("/dev/full", "w") as full:
        command = [sys.executable, "-m", "trimtab", "--version"]
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("TT-V906: No space left on device.\n-> ") and "?" not in done.stderr


def test_debug_adds_the_traceback(capsys) -> None:
    explain(KeyError("lost"), Face(arguments=(), language="en", debug=True))
    assert "KeyError: 'lost'" in capsys.readouterr().err


def test_with_json_the_error_is_one_json_line_on_stderr(tt) -> None:
    refused = tt("plan", "--data", "missing.csv", "--on", "laptop-16g", "--json")
    (line,) = refused.err.splitlines()
    error = json.loads(line)["error"]
    assert (refused.code, refused.out, error["code"]) == (5, "", "TT-D001")
    assert error["facts"] == {"path": "missing.csv"} and error["next"]


def test_a_reader_that_leaves_ends_it_quietly(reviews: str) -> None:
    """As `trimtab plan ... | head -1` does; the pipe is closed before anything is written."""
    command = [sys.executable, "-m", "trimtab", "plan", "--data", reviews, "--on", "laptop-16g"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    process.stdout.close()
    complaints = process.stderr.read()
    process.wait(timeout=60)
    assert complaints == ""
    assert process.returncode == 1
