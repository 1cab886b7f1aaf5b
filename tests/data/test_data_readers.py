"""Files as people have them: what is read, and what is refused with the row."""

import csv
import gzip
import json
import pickle
import random
from collections.abc import Callable
from itertools import islice
from pathlib import Path

import pytest

from plain_chinese import english_in
from trimtab.data import open_corpus, readers
from trimtab.data.encoding import detect_encoding
from trimtab.data.table import open_table
from trimtab.errors import DataError

Raw = Callable[[str, bytes], str]
ODD = "line\u2028para\u2029next\x85vt\x0bff\x0cfs\x1cend"
"""Everything `str.splitlines` would break at."""


def rows(path: str) -> list[tuple[int, dict[str, object]]]:
    return [(number, dict(values)) for number, values in open_table(Path(path)).rows()]


def refused(path: str) -> DataError:
    with pytest.raises(DataError) as caught:
        rows(path)
    assert caught.value.exit_code == 5
    for language in ("en", "zh"):
        assert Path(path).name in caught.value.message.text(language)
        assert caught.value.message.next_step(language)
    return caught.value


def test_texts_keep_every_kind_of_line_separator(raw: Raw) -> None:
    body = json.dumps({"text": ODD, "label": "a"}, ensure_ascii=False)
    assert rows(raw("a.jsonl", (body + "\r\n" + body).encode()))[1] == (2, {"text": ODD, "label": "a"})
    assert rows(raw("a.csv", f'text,label\n{ODD},a\n"two\nlines",b\n'.encode())) == [
        (1, {"text": ODD, "label": "a"}),
        (2, {"text": "two\nlines", "label": "b"}),
    ]
    assert rows(raw("a.tsv", f"text\tlabel\n{ODD}\ta\n".encode()))[0][1]["text"] == ODD


def test_formats_agree(raw: Raw, tmp_path: Path) -> None:
    arrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    texts = ['say "hi", you', "第二行\n换行", "tab\there", " space "]
    table = [{"text": text, "label": str(i % 2)} for i, text in enumerate(texts)]
    for suffix, delimiter in ((".csv", ","), (".tsv", "\t")):
        with (tmp_path / f"d{suffix}").open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, ["text", "label"], delimiter=delimiter)
            writer.writeheader()
            writer.writerows(table)
    raw("d.json", json.dumps(table, indent=2).encode())
    raw("d.jsonl", "\n".join(map(json.dumps, table)).encode())
    parquet.write_table(arrow.Table.from_pylist(table), tmp_path / "d.parquet")
    expected = list(enumerate(table, start=1))
    for suffix in (".csv", ".tsv", ".json", ".jsonl", ".parquet"):
        assert rows(str(tmp_path / f"d{suffix}")) == expected, suffix


def test_quotes_in_a_plain_tsv_are_characters(raw: Raw) -> None:
    """As in GLUE: an opening quote without its partner must not swallow the rows that follow."""
    found = rows(raw("a.tsv", b'sentence\tlabel\n"Fine, he said.\t1\nIt\'s 5" wide\t0\nOver"\t1\n'))
    assert [values["sentence"] for _, values in found] == ['"Fine, he said.', "It's 5\" wide", 'Over"']


def test_semicolons_of_a_european_spreadsheet(raw: Raw) -> None:
    assert rows(raw("a.csv", b"text;label\nyes, indeed;1\n")) == [(1, {"text": "yes, indeed", "label": "1"})]


def test_json_file_with_one_object_a_line(raw: Raw) -> None:
    assert len(rows(raw("train.json", b'{"text": "a"}\n{"text": "b"}\n'))) == 2


def test_json_array_is_decoded_across_windows(raw: Raw, monkeypatch: pytest.MonkeyPatch) -> None:
    entries = [{"text": "x" * size, "n": size, "odd": '],{"'} for size in range(40)]
    path = raw("a.json", ("\n " + json.dumps(entries, indent=1)).encode())
    for window in (1, 7, 64):
        monkeypatch.setattr(readers, "_JSON_CHUNK_CHARACTERS", max(window, 4))
        assert [values for _, values in rows(path)] == entries


def test_blank_lines_count_as_rows_but_are_none(raw: Raw) -> None:
    assert [n for n, _ in rows(raw("a.csv", b"text,label\na,1\n\nb,2\n"))] == [1, 3]
    assert [n for n, _ in rows(raw("a.jsonl", b'{"a": 1}\n\n{"a": 2}\n'))] == [1, 3]


