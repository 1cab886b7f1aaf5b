"""Charts as PNG, where a program that draws SVG is installed: rsvg-convert, or Inkscape. None is needed."""

import shutil
import subprocess
from pathlib import Path

_SECONDS = 60
_CONVERTERS = {
    "rsvg-convert": ("--format=png", "--output={png}", "{svg}"),
    "inkscape": ("--export-type=png", "--export-filename={png}", "{svg}"),
}


def png_converter() -> str | None:
    """The first program found on PATH."""
    return next((name for name in _CONVERTERS if shutil.which(name)), None)


def write_png(svg: Path) -> Path | None:
    """Beside `svg`, under its name; None where no converter is installed, or it failed: the SVG is there."""
    name = png_converter()
    if name is None:
        return None
    png = svg.with_suffix(".png")
    words = [word.format(png=png, svg=svg) for word in _CONVERTERS[name]]
    try:
        subprocess.run([name, *words], check=True, capture_output=True, timeout=_SECONDS)
    except (OSError, subprocess.SubprocessError):
        png.unlink(missing_ok=True)
        return None
    return png if png.exists() else None
