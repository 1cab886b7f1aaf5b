"""A model folder -> ModelSpec, from config.json and the safetensors headers alone. Reads no weights."""

import hashlib
import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from trimtab.errors import ModelError
from trimtab.models.config import Config, load_config, shape_from
from trimtab.models.sentence import pooling_of
from trimtab.models.spec import ModelSpec
from trimtab.models.weights_header import WeightsHeader, read_headers, weight_files

_CHUNK_BYTES = 2**20


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelSource:
    """A model folder on this machine and where it came from.

    `name` is what the user typed; `hub_id` the published name, empty for a folder; `revision` the commit of a
    hub, the package version of the demo, empty for a folder. `trust_remote_code`: the user allowed code from
    the model's repository.
    """

    folder: Path
    name: str
    hub_id: str = ""
    revision: str = ""
    kind: Literal["folder", "hub", "modelscope", "demo", "gguf"] = "folder"
    trust_remote_code: bool = False


def read_spec(source: ModelSource, *, weights_needed: bool = True) -> ModelSpec:
    """The spec of a model on disk. With `weights_needed` False a folder with only a config will do.

    Raises ModelError: what `config.load_config`, `config.shape_from` and `weights_header.read_headers` raise,
    and TT-M010 where there are no weights.
    """
    config = load_config(source.folder, name=source.name, trust_remote_code=source.trust_remote_code)
    header = read_headers(source.folder)
    if weights_needed and not header.tensors:
        raise ModelError("TT-M010", path=str(source.folder))
    spec = spec_from(config, header, source.name, source.hub_id, read_from=str(source.folder))
    tokenizer = source.folder / "tokenizer.json"
    size = tokenizer.stat().st_size if tokenizer.is_file() else 0
    return replace(spec, tokenizer_bytes=size, pooling=pooling_of(source.folder))


def spec_from(config: Config, header: WeightsHeader, name: str, hub_id: str, *, read_from: str) -> ModelSpec:
    """The spec that a config and a weights header describe together. `read_from`: where they were read."""
    files = "config.json + safetensors header" if header.tensors else "config.json"
    return replace(
        shape_from(config, name),
        hub_id=hub_id,
        pooler=header.has_pooler,
        weights_dtype=header.dtype,
        stored_bytes=header.nbytes,
        fingerprint=fingerprint(config, header),
        source=f"{files} ({read_from})",
    )


def fingerprint(config: Config, header: WeightsHeader) -> str:
    """sha256 over the config (keys sorted, private keys left out), every tensor's name, dtype and shape in
    order of name, and the bytes of all. The values of the weights are not in it: see `weights_hash`."""
    tensors = [[tensor.name, tensor.dtype, tensor.shape] for tensor in header.tensors]
    facts = [config, tensors, header.nbytes]
    return hashlib.sha256(json.dumps(facts, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def weights_hash(folder: Path) -> str:
    """sha256 over the bytes of a folder's weight files, each preceded by its name. Reads all of them (seconds
    a GB). Raises ModelError TT-M010 where there are none."""
    digest = hashlib.sha256()
    files = weight_files(folder)
    if not files:
        raise ModelError("TT-M010", path=str(folder))
    for path in files:
        digest.update(f"{path.name}\0{path.stat().st_size}\0".encode())
        with path.open("rb") as file:
            while chunk := file.read(_CHUNK_BYTES):
                digest.update(chunk)
    return digest.hexdigest()