@pytest.mark.parametrize(
    ("name", "content", "code", "row"),
    [
        ("ragged.csv", b"text,label\na,1\nb,c,2\n", "TT-D010", 2),
        ("short.csv", b"text,label\na,1\nb\n", "TT-D010", 2),
        ("nul.csv", b"text,label\na,1\nb\x00c,2\n", "TT-D011", 2),
        ("long.csv", b"text,label\na,1\n" + b"x" * 10_000_000 + b",1\n", "TT-D012", 2),
        ("long.jsonl", b'{"text": "a"}\n{"text": "' + b"x" * 10_000_000 + b'"}\n', "TT-D012", 2),
        ("open.csv", b'text,label\na,1\nb,1\n"c,1\nd,1\n', "TT-D013", 3),
        ("stray.csv", b'text,label\n"He said "hi" to me",1\n', "TT-D014", 1),
        ("cut.jsonl", b'{"text": "a"}\n{"text": "b', "TT-D015", 2),
        ("cut.json", b'[{"text": "a"}, {"text": "b', "TT-D015", 2),
        ("open.json", b'[{"text": "a"}', "TT-D015", 2),
        ("list.jsonl", b'{"text": "a"}\n["b"]\n', "TT-D016", 2),
        ("number.json", b'[{"text": "a"}, 3]', "TT-D016", 2),
    ],
)
def test_broken_rows_are_named(raw: Raw, name: str, content: bytes, code: str, row: int) -> None:
    error = refused(raw(name, content))
    assert (error.code, error.message.fact("row")) == (code, row)


@pytest.mark.parametrize(
    ("entry", "en", "zh"),
    [("[1]", "a list", "列表"), ('"a"', "a text", "文本"), ("1.5", "a number", "数字"), ("null", "null", "空值")],
)
def test_what_stands_in_place_of_an_object_is_named(raw: Raw, entry: str, en: str, zh: str) -> None:
    error = refused(raw("rows.jsonl", f'{{"text": "a"}}\n{entry}\n'.encode()))
    assert f"row 2: {en} where an object" in str(error)
    assert f"第 2 行是{zh}" in error.message.text("zh")


def test_a_long_but_sane_text_is_read(raw: Raw) -> None:
    """The csv module's own limit is 131,072 characters."""
    assert len(str(rows(raw("a.csv", b"text,label\n" + b"x" * 2_000_000 + b",1\n"))[0][1]["text"])) == 2_000_000


@pytest.mark.parametrize(
    ("name", "content", "code"),
    [
        ("empty.csv", b"", "TT-D006"),
        ("header.csv", b"text,label\n", "TT-D006"),
        ("blank.jsonl", b"\n\n", "TT-D006"),
        ("none.json", b"[]", "TT-D006"),
        ("twice.csv", b"text,label,text\na,1,b\n", "TT-D018"),
        ("cut.parquet", b"PAR1 and no more", "TT-D020"),
        ("text.parquet", b"text,label\na,1\n", "TT-D008"),
        ("model.pkl", b"anything", "TT-D002"),
        ("weights.bin", b"anything", "TT-D002"),
        ("data.zip", b"anything", "TT-D003"),
        ("data.jsonl.gz", b"anything", "TT-D003"),
        ("sheet.xlsx", b"anything", "TT-D004"),
        ("notes.md", b"anything", "TT-D005"),
        ("nosuffix", b"anything", "TT-D005"),
        ("renamed.csv", pickle.dumps({"text": "a"}), "TT-D002"),
        ("renamed.jsonl", gzip.compress(b"{}", mtime=0), "TT-D008"),
        ("sheet.csv", b"PK\x03\x04 and so on", "TT-D008"),
    ],
)
def test_files_that_are_refused_with_their_reason(raw: Raw, name: str, content: bytes, code: str) -> None:
    assert refused(raw(name, content)).code == code


def test_a_directory_of_that_name_is_no_crash(tmp_path: Path) -> None:
    (tmp_path / "odd.csv").mkdir()
    error = refused(str(tmp_path / "odd.csv"))
    assert error.code == "TT-D007" and "Is a directory" in str(error)
    assert english_in(error.message, str(tmp_path / "odd.csv")) == []


CHINESE = "这家酒店的服务非常好，房间干净，早餐也不错。"
ENGLISH = "A naïve café résumé: “quoted” – £5, it’s déjà vu…"


