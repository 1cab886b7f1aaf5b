"""serve --print: the folder for another server. No such server is run here: what is written is read back by PEFT,
by the package gguf and by PyYAML, and computes what the artifact computes."""

import json
import shlex
from dataclasses import replace
from pathlib import Path

import gguf
import numpy as np
import pytest
import torch
import yaml
from peft import PeftModel
from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast

from tiny_artifacts import moved_artifact
from tiny_chat import chat_model
from tiny_gguf import byte_pairs, tiny_decoder
from trimtab.app.cli.face import Face
from trimtab.app.cli.serve_print import print_for
from trimtab.artifacts import read_facts
from trimtab.compression.gguf import write_gguf
from trimtab.errors import ModelError, NothingFits, UsageError
from trimtab.evaluation import open_artifact
from trimtab.methods import Choices, Lora, method_named, parts_for
from trimtab.models import ModelSource, read_spec
from trimtab.serving.handover import SERVERS, Handed, Launch, Served, compose_file
from trimtab.serving.handover.vllm import RANKS, slot_bytes, smallest_rank
from trimtab.study.handover import HandoverRequest, hand_over
from trimtab.tuning.gguf_model import side_by_side

IDS = torch.arange(4, 34).reshape(2, 15)
LORA_SERVERS = tuple(SERVERS)


def decoder(folder: Path, family: str = "llama") -> ModelSource:
    """A tiny language model with a tokenizer that llama.cpp knows, and no chat template."""
    tokenizer = byte_pairs()
    tiny_decoder(family, tied=False, vocab=tokenizer.get_vocab_size()).save_pretrained(folder)
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<|im_start|>", eos_token="<|im_end|>", pad_token="<|endoftext|>",
        unk_token="<|endoftext|>",
    ).save_pretrained(folder)  # fmt: skip
    return ModelSource(folder=folder, name=str(folder))


def parts(source: ModelSource, method: str, **chosen: object) -> tuple[object, ...]:
    return parts_for(method_named(method), "instruct", read_spec(source), Choices(**chosen))  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> ModelSource:
    return decoder(tmp_path_factory.mktemp("base") / "it's a $HOME")


