"""The tokenizer of a GGUF file: how text is split is told in llama.cpp's words, SentencePiece keeps its order,
special tokens are found."""

import json
from pathlib import Path

import gguf
import pytest
from tiny_language import language_folder
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import AutoTokenizer, PreTrainedTokenizerFast
from transformers.integrations.gguf.gguf_tokenizer_mapping import GGUF_PRE_TOKENIZER_SPLITS

from trimtab.compression.gguf import write_gguf
from trimtab.errors import ModelError
from trimtab.models.gguf_vocabulary import vocabulary_entries

BYTES = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
PLAIN = BYTES | {"use_regex": False}
TEXT = ["the river rises early", "a train leaves, the team wins", "prices fall again and again", "rise and fall"]


def split(pattern: str) -> dict[str, object]:
    step = {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": False}
    return {"type": "Sequence", "pretokenizers": [step, PLAIN]}


DIGITS = {"type": "Sequence", "pretokenizers": [{"type": "Digits", "individual_digits": True}, BYTES]}


@pytest.mark.parametrize(
    ("steps", "whole_words_first", "word"),
    [
        (BYTES, False, "gpt-2"),
        (DIGITS, False, "smollm"),
        *((split(GGUF_PRE_TOKENIZER_SPLITS[word]), word in ("llama-bpe", "tekken"), word)
          for word in ("llama-bpe", "smaug-bpe", "qwen2", "tekken")),
    ],
)  # fmt: skip
def test_splitting_is_told_in_llama_cpps_words(
    tmp_path: Path, steps: dict[str, object], whole_words_first: bool, word: str
) -> None:
    folder = language_folder(tmp_path / "model")
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    tokenizer["pre_tokenizer"] = steps
    tokenizer["model"]["ignore_merges"] = whole_words_first
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
    path = write_gguf(folder, tmp_path / "tiny.gguf", "q8_0").path
    assert gguf.GGUFReader(path).fields["tokenizer.ggml.pre"].contents() == word


@pytest.mark.parametrize(
    "steps",
    [
        split(r"\w+"),
        {"type": "Sequence", "pretokenizers": [BYTES, BYTES]},
        {"type": "Whitespace"},
        {"type": "Sequence", "pretokenizers": []},
        None,
    ],
)
def test_another_way_of_splitting_is_refused(tmp_path: Path, steps: object) -> None:
    folder = language_folder(tmp_path / "model")
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer | {"pre_tokenizer": steps}))
    with pytest.raises(ModelError) as refused:
        vocabulary_entries(folder, {}, 1000, "tiny")
    assert refused.value.code == "TT-C409"


def sentence_pieces(*, metaspace: bool) -> Tokenizer:
    """BPE as SentencePiece has it: spaces as a sign, bytes for what is unknown, no splitting before."""
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    if metaspace:
        tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=False)
    else:
        tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    tokenizer.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    special = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))]
    trainer = trainers.BpeTrainer(vocab_size=340, special_tokens=special)
    tokenizer.train_from_iterator(TEXT, trainer)
    plain = json.loads(tokenizer.to_str())
    plain["added_tokens"] = plain["added_tokens"][:3]  # the bytes are ordinary tokens
    return Tokenizer.from_str(json.dumps(plain))


@pytest.mark.parametrize("metaspace", [True, False])
def test_sentence_pieces_keep_their_order(tmp_path: Path, metaspace: bool) -> None:
    tokenizer = sentence_pieces(metaspace=metaspace)
    folder = language_folder(tmp_path / "model", vocab_size=tokenizer.get_vocab_size())
    (folder / "chat_template.jinja").unlink()
    wrapped = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", unk_token="<unk>", pad_token="</s>"
    )
    wrapped.save_pretrained(folder)
    path = write_gguf(folder, tmp_path / "alone" / "tiny.gguf", "q8_0").path
    after = AutoTokenizer.from_pretrained(path.parent, gguf_file=path.name)
    for text in [*TEXT, "the teams rise again", "ärger, 东西"]:
        assert after(text, add_special_tokens=False)["input_ids"] == tokenizer.encode(text).ids, text
    fields = gguf.GGUFReader(path).fields
    assert fields["tokenizer.ggml.model"].contents() == "llama"
    kinds = fields["tokenizer.ggml.token_type"].contents()
    assert kinds[:4] == [2, 3, 3, 6] and kinds[-1] == 1
    assert "tokenizer.chat_template" not in fields


def test_a_beginning_of_text_is_added_where_the_tokenizer_adds_it(tmp_path: Path) -> None:
    folder = language_folder(tmp_path / "model")
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    piece = {"SpecialToken": {"id": "<|im_start|>", "type_id": 0}}
    template = {"type": "TemplateProcessing", "single": [piece, {"Sequence": {"id": "A", "type_id": 0}}]}
    tokenizer["post_processor"] = {"type": "Sequence", "processors": [BYTES, template]}
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
    fields = gguf.GGUFReader(write_gguf(folder, tmp_path / "tiny.gguf", "q8_0").path).fields
    assert fields["tokenizer.ggml.add_bos_token"].contents() is True
    assert fields["tokenizer.ggml.add_eos_token"].contents() is False
    assert fields["tokenizer.ggml.bos_token_id"].contents() == 1
