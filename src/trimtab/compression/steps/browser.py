"""The step `export --to browser`: an ONNX artifact with a page that classifies texts where it is opened.

Of a model that transformers opens, weights are made int8 first, and activations stay in fp32: a browser then gives
what Python gives, which int8 activations do not (onnx_weights). An ONNX model is taken as it is.
"""

import shutil
from pathlib import Path
from typing import ClassVar

from trimtab.artifacts import Engine, read_facts
from trimtab.compression import npm_packages
from trimtab.compression.page_folder import require_page, write_page
from trimtab.compression.recipe import Made, Making, Recipe, Steps
from trimtab.compression.steps.quantize import QuantizeStep
from trimtab.compression.wanted import Browser, Floor, Quantize
from trimtab.errors import UsageError, message


class BrowserStep(Recipe):
    """Final."""

    floor: ClassVar[Floor | None] = QuantizeStep.floor
    engines: ClassVar[tuple[Engine, ...]] = ("transformers", "onnx")

    def __init__(self, wanted: Browser) -> None:
        self._wanted = wanted

    @property
    def wanted(self) -> Browser:
        return self._wanted

    def check(self) -> None:
        """Nothing contradicts itself here."""

    def make(self, making: Making) -> Steps:
        """Raises what `QuantizeStep.make` raises, UsageError TT-C011 where int8 is to be made and there are no
        data, ArtifactError TT-C500 to TT-C505 where no page can be made; OSError."""
        require_page(making.facts, making.parent)
        runtime = npm_packages.npm_folder()
        if self._wanted.runtime is not None:
            runtime = Path(self._wanted.runtime).expanduser()
        else:
            yield from npm_packages.fetch(runtime)  # first: without it nothing need be computed
        done = Made()
        if making.facts.engine == "onnx":
            _copy_model(making)
        else:
            done = yield from self._quantised(making)
        facts = read_facts(making.folder)
        model, beside = write_page(facts, runtime, making.folder)
        facts.write(making.folder)
        yield message("TT-C511", model=model, runtime=beside)
        return done

    def _quantised(self, making: Making) -> Steps:
        if making.corpus is None:
            raise UsageError("TT-C011", step=f"{self._wanted.step} --to browser")
        done = yield from QuantizeStep(Quantize(ranges="none")).make(making)
        return done


def _copy_model(making: Making) -> None:
    """All that artifact.json names, itself last. Of the page of a browser export nothing is left to be mixed with
    another: its files have the same names."""
    for name, _, _ in making.facts.files:
        shutil.copyfile(making.parent / name, making.folder / name)
    making.facts.write(making.folder)
