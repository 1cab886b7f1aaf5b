"""Models on the Hugging Face hub or a mirror of it (HF_ENDPOINT): a first look, then only the files needed.

The first look reads the list of files and config.json; pickle-only repositories and repositories with code of
their own are refused there, before a weight is fetched. The huggingface_hub library keeps the cache (HF_HOME)
and the token. Leaves out uploading.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TypeVar

from trimtab.errors import Message, ModelError, message, system_reason
from trimtab.models.config import Config, load_config, shape_from
from trimtab.models.read import ModelSource, read_spec, spec_from
from trimtab.models.sentence import SENTENCE_FILES, pooling_of
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

_TOKENIZER_FILE = "tokenizer.json"
_PATIENCE_SECONDS = 5.0  # a plan must not wait long for a hub that does not answer

_Answer = TypeVar("_Answer")


class HubUnreachable(ModelError):
    """The hub did not answer, or offline mode is on (TT-M020): the model may well be there."""


@dataclass(frozen=True, slots=True)
class TokenizerFile:
    """tokenizer.json of a model; `path` None where there is none to be had. `unreachable` is then the address of
    the hub that should have it and did not answer; empty = there is none."""

    path: Path | None
    unreachable: str = ""


def download(name: str, repo: str, revision: str | None, trust_remote_code: bool) -> ModelSource:
    """A repository in the local cache, fetched where it is not there yet.

    Raises ModelError: TT-M003, TT-M006 to TT-M009, TT-M016 to TT-M018 refused at the first look; TT-M020
    (HubUnreachable) when it is not cached either; TT-M021 no such repository or no access; TT-M022 no such
    revision.
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

    code = CODE_FILES if trust_remote_code else ()
    wanted = [*CONFIG_FILES, *SENTENCE_FILES, *TOKENIZER_FILES, *WEIGHT_FILES, *code]
    try:
        with _hub_errors(repo, revision):
            _, config, _ = _first_look(name, repo, revision, trust_remote_code, once=False)
            shape_from(config, name)  # what cannot be read is not fetched
            # by its name, not its commit: only then does the cache know the name when there is no network
            return source(snapshot_download(repo, revision=revision, allow_patterns=wanted))
    except HubUnreachable as unreachable:
        return source(_cached_snapshot(repo, revision, wanted, unreachable))


def fetch_tokenizer(repo: str, revision: str | None, *, answers: bool = True) -> TokenizerFile:
    """tokenizer.json alone, for a plan: from the hub, asked once, or from the cache where it does not answer.
    `answers` False: it is known not to, and is not asked."""
    try:
        if answers:
            with _hub_errors(repo, revision), _quiet_hub():
                return TokenizerFile(_fetch_once(repo, _TOKENIZER_FILE, revision))
    except HubUnreachable:
        pass
    except ModelError:  # for a plan, lengths by rule are good enough
        return TokenizerFile(None)
    cached = _cached_file(repo, _TOKENIZER_FILE, revision)
    return TokenizerFile(cached, unreachable="" if cached else _endpoint())


def read_remote_spec(name: str, repo: str, revision: str | None, trust_remote_code: bool) -> ModelSpec:
    """The spec of a repository from its config.json and safetensors headers, for a plan: the hub is asked once.
    Raises as `download` does, but HubUnreachable for one that is cached too: see `read_cached_spec`."""
    with _hub_errors(repo, revision), _quiet_hub():
        commit, config, folder = _first_look(name, repo, revision, trust_remote_code, once=True)
        header = _remote_header(repo, commit)
    spec = spec_from(config, header, name, repo, read_from=f"{_endpoint()}/{repo}@{commit[:12]}")
    return replace(spec, pooling=pooling_of(folder))


def read_cached_spec(
    name: str, repo: str, revision: str | None, trust_remote_code: bool, unreachable: HubUnreachable
) -> ModelSpec:
    """The spec of a repository that was downloaded before. Raises `unreachable` where it was not."""
    wanted = [*CONFIG_FILES, *SENTENCE_FILES, *WEIGHT_FILES]
    folder = _cached_snapshot(repo, revision, wanted, unreachable)
    source = ModelSource(folder=Path(folder), name=name, hub_id=repo, trust_remote_code=trust_remote_code)
    return read_spec(source)


