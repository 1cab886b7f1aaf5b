"""The step `trim`: a smaller vocabulary. What all texts are cut into, and that nothing else of a model changes."""

import csv
import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer
from transformers import AutoModel, AutoModelForCausalLM, AutoTokenizer

from tiny_artifacts import moved_artifact, tiny_base
from tiny_chat import chat_model, write_talks
from tiny_embed import write_scored
from tiny_tagging import write_tags
from tiny_training import write_data
from tiny_vocabulary import CHINESE, KINDS, reading_model, sentences, tokenizer
from trimtab import tuning
from trimtab.compression.vocabulary import Vocabulary, numbers, renumbered_config, script_of
from trimtab.compression.wanted import Trim
from trimtab.data import Example
from trimtab.errors import Message, ModelError, TrimtabError
from trimtab.evaluation import open_artifact
from trimtab.models import ModelSource, read_spec
from trimtab.study import Compressed, CompressRequest, compress

SEEN, UNSEEN = sentences(40, seed=1), sentences(400, seed=2)


def counts(made: Tokenizer, texts: list[str]) -> np.ndarray:
    return np.bincount([number for text in texts for number in made.encode(text).ids])


def cut(made: Tokenizer, texts: list[str] = SEEN, **more: object) -> tuple[tuple[int, ...], Tokenizer]:
    """Which tokens stay, and the tokenizer with them."""
    vocabulary = Vocabulary(json.loads(made.to_str()))
    kept = vocabulary.kept(counts(made, texts), **more)  # type: ignore[arg-type]
    return kept, Tokenizer.from_str(json.dumps(vocabulary.trimmed(kept)))


def write_rows(folder: Path, texts: list[str], *, pair: bool = False) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for place, split in enumerate(("train", "dev", "test")):
        with (folder / f"{split}.csv").open("w", newline="", encoding="utf-8") as file:
            table = csv.writer(file)
            table.writerow(["first", "second", "label"] if pair else ["text", "label"])
            for number, text in enumerate(texts[place::3]):
                row = [text, texts[-1 - number]] if pair else [text]
                table.writerow([*row, ("bad", "good")[number % 2]])
    return folder


def done(folder: Path, out: Path, data: Path, wanted: Trim | None = None, **more: object) -> list[object]:
    request = CompressRequest(folder=str(folder), out=str(out), wanted=wanted or Trim(), data=str(data), **more)  # type: ignore[arg-type]
    return list(compress(request))


def said(events: list[object], code: str) -> Iterator[Message]:
    return (one for one in events if isinstance(one, Message) and one.code == code)


# ------------------------------------------------------------------ the tokenizer


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("whole_scripts", [False, True])
def test_a_text_whose_tokens_all_stay_is_cut_as_before(kind: str, whole_scripts: bool) -> None:
    made = tokenizer(kind)
    kept, smaller = cut(made, whole_scripts=whole_scripts)
    number_of, alike, others = numbers(kept), 0, 0
    assert len(kept) == smaller.get_vocab_size() < made.get_vocab_size()
    for text in [*SEEN, *UNSEEN]:
        before, after = made.encode(text), smaller.encode(text)
        if set(before.ids) <= number_of.keys():
            assert [number_of[number] for number in before.ids] == after.ids
            assert before.tokens == after.tokens and before.offsets == after.offsets
            alike += 1
        else:
            others += 1
            assert text not in SEEN
    assert alike > len(SEEN) and (others or whole_scripts)


@pytest.mark.parametrize("kind", KINDS)
def test_a_text_that_was_not_seen_is_still_readable(kind: str) -> None:
    made = tokenizer(kind)
    texts = [text for text in SEEN if CHINESE[0] not in text][:12]
    kept, smaller = cut(made, texts)
    unknown = made.token_to_id("<unk>")
    for text in [*UNSEEN, *CHINESE]:
        if unknown not in made.encode(text).ids:
            assert smaller.token_to_id("<unk>") not in smaller.encode(text).ids
    english, _ = cut(made, [text for text in texts if text.isascii()])
    letters = {made.id_to_token(number).lstrip("▁").removeprefix("##") for number in english}
    assert kind == "bytes" or not letters & set(CHINESE)
    assert len(english) < len(kept)


