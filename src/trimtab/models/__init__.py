"""Facts about models: what they are, how many parameters they have, where they lie. Reads no weights.

ModelSpec, Linear             what a model is                               spec.py
the counts                    arithmetic on a spec                          families.py, layouts.py
catalogue, shape_named        shapes of well-known models                   catalogue.py
locate, spec_of, outline_of   what the user typed -> folder, or spec        sources.py and the hubs
read_spec, weights_hash       a folder -> spec, hash                        read.py and what it calls
"""

from trimtab.models.catalogue import catalogue, shape_named
from trimtab.models.config import load_config
from trimtab.models.config_keys import TRAINED_FAMILIES
from trimtab.models.families import (
    backbone_parameters,
    embedding_parameters,
    final_norm_parameters,
    head_parameters,
    layer_linears,
    layer_parameters,
    parameters,
    pooler_parameters,
    stored_layers,
    top_parameters,
)
from trimtab.models.gguf import gguf_file, is_unpacked
from trimtab.models.hub import TokenizerFile
from trimtab.models.read import ModelSource, read_spec, weights_hash
from trimtab.models.sources import Outline, locate, outline_of, spec_of, tokenizer_of
from trimtab.models.spec import Kind, Linear, ModelSpec, Role

__all__ = [
    "TRAINED_FAMILIES",
    "Kind",
    "Linear",
    "ModelSource",
    "ModelSpec",
    "Outline",
    "Role",
    "TokenizerFile",
    "backbone_parameters",
    "catalogue",
    "embedding_parameters",
    "final_norm_parameters",
    "gguf_file",
    "head_parameters",
    "is_unpacked",
    "layer_linears",
    "layer_parameters",
    "load_config",
    "locate",
    "outline_of",
    "parameters",
    "pooler_parameters",
    "read_spec",
    "shape_named",
    "spec_of",
    "stored_layers",
    "tokenizer_of",
    "top_parameters",
    "weights_hash",
]
