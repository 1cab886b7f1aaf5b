"""Builds the transformers model a spec describes, on the meta device: the second implementation of the
counts."""

import torch
import transformers
from torch import nn

from trimtab.models import ModelSpec
from trimtab.tuning.shapes import config_of


def published_model(spec: ModelSpec) -> nn.Module:
    """The class whose parameters the published count counts."""
    config = config_of(spec)
    with torch.device("meta"):
        if spec.kind == "encoder-decoder":
            return transformers.AutoModelForSeq2SeqLM.from_config(config)
        if spec.kind == "decoder":
            return transformers.AutoModelForCausalLM.from_config(config)
        if takes_pooler_argument(config):
            return transformers.AutoModel.from_config(config, add_pooling_layer=spec.pooler)
        return transformers.AutoModel.from_config(config)


def published_count(spec: ModelSpec) -> int:
    """Parameters of that class. T5's class ties its head whatever the config says, but the checkpoints of T5
    1.1 and Flan hold a head of their own: there it is counted by itself."""
    model = published_model(spec)
    own_head = spec.family == "t5" and not spec.tied_embeddings
    return count(model) + (count(model.lm_head) if own_head else 0)


def takes_pooler_argument(config: transformers.PreTrainedConfig) -> bool:
    return config.model_type in ("bert", "roberta", "xlm-roberta", "albert", "mobilebert")


def classifier(spec: ModelSpec, outputs: int) -> nn.Module:
    with torch.device("meta"):
        config = config_of(spec, num_labels=outputs)
        return transformers.AutoModelForSequenceClassification.from_config(config)


def layers_of(model: nn.Module, spec: ModelSpec) -> nn.Module:
    """The first list of `spec.layers` equal modules: the layers."""
    for module in model.modules():
        if isinstance(module, nn.ModuleList) and len(module) == spec.layers:
            return module
    raise AssertionError(f"no list of {spec.layers} layers in {type(model).__name__}")


def count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())
