"""Tiny tokenizers of every kind, trained on a few words of English, Chinese and Russian, and models that read with
them."""

import random
from pathlib import Path

import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import AutoConfig, AutoModel, PreTrainedTokenizerFast

from trimtab.models import ModelSource

KINDS = ("unigram", "wordpiece", "bytes", "bpe")
SPECIAL = ("<s>", "<pad>", "</s>", "<unk>", "<mask>")
_ENGLISH = "the story was very good and so bad that nobody came again to see how awful film ends"
ENGLISH = tuple(_ENGLISH.split())
CHINESE = "房间很干净服务态度非常好早餐一般价格便宜交通方便下次还会来酒店位置不错设施陈旧隔音太差"


def sentences(count: int, seed: int = 0) -> list[str]:
    """Half of them English, half Chinese."""
    draw = random.Random(seed)
    made = []
    for number in range(count):
        start = draw.randrange(len(CHINESE) - 8)
        words = " ".join(draw.choices(ENGLISH, k=draw.randint(3, 9)))
        made.append(
            words if number % 2 else f"{CHINESE[start : start + draw.randint(4, 8)]}，{draw.choice(CHINESE)}"
        )
    return made


_READ = [*sentences(600), *["кино было очень хорошее", "плохое кино"] * 30]


def tokenizer(kind: str, *, size: int = 400) -> Tokenizer:
    """Trained on sentences; it adds <s> and </s>."""
    made = _MAKERS[kind](size)
    ends = [(token, made.token_to_id(token)) for token in ("<s>", "</s>")]
    made.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", pair="<s> $A </s> </s> $B </s>", special_tokens=ends
    )
    return made


def _unigram(size: int) -> Tokenizer:
    made = Tokenizer(models.Unigram())
    made.normalizer = normalizers.NFKC()
    made.pre_tokenizer, made.decoder = pre_tokenizers.Metaspace(), decoders.Metaspace()
    trainer = trainers.UnigramTrainer(
        vocab_size=size, special_tokens=list(SPECIAL), unk_token="<unk>", show_progress=False
    )
    made.train_from_iterator(_READ, trainer)
    return made


def _wordpiece(size: int) -> Tokenizer:
    made = Tokenizer(models.WordPiece(unk_token="<unk>"))
    made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    trainer = trainers.WordPieceTrainer(vocab_size=size, special_tokens=list(SPECIAL), show_progress=False)
    made.train_from_iterator(_READ, trainer)
    return made


def _bytes(size: int) -> Tokenizer:
    made = Tokenizer(models.BPE())
    made.pre_tokenizer, made.decoder = pre_tokenizers.ByteLevel(), decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=size + 256,
        special_tokens=list(SPECIAL),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    made.train_from_iterator(_READ, trainer)
    return made


def _bpe(size: int) -> Tokenizer:
    made = Tokenizer(models.BPE(unk_token="<unk>"))
    made.pre_tokenizer, made.decoder = pre_tokenizers.Metaspace(), decoders.Metaspace()
    trainer = trainers.BpeTrainer(vocab_size=size, special_tokens=list(SPECIAL), show_progress=False)
    made.train_from_iterator(_READ, trainer)
    made.add_tokens([AddedToken("<stars>", normalized=False)])  # beyond the model's own
    return made


_MAKERS = {"unigram": _unigram, "wordpiece": _wordpiece, "bytes": _bytes, "bpe": _bpe}


def reading_model(folder: Path, kind: str, family: str = "bert", *, more_rows: int = 7) -> ModelSource:
    """A random model with that tokenizer, and a few rows more than that has tokens."""
    made = tokenizer(kind)
    fast = PreTrainedTokenizerFast(
        tokenizer_object=made,
        bos_token="<s>",
        cls_token="<s>",
        eos_token="</s>",
        sep_token="</s>",
        pad_token="<pad>",
        unk_token="<unk>",
        mask_token="<mask>",
        model_input_names=["input_ids", "attention_mask"],
    )
    shape = {
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "intermediate_size": 48,
        "max_position_embeddings": 80,
        "pad_token_id": fast.pad_token_id,
        "bos_token_id": fast.bos_token_id,
        "eos_token_id": fast.eos_token_id,
        "initializer_range": 0.2,
    }
    config = AutoConfig.for_model(family, vocab_size=len(fast) + more_rows, **shape)
    torch.manual_seed(0)
    AutoModel.from_config(config).save_pretrained(folder)
    fast.save_pretrained(folder)
    return ModelSource(folder=folder, name=str(folder))