@pytest.mark.parametrize("kind", KINDS)
def test_special_and_added_tokens_stay_in_their_order(kind: str) -> None:
    made = tokenizer(kind)
    kept, smaller = cut(made)
    before, after = made.get_added_tokens_decoder(), smaller.get_added_tokens_decoder()
    assert [token.content for _, token in sorted(before.items())] == [
        token.content for _, token in sorted(after.items())
    ]
    assert {numbers(kept)[number] for number in before} == set(after)
    ids = smaller.encode("good", "bad").ids
    assert [smaller.id_to_token(number) for number in (ids[0], ids[-1])] == ["<s>", "</s>"]


def test_what_an_unknown_character_costs_stays_what_it_was() -> None:
    """Without the lowest score "xz" and an unknown character would be cheaper than "x" and "z☃"."""
    scores = {"<unk>": 0.0, "x": -20.0, "z☃": -20.0, "xz": -1.0, "z": -2.0, "rare": -50.0, "long": -3.0}
    plain = {
        "version": "1.0",
        "added_tokens": [],
        "post_processor": None,
        "model": {"type": "Unigram", "unk_id": 0, "vocab": [[piece, score] for piece, score in scores.items()]},
    }
    whole = Tokenizer.from_str(json.dumps(plain))
    texts = ["xz☃", "xz"]
    kept, smaller = cut(whole, texts)
    assert [smaller.encode(text).tokens for text in texts] == [["x", "z☃"], ["xz"]]
    assert smaller.get_vocab_size() == whole.get_vocab_size() - 1  # "z" is a single letter of the script
    without = Vocabulary(plain).trimmed(tuple(number for number in kept if number != 5))
    assert Tokenizer.from_str(json.dumps(without)).encode("xz☃").tokens != ["x", "z☃"]


def test_every_part_of_the_file_that_has_ids_is_renumbered() -> None:
    vocab = {word: number for number, word in enumerate(["aa", "[CLS]", "bb", "[SEP]", "[PAD]", "[UNK]"])}
    plain = {
        "added_tokens": [{"id": 3, "content": "[SEP]", "special": True}],
        "padding": {"pad_id": 4, "pad_token": "[PAD]"},
        "post_processor": {
            "type": "Sequence",
            "processors": [{"type": "BertProcessing", "sep": ["[SEP]", 3], "cls": ["[CLS]", 1]}],
        },
        "model": {"type": "WordLevel", "vocab": vocab, "unk_token": "[UNK]"},
    }
    vocabulary = Vocabulary(plain)
    kept = vocabulary.kept(np.array([0, 0, 9]))
    assert kept == (1, 2, 3, 4, 5) and vocabulary.kept(np.array([0]), up_to=2) == tuple(range(6))
    smaller = vocabulary.trimmed(kept)
    assert smaller["model"]["vocab"] == {"[CLS]": 0, "bb": 1, "[SEP]": 2, "[PAD]": 3, "[UNK]": 4}
    assert smaller["padding"]["pad_id"] == 3 and smaller["added_tokens"][0]["id"] == 2
    assert smaller["post_processor"]["processors"][0] == {
        "type": "BertProcessing",
        "sep": ["[SEP]", 2],
        "cls": ["[CLS]", 0],
    }
    assert plain["added_tokens"][0]["id"] == 3  # what was given stays
    config = {"added_tokens_decoder": {"0": {"content": "aa"}, "3": {"content": "[SEP]"}}, "x": 1}
    assert renumbered_config(config, kept) == {"added_tokens_decoder": {"2": {"content": "[SEP]"}}, "x": 1}


def test_scripts() -> None:
    assert [script_of(letter) for letter in "好éд，7☃"] == ["CJK", "LATIN", "CYRILLIC", "Po", "Nd", "So"]


