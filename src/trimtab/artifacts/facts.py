"""artifact.json: what a folder of weights is, in words and hashes. Pure: reading it loads no weights."""

import hashlib
import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path, PurePath
from typing import Any, Literal

from trimtab.artifacts.kinds import misfit
from trimtab.artifacts.lineage import Change, Compared, Engine, OneText, ReadAlike
from trimtab.data.spec import Prefixes, Task
from trimtab.errors import ArtifactError, Message, message
from trimtab.home import write_atomically
from trimtab.methods import Strategy, strategy_from_json, strategy_to_json
from trimtab.models import ModelSource, weights_hash
from trimtab.models.sentence import POOLING_FILE

NAME = "artifact.json"
ADAPTER_CONFIG = "adapter_config.json"
ADAPTER_WEIGHTS = "adapter_model.safetensors"
Origin = Literal["trained", "merged", "imported", "compressed"]
_FORMAT = 1
_UNHASHED = (NAME, "README.md", "report.json")  # itself, and what is written beside an artifact that stands
_PICKLED = "adapter_model.bin"
_BLOCK = 1 << 20


@dataclass(frozen=True, kw_only=True, slots=True)
class Base:
    """The model an artifact was trained from. `name` is what the user typed, `weights_sha256` its identity."""

    name: str
    hub_id: str
    revision: str
    family: str
    weights_sha256: str


def base_of(source: ModelSource, family: str, *, sha256: str = "") -> Base:
    """`source` as a base. Reads all its weights for the hash, where that is not given."""
    return Base(
        name=_lasting_name(source),
        hub_id=source.hub_id,
        revision=source.revision,
        family=family,
        weights_sha256=sha256 or weights_hash(source.folder),
    )


def _lasting_name(source: ModelSource) -> str:
    """What finds it again from any working folder."""
    if source.kind == "gguf":
        return str(Path(source.name).expanduser().resolve())
    return str(source.folder.resolve()) if source.kind == "folder" else source.name


@dataclass(frozen=True, kw_only=True, slots=True)
class ArtifactFacts:
    """`adapter`: the folder holds what was added to the base; else it holds the whole model. `split_seed` decided
    which rows were held out. `origin`: trained here, merged into its base from an adapter, imported from a plain
    PEFT folder, whose training is not known, or compressed by `changes`, the last of them last. `engine` computes
    it. `prefixes` stand before texts that become vectors. `files` are (path, bytes, sha256)."""

    adapter: bool
    task: Task
    labels: tuple[str, ...]
    columns: tuple[str, ...]
    label_column: str
    outputs: int
    base: Base
    strategy: Strategy
    trimtab_version: str
    split_seed: int = 0
    origin: Origin = "trained"
    prefixes: Prefixes = Prefixes()
    engine: Engine = "transformers"
    changes: tuple[Change, ...] = ()
    files: tuple[tuple[str, int, str], ...] = ()

    @property
    def came_from(self) -> str:
        """The folder or model that it was made of."""
        return (self.changes[-1].parent if self.changes else "") or self.base.name

    def of_passages(self) -> "ArtifactFacts":
        """Of embeddings: the same with what stands before passages in the place of what stands before queries, and
        without the column of these."""
        _, before = self.prefixes.put("", "")
        return replace(self, prefixes=Prefixes(query=before), columns=self.columns[1:])

    def without_places(self) -> "ArtifactFacts":
        """The same without what names folders here, as typed or in full: for a folder that others will see."""
        changes = tuple(change.without_places() for change in self.changes)
        return replace(self, base=replace(self.base, name=_last_word(self.base.name)), changes=changes)

    def write(self, folder: Path) -> None:
        """Write artifact.json with the hash of every other file of the folder but cards and reports. Written last:
        it makes the folder an artifact."""
        names = sorted(file for file in folder.rglob("*") if file.is_file() and file.name not in _UNHASHED)
        plain = asdict(self)
        plain["strategy"] = strategy_to_json(self.strategy)
        plain["files"] = [
            (file.relative_to(folder).as_posix(), file.stat().st_size, sha256_of(file)) for file in names
        ]
        text = json.dumps({"format": _FORMAT, **plain}, ensure_ascii=False, indent=1, allow_nan=False)
        write_atomically(folder / NAME, text)


