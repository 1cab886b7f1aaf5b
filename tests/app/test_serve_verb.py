"""trimtab serve: what is unsafe or cannot be read is refused before anything loads. The journey of a server is in
tests/serving."""

import json
import socket
from pathlib import Path

import pytest

from trimtab.app.cli.serve_options import KEY_VARIABLE
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
        (["--precision", "foo", "--host", "none.invalid", "--key-file", "KEYS"], "TT-P019"),
        (["--kind", "q8"], "TT-N049"),
        (["--out", "there"], "TT-N049"),
    ],
)
def test_what_is_unsafe_or_unreadable_does_not_start(
    tt, monkeypatch, tmp_path: Path, words: list[str], code: str
) -> None:
    monkeypatch.delenv(KEY_VARIABLE, raising=False)
    (tmp_path / "keys").write_text(KEY)
    found = tt("serve", "/models/served", *(word.replace("KEYS", str(tmp_path / "keys")) for word in words))
    assert (found.code, found.err.partition(":")[0], found.out) == (2, code, "")


def test_a_server_here_prints_no_facts(tt) -> None:
    found = tt("serve", "/models/served", "--json")
    assert (found.code, json.loads(found.err)["error"]["code"], found.out) == (2, "TT-N049", "")


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


@pytest.mark.parametrize("port", ["0", "-5", "99999999"])
def test_a_port_of_another_server_is_one_that_it_can_listen_at(tt, port: str) -> None:
    found = tt("serve", "/models/served", "--print", "vllm", "--port", port)
    assert (found.code, found.err.partition(":")[0], found.out) == (2, "TT-N047", "")


@pytest.mark.parametrize(
    "words",
    [
        ["--host", "127.0.0.1"], ["--pin", "mood"], ["--queue", "1024"], ["--precision", "fp32"],
        ["--key-file", "keys"], ["--allow-host", "here"], ["--adapters", "."], ["--deadline", "30s"],
        ["--memory", "1GiB"], ["--chats", "16"], ["--context", "2048"], ["--drain", "30s"],
    ],
)  # fmt: skip
def test_what_only_a_server_here_knows_is_not_handed_over(tt, words: list[str]) -> None:
    """Also where it is what is the default here: the other server has a default of its own."""
    found = tt("serve", "/models/served", "--print", "vllm", *words)
    assert (found.code, found.err.partition(":")[0], found.out) == (2, "TT-N034", "")
    assert words[0] in found.err
