"""Tiny random models of real transformers classes, each a complete folder with its tokenizer.

Written like a published model (base model or language model, no task head), so that a test goes through the
same loading as a user does. Importing this sets torch to one thread: tests share their machine.
"""

from pathlib import Path

import torch
import transformers
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import AutoConfig, AutoModel, AutoModelForCausalLM, PreTrainedTokenizerFast

from trimtab.models import ModelSource

torch.set_num_threads(1)

FAMILIES = ("bert", "roberta", "distilbert", "llama", "qwen2")
DECODERS = ("llama", "qwen2", "qwen3", "mistral", "gemma", "gpt_neox", "phi")
_TEXT = (
    "good bad fine poor great awful film story actor plot music scene end start hour day "
    "the a an of and or not very so too it this that was is with for in on "
    "0 1 2 3 4 5 6 7 8 9 . , !"
)
WORDS = tuple(_TEXT.split())
_SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]")
_POSITIONS = 80
_SPREAD_OF_WEIGHTS = 0.2  # with the usual 0.02 so narrow a model gives every text the same answer


def tiny_model(
    folder: Path,
    family: str = "bert",
    *,
    layers: int = 2,
    hidden: int = 32,
    dropout: float = 0.1,
    positions: int = _POSITIONS,
    dtype: torch.dtype = torch.float32,
    seed: int = 0,
) -> ModelSource:
    """Write a random model of `family` and its tokenizer into `folder`."""
    shape = _SHAPES[family](layers, hidden, dropout) | {"max_position_embeddings": positions}
    config = AutoConfig.for_model(family, **shape, initializer_range=_SPREAD_OF_WEIGHTS)
    torch.manual_seed(seed)
    maker = AutoModelForCausalLM if family in DECODERS else AutoModel
    verbosity = transformers.logging.get_verbosity()
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    maker.from_config(config).to(dtype).save_pretrained(folder)
    transformers.logging.set_verbosity(verbosity)
    tiny_tokenizer(family).save_pretrained(folder)
    return ModelSource(folder=folder, name=str(folder))


def tiny_tokenizer(family: str = "bert") -> PreTrainedTokenizerFast:
    """Whole words of WORDS; special tokens and pairs as the family has them; decoders pad on the left."""
    vocabulary = {word: index for index, word in enumerate((*_SPECIAL, *WORDS))}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    single, pair = _TEMPLATES.get(family, ("[CLS] $A [SEP]", "[CLS] $A [SEP] $B:1 [SEP]:1"))
    special = [(word, vocabulary[word]) for word in ("[CLS]", "[SEP]")]
    tokenizer.post_processor = processors.TemplateProcessing(single=single, pair=pair, special_tokens=special)
    inputs = ["input_ids", "attention_mask"]
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="[PAD]",
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        padding_side="left" if family in DECODERS else "right",
        model_input_names=[*inputs, "token_type_ids"] if family in ("bert", "albert") else inputs,
    )


_TEMPLATES = {
    "roberta": ("[CLS] $A [SEP]", "[CLS] $A [SEP] [SEP] $B [SEP]"),
    "xlm-roberta": ("[CLS] $A [SEP]", "[CLS] $A [SEP] [SEP] $B [SEP]"),
    "llama": ("[CLS] $A", "[CLS] $A $B"),
    "qwen2": ("$A", "$A $B"),
    "qwen3": ("$A", "$A $B"),
    "mistral": ("[CLS] $A", "[CLS] $A $B"),
    "gemma": ("[CLS] $A", "[CLS] $A $B"),
    "gpt_neox": ("$A", "$A $B"),
    "phi": ("$A", "$A $B"),
}


def _bert(layers: int, hidden: int, dropout: float) -> dict[str, object]:
    return {
        "hidden_size": hidden,
        "num_hidden_layers": layers,
        "num_attention_heads": 4,
        "intermediate_size": 2 * hidden,
        "vocab_size": 64,
        "max_position_embeddings": _POSITIONS,
        "type_vocab_size": 2,
        "pad_token_id": 0,
        "hidden_dropout_prob": dropout,
        "attention_probs_dropout_prob": dropout,
    }


def _distilbert(layers: int, hidden: int, dropout: float) -> dict[str, object]:
    return {
        "dim": hidden,
        "n_layers": layers,
        "n_heads": 4,
        "hidden_dim": 2 * hidden,
        "vocab_size": 64,
        "max_position_embeddings": _POSITIONS,
        "pad_token_id": 0,
        "dropout": dropout,
        "attention_dropout": dropout,
        "seq_classif_dropout": dropout,
    }


def _llama(layers: int, hidden: int, dropout: float) -> dict[str, object]:
    return {
        "hidden_size": hidden,
        "num_hidden_layers": layers,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "intermediate_size": 2 * hidden,
        "vocab_size": 64,
        "max_position_embeddings": _POSITIONS,
        "pad_token_id": 0,
        "attention_dropout": dropout,
    }


_SHAPES = {
    "bert": _bert,
    "roberta": _bert,
    "xlm-roberta": _bert,
    "electra": lambda layers, hidden, dropout: _bert(layers, hidden, dropout) | {"embedding_size": 16},
    "albert": lambda layers, hidden, dropout: _bert(layers, hidden, dropout) | {"embedding_size": 16},
    "distilbert": _distilbert,
    "llama": _llama,
    "qwen2": _llama,
    "qwen3": _llama,
    "mistral": _llama,
    "gemma": lambda layers, hidden, dropout: _llama(layers, hidden, dropout) | {"head_dim": hidden // 4},
    "gpt_neox": lambda layers, hidden, dropout: _llama(layers, hidden, dropout) | {"hidden_dropout": dropout},
    "phi": lambda layers, hidden, dropout: _llama(layers, hidden, dropout) | {"resid_pdrop": dropout},
}
