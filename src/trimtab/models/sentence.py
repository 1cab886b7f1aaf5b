"""How a published sentence encoder makes one vector of a text: its modules.json and 1_Pooling/config.json, as
sentence-transformers writes and reads them (version 6: "pooling_mode"; before: one key a mode).

Leaves out matrices above the pooling (Dense) and Router, which are named, so that they can be refused.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, get_args

PoolingKind = Literal["mean", "cls"]
POOLINGS: tuple[PoolingKind, ...] = get_args(PoolingKind)
MODULES_FILE = "modules.json"
POOLING_FILE = "1_Pooling/config.json"
SENTENCE_FILES = (MODULES_FILE, POOLING_FILE)

_LEGACY: Mapping[str, str] = {
    "pooling_mode_cls_token": "cls",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
    "pooling_mode_weightedmean_tokens": "weightedmean",
    "pooling_mode_lasttoken": "lasttoken",
}
_PLAIN = ("Transformer", "Pooling", "Normalize")


def pooling_of(folder: Path) -> str:
    """The pooling a model folder was published with: "mean", "cls", another word that is not trained with here
    ("max", "mean+max", "Dense"), or "" where it says nothing. A file that cannot be read says nothing."""
    modules = _json(folder / MODULES_FILE)
    kinds = [str(entry.get("type", "")).rpartition(".")[2] for entry in _entries(modules)]
    strange = [kind for kind in kinds if kind not in _PLAIN]
    if strange:
        return strange[0]
    if "Pooling" not in kinds:
        return ""
    path = next(
        str(entry.get("path", "")) for entry in _entries(modules) if str(entry["type"]).endswith("Pooling")
    )
    config = _json(folder / path / "config.json")
    return _mode(config) if isinstance(config, dict) else ""


def _mode(config: Mapping[str, Any]) -> str:
    if config.get("include_prompt") is False:
        return "include_prompt false"
    named = config.get("pooling_mode")
    if named is None:
        named = [mode for key, mode in _LEGACY.items() if config.get(key)]
    return named if isinstance(named, str) else "+".join(map(str, named))


def _entries(modules: Any) -> list[dict[str, Any]]:
    found = modules if isinstance(modules, list) else []
    return [entry for entry in found if isinstance(entry, dict) and "type" in entry]


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
