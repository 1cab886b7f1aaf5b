"""trimtab serve: what is unsafe or cannot be read is refused before anything loads. The journey of a server is in
tests/serving."""

import socket
from pathlib import Path

import pytest

from trimtab.app.cli.serve import KEY_VARIABLE
from trimtab.serving.http.settings import read_keys

KEY = "a-key-that-is-long-enough"


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["--host", "0.0.0.0"], "TT-N040"),
        (["--host", "example.org"], "TT-N040"),
        (["--adapter", "mood"], "TT-N043"),
        (["--adapter", "=runs/mood"], "TT-N043"),
        (["--adapter", "base=runs/mood"], "TT-N030"),
        (["--adapter", "../x=runs/mood"], "TT-U101"),
        (["--adapter", "SERVED=runs/mood"], "TT-N030"),
        (["--adapters", "."], "TT-N044"),
        (["--key-file", "none"], "TT-N041"),
        (["--queue", "0"], "TT-N047"),
        (["--port", "65536"], "TT-N047"),
        (["--deadline", "soon"], "TT-U002"),
    ],
)
def test_what_is_unsafe_or_unreadable_does_not_start(tt, monkeypatch, words: list[str], code: str) -> None:
    monkeypatch.delenv(KEY_VARIABLE, raising=False)
    found = tt("serve", "/models/served", *words)
    assert (found.code, found.err.partition(":")[0], found.out) == (2, code, "")


def test_a_key_comes_from_the_environment_or_a_file_and_is_long_enough(tt, monkeypatch, tmp_path) -> None:
    monkeypatch.setenv(KEY_VARIABLE, "short")
    assert "TT-N042" in tt("serve", "/models/served").err and "short" not in tt("serve", "/models/served").err
    file = tmp_path / "keys"
    file.write_text(f"{KEY}\n\n  another-key-of-some-length \n")
    assert read_keys(file) == (KEY, "another-key-of-some-length")
    file.write_text("\n")
    assert "TT-N042" in tt("serve", "/models/served", "--key-file", str(file)).err


def test_a_port_that_is_taken_is_told_before_the_model_is_looked_for(tt, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        found = tt("serve", str(tmp_path / "none"), "--port", port)
    assert (found.code, found.err.partition(":")[0]) == (2, "TT-N045")


def test_no_key_is_on_the_command_line(tt) -> None:
    assert not {"--key", "--api-key", "--token"} & set(tt("serve", "--help").out.split())