def _first_look(
    name: str, repo: str, revision: str | None, trust_remote_code: bool, *, once: bool
) -> tuple[str, Config, Path]:
    """The commit `revision` stands for, its config, after file names and config have been checked, and the folder
    they are cached in. `once`: a hub that does not answer is not asked again."""
    from huggingface_hub import HfApi, hf_hub_download

    look = partial(HfApi().model_info, repo, revision=revision, timeout=_PATIENCE_SECONDS)
    info = _within_patience(look) if once else look()
    files = [sibling.rfilename for sibling in info.siblings or ()]
    refuse_pickle(name, files)
    if not set(files) & set(WEIGHT_FILES):
        raise ModelError("TT-M010", path=name)
    commit = info.sha or revision or "main"
    wanted = ["config.json", *sorted({*CONFIG_FILES[1:], *SENTENCE_FILES} & set(files))]
    if once:
        paths = [_cached_file(repo, file, commit) or _fetch_once(repo, file, commit) for file in wanted]
    else:
        paths = [Path(hf_hub_download(repo, file, revision=commit)) for file in wanted]
    folder = paths[0].parent
    return commit, load_config(folder, name=repo, trust_remote_code=trust_remote_code), folder


def _remote_header(repo: str, commit: str) -> WeightsHeader:
    from huggingface_hub import HfApi

    found = HfApi().get_safetensors_metadata(repo, revision=commit, timeout=_PATIENCE_SECONDS)
    return WeightsHeader.of(
        stored_tensor(f"{repo}/{file}", name, tensor.dtype, tuple(tensor.shape))
        for file, header in found.files_metadata.items()
        for name, tensor in header.tensors.items()
    )


def _fetch_once(repo: str, file: str, revision: str | None) -> Path:
    """One file, from the hub or, where that has not changed, from the cache.

    `hf_hub_download` alone asks a hub that does not answer six times more, with pauses of 23 seconds in all; so it
    is only called after the hub has answered. Raises TimeoutError where it does not within `_PATIENCE_SECONDS`.
    """
    from huggingface_hub import get_hf_file_metadata, hf_hub_download, hf_hub_url

    url = hf_hub_url(repo, file, revision=revision)
    _within_patience(lambda: get_hf_file_metadata(url, timeout=_PATIENCE_SECONDS))
    return Path(hf_hub_download(repo, file, revision=revision))


def _within_patience(ask: Callable[[], _Answer]) -> _Answer:
    """What `ask` gives. A timeout of the library's holds for each address of a host, and for looking its name up
    not at all: only a clock of our own bounds the wait. Raises TimeoutError, and what `ask` raises."""
    from concurrent.futures import Future
    from threading import Thread

    answer: Future[_Answer] = Future()

    def run() -> None:
        try:
            answer.set_result(ask())
        except BaseException as error:
            answer.set_exception(error)

    Thread(target=run, daemon=True).start()  # one that is still waiting does not hold up the end of the process
    return answer.result(_PATIENCE_SECONDS)


@contextmanager
def _quiet_hub() -> Iterator[None]:
    """Nothing of the library's log, which is English: what went wrong is said in our words."""
    from huggingface_hub.utils import logging

    verbosity = logging.get_verbosity()
    logging.set_verbosity(logging.CRITICAL)
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)


def _cached_file(repo: str, file: str, revision: str | None) -> Path | None:
    """A file of an earlier download, as the cache last knew `revision`."""
    from huggingface_hub import try_to_load_from_cache

    found = try_to_load_from_cache(repo, file, revision=revision)
    return Path(found) if isinstance(found, str) else None


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
        raise ModelError("TT-M023", name=repo, reason=system_reason(error)) from error


def _reason(error: BaseException) -> Message:
    """Why the hub gave nothing. The library's classes come from one of two HTTP packages, by its version: they are
    told apart by what they have in common."""
    from huggingface_hub import errors

    if isinstance(error, errors.LocalEntryNotFoundError) and error.__cause__ is not None:
        return _reason(error.__cause__)  # "check your connection" was said instead of what happened
    if isinstance(error, errors.OfflineModeIsEnabled):
        return message("TT-M031")
    if any("Timeout" in kind.__name__ for kind in type(error).__mro__):
        return message("TT-M030", seconds=_PATIENCE_SECONDS)
    status = getattr(getattr(error, "response", None), "status_code", None)
    if status is not None:
        return message("TT-M032", status=status)
    return system_reason(error)


def _endpoint() -> str:
    from huggingface_hub import constants

    return constants.ENDPOINT