# ------------------------------------------------------------------ the model


@pytest.mark.parametrize("tied", [False, True])
def test_only_the_table_of_tokens_and_the_head_change(tied: bool, tmp_path: Path) -> None:
    source = chat_model(tmp_path, tied=tied, layers=2)
    model, spec = AutoModelForCausalLM.from_pretrained(tmp_path).eval(), read_spec(source)
    before = {name: weight.clone() for name, weight in model.state_dict().items()}
    kept = tuple(number for number in range(spec.vocab) if number % 3)
    ids = torch.tensor([[1, 4, 2, 10, 13]])
    with torch.no_grad():
        wanted = model(input_ids=ids).logits[..., list(kept)]
        after = tuning.keep_tokens(model, spec, kept)
        found = model(input_ids=torch.tensor([[kept.index(number) for number in ids[0].tolist()]])).logits
    assert torch.equal(found, wanted)
    assert (after.vocab, model.config.vocab_size) == (len(kept), len(kept))
    assert (model.lm_head.weight is model.model.embed_tokens.weight) == tied
    for name, weight in model.state_dict().items():
        rows = (
            before[name][list(kept)] if name in ("model.embed_tokens.weight", "lm_head.weight") else before[name]
        )
        assert torch.equal(weight, rows)
    with pytest.raises(ModelError, match="TT-C307"):
        tuning.keep_tokens(model, after, (0, len(kept)))


# ------------------------------------------------------------------ the step


@pytest.mark.parametrize(
    ("kind", "family", "method"),
    [
        ("unigram", "bert", "full"),
        ("unigram", "xlm-roberta", "lora"),
        ("wordpiece", "bert", "full"),
        ("bytes", "roberta", "full"),
        ("bpe", "llama", "full"),
    ],
)
def test_a_trimmed_model_computes_the_same(kind: str, family: str, method: str, tmp_path: Path) -> None:
    folder = moved_artifact(tmp_path / "a", reading_model(tmp_path / "base", kind, family), method)
    texts = [text for text in UNSEEN if len(text) < 30][:60]
    events = done(folder, tmp_path / "out", write_rows(tmp_path / "data", texts), force=True)
    before, after = open_artifact(folder), open_artifact(tmp_path / "out")
    (told,) = said(events, "TT-C302")
    assert after.spec.vocab == told.fact("after") < before.spec.vocab == told.fact("before")
    assert sum(weight.nbytes for weight in after.model.parameters()) == told.fact("size")
    file = (tmp_path / "out/tokenizer.json").stat().st_size
    assert abs(file - int(told.fact("file"))) < 0.02 * file

    rows = [Example((text,), 0) for text in texts[::3]]  # the training texts: all of their tokens stay
    ids, shorter = before.encode(rows), after.encode(rows)
    assert np.array_equal(ids.starts, shorter.starts)
    close = 0.0 if method == "full" else 1e-5  # an adapter is merged
    np.testing.assert_allclose(after.logits(shorter), before.logits(ids), rtol=0, atol=close)

    plain = Tokenizer.from_file(str(tmp_path / "out/tokenizer.json"))
    plain.no_padding()
    plain.no_truncation()
    opened = AutoTokenizer.from_pretrained(tmp_path / "out")
    for text in [*UNSEEN, "unseen ☃ 们"]:
        assert plain.encode(text).ids == opened(text)["input_ids"]
    for name in ("pad", "eos", "bos"):
        assert getattr(after.model.config, f"{name}_token_id") == getattr(opened, f"{name}_token_id")


