"""The page of a browser export: what is written, where its runtime comes from, and what is refused. That a browser
runs it is for test_in_browser.py."""

import base64
import hashlib
import io
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from tiny_artifacts import TEXTS, moved_artifact, tiny_base
from tiny_models import WORDS
from tiny_tagging import write_tags
from tiny_training import write_data
from trimtab.artifacts import read_facts
from trimtab.compression import npm_packages
from trimtab.compression.onnx_weights import write_int8_weights
from trimtab.compression.wanted import Browser, Export, Quantize, exported
from trimtab.data import Example
from trimtab.errors import ArtifactError, Message, UsageError
from trimtab.evaluation import open_artifact
from trimtab.study import Compressed, CompressRequest, compress, evaluate

ROWS = [Example((text,), 0) for text in TEXTS]
PAGE = {"index.html", "page.css", "page.js", "worker.js", "page.json"}
VENDORED = {"ort.js", "ort.wasm.bin", "tokenizers.js", "onnxruntime.LICENSE.txt", "tokenizers.LICENSE.txt"}
ADDRESS = re.compile(rb"(?:https?|wss?|ftp):|//[a-z0-9-]+\.[a-z]", re.IGNORECASE)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """`a`: a trained model; `data` it learned from; `onnx`: the same in ONNX; `page`: the page of it; `packages`:
    small ones in place of those that are published."""
    folder = tmp_path_factory.mktemp("page")
    for name in ("packages", "data"):
        (folder / name).mkdir()
    small = tuple(_packed(package, folder / "packages") for package in npm_packages.RUNTIME)
    write_data(folder / "data")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(npm_packages, "RUNTIME", small)
        word_pieces(folder)
        made(folder / "a", folder / "onnx", Export())
        made(folder / "a", folder / "page", wanted(folder), data=str(folder / "data"))
        yield folder


@pytest.fixture
def packages(place: Path, tmp_path: Path) -> Path:
    """The small packages, to be spoilt."""
    return Path(shutil.copytree(place / "packages", tmp_path / "packages"))


def wanted(place: Path) -> Browser:
    return Browser(runtime=str(place / "packages"))


def _packed(package: npm_packages.NpmPackage, folder: Path) -> npm_packages.NpmPackage:
    file = folder / package.tarball
    with tarfile.open(file, "w:gz") as archive:
        for path, name in package.files:
            content = f"// {name}\n".encode() * 9
            entry = tarfile.TarInfo(f"package/{path}")
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    digest = hashlib.sha512(file.read_bytes()).digest()
    return replace(package, sha512=base64.b64encode(digest).decode())


def word_pieces(folder: Path) -> Path:
    """A trained model whose tokenizer is one that browsers read."""
    source = tiny_base(folder, layers=1)
    special = ("[PAD]", "[UNK]", "[CLS]", "[SEP]")
    vocabulary = {word: index for index, word in enumerate((*special, *WORDS))}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]", sep_token="[SEP]"
    ).save_pretrained(source.folder)
    return moved_artifact(folder / "a", source, "full")


def made(folder: Path, out: Path, wanted: object, **asked: object) -> list[object]:
    request = CompressRequest(folder=str(folder), out=str(out), wanted=wanted, **asked)  # type: ignore[arg-type]
    return list(compress(request))


def test_a_model_becomes_a_folder_that_is_a_page_and_an_artifact(place: Path, tmp_path: Path) -> None:
    out = Path(shutil.copytree(place / "page", tmp_path / "out"))
    facts = read_facts(out)
    assert (facts.changes[-1].step, facts.engine) == ("export", "onnx")
    names = {path.name for path in out.iterdir()}
    assert PAGE | VENDORED | {"model.onnx", "tokenizer.json", "tokenizer_config.json", "run.py"} <= names
    assert not any(path.is_dir() for path in out.iterdir())
    assert {name for name, _, _ in facts.files} == names - {"artifact.json", "report.json"}
    (out / "worker.js").write_text("// another")
    with pytest.raises(ArtifactError, match="TT-A003"):
        open_artifact(out)


def test_it_answers_as_the_model_does_whose_weights_alone_are_int8(place: Path) -> None:
    exact, found = open_artifact(place / "a"), open_artifact(place / "page")
    apart = np.abs(found.logits(found.encode(ROWS)) - exact.logits(exact.encode(ROWS))).max()
    assert 0 < apart < 0.05 and found.facts.engine == "onnx"
    compared = found.facts.changes[-1].compared[-1]
    assert evaluate(str(place / "page"), str(place / "data")).main.value == pytest.approx(compared.after)
    alone = [sys.executable, "run.py", TEXTS[0]]
    told = subprocess.run(alone, cwd=place / "page", capture_output=True, text=True, check=True).stdout
    (one,) = found.predict(ROWS[:1])
    assert told.split("\t")[0] == one.label


