"""Which columns hold the text and the label: named by the user, else known by name, else the only
candidate."""

from dataclasses import dataclass
from itertools import islice

from trimtab.data.table import Table
from trimtab.errors import DataError, UsageError

PAIR_NAMES = (
    ("text_a", "text_b"),
    ("text1", "text2"),
    ("sentence1", "sentence2"),
    ("sentence_a", "sentence_b"),
    ("question1", "question2"),
    ("premise", "hypothesis"),
    ("query1", "query2"),
    ("s1", "s2"),
    ("句子1", "句子2"),
    ("question", "sentence"),
    ("query", "document"),
    ("query", "positive"),
    ("anchor", "positive"),
)
TEXT_NAMES = (
    "text", "sentence", "review", "content", "comment", "message", "body", "document", "utterance", "tweet",
    "sms", "question", "query", "description", "headline", "title",
    "文本", "内容", "评论", "句子", "正文", "问题", "标题",
)  # fmt: skip
LABEL_NAMES = (
    "label", "labels", "class", "category", "target", "score", "sentiment", "intent", "topic", "rating",
    "stars", "similarity", "polarity", "is_duplicate", "gold_label", "tag", "y",
    "similarity_score", "relatedness_score", "relatedness", "sim_score",
    "标签", "类别", "分类", "情感", "得分", "分数", "相似度", "相关度", "相关性",
)  # fmt: skip
ID_NAMES = ("", "id", "idx", "index", "guid", "uid", "unnamed: 0", "编号", "序号")
_SAMPLE_ROWS = 100


@dataclass(frozen=True, slots=True)
class Columns:
    """Text columns (one or two) and the label column; the label is empty where none is needed."""

    texts: tuple[str, ...]
    label: str


def choose_columns(table: Table, text: tuple[str, ...], label: str | None) -> Columns:
    """Columns of a labelled table. Raises DataError naming the columns there are; UsageError for a request
    that no table could meet."""
    if label is not None:
        _require(table, label)
    texts = choose_text_columns(table, text, not_these=(label,) if label else ())
    if label is not None and label in texts:
        raise UsageError("TT-D034", column=label)
    return Columns(texts, label or _label_by_name(table, texts))


def choose_text_columns(table: Table, text: tuple[str, ...], not_these: tuple[str, ...] = ()) -> tuple[str, ...]:
    """One or two text columns. `not_these` are known to hold something else. Raises as `choose_columns`."""
    if len(text) > 2 or len(set(text)) != len(text):
        raise UsageError("TT-D033", columns=", ".join(text))
    for name in text:
        _require(table, name)
    if text:
        return text
    by_name = {name.lower(): name for name in table.columns if name not in not_these}
    for pair in PAIR_NAMES:
        if all(part in by_name for part in pair):
            return tuple(by_name[part] for part in pair)
    known = next((by_name[name] for name in TEXT_NAMES if name in by_name), None)
    if known is not None:
        return (known,)
    candidates = [name for name in _holding_text(table) if name in by_name.values()]
    if len(candidates) != 1:
        raise DataError("TT-D030", path=_file(table), columns=_listed(table))
    return (candidates[0],)


def _label_by_name(table: Table, texts: tuple[str, ...]) -> str:
    others = {name.lower(): name for name in table.columns if name not in texts}
    for name in LABEL_NAMES:
        if name in others:
            return others[name]
    candidates = [name for lower, name in others.items() if lower not in ID_NAMES]
    if len(candidates) != 1:
        raise DataError("TT-D031", path=_file(table), columns=_listed(table))
    return candidates[0]


def _holding_text(table: Table) -> list[str]:
    """Columns that are neither ids nor labels by name and hold words: strings not all of them numbers."""
    rows = list(islice(table.rows(), _SAMPLE_ROWS))
    names = [name for name in table.columns if name.lower() not in (*ID_NAMES, *LABEL_NAMES)]
    return [name for name in names if any(_is_words(row.values.get(name)) for row in rows)]


def _is_words(value: object) -> bool:
    return isinstance(value, str) and any(character.isalpha() for character in value)


def _require(table: Table, name: str) -> None:
    if name not in table.columns:
        raise DataError("TT-D032", path=_file(table), column=name, columns=_listed(table))


def _file(table: Table) -> str:
    return table.place(1, "").file


def _listed(table: Table) -> str:
    return ", ".join(name or '""' for name in table.columns)
