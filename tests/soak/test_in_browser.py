"""The page of a browser export in Chromium, which reaches this machine alone: it says what Python says."""

import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from tokenizers import Tokenizer

import chromium
from chromium import Page, served, wait_until, window
from tiny_artifacts import LABELS, moved_artifact
from trimtab.compression import npm_packages
from trimtab.compression.wanted import Browser, Quantize
from trimtab.data import Example
from trimtab.evaluation import open_artifact
from trimtab.models import ModelSource
from trimtab.study import CompressRequest, compress

SENTENCES = ("sst2", "chnsenticorp")
ROWS = 500
ODD = (
    "",
    " \t\n",
    "Crème brûlée naïve ÀÉÎ e\u0301te\u0301",
    "emoji 😀👩‍👩‍👧‍👦🇨🇳 ok",
    "[CLS] [SEP] [MASK] <s> </s> <mask> <pad> [UNK]",
    "don't isn't I'm we'll — … “q” ‘r’",
    "中文English混排，标点。！？《》 ｆｕｌｌ １２３ 𠀀𠮷",
    "Σίσυφος ΣΊΣΥΦΟΣ İstanbul ıI ẞ ß",
    "a\u200bb\u200dc\ufeffd\u3000e\u00a0f\x00\x01\x7f",
    "w" * 150,
    "long " * 300,
)

pytestmark = [
    pytest.mark.soak,
    pytest.mark.model,
    pytest.mark.skipif(bool(chromium.missing), reason=f"no {', '.join(chromium.missing)} on this machine"),
]


