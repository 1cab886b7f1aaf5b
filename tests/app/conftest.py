"""A command line in this process, away from the user's own cache and locale."""

from collections.abc import Callable
from dataclasses import dataclass

import pytest

from trimtab.app.cli import run


@dataclass(frozen=True)
class Outcome:
    code: int
    out: str
    err: str


Call = Callable[..., Outcome]


@pytest.fixture
def tt(capsys: pytest.CaptureFixture[str], tmp_path, monkeypatch: pytest.MonkeyPatch) -> Call:
    """tt("plan", "--data", path, environment={...}) -> exit code, stdout, stderr."""
    monkeypatch.setenv("TRIMTAB_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.delenv("COLUMNS", raising=False)

    def call(*argv: str, environment: dict[str, str] | None = None) -> Outcome:
        capsys.readouterr()
        code = run(argv, environment or {})
        printed = capsys.readouterr()
        return Outcome(code, printed.out, printed.err)

    return call


@pytest.fixture
def reviews(tmp_path) -> str:
    """A small data set: 200 rows, two labels."""
    path = tmp_path / "reviews.csv"
    rows = [f"{'a fine' if n % 2 else 'a poor'} film number {n},{'good' if n % 2 else 'bad'}" for n in range(200)]
    path.write_text("text,label\n" + "\n".join(rows) + "\n", encoding="utf-8")
    return str(path)
