"""The page of an ONNX artifact: static files beside its model, which classify texts in the browser of whoever
opens it. All lie in the folder itself, and none names this machine.

page.json tells the page what it shows. Leaves out where the runtime comes from (npm_packages.py).
"""

import json
from importlib import resources, util
from pathlib import Path

from trimtab.artifacts import ArtifactFacts
from trimtab.compression import npm_packages
from trimtab.data.spec import Task
from trimtab.errors import ArtifactError
from trimtab.evaluation.onnx_model import ONNX_FILE
from trimtab.home import write_atomically

PAGE_FACTS = "page.json"
TASKS: tuple[Task, ...] = ("classify", "pair", "multilabel", "regress")
_OWN = ("index.html", "page.css", "page.js", "worker.js")
_LICENCE, _NOTICES = "onnxruntime.LICENSE.txt", "onnxruntime.ThirdPartyNotices.txt"
_TOKENIZER = ("tokenizer.json", "tokenizer_config.json")
_READ_TOKENIZERS = ("WordPiece", "Unigram", "BPE")
_FORMAT = 1


def require_page(facts: ArtifactFacts, folder: Path) -> None:
    """Raises ArtifactError TT-C500 for a task that a page cannot show, TT-C505 for a tokenizer in `folder` that no
    browser reads; OSError."""
    if facts.task not in TASKS:
        raise ArtifactError("TT-C500", task=facts.task, known=", ".join(TASKS))
    file = folder / _TOKENIZER[0]
    kind = json.loads(file.read_text(encoding="utf-8"))["model"].get("type") if file.is_file() else None
    if kind not in _READ_TOKENIZERS:
        known = ", ".join(_READ_TOKENIZERS)
        raise ArtifactError("TT-C505", folder=str(folder), kind=kind or "-", known=known)


def write_page(facts: ArtifactFacts, runtime: Path, folder: Path) -> tuple[int, int]:
    """Write the page beside the model in `folder`, out of the packages in `runtime`. Returns the bytes that a
    browser loads: of model and tokenizer, and of all else. Raises what `npm_packages.write_files` raises."""
    npm_packages.write_files(runtime, folder)
    ours = resources.files("trimtab.compression") / "page"
    for name in (*_OWN, _LICENCE):
        (folder / name).write_bytes((ours / name).read_bytes())
    _copy_notices(folder)
    model = _sizes(folder, (ONNX_FILE, *_TOKENIZER))
    vendored = [name for package in npm_packages.RUNTIME for _, name in package.files]
    beside = _sizes(folder, (*_OWN, *(name for name in vendored if not name.endswith(".txt"))))
    said = {
        "format": _FORMAT,
        "task": facts.task,
        "labels": facts.labels,
        "inputs": len(facts.columns),
        "max_length": facts.strategy.max_length,
        "bytes": {**model, **beside},
    }
    write_atomically(folder / PAGE_FACTS, json.dumps(said, ensure_ascii=False, indent=1))
    (folder / PAGE_FACTS).chmod(0o644)  # a web server reads it as another user
    return sum(model.values()), sum(beside.values())


def _copy_notices(folder: Path) -> None:
    """What ONNX Runtime is made of; npm's package has no notices, Python's has the same."""
    found = util.find_spec("onnxruntime")
    notices = Path(found.origin).parent / "ThirdPartyNotices.txt" if found and found.origin else None
    if notices is not None and notices.is_file():
        (folder / _NOTICES).write_bytes(notices.read_bytes())


def _sizes(folder: Path, names: tuple[str, ...]) -> dict[str, int]:
    return {name: (folder / name).stat().st_size for name in names}