@pytest.fixture(scope="module")
def runtime(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The published packages: those of the folder $TRIMTAB_NPM, else fetched by npm."""
    if named := os.environ.get("TRIMTAB_NPM"):
        return Path(named)
    if shutil.which("npm") is None:
        pytest.skip("no npm to fetch the runtime of the page with, and no $TRIMTAB_NPM")
    folder = tmp_path_factory.mktemp("npm")
    for package in npm_packages.RUNTIME:
        words = ["npm", "pack", package.wanted, "--silent"]
        done = subprocess.run(words, cwd=folder, capture_output=True, text=True, check=False)
        if done.returncode:
            pytest.skip(f"npm cannot fetch {package.wanted}: {done.stderr.strip()[:200]}")
    return folder


Texts = Callable[[str], list[str]]


@pytest.fixture(scope="module")
def texts(shared: Callable[[str], str]) -> Texts:
    """The first sentences of the test split of a real data set."""

    def find(name: str) -> list[str]:
        with (Path(shared(name)) / "test.jsonl").open(encoding="utf-8") as file:
            return [json.loads(line)["text"] for line in islice(file, ROWS)]

    return find


@pytest.fixture(scope="module")
def trained(real_model: Callable[[str], Path], texts: Texts, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A real encoder under a head at random, and beside it rows of the task."""
    folder = tmp_path_factory.mktemp("trained")
    (folder / "data").mkdir()
    rows = [json.dumps({"text": text, "label": LABELS[i % 2]}) for i, text in enumerate(texts("sst2")[:80])]
    (folder / "data" / "train.jsonl").write_text("\n".join(rows), encoding="utf-8")
    source = real_model("paraphrase-minilm-l3-v2")
    return moved_artifact(folder / "a", ModelSource(folder=source, name=str(source)), "head", max_length=64)


@pytest.fixture(scope="module")
def page_folder(trained: Path, runtime: Path) -> Path:
    return exported(trained, trained.parent / "page", runtime)


@pytest.fixture
def page(page_folder: Path) -> Iterator[Page]:
    with served(page_folder) as address, window() as page:
        page.open(address)
        page.run("await trimtab.loaded")
        yield page


def exported(folder: Path, out: Path, runtime: Path) -> Path:
    wanted = Browser(runtime=str(runtime))
    data = str(folder.parent / "data")
    list(compress(CompressRequest(folder=str(folder), out=str(out), wanted=wanted, data=data, force=True)))
    return out


@pytest.mark.parametrize("name", SENTENCES)
def test_five_hundred_sentences_are_told_what_python_tells_them(
    name: str, texts: Texts, page_folder: Path, page: Page
) -> None:
    found = page.run("return trimtab.classify(values[0])", texts(name))
    probabilities = np.array([one["probabilities"] for one in found])
    python = open_artifact(page_folder)
    wanted = list(python.predict(Example((text,), None) for text in texts(name)))
    assert len(found) == len(wanted) == ROWS
    assert [one["label"] for one in found] == [one.label for one in wanted]
    assert np.abs(probabilities.max(axis=1) - [one.probability for one in wanted]).max() < 1e-5


def test_int8_activations_differ_by_rounding_and_where_the_model_is_undecided(
    texts: Texts, trained: Path, runtime: Path
) -> None:
    """Python differs from itself in the same way where its graph is not optimised: a last bit of fp32 moves an
    activation by a whole step."""
    q8 = trained.parent / "q8"
    data = str(trained.parent / "data")
    list(compress(CompressRequest(folder=str(trained), out=str(q8), wanted=Quantize(), data=data, force=True)))
    folder = exported(q8, trained.parent / "page-q8", runtime)
    with served(folder) as address, window() as page:
        page.open(address)
        found = np.array([one["logits"] for one in page.run("return trimtab.classify(values[0])", texts("sst2"))])
    wanted = alone(folder, texts("sst2"), onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL)
    plain = alone(folder, texts("sst2"), onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL)
    apart, own = np.abs(found - wanted), np.abs(plain - wanted)
    assert 0 < apart.mean() < 2 * own.mean() + 1e-4
    undecided = np.abs(wanted[:, 0] - wanted[:, 1]) < 2 * own.max()
    assert ((found.argmax(axis=1) == wanted.argmax(axis=1)) | undecided).all()


def alone(folder: Path, texts: list[str], level: onnxruntime.GraphOptimizationLevel) -> np.ndarray:
    """Outputs of ONNX Runtime, one text at a time."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level, options.intra_op_num_threads = level, 1
    session = onnxruntime.InferenceSession(str(folder / "model.onnx"), options)
    tokenizer = cutting(folder, 64)
    rows = []
    for text in texts:
        one = tokenizer.encode(text)
        known = {"input_ids": one.ids, "attention_mask": one.attention_mask, "token_type_ids": one.type_ids}
        fed = {put.name: np.array([known[put.name]], np.int64) for put in session.get_inputs()}
        rows.append(session.run(None, fed)[0][0])
    return np.array(rows)


def cutting(folder: Path, most: int) -> Tokenizer:
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.enable_truncation(most)
    return tokenizer


@pytest.mark.parametrize("model", ["all-minilm-l6-v2", "multilingual-e5-small", "smollm2-135m-instruct"])
def test_tokens_are_those_of_python(
    model: str, real_model: Callable[[str], Path], texts: Texts, page_folder: Path, tmp_path: Path
) -> None:
    """WordPiece, Unigram and BPE; of pairs the longer text is cut first. The model of the page stays."""
    source = real_model(model)
    folder = Path(shutil.copytree(page_folder, tmp_path / "page"))
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copyfile(source / name, folder / name)
    without_a_first_run(folder)
    singles = [*(text for name in SENTENCES for text in texts(name)), *ODD]
    pairs = [[first, second] for first, second in zip(singles, reversed(singles), strict=True)]
    tokenizer = cutting(folder, 64)
    with served(folder) as address, window() as page:
        page.open(address)
        for asked in (singles, pairs):
            found = page.run("return trimtab.tokens(values[0])", asked)
            wanted = tokenizer.encode_batch([one if isinstance(one, str) else tuple(one) for one in asked])
            differing = [one for one, ids, want in zip(asked, found, wanted, strict=True) if ids != want.ids]
            assert not differing, differing[:3]


def without_a_first_run(folder: Path) -> None:
    """Let the page begin without a run of the model, whose embeddings are those of another tokenizer."""
    script = folder / "worker.js"
    begun = re.sub(r"\n.*await loaded\.classify\(.*", "", script.read_text(encoding="utf-8"))
    script.write_text(begun, encoding="utf-8")


def test_nothing_but_the_folder_is_asked_for(page_folder: Path) -> None:
    asked: list[str] = []
    with served(page_folder, asked) as address, window() as page:
        page.open(address)
        page.run("await trimtab.loaded; return trimtab.classify(['a good film'])")
        assert all(one.startswith((address, "data:")) for one in page.requests())
        tried = page.run("return fetch('http://127.0.0.1:9/').then(() => 'went', (error) => 'refused')")
    named = {path.lstrip("/") for path in asked}
    assert {"", "page.js", "worker.js", "ort.js", "ort.wasm.bin", "model.onnx", "tokenizer.json"} <= named
    assert named <= {path.name for path in page_folder.iterdir()} | {""} and tried == "refused"


_TYPE = """
const area = document.querySelector("textarea");
area.value = values[0];
area.dispatchEvent(new Event("input"));
"""


@pytest.mark.parametrize(
    ("language", "title"), [("en-US", "Text classifier"), ("zh-CN", "文本分类"), ("fr-FR", "Text classifier")]
)
@pytest.mark.parametrize("phone", [False, True], ids=["desktop", "phone"])
def test_whoever_types_sees_an_answer(language: str, title: str, phone: bool, page_folder: Path) -> None:
    width = 390 if phone else 1000
    with served(page_folder) as address, window(width=width, language=language, phone=phone) as page:
        page.open(address)
        page.run("await trimtab.loaded")
        page.run(_TYPE, "a film")
        wait_until(page, "return !document.getElementById('result').hidden")
        (told,) = page.run("return trimtab.classify(['a film'])")
        shown = page.run("return document.querySelector('main').innerText")
        assert title in shown and shown.count(told["label"]) >= 2 and f"{100 * told['probability']:.1f}" in shown
        assert page.run("return document.querySelectorAll('#bars li').length") == 2
        wide = page.run("return [document.documentElement.scrollWidth, window.innerWidth]")
        assert wide[0] <= wide[1]  # nothing to scroll to sideways
        named = page.run(
            "return [...document.querySelectorAll('textarea')].every((one) => one.labels.length === 1)"
        )
        assert named


def test_opened_as_a_file_it_says_what_to_do(page_folder: Path) -> None:
    with window() as page:
        page.open((page_folder / "index.html").as_uri())
        shown = page.run("return document.querySelector('main').innerText")
    assert "python3 -m http.server" in shown and "网页服务器" in shown


def test_a_page_that_lacks_its_model_says_so(page_folder: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(page_folder, tmp_path / "page"))
    (folder / "model.onnx").unlink()
    with served(folder) as address, window() as page:
        page.open(address)
        wait_until(page, "return !document.getElementById('failure').hidden")
        assert "model.onnx: 404" in page.run("return document.getElementById('failure').textContent")
