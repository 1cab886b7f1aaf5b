"""Opening a training: model, data and machine at hand, and what cannot be done refused.

Nothing here imports torch, so that a mistake is answered in half a second and not in five.
"""

from dataclasses import dataclass
from pathlib import Path

from trimtab.artifacts import FACTS_FILE
from trimtab.data import Corpus, DataSpec, Task
from trimtab.errors import BadInput, ModelError
from trimtab.hardware import Machine, this_machine
from trimtab.heavy import heavy_imports
from trimtab.models import (
    ModelSource,
    ModelSpec,
    TokenizerFile,
    gguf_file,
    is_unpacked,
    locate,
    read_spec,
    spec_of,
)
from trimtab.planning.request import refuse_unanswering, refuse_untrained
from trimtab.study import gather
from trimtab.study.margins import with_margins
from trimtab.study.request import TrainRequest

_UNPACKED_BYTES = 4  # a parameter in fp32
REQUEST_FILE = "request.json"  # written when a training starts, deleted when it is finished


@dataclass(frozen=True, kw_only=True, slots=True)
class Opened:
    """All a training is planned from. `machine` is not calibrated yet."""

    source: ModelSource
    spec: ModelSpec
    corpus: Corpus
    data: DataSpec
    machine: Machine


def open_training(request: TrainRequest) -> Opened:
    """Read and check the data, find the model, refuse what contradicts itself; the output folder is not touched.

    Raises BadInput TT-T028 where that folder is somebody else's, ModelError, DataError (exit 5), UsageError (2).
    """
    refuse_foreign_folder(Path(request.out))
    corpus = gather.open_corpus(request.data, request.reading)  # before gigabytes are fetched
    source = _located(request.model, corpus.task, request.trust_remote_code)
    spec = read_spec(source)
    refuse_untrained(spec)
    refuse_unanswering(corpus.task, spec)
    tokenizer = source.folder / "tokenizer.json"
    data = gather.describe(corpus, TokenizerFile(tokenizer if tokenizer.is_file() else None), trains=True)
    here, needed = with_margins(this_machine()), request.needs_price
    machine = gather.priced(here, request.price, request.pricing, needed=needed).machine
    request.question(spec, data, machine).check()
    return Opened(source=source, spec=spec, corpus=corpus, data=data, machine=machine)


def _located(model: str, task: Task, trusted: bool) -> ModelSource:
    file = gguf_file(model)
    if file is None:
        return locate(model, trust_remote_code=trusted)
    if not is_unpacked(file):
        _refuse_unpacking(model, task)
    with heavy_imports():
        from trimtab.tuning import locate_unpacked  # loads torch: unpacking is done with it

    return locate_unpacked(model, trust_remote_code=trusted)


def _refuse_unpacking(model: str, task: Task) -> None:
    """What is refused later anyhow, before gigabytes are unpacked; and a file that does not fit into memory."""
    spec = spec_of(model)
    refuse_untrained(spec)
    refuse_unanswering(task, spec)
    need, have = _UNPACKED_BYTES * spec.parameters, this_machine().host_memory_bytes
    if need > have:
        raise ModelError("TT-M075", path=model, need=need, count=spec.parameters, have=have)


def refuse_foreign_folder(out: Path) -> None:
    """A training writes README.md and config.json, and deletes its checkpoints: only into a folder that is new,
    empty, or its own."""
    if out.exists() and not out.is_dir():
        raise BadInput("TT-T029", path=str(out))
    names = sorted(path.name for path in out.iterdir() if not path.name.startswith(".")) if out.is_dir() else []
    if names and not {REQUEST_FILE, FACTS_FILE} & set(names):
        raise BadInput("TT-T028", folder=str(out), found=names[0])
