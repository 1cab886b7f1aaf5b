"""tokenizer.json -> the tokenizer of a GGUF file: tokens, their kinds, merges or scores, special ids, chat
template.

Two kinds are written, as llama.cpp has them: "gpt2" (byte-level BPE; how text is split before it must be one of
the ways that llama.cpp knows) and "llama" (SentencePiece's BPE; the score of a token is minus the rank of its
first merge, which puts them in SentencePiece's order). Anything else would be encoded differently and is refused.
Leaves out Unigram, WordPiece, and tokenizers without a tokenizer.json.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from trimtab.errors import ModelError
from trimtab.models.config import Config, read_json_object
from trimtab.models.gguf_entries import Entry, flag, number, numbers, reals, text, texts

_MOST_BYTES = 200 * 10**6
_NORMAL, _UNKNOWN, _CONTROL, _USER, _UNUSED, _BYTE = 1, 2, 3, 4, 5, 6
_NEVER_MERGED = -1e6  # below every rank
_SPACE = "\u2581"
_WORDS_4 = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|"
_REST_4 = r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
_LLAMA_3 = _WORDS_4 + r"\p{N}{1,3}" + _REST_4
_QWEN_2 = _WORDS_4 + r"\p{N}" + _REST_4
_CASED = (
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+",
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*",
)
_TEKKEN = "|".join(_CASED) + r"|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
# (the pattern that text is split by, whether whole words that are tokens are taken before merges) -> llama.cpp's
# word for both.
_SPLITS: Mapping[tuple[str, bool], str] = MappingProxyType(
    {
        ("bytes", False): "gpt-2",
        ("digits, bytes", False): "smollm",
        (_LLAMA_3, True): "llama-bpe",
        (_LLAMA_3, False): "smaug-bpe",
        (_QWEN_2, False): "qwen2",
        (_TEKKEN, True): "tekken",
    }
)
_SPECIAL: Mapping[str, str] = MappingProxyType(
    {"bos": "bos_token_id", "eos": "eos_token_id", "unk": "unknown_token_id", "pad": "padding_token_id"}
)


@dataclass(frozen=True, slots=True)
class _Added:
    """Tokens that are matched whole in a text, by id."""

    words: Mapping[int, str]
    special: frozenset[int]


def vocabulary_entries(folder: Path, config: Config, rows: int, name: str) -> tuple[Entry, ...]:
    """The metadata of the tokenizer in `folder`. `rows` of the embedding: ids beyond the tokenizer's own are
    written as unused tokens.

    Raises ModelError: TT-C408 no tokenizer.json, TT-C409 one that llama.cpp could not follow, TT-C413 more tokens
    than rows.
    """
    tokenizer = _tokenizer(folder, name)
    settings = _optional(folder / "tokenizer_config.json")
    model = _object(tokenizer, "model")
    if model.get("type") != "BPE":
        raise _unknown(name, "model", model.get("type"))
    added = _added(tokenizer)
    words = _words(_object(model, "vocab"), added, rows, name)
    byte_level = not model.get("byte_fallback")
    written = (
        _byte_level(tokenizer, model, name) if byte_level else _sentence_pieces(tokenizer, model, words, name)
    )
    return (
        *written,
        texts("tokenizer.ggml.tokens", [word or f"[PAD{place}]" for place, word in enumerate(words)]),
        numbers("tokenizer.ggml.token_type", _types(words, added, model, byte_level)),
        *_special(tokenizer, settings, config, words, name),
        *_template(folder, settings),
    )


def _byte_level(tokenizer: Config, model: Config, name: str) -> Iterator[Entry]:
    split = _split(_object(tokenizer, "pre_tokenizer"), name)
    found = (split, bool(model.get("ignore_merges")))
    if found not in _SPLITS:
        raise _unknown(name, "pre_tokenizer", split)
    pre, normalizer = _SPLITS[found], _object(tokenizer, "normalizer").get("type")
    if normalizer is not None and (normalizer, pre) != ("NFC", "qwen2"):  # which llama.cpp leaves out
        raise _unknown(name, "normalizer", normalizer)
    yield text("tokenizer.ggml.model", "gpt2")
    yield text("tokenizer.ggml.pre", pre)
    yield texts("tokenizer.ggml.merges", [" ".join(pair) for pair in _merges(model)])


def _split(steps: Config, name: str) -> str:
    """How text is split before the merges: a pattern, "bytes" for GPT-2's own, "digits, bytes" for single digits
    and that."""
    last = steps
    before: list[Config] = []
    if steps.get("type") == "Sequence":
        *before, last = _objects(steps, "pretokenizers") or [{}]
    if last.get("type") != "ByteLevel" or last.get("add_prefix_space"):
        raise _unknown(name, "pre_tokenizer", json.dumps(last))
    match before, bool(last.get("use_regex", True)):
        case [], True:
            return "bytes"
        case [{"type": "Digits", "individual_digits": True}], True:
            return "digits, bytes"
        case [{"type": "Split", "behavior": "Isolated", "pattern": {"Regex": str(pattern)}}], False:
            return pattern
    raise _unknown(name, "pre_tokenizer", json.dumps(steps))


def _sentence_pieces(tokenizer: Config, model: Config, words: list[str | None], name: str) -> Iterator[Entry]:
    yield text("tokenizer.ggml.model", "llama")
    yield text("tokenizer.ggml.pre", "default")
    yield flag("tokenizer.ggml.add_space_prefix", _space_before(tokenizer, name))
    ranks: dict[str, int] = {}
    for rank, (left, right) in enumerate(_merges(model)):
        ranks.setdefault(left + right, rank)
    yield reals("tokenizer.ggml.scores", [_score(ranks.get(word or "")) for word in words])


def _score(rank: int | None) -> float:
    return _NEVER_MERGED if rank is None else -float(rank)


def _space_before(tokenizer: Config, name: str) -> bool:
    """Whether a space stands before a text. Spaces are written as U+2581, by a normalizer or by Metaspace."""
    steps, before = _object(tokenizer, "normalizer"), _object(tokenizer, "pre_tokenizer")
    normalizers = _objects(steps, "normalizers") if steps.get("type") == "Sequence" else [steps] if steps else []
    match normalizers, before:
        case [], {"type": "Metaspace", "replacement": "\u2581", "prepend_scheme": str(scheme), "split": False}:
            return scheme != "never"
        case [{"type": "Prepend", "prepend": "\u2581"}, {"type": "Replace", "content": "\u2581"}], {**nothing}:
            if not nothing:
                return True
    raise _unknown(name, "pre_tokenizer", json.dumps([steps, before]))


def _words(vocab: Config, added: _Added, rows: int, name: str) -> list[str | None]:
    """The token of every row of the embedding, None where there is none."""
    known = {place: word for word, place in vocab.items() if isinstance(place, int)} | dict(added.words)
    count = max(known, default=-1) + 1
    if count > rows or min(known, default=0) < 0:
        raise ModelError("TT-C413", name=name, tokens=count, rows=rows)
    return [known.get(place) for place in range(rows)]


def _types(words: list[str | None], added: _Added, model: Config, byte_level: bool) -> list[int]:
    """llama.cpp's kind of every token."""
    unknown = model.get("unk_token")
    return [_type(place, word, added, unknown, byte_level) for place, word in enumerate(words)]


