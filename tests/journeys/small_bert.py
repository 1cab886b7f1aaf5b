"""A BERT of two layers with random weights and a real WordPiece tokenizer, as a published model folder."""

import string
from itertools import chain
from pathlib import Path

import torch
from sentences import TOPICS, UNSEEN
from transformers import AutoModel, BertConfig, BertTokenizerFast

_SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")


def small_bert(folder: Path, *, seed: int = 0) -> Path:
    """Write the model into `folder`. Its vocabulary: letters, their continuations, the words of the sentences
    but every fourth, so that some words are cut into pieces."""
    folder.mkdir(parents=True, exist_ok=True)
    vocabulary = _vocabulary()
    (folder / "vocab.txt").write_text("\n".join(vocabulary) + "\n", encoding="utf-8")
    BertTokenizerFast(str(folder / "vocab.txt"), model_max_length=32).save_pretrained(folder)
    config = BertConfig(
        vocab_size=len(vocabulary),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=64,
        max_position_embeddings=32,
        initializer_range=0.2,  # with the usual 0.02 so narrow a model gives every text the same answer
    )
    torch.manual_seed(seed)
    AutoModel.from_config(config).save_pretrained(folder)
    return folder


def _vocabulary() -> tuple[str, ...]:
    texts = chain(UNSEEN, *(chain(subjects, endings) for subjects, endings in TOPICS.values()))
    words = sorted({word for text in texts for word in text.lower().split()})
    letters = string.ascii_lowercase
    kept = (word for number, word in enumerate(words) if number % 4 and len(word) > 1)
    return (*_SPECIAL, ".", *letters, *(f"##{letter}" for letter in letters), *kept)
