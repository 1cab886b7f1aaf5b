"""How sentence encoders were published to make one vector of a text."""

import json
from pathlib import Path

import pytest

from tiny_models import tiny_model
from trimtab.models import read_spec
from trimtab.models.sentence import pooling_of

_TRANSFORMER = {"path": "", "type": "sentence_transformers.models.Transformer"}
_POOLING = {"path": "1_Pooling", "type": "sentence_transformers.models.Pooling"}


def publish(folder: Path, modules: object, pooling: object = None) -> Path:
    (folder / "1_Pooling").mkdir(exist_ok=True)
    (folder / "modules.json").write_text(modules if isinstance(modules, str) else json.dumps(modules))
    if pooling is not None:
        (folder / "1_Pooling" / "config.json").write_text(json.dumps(pooling))
    return folder


@pytest.mark.parametrize(
    ("config", "kind"),
    [
        (
            {"word_embedding_dimension": 384, "pooling_mode_cls_token": False, "pooling_mode_mean_tokens": True},
            "mean",
        ),
        ({"word_embedding_dimension": 512, "pooling_mode_cls_token": True}, "cls"),  # as BGE's
        ({"embedding_dimension": 512, "pooling_mode": "cls", "include_prompt": True}, "cls"),  # from 6 on
        ({"pooling_mode_mean_tokens": True, "pooling_mode_max_tokens": True}, "max+mean"),
        ({"pooling_mode": "lasttoken"}, "lasttoken"),
        ({"pooling_mode": "mean", "include_prompt": False}, "include_prompt false"),
    ],
)
def test_the_pooling_is_read_from_its_own_file(tmp_path: Path, config: object, kind: str) -> None:
    assert pooling_of(publish(tmp_path, [_TRANSFORMER, _POOLING], config)) == kind


def test_what_says_nothing_is_nothing_and_what_is_more_is_named(tmp_path: Path) -> None:
    assert pooling_of(tmp_path) == ""
    assert pooling_of(publish(tmp_path, "{broken")) == ""
    assert pooling_of(publish(tmp_path, [_TRANSFORMER])) == ""
    assert pooling_of(publish(tmp_path, [_TRANSFORMER, _POOLING])) == ""
    dense = {"path": "2_Dense", "type": "sentence_transformers.models.Dense"}
    assert pooling_of(publish(tmp_path, [_TRANSFORMER, _POOLING, dense], {"pooling_mode": "mean"})) == "Dense"


def test_a_spec_knows_it(tmp_path: Path) -> None:
    source = tiny_model(tmp_path)
    assert read_spec(source).pooling == ""
    publish(tmp_path, [_TRANSFORMER, _POOLING], {"pooling_mode": "cls"})
    assert read_spec(source).pooling == "cls"
