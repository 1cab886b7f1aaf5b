"""tuning: the torch half of every Part (one file each), and loading a real model to attach them to.

Importing this room imports torch, transformers and peft; nothing above the torch line may.
"""

import trimtab.tuning.quiet  # noqa: F401  before PEFT
from trimtab.tuning import (  # noqa: F401  each registers its part
    biases,
    bottleneck,
    head,
    ia3,
    language_head,
    lora,
    pooling,
    prefix,
    prompt,
    ptuning,
    token_head,
    weights,
)
from trimtab.tuning.adapter import (
    adapter_of,
    load_adapter,
    load_head,
    merge,
    opened,
    parameters_by_key,
    require_finite,
    require_finite_model,
    save_adapter,
)
from trimtab.tuning.attach import apply, attach, open_only, rate_shares, train_mode, trained_names
from trimtab.tuning.blocked import block
from trimtab.tuning.gguf import locate_unpacked
from trimtab.tuning.gguf_model import open_gguf_model
from trimtab.tuning.load import (
    DTYPES,
    cast,
    load_classifier,
    load_encoder,
    load_language_model,
    load_tagger,
    load_tokenizer,
    quiet_transformers,
)
from trimtab.tuning.prefix import require_recompute
from trimtab.tuning.prompt import start_from_text
from trimtab.tuning.quantised import count_parameters, is_packed, quantise, unpack
from trimtab.tuning.sharing import on_same_weights, own_bytes, share_backbone, sharing_copy
from trimtab.tuning.shrink import shrink, shrink_built
from trimtab.tuning.tokens import keep_tokens
from trimtab.tuning.trained import trained_tensors
from trimtab.tuning.upper_part import STATES, UpperPart, lower_states
from trimtab.tuning.virtual_tokens import bare, virtual_tokens

__all__ = [
    "DTYPES",
    "STATES",
    "UpperPart",
    "adapter_of",
    "apply",
    "attach",
    "bare",
    "block",
    "cast",
    "count_parameters",
    "is_packed",
    "keep_tokens",
    "load_adapter",
    "load_classifier",
    "load_encoder",
    "load_head",
    "load_language_model",
    "load_tagger",
    "load_tokenizer",
    "locate_unpacked",
    "lower_states",
    "merge",
    "on_same_weights",
    "open_gguf_model",
    "open_only",
    "opened",
    "own_bytes",
    "parameters_by_key",
    "quantise",
    "quiet_transformers",
    "rate_shares",
    "require_finite",
    "require_finite_model",
    "require_recompute",
    "save_adapter",
    "share_backbone",
    "sharing_copy",
    "shrink",
    "shrink_built",
    "start_from_text",
    "train_mode",
    "trained_names",
    "trained_tensors",
    "unpack",
    "virtual_tokens",
]