@pytest.mark.parametrize(
    ("text", "codec", "name"),
    [
        (CHINESE, "gb18030", "gb18030"),
        ("價廉物美，環境優雅，下次還會再來。", "gb18030", "gb18030"),
        (ENGLISH, "cp1252", "cp1252"),
        ("Größe, Übung, Straße, schöne Grüße aus Köln", "cp1252", "cp1252"),
        ("¿Qué tal? El niño comió piña, ¡olé!", "cp1252", "cp1252"),
        (CHINESE + ENGLISH, "utf-8", "utf-8"),
        (CHINESE + ENGLISH, "utf-8-sig", "utf-8"),
        (CHINESE + ENGLISH, "utf-16", "utf-16"),
        ("plain", "ascii", "utf-8"),
    ],
)
def test_encodings_are_told_apart(raw: Raw, text: str, codec: str, name: str) -> None:
    path = raw("a.csv", f"text,label\n{text.replace(',', ' ')},1\n".encode(codec))
    encoding = detect_encoding(Path(path))
    assert (encoding.name, encoding.replaced) == (name, 0)
    assert rows(path)[0][1] == {"text": text.replace(",", " "), "label": "1"}


def test_one_foreign_letter_after_megabytes_of_ascii_decides(raw: Raw) -> None:
    path = raw("a.csv", b"text,label\n" + b"plain words,1\n" * 200_000 + "£5,1\n".encode("cp1252"))
    assert detect_encoding(Path(path)).name == "cp1252"


def test_damaged_utf8_stays_utf8(raw: Raw) -> None:
    """One bad byte in Chinese UTF-8 must not turn the whole file into cp1252."""
    path = raw("a.csv", f"text,label\n{CHINESE},1\n".encode() + b"bad \xff byte,2\n")
    encoding = detect_encoding(Path(path))
    assert (encoding.name, encoding.replaced) == ("utf-8", 1)
    assert [values["text"] for _, values in rows(path)] == [CHINESE, "bad \ufffd byte"]


def test_reading_does_not_hold_the_file(raw: Raw) -> None:
    """The first rows of 60 MB come without reading the rest, in every text format."""
    import tracemalloc

    letters = random.Random(0)
    row = {"text": "".join(letters.choices("abc ", k=600)), "label": "a"}
    lines = [json.dumps(row)] * 20_000
    for name, content in (
        ("a.jsonl", "\n".join(lines)),
        ("a.json", "[" + ",".join(lines) + "]"),
        ("a.csv", "text,label\n" + f"{row['text']},a\n" * 20_000),
    ):
        table = open_table(Path(raw(name, content.encode())))
        tracemalloc.start()
        assert sum(1 for _ in islice(table.rows(), 15_000)) == 15_000
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 6_000_000, (name, peak)


def test_a_file_that_changes_meanwhile_is_an_error(raw: Raw) -> None:
    table = open_table(Path(raw("a.csv", b"text,label\na,1\n")))
    raw("a.csv", b"text,label\na,1\nb,2\n")
    for _ in ("changed", "gone"):
        with pytest.raises(DataError) as caught:
            list(table.rows())
        assert caught.value.code == "TT-D024"
        table.path.unlink(missing_ok=True)


def test_mutilated_files_are_read_or_refused_but_never_crash(raw: Raw) -> None:
    """Random damage to a good file of every kind: the only exception that may come out is a DataError."""
    whole = {
        "a.csv": "text,label\n" + "".join(f'"te, xt {i}",{i % 2}\n' for i in range(12)),
        "a.tsv": "text\tlabel\n" + "".join(f'text "{i}\t{i % 2}\n' for i in range(12)),
        "a.json": json.dumps([{"text": f"{i} 中文", "label": i % 2} for i in range(12)], ensure_ascii=False),
        "a.jsonl": "".join(json.dumps({"text": f"{i}", "label": i % 3 / 2}) + "\n" for i in range(12)),
    }
    inserts = [
        b'"',
        b"\n",
        b",",
        b"]",
        b"null",
        b"NaN",
        b"[1]",
        b"1e999",
        b"\0",
        b"\\ud800",
        b"\xff\xfe",
        b"\x80",
    ]
    dice = random.Random(0)
    outcomes = set()
    for turn in range(400):
        name = dice.choice(list(whole))
        content = bytearray(whole[name].encode())
        for _ in range(dice.randint(1, 3)):
            at = dice.randrange(len(content))
            content[at : at + dice.choice([0, 0, 1, 15])] = dice.choice(inserts)
        try:
            outcomes.add(len(open_corpus(raw(f"{turn}{name}", bytes(content))).train) > 0)
        except DataError as error:
            outcomes.add(error.code)
    assert True in outcomes and len(outcomes) > 5  # the damage is real, and not always fatal
