"""The project's pages of text, and the code blocks in them."""

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
README = ROOT / "README.md"
README_ZH = ROOT / "README.zh-CN.md"
PAGES = (*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md")))

_BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_COMMENT = re.compile(r"\s{2,}#.*$")


@dataclass(frozen=True)
class Block:
    """One fenced block: its language ("bash", "python", "text") and its lines."""

    language: str
    code: str


def blocks(page: Path, language: str | None = None) -> tuple[Block, ...]:
    """The fenced blocks of a page, in order; all of them, or those of one language."""
    found = (Block(*match) for match in _BLOCK.findall(page.read_text(encoding="utf-8")))
    return tuple(block for block in found if language in (None, block.language))


def commands(page: Path, program: str = "trimtab") -> tuple[str, ...]:
    """Lines of the bash blocks that start `program`, without comments."""
    lines = (line for block in blocks(page, "bash") for line in block.code.splitlines())
    return tuple(_COMMENT.sub("", line) for line in lines if line.split()[:1] == [program])