def test_the_page_says_what_is_loaded_and_leads_nowhere(place: Path) -> None:
    out = place / "page"
    for name in PAGE:
        content = (out / name).read_bytes()
        assert not ADDRESS.search(content), name
        assert str(place).encode() not in content and str(Path.home()).encode() not in content, name
    page = json.loads((out / "page.json").read_text(encoding="utf-8"))
    assert (page["task"], page["labels"], page["inputs"]) == ("classify", ["bad", "good"], 1)
    assert page["max_length"] == read_facts(out).strategy.max_length
    sizes = {name: (out / name).stat().st_size for name in page["bytes"]}
    assert page["bytes"] == sizes
    assert {"model.onnx", "ort.wasm.bin", "tokenizer.json"} <= set(sizes) and "page.json" not in sizes
    used = {name for name in PAGE | VENDORED if name.encode() in (out / "worker.js").read_bytes()}
    assert {"ort.js", "ort.wasm.bin", "tokenizers.js", "page.json"} <= used
    policy = re.search(r'Content-Security-Policy" content="([^"]+)"', (out / "index.html").read_text("utf-8"))
    assert policy is not None and "default-src 'none'" in policy[1] and "connect-src 'self'" in policy[1]


def test_no_file_of_the_page_names_a_folder_of_this_machine(place: Path) -> None:
    for file in (place / "page").iterdir():
        assert str(place).encode() not in file.read_bytes(), file.name
    (change,) = read_facts(place / "page").changes
    assert (change.parent, change.settings) == ("", ())
    assert read_facts(place / "onnx").changes[0].parent == str(place / "a")


def test_an_onnx_model_is_taken_as_it_is_also_that_of_a_page(place: Path, tmp_path: Path) -> None:
    parent = place / "onnx"
    for out in (tmp_path / "first", tmp_path / "second"):
        *events, done = made(parent, out, wanted(place))
        assert isinstance(done, Compressed) and done.change.compared[0].largest_difference == 0.0
        assert (out / "model.onnx").read_bytes() == (place / "onnx" / "model.onnx").read_bytes()
        (said,) = (one for one in events if isinstance(one, Message) and one.code == "TT-C511")
        sizes = json.loads((out / "page.json").read_text("utf-8"))["bytes"]
        assert said.fact("model") + said.fact("runtime") == sum(sizes.values())
        parent = out
    assert [one.step for one in read_facts(tmp_path / "second").changes] == ["export"] * 3
    with pytest.raises(UsageError, match="TT-C011"):  # int8 is to be made, and nothing to hold it against
        made(place / "a", tmp_path / "third", wanted(place))


def test_packages_are_those_that_were_published(place: Path, packages: Path, tmp_path: Path) -> None:
    tarball = packages / npm_packages.RUNTIME[0].tarball
    whole = tarball.read_bytes()
    tarball.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    with pytest.raises(ArtifactError, match="TT-C503"):
        made(place / "onnx", tmp_path / "out", Browser(runtime=str(packages)))
    tarball.unlink()
    with pytest.raises(ArtifactError, match="TT-C504") as caught:
        made(place / "onnx", tmp_path / "out", Browser(runtime=str(packages)))
    assert caught.value.message.fact("command").startswith("npm pack onnxruntime-web@1.")
    assert [path.name for path in tmp_path.iterdir()] == ["packages"]


# In place of npm: writes what it was asked, and from where, and gives the tarball there is.
_NPM = """#!/bin/sh
echo "$@" >> {log}
ls -A >> {log}
test "$1" = pack || exit 3
for file in {packages}/*.tgz; do cp "$file" .; done
"""


