"""Reasons of the operating system, from its own errors and from those of libraries that pass one on."""

import errno
import os
import re
import socket

import pytest

from trimtab.errors import system_reason


@pytest.mark.parametrize(
    ("error", "en", "zh"),
    [
        (OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), "No space left on device", "磁盘空间不足"),
        (PermissionError(errno.EACCES, "Permission denied", "secret.csv"), "Permission denied", "没有访问权限"),
        (RuntimeError("I/O error: No space left on device (os error 28)"), "No space left", "磁盘空间不足"),
        (RuntimeError("[Errno 111] Connection refused"), "Connection refused", "连接被拒绝"),
        (socket.gaierror(socket.EAI_NONAME, "Name or service not known"), "Name or service", "无法解析主机名"),
    ],
)
def test_what_the_system_refuses_is_said_in_both_languages(error: Exception, en: str, zh: str) -> None:
    said = system_reason(error)
    assert said.text("en").startswith(en) and said.text("zh").startswith(zh)
    assert not re.search("[A-Za-z]", said.text("zh"))


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (OSError(errno.ELOOP, "Too many levels of symbolic links"), "Too many levels of symbolic links"),
        (ValueError("a first line\nand more"), "a first line"),
        (ValueError(), "ValueError"),
        (ValueError("x" * 1000), "x" * 160),
    ],
)
def test_what_has_no_sentence_is_told_in_its_own_words(error: Exception, words: str) -> None:
    assert system_reason(error).text("en") == system_reason(error).text("zh") == words
