"""A GGUF file -> an ordinary model folder, once: weights out of their blocks, tokenizer and template beside them.

transformers reads the file (with the package gguf); what is ours is that the folder is whole or not there, that no
weight is missing, and where it is kept (`models.gguf`). Leaves out: writing GGUF.
"""

import json
import os
import shutil
import tempfile
from importlib import util
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig, PreTrainedModel

from trimtab.errors import ModelError
from trimtab.models import ModelSource, locate
from trimtab.models.gguf import UNPACKED, gguf_file, gguf_spec, is_unpacked, unpacked_dtype, unpacked_folder
from trimtab.models.gguf_header import read_gguf_header
from trimtab.tuning.load import quiet_transformers

_DTYPES = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}


def locate_unpacked(model: str, *, trust_remote_code: bool = False) -> ModelSource:
    """`models.locate`, but a GGUF file is unpacked first where it has not been. Raises ModelError as that does,
    TT-M072 without the package gguf, TT-M073 where the file cannot be unpacked; OSError for a full disk."""
    path = gguf_file(model)
    if path is not None and not is_unpacked(path):
        _unpack(path, unpacked_folder(path))
    return locate(model, trust_remote_code=trust_remote_code)


def _unpack(path: Path, folder: Path) -> None:
    gguf_spec(path, str(path))  # refuses what cannot be trained, before any weight is read
    if util.find_spec("gguf") is None:
        raise ModelError("TT-M072", path=str(path))
    folder.parent.mkdir(parents=True, exist_ok=True)
    beside = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    try:
        _write(path, beside)
        if is_unpacked(path):
            return  # by another process meanwhile, which may be reading it
        shutil.rmtree(folder, ignore_errors=True)  # what a crash left there is not whole
        os.replace(beside, folder)
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def _write(path: Path, folder: Path) -> None:
    dtype = _DTYPES[unpacked_dtype(read_gguf_header(path))]
    with quiet_transformers():
        try:
            model, missing = _read(path)
            tokenizer = AutoTokenizer.from_pretrained(path.parent, gguf_file=path.name, local_files_only=True)
        except (OSError, ValueError, KeyError, RuntimeError, AttributeError, ImportError, TypeError) as error:
            why = str(error).strip().partition("\n")[0][:300]
            raise ModelError("TT-M073", path=str(path), why=why or type(error).__name__) from error
        if missing:
            raise ModelError("TT-M073", path=str(path), why=missing[0])
        model.to(dtype).save_pretrained(folder)
        tokenizer.model_max_length = model.config.max_position_embeddings
        for key in ("is_local", "local_files_only"):  # how it was loaded, which is nobody's business later
            tokenizer.init_kwargs.pop(key, None)
        tokenizer.save_pretrained(folder)
    facts = {"file": path.name, "bytes": path.stat().st_size}
    (folder / UNPACKED).write_text(json.dumps(facts), encoding="utf-8")


def _read(path: Path) -> tuple[PreTrainedModel, list[str]]:
    """The model in fp32, and names of weights that the file did not have."""
    model, found = AutoModelForCausalLM.from_pretrained(
        path.parent,
        gguf_file=path.name,
        dtype=torch.float32,
        quantization_config=GgufConfig(dequantize=True),
        local_files_only=True,
        output_loading_info=True,
    )
    return model, sorted(found["missing_keys"])