def test_npm_fetches_once_what_is_missing(packages: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log, programs, cache = tmp_path / "log", tmp_path / "programs", tmp_path / "cache"
    programs.mkdir()
    (programs / "npm").write_text(_NPM.format(log=log, packages=packages))
    (programs / "npm").chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:/usr/bin:/bin")
    told = [one.code for one in npm_packages.fetch(cache)]
    asked = [f"pack {one.wanted} --ignore-scripts --silent" for one in npm_packages.RUNTIME]
    assert told == ["TT-C510"] * 2 and log.read_text().splitlines() == asked  # from an empty folder
    assert {path.name for path in cache.iterdir()} == {path.name for path in packages.iterdir()}
    assert list(npm_packages.fetch(cache)) == [] and len(log.read_text().splitlines()) == 2
    (cache / npm_packages.RUNTIME[0].tarball).unlink()
    tarball = packages / npm_packages.RUNTIME[0].tarball
    tarball.write_bytes(tarball.read_bytes() + b"x")
    with pytest.raises(ArtifactError, match="TT-C503"):
        list(npm_packages.fetch(cache))
    (programs / "npm").write_text("#!/bin/sh\necho no network >&2; exit 1\n")
    with pytest.raises(ArtifactError, match=r"TT-C502.*no network"):
        list(npm_packages.fetch(cache))
    monkeypatch.setenv("PATH", os.fspath(tmp_path))
    with pytest.raises(ArtifactError, match="TT-C501") as caught:
        list(npm_packages.fetch(cache))
    assert caught.value.message.fact("command") == npm_packages.command()
    assert {path.name for path in cache.iterdir()} == {npm_packages.RUNTIME[1].tarball}


def test_what_no_page_shows_is_refused(place: Path, tmp_path: Path) -> None:
    words = moved_artifact(tmp_path / "words", tiny_base(tmp_path, layers=1), "full")
    with pytest.raises(ArtifactError, match="TT-C505"):  # whole words
        made(words, tmp_path / "out", wanted(place), data=str(place / "data"))
    tags = ("O", "B-mood", "B-number", "I-number")
    tagger = moved_artifact(tmp_path / "tags", tiny_base(tmp_path, layers=1), "full", task="tag", labels=tags)
    (tmp_path / "tagged").mkdir()
    with pytest.raises(ArtifactError, match="TT-C500"):
        made(tagger, tmp_path / "out", wanted(place), data=str(write_tags(tmp_path / "tagged")))
    with pytest.raises(UsageError, match="TT-C506"):
        exported("onnx", "here")
    with pytest.raises(UsageError, match="TT-C017"):
        exported("onyx", None)
    assert exported("browser", "here") == Browser(runtime="here") and not (tmp_path / "out").exists()


def test_every_weight_alone_in_int8_is_within_half_a_step(place: Path, tmp_path: Path) -> None:
    exact, found = (_weights(place / name / "model.onnx") for name in ("onnx", "page"))
    packed = [name.removesuffix("_int8") for name in found if name.endswith("_int8")]
    assert len(packed) >= 6 + 2 and not set(packed) & set(found)
    for name in packed:
        scale, steps = found[f"{name}_scale"], found[f"{name}_int8"].astype(np.float32)
        assert scale.size in exact[name].shape and (np.abs(steps) <= 127).all()
        assert (np.abs(steps * scale - exact[name]) <= 0.5001 * scale).all(), name
    with pytest.raises(UsageError, match="TT-C019"):
        made(place / "a", tmp_path / "no", Quantize(bits="q4", ranges="none"), data=str(place / "data"))


def test_parts_that_are_kept_keep_their_weights(place: Path, tmp_path: Path) -> None:
    graph = place / "onnx" / "model.onnx"
    nodes, weights = onnx.load(graph).graph.node, _weights(graph)
    products = [node for node in nodes if node.op_type == "MatMul" and node.input[1] in weights]
    kept = next(node for node in products if weights[node.input[1]].size >= 1024)
    write_int8_weights(graph, tmp_path / "kept.onnx", [kept.name])
    found = _weights(tmp_path / "kept.onnx")
    assert np.array_equal(found[kept.input[1]], weights[kept.input[1]])
    write_int8_weights(graph, tmp_path / "all.onnx", [node.name for node in nodes])
    assert _weights(tmp_path / "all.onnx").keys() == weights.keys()


def _weights(file: Path) -> dict[str, np.ndarray]:
    return {one.name: numpy_helper.to_array(one) for one in onnx.load(file).graph.initializer}


@pytest.mark.skipif(shutil.which("node") is None, reason="no node, which knows JavaScript")
def test_the_scripts_are_javascript() -> None:
    page = Path(npm_packages.__file__).parent / "page"
    for name, kind in (("page.js", "commonjs"), ("worker.js", "module")):
        checked = ["node", f"--input-type={kind}", "--check"]
        done = subprocess.run(checked, input=(page / name).read_bytes(), capture_output=True, check=False)
        assert done.returncode == 0, done.stderr.decode()