def test_the_result_is_described_exactly(tmp_path: Path) -> None:
    folder = moved_artifact(tmp_path / "a", reading_model(tmp_path / "base", "unigram"), "full")
    data = write_rows(tmp_path / "data", SEEN)
    *events, last = done(folder, tmp_path / "out", data, force=True)
    assert isinstance(last, Compressed)
    before, after = open_artifact(folder), open_artifact(tmp_path / "out")
    size = next(said(events, "TT-C302")).fact("size")
    assert 0 <= last.change.weight_bytes_after - int(size) < 16 * 1024
    expected = replace(
        before.spec,
        vocab=after.model.get_input_embeddings().num_embeddings,
        pad_token_id=after.tokenizer.pad_token_id,
        **{key: getattr(after.spec, key) for key in _OF_FILES},
    )
    assert after.spec == expected
    assert (last.change.step, last.change.settings) == ("trim", ("--keep", "seen"))
    assert [one.split for one in last.change.compared] == ["dev", "test"]
    shares = [message.fact("same") for message in said(events, "TT-C303")]
    for share, split in zip(shares, ("dev", "test"), strict=True):
        assert share == pytest.approx(_read_alike(folder, tmp_path / "out", data / f"{split}.csv"))


_OF_FILES = ("name", "hub_id", "stored_bytes", "tokenizer_bytes", "fingerprint", "source")


def _read_alike(folder: Path, out: Path, file: Path) -> float:
    """By the written tokens, not by their numbers."""
    one, other = (AutoTokenizer.from_pretrained(place) for place in (folder, out))
    with file.open(encoding="utf-8") as rows:
        texts = [row["text"] for row in csv.DictReader(rows)]
    return float(np.mean([one.tokenize(text) == other.tokenize(text) for text in texts]))


@pytest.mark.parametrize("task", ["pair", "embed", "tag"])
def test_other_tasks(task: str, tmp_path: Path) -> None:
    folder = moved_artifact(tmp_path / "a", tiny_base(tmp_path), "full", task=task, labels=_LABELS[task])
    data = _DATA[task](tmp_path / "data")
    *events, last = done(folder, tmp_path / "out", data, force=True)
    assert isinstance(last, Compressed)
    alike = [message.fact("same") for message in said(events, "TT-C303")]
    assert alike[0] == 1.0 and last.change.compared[0].largest_difference <= 1e-6
    assert next(said(events, "TT-C302")).fact("after") < 64


_LABELS = {"pair": ("bad", "good"), "embed": (), "tag": ("O", "B-mood", "B-number", "I-number")}
_DATA = {"pair": lambda folder: write_data(folder, pair=True), "embed": write_scored, "tag": write_tags}


def test_positions_that_are_counted_from_padding_stay(tmp_path: Path) -> None:
    """RoBERTa's first position is its padding id plus one: the tokens before it keep their numbers."""
    source, padding = reading_model(tmp_path / "base", "unigram", "roberta"), 9
    config = json.loads((source.folder / "config.json").read_text())
    tokens = AutoTokenizer.from_pretrained(source.folder)
    tokens.pad_token = tokens.convert_ids_to_tokens(padding)
    tokens.save_pretrained(source.folder)
    (source.folder / "config.json").write_text(json.dumps(config | {"pad_token_id": padding}))
    folder = moved_artifact(tmp_path / "a", source, "full")
    done(folder, tmp_path / "out", write_rows(tmp_path / "data", SEEN), force=True)
    before, after = open_artifact(folder), open_artifact(tmp_path / "out")
    assert after.spec.pad_token_id == before.spec.pad_token_id == padding
    assert after.spec.first_position == before.spec.first_position
    rows = [Example((text,), 0) for text in SEEN[::3]]
    assert np.array_equal(after.logits(after.encode(rows)), before.logits(before.encode(rows)))


def test_texts_of_a_file_stay_readable_as_they_were(tmp_path: Path) -> None:
    folder = moved_artifact(tmp_path / "a", reading_model(tmp_path / "base", "unigram"), "full")
    data = write_rows(tmp_path / "data", sentences(30, seed=5))
    (tmp_path / "more.txt").write_text("\n".join(UNSEEN), encoding="utf-8")
    wanted = Trim(further=(str(tmp_path / "more.txt"),))
    seen = done(folder, tmp_path / "out", data, force=True)
    more = done(folder, tmp_path / "more", data, wanted, force=True)
    script = done(folder, tmp_path / "script", data, Trim(keep="script"), force=True)
    kept = [next(said(events, "TT-C302")).fact("after") for events in (seen, more, script)]
    assert kept[0] < kept[1] and kept[0] < kept[2]
    assert _alike_texts(folder, tmp_path / "more") == 1.0 > _alike_texts(folder, tmp_path / "out")
    last = more[-1]
    assert isinstance(last, Compressed) and f"--keep-texts {tmp_path / 'more.txt'}" in last.command


