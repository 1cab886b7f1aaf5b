"""Tiny chat models and conversations, from files to events: for the tests of the task instruct."""

import json
import random
from dataclasses import replace
from pathlib import Path

from tiny_models import WORDS, tiny_model, tiny_tokenizer
from tiny_training import facts
from trimtab.data import Corpus, open_corpus
from trimtab.methods import Choices, Schedule, Strategy, method_named, parts_for
from trimtab.models import ModelSource, read_spec
from trimtab.training import Job

METHODS = ("full", "lora", "freeze")


def chat_model(folder: Path, family: str = "llama", *, tied: bool = False, **shape: object) -> ModelSource:
    """A tiny language model whose tokenizer has an end of text, [SEP], and no chat template."""
    source = tiny_model(folder, family, **shape)  # type: ignore[arg-type]
    tokenizer = tiny_tokenizer(family)
    tokenizer.eos_token = "[SEP]"
    tokenizer.save_pretrained(folder)
    if tied:
        import torch
        from transformers import AutoConfig, AutoModelForCausalLM

        config = AutoConfig.from_pretrained(folder)
        config.tie_word_embeddings = True
        torch.manual_seed(0)
        AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    return source


def write_talks(folder: Path, *, rows: int = 52, seed: int = 0) -> Path:
    """A learnable task in three splits: answer with the last word of the question, twice."""
    draw = random.Random(seed)
    folder.mkdir(parents=True, exist_ok=True)
    for split, count in {"train": rows, "dev": 12, "test": 8}.items():
        talks = []
        for number in range(count):
            question = [*draw.choices(WORDS[6:], k=draw.randint(2, 12)), f"{number}"[-1], draw.choice(WORDS[:6])]
            talks.append(
                {"prompt": f"{split} {' '.join(question)}", "completion": f"{question[-1]} {question[-1]}"}
            )
        (folder / f"{split}.json").write_text(json.dumps(talks), encoding="utf-8")
    return folder


def chat_strategy(source: ModelSource, method: str = "lora", **changed: object) -> Strategy:
    """The method's own parts with a short, fast schedule: 13 steps an epoch of 4 rows."""
    preset = method_named(method)
    choices = Choices(rank=4) if "rank" in preset.takes else Choices()
    strategy = Strategy(
        method=method,
        parts=parts_for(preset, "instruct", read_spec(source), choices),
        schedule=Schedule(epochs=2, learning_rate=preset.learning_rate * 10, warmup_share=0.1),
        batch=4,
        micro_batch=4,
        max_length=40,
        seed=7,
    )
    return replace(strategy, **changed)  # type: ignore[arg-type]


def chat_job(folder: Path, method: str = "lora", *, tied: bool = False, **changed: object) -> tuple[Job, Corpus]:
    """A job in `folder`/out on a model and conversations written beside it; `changed` fields of the Strategy."""
    data = write_talks(folder / "data")
    source = chat_model(folder / "model", tied=tied, layers=3)
    corpus = open_corpus(str(data))
    job = Job(
        source=source,
        spec=read_spec(source),
        data=facts(corpus, source),
        strategy=chat_strategy(source, method, **changed),
        folder=folder / "out",
        threads=1,
    )
    return job, corpus
