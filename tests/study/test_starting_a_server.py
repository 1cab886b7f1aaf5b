"""The verb serve: which adapters are loaded at once."""

from pathlib import Path

import pytest

from tiny_artifacts import moved_artifact, tiny_base
from trimtab.artifacts import weight_bytes
from trimtab.errors import UsageError
from trimtab.serving.http.settings import HttpSettings
from trimtab.serving.limits import Limits
from trimtab.study.serving import ServeRequest, serve


def test_what_does_not_fit_leaves_its_memory_to_the_next_and_a_head_takes_none(tmp_path: Path) -> None:
    """A head's file is a whole model, of which the base is there already."""
    base = tiny_base(tmp_path)
    made = {"one": "lora", "two": "lora", "small": "ia3", "head": "head"}
    folders = {name: moved_artifact(tmp_path / name, base, method) for name, method in made.items()}
    most = weight_bytes(folders["one"]) + weight_bytes(folders["small"])
    assert weight_bytes(folders["small"]) < weight_bytes(folders["one"]) < most < weight_bytes(folders["head"])
    request = ServeRequest(
        model=str(base.folder),
        adapters=tuple((name, str(folder)) for name, folder in folders.items()),
        pinned=("two",),
        limits=Limits(adapter_bytes=most),
        settings=HttpSettings(port=0),
    )
    ready = serve(request)
    with ready.taken, ready.service:
        assert ready.first == ("two", "small", "head")


def test_an_unknown_precision_is_refused_before_anything_is_listened_at(tmp_path: Path) -> None:
    nowhere = HttpSettings(host="none.invalid", keys=("a-key-that-is-long-enough",))
    with pytest.raises(UsageError, match="TT-P019"):
        serve(ServeRequest(model=str(tmp_path), precision="foo", settings=nowhere))  # type: ignore[arg-type]