@pytest.fixture(scope="module")
def made(base: ModelSource, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """An adapter of each kind that matters to a server, by name."""
    folder = tmp_path_factory.mktemp("artifacts")
    changed = {
        "law": ("lora", {"rank": 4}),
        "upper": ("lora", {"rank": 9, "top_layers": 1, "targets": ("q", "v", "down")}),
        "stable": ("lora", {"rank": 4, "lora_variant": "rslora"}),
        "lengths": ("lora", {"rank": 4, "lora_variant": "dora"}),
        "neck": ("adapter", {"bottleneck": 4}),
        "scales": ("ia3", {}),
        "words": ("prompt", {"virtual_tokens": 2}),
    }
    found = {
        name: moved_artifact(folder / name, base, method, task="instruct", parts=parts(base, method, **chosen))
        for name, (method, chosen) in changed.items()
    }
    found["whole"] = moved_artifact(folder / "whole", base, "full", task="instruct")
    found["mood"] = moved_artifact(folder / "mood", base, "lora")
    other = chat_model(folder / "other-base", "llama", seed=5)
    found["elsewhere"] = moved_artifact(folder / "elsewhere", other, "lora", task="instruct")
    return found


def served(base: ModelSource, made: dict[str, Path], *names: str, **changed: object) -> Served:
    sha256 = read_facts(made["law"]).base.weights_sha256
    adapters = tuple(
        Handed(
            name=name,
            folder=made[name],
            typed=str(made[name]),
            facts=read_facts(made[name]),
            same_base=read_facts(made[name]).base.weights_sha256 == sha256,
        )
        for name in names
    )
    return replace(Served(source=base, spec=read_spec(base), adapters=adapters), **changed)  # type: ignore[arg-type]


def on_hub(base: ModelSource) -> ModelSource:
    return replace(base, kind="hub", hub_id="org/tiny", revision="1a2b3c")


def request(base: ModelSource, server: str, made: dict[str, Path], *names: str, **more: object) -> HandoverRequest:
    adapters = tuple((name, str(made[name])) for name in names)
    return HandoverRequest(model=str(base.folder), server=server, adapters=adapters, **more)  # type: ignore[arg-type]


def logits(model: torch.nn.Module) -> torch.Tensor:
    """In float64: what differs then is no rounding of theirs."""
    with torch.no_grad():
        return model.double().eval()(IDS).logits


def as_trained(folder: Path) -> torch.Tensor:
    return logits(open_artifact(folder).model)


def plain(base: ModelSource) -> torch.nn.Module:
    return AutoModelForCausalLM.from_pretrained(base.folder)


@pytest.mark.parametrize("server", ["vllm", "lorax"])
def test_a_written_peft_folder_computes_what_the_artifact_does(
    base: ModelSource, made: dict[str, Path], server: str, tmp_path: Path
) -> None:
    hand_over(request(base, server, made, "law", "upper", "stable", out=str(tmp_path / "out")))
    for name in ("law", "upper", "stable"):
        model = PeftModel.from_pretrained(plain(base), tmp_path / "out" / "adapters" / name)
        torch.testing.assert_close(logits(model), as_trained(made[name]), rtol=0, atol=1e-5)
        assert (logits(model) - logits(plain(base))).abs().max() > 0.01


def test_lorax_is_given_pairs_in_all_layers(base: ModelSource, made: dict[str, Path], tmp_path: Path) -> None:
    """It leaves a kind of matrix out where one layer has no pair: rank 9 x 3 matrices x 2 layers x A and B."""
    done = hand_over(request(base, "lorax", made, "upper", out=str(tmp_path / "out")))
    from safetensors.torch import load_file

    tensors = load_file(tmp_path / "out" / "adapters" / "upper" / "adapter_model.safetensors")
    assert len(tensors) == 3 * 2 * 2
    assert sum(not tensor.any() for tensor in tensors.values()) == 3 * 2
    assert [note.code for note in done.notes if note.code == "TT-N333"]


@pytest.mark.parametrize("family", ["llama", "mistral", "qwen2", "qwen3"])
def test_base_and_gguf_adapter_compute_what_peft_does(family: str, tmp_path: Path) -> None:
    base = decoder(tmp_path / "base", family)
    variants = {"plain": None, "stable": "rslora"}
    adapters = tuple(
        (name, str(moved_artifact(tmp_path / name, base, "lora", task="instruct",
                                  parts=parts(base, "lora", rank=6, lora_variant=variant))))
        for name, variant in variants.items()
    )  # fmt: skip
    request = HandoverRequest(
        model=str(base.folder), server="llama.cpp", adapters=adapters, out=str(tmp_path / "out"), kind="f32"
    )
    hand_over(request)
    weights = gguf_tensors(tmp_path / "out" / "base-f32.gguf")
    for name, _ in adapters:
        model = plain(base)
        added = added_by(tmp_path / "out" / "adapters" / f"{name}.gguf")
        fill(model, {key: weights[key] + added.get(key, 0) for key in weights}, base)
        torch.testing.assert_close(logits(model), as_trained(tmp_path / name), rtol=0, atol=1e-5)
        assert (logits(model) - logits(plain(base))).abs().max() > 0.01


def gguf_tensors(path: Path) -> dict[str, np.ndarray]:
    """By name, as torch shapes them."""
    tensors = gguf.GGUFReader(path).tensors
    return {tensor.name: np.array(tensor.data).reshape(tensor.shape.tolist()[::-1]) for tensor in tensors}


def added_by(path: Path) -> dict[str, np.ndarray]:
    """alpha / rank x B A by the name of the base's tensor: what llama.cpp adds (llama-adapter.h, get_scale)."""
    fields = gguf.GGUFReader(path).fields
    assert fields["general.type"].contents() == "adapter"
    assert fields["adapter.type"].contents() == "lora"
    alpha, tensors = fields["adapter.lora.alpha"].contents(), gguf_tensors(path)
    pairs = {name.removesuffix(".lora_a") for name in tensors if name.endswith(".lora_a")}
    assert len(tensors) == 2 * len(pairs)
    found = {}
    for name in pairs:
        a, b = tensors[f"{name}.lora_a"], tensors[f"{name}.lora_b"]
        assert a.shape[0] == b.shape[1]
        found[name] = alpha / a.shape[0] * b.astype(np.float64) @ a.astype(np.float64)
    return found


def fill(model: torch.nn.Module, weights: dict[str, np.ndarray], base: ModelSource) -> None:
    """Put tensors of a GGUF file into a transformers model."""
    from trimtab.models.gguf_layout import language_tensors

    parameters = dict(model.named_parameters())
    for tensor in language_tensors(read_spec(base), "f32"):
        values = torch.from_numpy(weights[tensor.name])
        with torch.no_grad():
            parameters[tensor.source].copy_(side_by_side(values, tensor.heads) if tensor.heads else values)


def test_the_gguf_of_a_merged_model_is_base_and_adapter(
    base: ModelSource, made: dict[str, Path], tmp_path: Path
) -> None:
    """Weight by weight, through another way: PEFT merges, our exporter writes."""
    from trimtab.evaluation.merging import merge_artifact

    (tmp_path / "merged").mkdir()
    merge_artifact(made["upper"], tmp_path / "merged")
    write_gguf(tmp_path / "merged", tmp_path / "merged.gguf", "f32")
    hand_over(request(base, "llama.cpp", made, "upper", out=str(tmp_path / "out"), kind="f32"))
    weights, added = (
        gguf_tensors(tmp_path / "out" / "base-f32.gguf"),
        added_by(tmp_path / "out/adapters/upper.gguf"),
    )
    assert set(added) == {f"blk.1.{name}.weight" for name in ("attn_q", "attn_v", "ffn_down")}
    for name, merged in gguf_tensors(tmp_path / "merged.gguf").items():
        np.testing.assert_allclose(weights[name] + added.get(name, 0), merged, rtol=0, atol=1e-6)


REFUSED = {
    "lengths": "TT-N315", "neck": "TT-N312", "scales": "TT-N312", "words": "TT-N312", "whole": "TT-N311",
    "mood": "TT-N313", "elsewhere": "TT-N310",
}  # fmt: skip


@pytest.mark.parametrize("server", LORA_SERVERS)
def test_what_a_server_cannot_load_is_left_out_with_its_reason(
    base: ModelSource, made: dict[str, Path], server: str
) -> None:
    done = hand_over(request(base, server, made, "law", *REFUSED))
    assert [one.name for one in done.taken] == ["law"]
    assert {one.name: one.why.code for one in done.left_out} == REFUSED
    mergeable = {one.name for one in done.left_out if one.instead.code == "TT-N318"}
    assert mergeable == {"lengths", "scales", "mood"}
    command = next(one.instead.fact("command") for one in done.left_out if one.name == "mood")
    assert shlex.split(str(command)) == ["trimtab", "adapters", "merge", str(made["mood"]), "--out", "merged/mood"]


def test_a_rank_above_what_vllm_holds_is_refused_in_numbers(base: ModelSource, made: dict[str, Path]) -> None:
    one = served(base, made, "law").adapters[0]
    part = Lora(rank=RANKS[-1] + 1)
    facts = replace(one.facts, strategy=replace(one.facts.strategy, parts=(part,)))
    launch = SERVERS["vllm"].launch(served(base, made, adapters=(replace(one, facts=facts),)))
    assert launch.refused[0].why.text() == "law has rank 513, and vLLM takes at most 512."


@pytest.mark.parametrize(
    ("ranks", "least"), [((1,), 8), ((8,), 8), ((8, 9), 16), ((64, 65, 4), 128), ((300,), 320)]
)
def test_max_lora_rank_is_the_smallest_that_holds_all(ranks: tuple[int, ...], least: int) -> None:
    assert smallest_rank(ranks) == least


def test_memory_of_a_slot_is_that_of_pairs_beside_all_matrices(base: ModelSource) -> None:
    layers = plain(base).model.layers
    linears = [module for module in layers.modules() if isinstance(module, torch.nn.Linear)]
    assert slot_bytes(read_spec(base), 16) == sum(2 * 16 * (one.in_features + one.out_features) for one in linears)


def option(launch: Launch, flag: str) -> str:
    return launch.argv[launch.argv.index(flag) + 1]


def test_vllm_command_of_a_published_base_names_nothing_of_this_machine(
    base: ModelSource, made: dict[str, Path]
) -> None:
    launch = SERVERS["vllm"].launch(served(on_hub(base), made, "law", "upper"))
    assert launch.argv[:3] == ("vllm", "serve", "org/tiny")
    assert option(launch, "--revision") == "1a2b3c"
    assert option(launch, "--max-lora-rank") == "16"
    assert option(launch, "--max-loras") == option(launch, "--max-cpu-loras") == "2"
    at = launch.argv.index("--lora-modules")
    assert launch.argv[at + 1 : at + 3] == ("law=adapters/law", "upper=adapters/upper")
    told = yaml.safe_load(compose_file("vllm", launch.container, 8000))["services"]["vllm"]
    assert told["command"][0] == "org/tiny"
    assert "law=/adapters/law" in told["command"]
    assert str(base.folder) not in json.dumps(told) + shlex.join(launch.argv)


@pytest.mark.parametrize("server", LORA_SERVERS)
def test_a_written_folder_is_whole_and_reads_as_yaml_and_shell(
    base: ModelSource, made: dict[str, Path], server: str, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    done = hand_over(request(base, server, made, "law", "mood", out=str(out), port=8123))
    service = next(iter(yaml.safe_load((out / "compose.yaml").read_text())["services"].values()))
    assert service["ports"][0].startswith("127.0.0.1:8123:")
    mounts = {mount["target"]: mount["source"] for mount in service["volumes"]}
    here = [source for source in mounts.values() if source.startswith("./")]
    assert here
    assert all((out / source).exists() for source in here)
    assert all("$" not in source.replace("$$", "") for source in mounts.values())
    last = (out / "command.sh").read_text().splitlines()[-1]
    assert shlex.split(last)[1:] == shlex.split(done.command)
    assert (out / "command.sh").stat().st_mode & 0o111
    text = (out / "README.md").read_text()
    assert "**law**: LoRA of rank 4" in text
    assert "outputs: 2" in text
    assert str(made["mood"]) not in text  # others read it
    assert sum(size for _, size in done.files) == sum(
        file.stat().st_size for file in out.rglob("*") if file.is_file()
    )


def test_the_config_beside_an_adapter_says_how_to_compute_and_nothing_else(
    base: ModelSource, made: dict[str, Path], tmp_path: Path
) -> None:
    hand_over(request(base, "vllm", made, "law", out=str(tmp_path / "out")))
    config = json.loads((tmp_path / "out/adapters/law/adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == base.folder.name
    assert "/" not in json.dumps(config)
    assert "modules_to_save" not in config


@pytest.mark.parametrize(
    ("server", "flags"),
    [
        ("vllm", ("--quantization", "bitsandbytes")),
        ("lorax", ("--quantize", "bitsandbytes-nf4")),
        ("llama.cpp", ()),
    ],
)
def test_adapters_of_a_4_bit_base_are_served_on_one_where_the_server_has_it(
    base: ModelSource, made: dict[str, Path], server: str, flags: tuple[str, ...]
) -> None:
    one = served(base, made, "law").adapters[0]
    facts = replace(one.facts, strategy=replace(one.facts.strategy, base_precision="nf4", precision="bf16"))
    four_bits = replace(one, facts=facts)
    launch = SERVERS[server].launch(served(base, made, adapters=(four_bits,)))
    joined = " ".join(launch.argv)
    assert " ".join(flags) in joined
    assert bool(flags) != any(note.code == "TT-N330" for note in launch.notes)
    mixed = SERVERS[server].launch(served(base, made, adapters=(four_bits, replace(one, name="other"))))
    assert "quanti" not in " ".join(mixed.argv)
    assert any(note.code == "TT-N330" for note in mixed.notes)


def test_lorax_takes_either_a_dtype_or_few_bits(base: ModelSource, made: dict[str, Path]) -> None:
    one = served(base, made, "law").adapters[0]
    facts = replace(one.facts, strategy=replace(one.facts.strategy, base_precision="nf4", precision="bf16"))
    argv = SERVERS["lorax"].launch(served(base, made, adapters=(replace(one, facts=facts),))).argv
    assert ("--dtype" in argv, "--quantize" in argv) == (False, True)


def test_the_chat_template_travels_where_the_base_has_none(
    base: ModelSource, made: dict[str, Path], tmp_path: Path
) -> None:
    done = hand_over(request(base, "vllm", made, "law", out=str(tmp_path / "out")))
    assert "--chat-template chat_template.jinja" in done.command
    written = (tmp_path / "out" / "chat_template.jinja").read_text()
    assert written == (made["law"] / "chat_template.jinja").read_text()


def test_llama_server_numbers_adapters_as_they_are_asked(base: ModelSource, made: dict[str, Path]) -> None:
    done = hand_over(request(base, "llama.cpp", made, "mood", "law", "stable"))
    words = shlex.split(done.command)
    files = [words[at + 1] for at, word in enumerate(words) if word == "--lora"]
    assert files == [one.path for one in done.taken] == ["adapters/law.gguf", "adapters/stable.gguf"]
    bodies = [json.loads(shlex.split(one.request)[-1]) for one in done.taken]
    assert [body["lora"] for body in bodies] == [[{"id": 0, "scale": 1.0}], [{"id": 1, "scale": 1.0}]]
    assert "--lora-init-without-apply" in words


def test_a_text_adapter_is_asked_for_a_text_to_go_on(base: ModelSource, made: dict[str, Path]) -> None:
    one = served(base, made, "law").adapters[0]
    text = replace(one, facts=replace(one.facts, task="text"))
    asked = SERVERS["vllm"].launch(served(base, made, adapters=(text,))).loaded[0].request
    assert asked[1].endswith("/v1/completions")
    assert json.loads(asked[-1])["model"] == "law"


def test_where_nothing_can_be_loaded_nothing_is_written(
    base: ModelSource, made: dict[str, Path], tmp_path: Path
) -> None:
    with pytest.raises(NothingFits) as caught:
        hand_over(request(base, "vllm", made, "neck", "mood", out=str(tmp_path / "out")))
    assert caught.value.code == "TT-N300"
    assert "none of the 2 adapters" in str(caught.value)
    assert "trimtab adapters merge" in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_a_base_alone_is_handed_over_too(base: ModelSource, tmp_path: Path) -> None:
    done = hand_over(HandoverRequest(model=str(base.folder), server="vllm"))
    assert "lora" not in done.command
    assert done.folder is None


def test_requests_that_cannot_be_meant(base: ModelSource, made: dict[str, Path], tmp_path: Path) -> None:
    from tiny_models import tiny_model

    with pytest.raises(UsageError, match="TT-N301"):
        hand_over(request(base, "vlm", made, "law"))
    with pytest.raises(UsageError, match="TT-N303"):
        hand_over(request(base, "vllm", made, "law", "law"))
    encoder = tiny_model(tmp_path / "bert", "bert")
    with pytest.raises(UsageError, match="TT-N302"):
        hand_over(HandoverRequest(model=str(encoder.folder), server="vllm"))
    with pytest.raises(ModelError, match="TT-C400"):
        hand_over(HandoverRequest(model=str(tiny_model(tmp_path / "phi", "phi").folder), server="llama.cpp"))


@pytest.mark.parametrize("language", ["en", "zh"])
def test_the_command_alone_stands_on_stdout(
    base: ModelSource, made: dict[str, Path], language: str, capsys: pytest.CaptureFixture[str]
) -> None:
    print_for(Face(arguments=(), language=language), request(base, "vllm", made, "law", "mood"))
    said = capsys.readouterr()
    assert shlex.split(said.out)[:2] == ["vllm", "serve"]
    assert len(said.out.splitlines()) == 1
    assert "✗ mood" in said.err


def test_json_holds_the_same(base: ModelSource, made: dict[str, Path], capsys: pytest.CaptureFixture[str]) -> None:
    print_for(Face(arguments=(), language="en", json=True), request(base, "lorax", made, "law", "mood"))
    told = json.loads(capsys.readouterr().out)
    assert told["left_out"][0]["why"]["code"] == "TT-N313"
    assert told["taken"][0]["name"] == "law"
