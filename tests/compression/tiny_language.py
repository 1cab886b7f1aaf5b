"""Tiny random language models with a real byte-level tokenizer, as published folders and as artifacts."""

from dataclasses import replace
from pathlib import Path

import torch
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedTokenizerFast

from tiny_chat import chat_strategy
from tiny_gguf import byte_pairs
from trimtab.artifacts import ArtifactFacts, base_of
from trimtab.data.spec import Conversation, Example, Turn
from trimtab.evaluation import OBJECTIVES, Artifact
from trimtab.models import ModelSource, read_spec

TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\r\n{{ message['content'] }}<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}{# 模板 #}"
)
_WORDS = "the river rises and a train leaves early while prices fall again so the team wins"
SPARE_ROWS = 7  # of the embedding, which are no token


def language_folder(
    folder: Path,
    family: str = "llama",
    *,
    dtype: torch.dtype = torch.float32,
    shard: str = "5GB",
    **changed: object,
) -> Path:
    """A model of two layers, four heads on two, written as transformers writes one; `changed` are config keys."""
    tokenizer = byte_pairs()
    keys: dict[str, object] = {
        "vocab_size": tokenizer.get_vocab_size() + SPARE_ROWS,
        "hidden_size": 64,
        "intermediate_size": 96,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 128,
        "tie_word_embeddings": False,
        "rope_parameters": {"rope_type": "default", "rope_theta": 50_000.0},
        "initializer_range": 0.2,
    }
    if family == "qwen3":
        keys["head_dim"] = 128  # as of every one that was published: transformers does not ask the file
    config = AutoConfig.for_model(family, **(keys | changed))
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config)
    for name, parameter in model.named_parameters():
        if parameter.dim() == 1:  # norms of 1 and biases of 0 would hide one taken for another
            torch.nn.init.normal_(parameter, 1.0 if "norm" in name else 0.0, 0.1)
    model.to(dtype).save_pretrained(folder, max_shard_size=shard)
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token="<|im_start|>",
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        unk_token="<|endoftext|>",
        chat_template=TEMPLATE,
    ).save_pretrained(folder)
    return folder


def language_facts(folder: Path, task: str = "text", **changed: object) -> ArtifactFacts:
    source = ModelSource(folder=folder, name=str(folder))
    facts = ArtifactFacts(
        adapter=False,
        task=task,  # type: ignore[arg-type]
        labels=(),
        columns=("text",) if task == "text" else (),
        label_column="",
        outputs=0,
        base=base_of(source, "llama"),
        strategy=chat_strategy(source, "full"),
        trimtab_version="0",
    )
    return replace(facts, **changed)  # type: ignore[arg-type]


def artifact_of(folder: Path, model: torch.nn.Module, task: str = "text") -> Artifact:
    """`model` as an artifact with the tokenizer of `folder`, a model folder."""
    source = ModelSource(folder=folder, name=str(folder))
    tokenizer = OBJECTIVES[task].tokenizer(source)  # type: ignore[index]
    return Artifact(
        folder=folder,
        facts=language_facts(folder, task),
        spec=read_spec(source),
        model=model,  # type: ignore[arg-type]
        tokenizer=tokenizer,
    )


def opened(folder: Path) -> torch.nn.Module:
    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()


def talks(count: int = 12) -> list[Example]:
    words = _WORDS.split()
    rows = [(" ".join(words[row % 5 :][: 4 + row % 7]), " ".join(words[row % 9 :][:5])) for row in range(count)]
    return [
        Example((question,), None, Conversation((Turn("user", question), Turn("assistant", answer))))
        for question, answer in rows
    ]