def _alike_texts(folder: Path, out: Path) -> float:
    one, other = (AutoTokenizer.from_pretrained(place) for place in (folder, out))
    return float(np.mean([one.tokenize(text) == other.tokenize(text) for text in UNSEEN]))


def test_what_cannot_be_trimmed_is_refused(tmp_path: Path) -> None:
    for kind in ({"type": "Other"}, {"type": "BPE", "end_of_word_suffix": "</w>"}):
        with pytest.raises(ModelError, match="TT-C300"):
            Vocabulary({"model": kind}, "m")
    chat = moved_artifact(tmp_path / "chat", chat_model(tmp_path / "base", layers=1), "full", task="instruct")
    with pytest.raises(TrimtabError, match="TT-C301"):
        done(chat, tmp_path / "out", write_talks(tmp_path / "talks"))
    assert not (tmp_path / "out").exists()


# ------------------------------------------------------------------ real models


@pytest.mark.model
def test_a_real_multilingual_encoder(real_model: Callable[[str], Path]) -> None:
    """Vectors of texts that were seen are those of the whole model, to the bit."""
    folder = real_model("multilingual-e5-small")
    source = ModelSource(folder=folder, name="e5")
    plain = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
    whole = Tokenizer.from_str(json.dumps(plain))
    vocabulary, texts = (
        Vocabulary(plain, "e5"),
        ["房间很干净，服务态度非常好！", "早餐一般，价格 300 元。", "query: good film"],
    )
    kept = vocabulary.kept(counts(whole, texts), up_to=1)
    smaller = Tokenizer.from_str(json.dumps(vocabulary.trimmed(kept)))
    model, spec = AutoModel.from_pretrained(folder).eval(), read_spec(source)
    with torch.no_grad():
        before = [model(input_ids=torch.tensor([whole.encode(text).ids]))[0] for text in texts]
        after_spec = tuning.keep_tokens(model, spec, kept)
        after = [model(input_ids=torch.tensor([smaller.encode(text).ids]))[0] for text in texts]
    assert all(torch.equal(one, other) for one, other in zip(before, after, strict=True))
    assert spec.vocab == 250_037 and 8_000 < after_spec.vocab < 12_000  # CJK and LATIN letters are most of it
    common = "的一是不了人我在有他这中大来上国"
    assert smaller.token_to_id("<unk>") not in smaller.encode(common).ids


@pytest.mark.model
def test_a_real_model_whose_tokenizer_has_a_class_of_its_own(
    real_model: Callable[[str], Path], tmp_path: Path
) -> None:
    """BertTokenizer, which transformers opens by its own rules."""
    source = ModelSource(folder=real_model("paraphrase-minilm-l3-v2"), name="minilm")
    folder = moved_artifact(tmp_path / "a", source, "head")
    texts = [text for text in UNSEEN if text.isascii()][:30]
    done(folder, tmp_path / "out", write_rows(tmp_path / "data", texts), force=True)
    before, after = open_artifact(folder), open_artifact(tmp_path / "out")
    assert type(before.tokenizer) is type(after.tokenizer) and len(after.tokenizer) < 1_500
    rows = [Example((text,), 0) for text in texts[::3]]
    assert np.array_equal(after.logits(after.encode(rows)), before.logits(before.encode(rows)))
    plain = Tokenizer.from_file(str(tmp_path / "out/tokenizer.json"))
    plain.no_padding()
    plain.no_truncation()
    assert all(plain.encode(text).ids == after.tokenizer(text)["input_ids"] for text in [*UNSEEN, "Naïve ☃ zebra"])