def _type(place: int, word: str | None, added: _Added, unknown: object, byte_level: bool) -> int:
    if word is None:
        return _UNUSED
    if not byte_level and word == unknown:
        return _UNKNOWN
    if place in added.words:
        return _CONTROL if place in added.special else _USER
    return _BYTE if not byte_level and len(word) == 6 and word.startswith("<0x") else _NORMAL


def _special(
    tokenizer: Config, settings: Config, config: Config, words: list[str | None], name: str
) -> Iterator[Entry]:
    ids = {word: place for place, word in enumerate(words) if word is not None}
    found: dict[str, int] = {}
    for key, written in _SPECIAL.items():
        place = ids.get(_content(settings.get(f"{key}_token")), config.get(f"{key}_token_id"))
        if isinstance(place, int) and 0 <= place < len(words):
            found[key] = place
            yield number(f"tokenizer.ggml.{written}", place)
    begins, ends = _around(tokenizer, name)
    for key, around in (("bos", begins), ("eos", ends)):
        own = words[found[key]] if key in found else None
        if around not in ([], [own]):
            raise _unknown(name, "post_processor", " ".join(around))
        said = settings.get(f"add_{key}_token")
        yield flag(f"tokenizer.ggml.add_{key}_token", said if isinstance(said, bool) else bool(around))


def _around(tokenizer: Config, name: str) -> tuple[list[str], list[str]]:
    """The special tokens that are put before a text and behind it."""
    steps = _object(tokenizer, "post_processor")
    every = _objects(steps, "processors") if steps.get("type") == "Sequence" else [steps] if steps else []
    before: list[str] = []
    behind: list[str] = []
    for step in every:
        if step.get("type") not in ("ByteLevel", "TemplateProcessing"):
            raise _unknown(name, "post_processor", step.get("type"))
        side = before
        for piece in _objects(step, "single"):
            if "Sequence" in piece:
                side = behind
            else:
                side.append(str(_object(piece, "SpecialToken").get("id")))
    return before, behind


def _template(folder: Path, settings: Config) -> Iterator[Entry]:
    """The chat template, byte for byte: of several the one named default."""
    file, found = folder / "chat_template.jinja", settings.get("chat_template")
    if file.is_file():
        found = file.read_bytes().decode("utf-8")
    if isinstance(found, list):
        named = {one.get("name"): one.get("template") for one in found if isinstance(one, Mapping)}
        found = named.get("default")
    if isinstance(found, str) and found:
        yield text("tokenizer.chat_template", found)


def _tokenizer(folder: Path, name: str) -> Config:
    path = folder / "tokenizer.json"
    if not path.is_file() or path.stat().st_size > _MOST_BYTES:
        raise ModelError("TT-C408", name=name)
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ModelError("TT-C408", name=name) from error
    if not isinstance(found, dict):
        raise ModelError("TT-C408", name=name)
    return found


def _added(tokenizer: Config) -> _Added:
    every = [one for one in _objects(tokenizer, "added_tokens") if isinstance(one.get("id"), int)]
    words = {int(str(one["id"])): str(one.get("content")) for one in every}
    return _Added(words, frozenset(int(str(one["id"])) for one in every if one.get("special")))


def _merges(model: Config) -> Iterator[tuple[str, str]]:
    """Both spellings: "a b" and ["a", "b"]."""
    found = model.get("merges")
    for pair in found if isinstance(found, list) else []:
        left, right = pair.split(" ", 1) if isinstance(pair, str) else pair
        yield left, right


def _content(token: object) -> str:
    return str(token.get("content")) if isinstance(token, Mapping) else str(token)


def _optional(path: Path) -> Config:
    return read_json_object(path) if path.is_file() else {}


def _object(holder: Config, key: str) -> Config:
    found = holder.get(key)
    return found if isinstance(found, Mapping) else {}


def _objects(holder: Config, key: str) -> list[Config]:
    found = holder.get(key)
    return [one for one in found if isinstance(one, Mapping)] if isinstance(found, list) else []


def _unknown(name: str, part: str, found: object) -> ModelError:
    return ModelError("TT-C409", name=name, part=part, found=str(found)[:160])
