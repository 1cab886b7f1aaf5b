"""config.json -> the shape of a model. Knows the keys each family uses; reads no weights, runs no code.

A config is somebody else's file: keys that make transformers fetch or run code are refused or stripped here,
before anything else sees them. Leaves out multimodal configs and encoder-decoders.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from trimtab.errors import ModelError
from trimtab.models.config_keys import CONFIG_TABLES, TRAINED_FAMILIES, Bias, ConfigTable
from trimtab.models.layer_shapes import KEY
from trimtab.models.pruned import read_shapes
from trimtab.models.spec import ModelSpec

_MOST_CONFIG_BYTES = 10 * 2**20
_LARGEST_SIZE = 2**31  # far above any real size: keeps products of a forged config printable

# Keys by which a config chooses an implementation. A hub id as their value makes some versions of
# transformers fetch and run that repository's code without asking (CVE-2026-4372), so only the built-in ones
# may stand.
_IMPLEMENTATION_KEYS = tuple(
    prefix + what + suffix
    for what in ("attn_implementation", "experts_implementation")
    for prefix, suffix in (("", ""), ("_", ""), ("_", "_internal"), ("_", "_autoset"))
)
_BUILT_IN = (None, True, False, "eager", "sdpa", "flash_attention_2", "flash_attention_3", "flex_attention")

Config = Mapping[str, object]


def load_config(folder: Path, *, name: str = "", trust_remote_code: bool = False) -> Config:
    """The config.json of a model folder, checked, without its private keys: safe to hand to transformers.

    `name` is what errors call the model; empty = the folder.

    Raises ModelError: TT-M004 missing, TT-M005 not JSON, TT-M016 the repository brings code of its own
    (config.json or tokenizer_config.json has `auto_map`), TT-M017 a private key names something that is
    not built into transformers, TT-M018 the weights are already quantised.
    """
    name = name or str(folder)
    config = read_json_object(folder / "config.json")
    if not trust_remote_code:
        _refuse_remote_code(folder, config, name)
    for key, value in _implementations(config):
        if value not in _BUILT_IN:
            raise ModelError("TT-M017", name=name, key=key, value=str(value)[:80])
    quantisation = config.get("quantization_config")
    if isinstance(quantisation, Mapping):
        raise ModelError("TT-M018", name=name, kind=str(quantisation.get("quant_method", "?"))[:40])
    return _without_private_keys(config)


def shape_from(config: Config, name: str) -> ModelSpec:
    """The shape a config describes. `name` is what the user calls the model.

    Raises ModelError: TT-M003 unknown `model_type` (named are those that can be trained), TT-M006 keys missing,
    TT-M007 a value that is no size, TT-M008 a setting that changes the layout in a way the counts do not know,
    TT-C200, TT-C201 layers pruned to shapes that cannot be.
    """
    family = str(config.get("model_type", ""))
    if family not in CONFIG_TABLES:
        raise ModelError("TT-M003", name=name, family=family, known=", ".join(TRAINED_FAMILIES))
    table = CONFIG_TABLES[family]
    reader = _Reader(config, table, name)
    reader.check()
    hidden, heads = reader.size("hidden"), reader.size("heads")
    spec = ModelSpec(
        name=name,
        family=family,
        kind=table.kind,
        layers=reader.size("layers"),
        hidden=hidden,
        heads=heads,
        kv_heads=reader.size("kv_heads", heads),
        head_dim=reader.head_dim(hidden, heads),
        ffn=reader.size("ffn", table.ffn_multiple * hidden),
        gated_ffn=table.gated_ffn,
        vocab=reader.size("vocab"),
        max_positions=reader.size("max_positions"),
        type_vocab=reader.size("type_vocab"),
        embedding_size=reader.size("embedding_size"),
        tied_embeddings=reader.flag("tie_word_embeddings", table.tied_embeddings),
        qkv_bias=reader.bias(table.qkv_bias),
        o_bias=reader.bias(table.o_bias),
        ffn_bias=reader.bias(table.ffn_bias),
        norm=table.norm,
        norms_per_layer=table.norms_per_layer,
        qk_norm=table.qk_norm,
        position=table.position,
        head_bias=table.head_bias,
        experts=reader.size("experts"),
        experts_per_token=reader.size("experts_per_token"),
        attention_dropout=reader.share(*table.attention_dropout),
        hidden_dropout=reader.share(*table.hidden_dropout),
        dropouts_per_layer=table.dropouts_per_layer,
        first_position=(reader.pad_token_id() or 0) + 1 if table.positions_after_padding else 0,
        pad_token_id=reader.pad_token_id(),
    )
    pruned = config.get(KEY)
    return spec if pruned is None else read_shapes(spec, pruned)


def read_json_object(path: Path) -> Config:
    """A JSON object from a file of at most 10 MiB. Raises ModelError TT-M004 (missing), TT-M005 (damaged)."""
    if not path.is_file():
        raise ModelError("TT-M004", path=str(path.parent), file=path.name)
    if path.stat().st_size > _MOST_CONFIG_BYTES:
        raise ModelError("TT-M005", path=str(path), line=1, column=1)
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise ModelError("TT-M005", path=str(path), line=error.lineno, column=error.colno) from error
    except (UnicodeDecodeError, RecursionError) as error:
        raise ModelError("TT-M005", path=str(path), line=1, column=1) from error
    if not isinstance(value, dict):
        raise ModelError("TT-M005", path=str(path), line=1, column=1)
    return value


def _refuse_remote_code(folder: Path, config: Config, name: str) -> None:
    tokenizer_file = folder / "tokenizer_config.json"
    tokenizer = read_json_object(tokenizer_file) if tokenizer_file.is_file() else {}
    for file, content in (("config.json", config), (tokenizer_file.name, tokenizer)):
        if content.get("auto_map"):
            raise ModelError("TT-M016", name=name, file=file)


def _implementations(config: Config) -> Iterator[tuple[str, object]]:
    """(key, value) of every choice of implementation, also those of nested configs."""
    for key, value in config.items():
        if key in _IMPLEMENTATION_KEYS and isinstance(value, Mapping):
            yield from ((key, inner) for inner in value.values())
        elif key in _IMPLEMENTATION_KEYS:
            yield key, value
        elif isinstance(value, Mapping):
            yield from _implementations(value)


def _without_private_keys(config: Config) -> Config:
    return {
        key: _without_private_keys(value) if isinstance(value, Mapping) else value
        for key, value in config.items()
        if key not in _IMPLEMENTATION_KEYS
    }


@dataclass(frozen=True, slots=True)
class _Reader:
    """Takes checked values out of a config, under the key the family has for each size."""

    config: Config
    table: ConfigTable
    name: str

    def check(self) -> None:
        missing = [key for key in self.table.required if self.config.get(key) is None]
        if missing:
            raise ModelError("TT-M006", name=self.name, keys=", ".join(missing))
        for key, supported in self.table.only:
            if self.config.get(key, supported) != supported:
                raise ModelError("TT-M008", name=self.name, key=key, value=self.config[key], supported=supported)

    def size(self, field: str, default: int = 0) -> int:
        """A count of at least 1. Where the key is absent or null: the family's default, else `default`, as
        where the family has no such key."""
        if field not in self.table.keys:
            return default
        key = self.table.keys[field]
        value = self.config.get(key)
        if value is None:
            return self.table.defaults.get(field, default)
        if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= _LARGEST_SIZE:
            raise self._unusable(key)
        return value

    def head_dim(self, hidden: int, heads: int) -> int:
        """The key itself, else the family's own default, else hidden / heads."""
        default = self.table.head_dim_default
        written = "head_dim" in self.table.keys and self.config.get("head_dim") is not None
        if not written and default is None and hidden % heads:
            raise self._unusable(self.table.keys["heads"])
        return self.size("head_dim", default or hidden // heads)

    def flag(self, key: str, default: bool) -> bool:
        value = self.config.get(key)
        if value is not None and not isinstance(value, bool):
            raise self._unusable(key)
        return default if value is None else value

    def bias(self, bias: Bias) -> bool:
        return bias if isinstance(bias, bool) else self.flag(bias, False)

    def share(self, key: str, default: float) -> float:
        value = self.config.get(key)
        if value is None:
            return default
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1:
            raise self._unusable(key)
        return float(value)

    def pad_token_id(self) -> int | None:
        value = self.config.get("pad_token_id", self.table.pad_token_id)
        if value is not None and (isinstance(value, bool) or not isinstance(value, int)):
            raise self._unusable("pad_token_id")
        return value

    def _unusable(self, key: str) -> ModelError:
        return ModelError("TT-M007", name=self.name, key=key, value=str(self.config[key])[:80])
