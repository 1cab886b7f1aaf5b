"""What sentence-transformers reads beside a model: its modules, the pooling, prompts and the longest text.

Written as its versions from 2 on read it (checked with 6.2). Leaves out its model card: README.md is ours.
"""

import json
from pathlib import Path

from trimtab.data.spec import Prefixes
from trimtab.models.sentence import MODULES_FILE, POOLING_FILE, PoolingKind

_MODULES = (("", "Transformer"), ("1_Pooling", "Pooling"), ("2_Normalize", "Normalize"))


def write_sentence_files(
    folder: Path, *, width: int, pooling: PoolingKind, max_length: int, prefixes: Prefixes
) -> None:
    """Into `folder` beside config.json. Texts are encoded with the prefix of queries unless another is asked
    for."""
    modules = [
        {"idx": number, "name": str(number), "path": path, "type": f"sentence_transformers.models.{kind}"}
        for number, (path, kind) in enumerate(_MODULES)
    ]
    query, passage = prefixes.put("", "")
    prompts = {"query": query, "document": passage} if query or passage else {}
    _write(folder / MODULES_FILE, modules)
    _write(
        folder / POOLING_FILE,
        {
            "word_embedding_dimension": width,
            "pooling_mode_cls_token": pooling == "cls",
            "pooling_mode_mean_tokens": pooling == "mean",
            "pooling_mode_max_tokens": False,
            "pooling_mode_mean_sqrt_len_tokens": False,
        },
    )
    _write(folder / "sentence_bert_config.json", {"max_seq_length": max_length, "do_lower_case": False})
    _write(
        folder / "config_sentence_transformers.json",
        {
            "__version__": {},
            "prompts": prompts,
            "default_prompt_name": "query" if prompts else None,
            "similarity_fn_name": "cosine",
        },
    )


def _write(path: Path, content: object) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(content, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")
