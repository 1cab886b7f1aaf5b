"""A language model through `compress` into GGUF: the folder answers like the artifact it comes from."""

from pathlib import Path

import pytest
from tiny_language import language_folder

from tiny_artifacts import moved_artifact
from tiny_chat import write_talks
from trimtab.compression.wanted import Gguf, Quantize
from trimtab.data import Example
from trimtab.data.spec import Conversation, Turn
from trimtab.errors import ModelError
from trimtab.evaluation import open_artifact
from trimtab.models import ModelSource
from trimtab.study import Compressed, CompressRequest, compress, evaluate

ASKED = [Example((), 0, conversation=Conversation((Turn("user", "good film"),)))]


@pytest.fixture
def chat(tmp_path: Path) -> Path:
    base = language_folder(tmp_path / "base")
    return moved_artifact(
        tmp_path / "a", ModelSource(folder=base, name=str(base)), task="instruct", labels=(), max_length=96
    )


def made(folder: Path, out: Path, wanted: Gguf | Quantize, data: Path | None = None) -> Compressed:
    given = None if data is None else str(data)
    request = CompressRequest(folder=str(folder), out=str(out), wanted=wanted, data=given, force=True)
    *_, done = compress(request)
    assert isinstance(done, Compressed)
    return done


def test_an_adapter_becomes_one_file_that_answers_the_same(chat: Path, tmp_path: Path) -> None:
    done = made(chat, tmp_path / "out", Gguf(kind="f32"))
    assert done.change.compared[0].largest_difference < 1e-4
    one, other = open_artifact(chat), open_artifact(tmp_path / "out")
    assert other.facts.engine == "gguf" and not other.facts.adapter
    assert next(one.predict(ASKED)).text == next(other.predict(ASKED)).text
    assert done.change.weight_bytes_after == (tmp_path / "out" / "model.gguf").stat().st_size


@pytest.mark.parametrize(("bits", "share"), [("q8", 0.5), pytest.param("q4", 0.4, marks=pytest.mark.soak)])
def test_fewer_bits_are_measured_on_dev(bits: str, share: float, chat: Path, tmp_path: Path) -> None:
    data = write_talks(tmp_path / "data")
    done = made(chat, tmp_path / "out", Quantize(bits=bits), data)  # type: ignore[arg-type]
    found = done.change.compared[0]
    assert found.metric == "loss" and found.lower_is_better
    assert found.before == pytest.approx(found.after, rel=0.05 if bits == "q8" else 0.3)
    assert evaluate(str(tmp_path / "out"), str(data)).main.value == pytest.approx(
        done.change.compared[-1].after, rel=1e-5
    )
    assert done.change.weight_bytes_after < share * done.change.weight_bytes_before


def test_a_classifier_is_no_language_model(tmp_path: Path) -> None:
    from tiny_artifacts import tiny_base

    folder = moved_artifact(tmp_path / "a", tiny_base(tmp_path, layers=1), "full")
    with pytest.raises(ModelError, match="TT-C401"):
        made(folder, tmp_path / "out", Gguf())
    assert not (tmp_path / "out").exists()
