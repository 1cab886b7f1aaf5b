"""tuning: the torch half of every Part (one file each), and loading a real model to attach them to.

Importing this room imports torch, transformers and peft; nothing above the torch line may.
"""

from trimtab.tuning import head, language_head, lora, weights  # noqa: F401  each registers its `attach`
from trimtab.tuning.attach import apply, attach, train_mode, trained_names
from trimtab.tuning.load import (
    DTYPES,
    cast,
    load_classifier,
    load_language_model,
    load_tokenizer,
    quiet_transformers,
)
from trimtab.tuning.lora import load_adapter, lora_of, merge, save_adapter

__all__ = [
    "DTYPES",
    "apply",
    "attach",
    "cast",
    "load_adapter",
    "load_classifier",
    "load_language_model",
    "load_tokenizer",
    "lora_of",
    "merge",
    "quiet_transformers",
    "save_adapter",
    "train_mode",
    "trained_names",
]
