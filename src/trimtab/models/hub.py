"""Models on the Hugging Face hub or a mirror of it (HF_ENDPOINT): a first look, then only the files needed.

The first look reads the list of files and config.json; pickle-only repositories and repositories with code of
their own are refused there, before a weight is fetched. The huggingface_hub library keeps the cache (HF_HOME)
and the token. Leaves out uploading.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from trimtab.errors import ModelError
from trimtab.models.config import Config, load_config
from trimtab.models.read import ModelSource, read_spec, spec_from
from trimtab.models.spec import ModelSpec
from trimtab.models.weights_header import WeightsHeader, refuse_pickle, stored_tensor

CONFIG_FILES = ("config.json", "tokenizer_config.json")
TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer.model",
    "spiece.model",
    "sentencepiece.bpe.model",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.txt",
    "vocab.json",
    "merges.txt",
    "chat_template.jinja",
    "generation_config.json",
)
CODE_FILES = ("*.py",)  # only where the user trusts them
WEIGHT_FILES = ("model.safetensors", "model.safetensors.index.json", "model-*-of-*.safetensors")

_TIMEOUT_SECONDS = 5  # a plan must not wait long for a hub that does not answer


class HubUnreachable(ModelError):
    """The hub did not answer, or offline mode is on (TT-M020): the model may well be there."""


def download(name: str, repo: str, revision: str | None, trust_remote_code: bool) -> ModelSource:
    """A repository in the local cache, fetched where it is not there yet.

    Raises ModelError: TT-M009, TT-M016 to TT-M018 refused at the first look; TT-M020 (HubUnreachable) when it
    is not cached either; TT-M021 no such repository or no access; TT-M022 no such revision.
    """
    from huggingface_hub import snapshot_download

    def source(folder: str) -> ModelSource:
        return ModelSource(
            folder=Path(folder),
            name=name,
            hub_id=repo,
            revision=Path(folder).name,
            kind="hub",
            trust_remote_code=trust_remote_code,
        )

    wanted = [*CONFIG_FILES, *TOKENIZER_FILES, *WEIGHT_FILES, *(CODE_FILES if trust_remote_code else ())]
    try:
        with _hub_errors(repo, revision):
            _first_look(name, repo, revision, trust_remote_code)
            # by its name, not its commit: only then does the cache know the name when there is no network
            return source(snapshot_download(repo, revision=revision, allow_patterns=wanted))
    except HubUnreachable as unreachable:
        return source(_cached_snapshot(repo, revision, wanted, unreachable))


def fetch_tokenizer(repo: str, revision: str | None) -> Path | None:
    """tokenizer.json alone, from the cache or the hub; None where there is none or the hub does not answer."""
    from huggingface_hub import hf_hub_download

    try:
        return Path(hf_hub_download(repo, "tokenizer.json", revision=revision, etag_timeout=_TIMEOUT_SECONDS))
    except Exception:  # for a plan, lengths by rule are good enough
        return None


def read_remote_spec(name: str, repo: str, revision: str | None, trust_remote_code: bool) -> ModelSpec:
    """The spec of a repository from its config.json and safetensors headers. Raises as `download` does."""
    try:
        with _hub_errors(repo, revision):
            commit, config = _first_look(name, repo, revision, trust_remote_code)
            header = _remote_header(repo, commit)
            return spec_from(config, header, name, repo, read_from=f"{_endpoint()}/{repo}@{commit[:12]}")
    except HubUnreachable as unreachable:
        folder = _cached_snapshot(repo, revision, [*CONFIG_FILES, *WEIGHT_FILES], unreachable)
        source = ModelSource(folder=Path(folder), name=name, hub_id=repo, trust_remote_code=trust_remote_code)
        return read_spec(source)


def _first_look(name: str, repo: str, revision: str | None, trust_remote_code: bool) -> tuple[str, Config]:
    """The commit `revision` stands for and its config, after file names and config have been checked."""
    from huggingface_hub import HfApi, hf_hub_download

    info = HfApi().model_info(repo, revision=revision, timeout=_TIMEOUT_SECONDS)
    files = [sibling.rfilename for sibling in info.siblings or ()]
    refuse_pickle(name, files)
    if not set(files) & set(WEIGHT_FILES):
        raise ModelError("TT-M010", path=name)
    commit = info.sha or revision or "main"
    wanted = {"config.json"} | (set(CONFIG_FILES) & set(files))
    paths = [hf_hub_download(repo, file, revision=commit, etag_timeout=_TIMEOUT_SECONDS) for file in wanted]
    return commit, load_config(Path(paths[0]).parent, name=repo, trust_remote_code=trust_remote_code)


def _remote_header(repo: str, commit: str) -> WeightsHeader:
    from huggingface_hub import HfApi

    found = HfApi().get_safetensors_metadata(repo, revision=commit, timeout=_TIMEOUT_SECONDS)
    return WeightsHeader.of(
        stored_tensor(f"{repo}/{file}", name, tensor.dtype, tuple(tensor.shape))
        for file, header in found.files_metadata.items()
        for name, tensor in header.tensors.items()
    )


def _cached_snapshot(repo: str, revision: str | None, wanted: Sequence[str], unreachable: HubUnreachable) -> str:
    """The folder of an earlier download; raises `unreachable` again where there is none, or half of one."""
    from huggingface_hub import snapshot_download

    try:
        return snapshot_download(repo, revision=revision, allow_patterns=list(wanted), local_files_only=True)
    except OSError:
        raise unreachable from None


@contextmanager
def _hub_errors(repo: str, revision: str | None) -> Iterator[None]:
    """Turns what huggingface_hub raises into what a user can act on."""
    from huggingface_hub import errors

    try:
        yield
    except errors.RevisionNotFoundError as error:
        raise ModelError("TT-M022", name=repo, revision=revision or "main") from error
    except (errors.RepositoryNotFoundError, errors.HFValidationError) as error:
        raise ModelError("TT-M021", name=repo, endpoint=_endpoint()) from error
    except errors.RemoteEntryNotFoundError as error:
        raise ModelError("TT-M004", path=repo, file="config.json") from error
    except errors.SafetensorsParsingError as error:
        raise ModelError("TT-M013", path=repo) from error
    except (errors.HTTPError, errors.LocalEntryNotFoundError, ConnectionError, TimeoutError) as error:
        raise HubUnreachable("TT-M020", name=repo, endpoint=_endpoint(), reason=_reason(error)) from error
    except OSError as error:
        raise ModelError("TT-M023", name=repo, reason=_reason(error)) from error


def _reason(error: Exception) -> str:
    first_line = str(error).strip().splitlines()[:1]
    return f"{type(error).__name__}: {''.join(first_line)[:160]}"


def _endpoint() -> str:
    from huggingface_hub import constants

    return constants.ENDPOINT
