"""Load a real model and tokenizer from a folder: safetensors only, quiet, with a seeded head."""

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
import transformers
from safetensors import SafetensorError
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
    AutoTokenizer,
    PreTrainedConfig,
    PreTrainedModel,
)
from transformers import PreTrainedTokenizerBase as Tokenizer

from trimtab.errors import ModelError, message
from trimtab.methods import Precision
from trimtab.models import ModelSource
from trimtab.tuning.shrink import class_for, require_layers

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def load_tokenizer(source: ModelSource, *, trust_remote_code: bool = False, words: bool = False) -> Tokenizer:
    """The tokenizer of a model folder, with a padding token. `words`: each word that it is given stands after a
    space, where it makes a difference (RoBERTa, GPT-2). Raises ModelError TT-T003."""
    apart = {"add_prefix_space": True} if words else {}
    with quiet_transformers():
        try:
            tokenizer = AutoTokenizer.from_pretrained(
                source.folder, trust_remote_code=trust_remote_code, local_files_only=True, **apart
            )
        except Exception as error:
            raise ModelError("TT-T003", folder=str(source.folder), why=_first_line(error)) from error
    if len(tokenizer) <= len(tokenizer.all_special_tokens):
        # Where the files are missing transformers makes a tokenizer to which every word is unknown.
        raise ModelError("TT-T003", folder=str(source.folder), why=message("TT-T057"))
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    if tokenizer.pad_token_id is None:
        raise ModelError("TT-T003", folder=str(source.folder), why=message("TT-T058"))
    return tokenizer


def load_classifier(
    source: ModelSource,
    *,
    outputs: int,
    pad_token_id: int,
    labels: tuple[str, ...] = (),
    seed: int = 0,
    trust_remote_code: bool = False,
) -> PreTrainedModel:
    """The model with a classification head of `outputs` numbers, on the CPU, in the dtype it is stored in.

    Weights the folder does not have (the head, in some models the pooler) are made from `seed`. Raises
    ModelError TT-T004 where the class refuses the folder.
    """
    return _with_head(
        AutoModelForSequenceClassification, source, outputs, pad_token_id, labels, seed, trust_remote_code
    )


def load_tagger(
    source: ModelSource,
    *,
    outputs: int,
    pad_token_id: int,
    labels: tuple[str, ...] = (),
    seed: int = 0,
    trust_remote_code: bool = False,
) -> PreTrainedModel:
    """The same, with a head that gives `outputs` numbers for every token. Raises ModelError TT-T004, also where
    transformers has no such class of the family."""
    return _with_head(
        AutoModelForTokenClassification, source, outputs, pad_token_id, labels, seed, trust_remote_code
    )


def _with_head(
    made_by: Any,
    source: ModelSource,
    outputs: int,
    pad_token_id: int,
    labels: tuple[str, ...],
    seed: int,
    trust_remote_code: bool,
) -> PreTrainedModel:
    names = labels or tuple(f"value_{number}" for number in range(outputs))
    torch.manual_seed(seed)
    with quiet_transformers():
        try:
            config = _config(source, trust_remote_code)
            config.num_labels = outputs
            config.id2label = dict(enumerate(names))
            config.label2id = {name: index for index, name in enumerate(names)}
            config.pad_token_id = pad_token_id
            model, _ = _read(made_by, source, config, trust_remote_code)
        except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
            raise ModelError("TT-T004", folder=str(source.folder), why=_first_line(error)) from error
    return model


def load_language_model(
    source: ModelSource, *, pad_token_id: int, seed: int = 0, trust_remote_code: bool = False
) -> PreTrainedModel:
    """The model with its head over the vocabulary, on the CPU, in the dtype it is stored in. Raises ModelError
    TT-M042 where the folder holds no such head and none is shared with the embedding, TT-T004 where the class
    refuses the folder."""
    torch.manual_seed(seed)
    with quiet_transformers():
        try:
            config = _config(source, trust_remote_code)
            model, missing = _read(AutoModelForCausalLM, source, config, trust_remote_code)
        except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
            raise ModelError("TT-T004", folder=str(source.folder), why=_first_line(error)) from error
    if missing:
        raise ModelError("TT-M042", folder=str(source.folder), name=missing[0], count=len(missing))
    model.config.pad_token_id = pad_token_id
    return model


def load_encoder(
    source: ModelSource, *, pad_token_id: int, seed: int = 0, trust_remote_code: bool = False
) -> PreTrainedModel:
    """The encoder alone, on the CPU, in the dtype it is stored in: no head, and no pooler, which a sentence
    encoder does not run. Raises ModelError TT-T004 where the class refuses the folder."""
    torch.manual_seed(seed)
    with quiet_transformers():
        try:
            model, _ = _read(AutoModel, source, _config(source, trust_remote_code), trust_remote_code)
        except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
            raise ModelError("TT-T004", folder=str(source.folder), why=_first_line(error)) from error
    return without_pooler(model, pad_token_id)


def _config(source: ModelSource, trust_remote_code: bool) -> PreTrainedConfig:
    return AutoConfig.from_pretrained(source.folder, trust_remote_code=trust_remote_code, local_files_only=True)


def _read(
    made_by: Any, source: ModelSource, config: PreTrainedConfig, trust_remote_code: bool
) -> tuple[PreTrainedModel, list[str]]:
    """The model that an Auto class makes of a folder, and the names of weights that it does not hold. Layers that
    were pruned are built as small as they are before weights are read; of those every weight is there, or
    ModelError TT-C204 is raised."""
    maker = class_for(made_by, config, trust_remote_code=trust_remote_code)
    model, found = maker.from_pretrained(
        source.folder,
        config=config,
        dtype="auto",
        use_safetensors=True,
        trust_remote_code=trust_remote_code,
        local_files_only=True,
        output_loading_info=True,
    )
    missing = sorted(found["missing_keys"])
    if maker is not made_by:
        require_layers(model, missing, source.name)
    return model, missing


def without_pooler(model: PreTrainedModel, pad_token_id: int) -> PreTrainedModel:
    """`model`, an encoder, in place: transformers' classes leave a pooler that is None out of their forward
    pass."""
    if getattr(model, "pooler", None) is not None:
        model.pooler = None
    model.config.pad_token_id = pad_token_id
    return model


def cast(model: PreTrainedModel, precision: Precision) -> PreTrainedModel:
    """The floating-point parameters of `model` in `precision`, in place.

    Tables a class computes for itself (rotary frequencies, not saved with the weights) stay in fp32, as they
    are when a model is loaded in that precision: else positions lose digits, and a saved model computes
    something else when it is opened again.
    """
    computed = [
        (module, name, buffer)
        for module in model.modules()
        for name, buffer in module.named_buffers(recurse=False)
        if name in module._non_persistent_buffers_set
    ]
    model.to(DTYPES[precision])
    for module, name, buffer in computed:
        setattr(module, name, buffer)
    return model


@contextlib.contextmanager
def quiet_transformers() -> Iterator[None]:
    """No progress bars and no report of new head weights, which are expected here."""
    verbosity = transformers.logging.get_verbosity()
    bars = transformers.logging.is_progress_bar_enabled()
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    try:
        yield
    finally:
        transformers.logging.set_verbosity(verbosity)
        if bars:
            transformers.logging.enable_progress_bar()


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0][:300]
