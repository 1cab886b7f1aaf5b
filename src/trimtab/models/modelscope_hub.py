"""Models on ModelScope, through the optional package `modelscope`. Rules as for the hub: config first, then
safetensors only."""

from pathlib import Path

from trimtab.errors import ModelError, system_reason
from trimtab.models.config import load_config
from trimtab.models.hub import CODE_FILES, CONFIG_FILES, TOKENIZER_FILES, WEIGHT_FILES
from trimtab.models.read import ModelSource
from trimtab.models.sentence import SENTENCE_FILES


def download(
    name: str, repo: str, revision: str | None, trust_remote_code: bool, *, weights: bool = True
) -> ModelSource:
    """A ModelScope repository in the local cache, fetched where it is not there yet; without `weights` its
    config alone.

    Raises ModelError: TT-M024 the package is missing, TT-M026 ModelScope did not give it, and what
    `load_config` refuses, before any weights are fetched.
    """
    folder = _fetch(repo, revision, (*CONFIG_FILES, *SENTENCE_FILES))
    load_config(folder, name=name, trust_remote_code=trust_remote_code)
    if weights:
        code = CODE_FILES if trust_remote_code else ()
        wanted = (*CONFIG_FILES, *SENTENCE_FILES, *TOKENIZER_FILES, *WEIGHT_FILES, *code)
        folder = _fetch(repo, revision, wanted)
    return ModelSource(
        folder=folder,
        name=name,
        hub_id=repo,
        revision=revision or "",
        kind="modelscope",
        trust_remote_code=trust_remote_code,
    )


def _fetch(repo: str, revision: str | None, files: tuple[str, ...]) -> Path:
    try:
        from modelscope import snapshot_download
    except ImportError as error:
        raise ModelError("TT-M024", name=repo) from error
    try:
        return Path(snapshot_download(repo, revision=revision, allow_patterns=list(files)))
    except Exception as error:  # the package raises errors of many libraries, without a common class
        raise ModelError("TT-M026", name=repo, reason=system_reason(error)) from error