def _last_word(name: str) -> str:
    """Of a path from the root; other names stay."""
    return PurePath(name).name if PurePath(name).is_absolute() else name


def glance(folder: Path) -> ArtifactFacts:
    """artifact.json of a folder, its other files not looked at: for lists.

    Raises ArtifactError: TT-A001 no artifact, TT-A002 unreadable; TT-A020 weights of a PEFT adapter as pickle
    alone, TT-A021 a PEFT adapter without artifact.json.
    """
    path = folder / NAME
    if not path.is_file():
        refuse_pickled_adapter(folder)
        code = "TT-A021" if (folder / ADAPTER_CONFIG).is_file() else "TT-A001"
        raise ArtifactError(code, folder=str(folder))
    try:
        return _from_plain(json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ArtifactError("TT-A002", folder=str(folder), why=_why(error)) from error


def refuse_pickled_adapter(folder: Path) -> None:
    """Raises ArtifactError TT-A020 where the weights of an adapter are there as pickle alone."""
    if not (folder / ADAPTER_WEIGHTS).is_file() and (folder / _PICKLED).is_file():
        raise ArtifactError("TT-A020", folder=str(folder), file=_PICKLED, wanted=ADAPTER_WEIGHTS)


def read_facts(folder: Path) -> ArtifactFacts:
    """artifact.json of a folder, its files checked against their hashes.

    Raises what `glance` raises, and ArtifactError TT-A003 where a file was changed.
    """
    facts = glance(folder)
    refuse_pickled_adapter(folder)
    for name, size, digest in facts.files:
        file = folder / name
        if not file.is_file() or file.stat().st_size != size or sha256_of(file) != digest:
            raise ArtifactError("TT-A003", folder=str(folder), file=name)
    return facts


def sha256_of(path: Path) -> str:
    """Hash of a file, read in blocks."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()


class _Refused(ValueError):
    """A well-formed artifact.json that says what is not to be believed; `args` holds the code of the reason,
    and the name that it is about."""


def _why(error: Exception) -> Message:
    if isinstance(error, _Refused):
        code, *names = error.args
        return message(code, name=names[0]) if names else message(code)
    if isinstance(error, json.JSONDecodeError):
        return message("TT-A010", line=error.lineno, column=error.colno)
    if isinstance(error, KeyError):
        return message("TT-A011", name=error.args[0])
    return message("TT-A012", text=str(error))


def _from_plain(plain: dict[str, Any]) -> ArtifactFacts:
    if plain.pop("format") != _FORMAT:
        raise _Refused("TT-A013")
    plain["base"] = Base(**plain["base"])
    plain["strategy"] = strategy_from_json(plain["strategy"])
    plain["labels"], plain["columns"] = tuple(plain["labels"]), tuple(plain["columns"])
    plain["files"] = tuple(map(tuple, plain["files"]))
    plain["prefixes"] = Prefixes(**plain.get("prefixes", {}))
    plain["changes"] = tuple(map(_change, plain.get("changes", ())))
    facts = ArtifactFacts(**plain)
    found = [one for change in facts.changes for one in (*change.compared, *change.read_alike, change.one_text)]
    wholes = (facts, facts.base, facts.prefixes, facts.strategy, *facts.strategy.parts, *facts.changes, *found)
    for whole in wholes:
        if whole is not None and (wrong := misfit(whole)):
            raise _Refused("TT-A051", wrong)
    if any(_leads_out(name) for name, _, _ in facts.files):
        raise _Refused("TT-A014")
    return facts


def _change(plain: dict[str, Any]) -> Change:
    lists = {name: tuple(plain.get(name, ())) for name in ("settings", "kept_whole")}
    found = {
        "compared": tuple(Compared(**one) for one in plain["compared"]),
        "read_alike": tuple(ReadAlike(**one) for one in plain.get("read_alike", ())),
        "one_text": OneText(**plain["one_text"]) if plain.get("one_text") else None,
    }
    return Change(**plain | lists | found)


def _leads_out(name: str) -> bool:
    """Whether a path may be of a file that is not in the folder. In a folder below it stands one file alone."""
    return name != POOLING_FILE and ("/" in name or "\\" in name or name.startswith(".."))
