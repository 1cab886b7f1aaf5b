"""Trimtab's task tag against a plain script on transformers' Trainer: same model, data, epochs, batch and rate.

    python benchmarks/tag_vs_transformers.py [--seeds 0,1,2] [--method full|lora] [--epochs 3] [--lr 2e-4]
    [--model DIR] [--data FOLDER] [--batch 16] [--rows N]

The script is what transformers' own example does: labels at the first token of a word, -100 elsewhere, the best
epoch on dev kept. Both train on all rows of the folder, or the first N, in fp32, and are scored on test by entity
F1, each by code of its own: here entities are collected by a loop, in Trimtab by tables (tests hold those to
seqeval). Printed are F1 a seed, and the paired difference over seeds with its interval. A head starts from other
numbers in each: one seed says little.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from machine_facts import print_facts

WARMUP_SHARE, MAX_LENGTH = 0.06, 128


def run_trimtab(task: dict) -> dict:
    """One training by Trimtab's loop."""
    from trimtab import planning
    from trimtab.hardware import this_machine
    from trimtab.models import locate, read_spec
    from trimtab.planning import Settings
    from trimtab.study import Reading, gather
    from trimtab.training import Finished, Job, Training

    source = locate(task["model"])
    corpus = gather.open_corpus(task["data"], Reading(task="tag", keep_overlap=True))
    facts = gather.describe(corpus, gather.TokenizerFile(source.folder / "tokenizer.json"))
    spec = read_spec(source)
    settings = Settings(
        epochs=task["epochs"],
        batch=task["batch"],
        learning_rate=task["lr"],
        max_length=MAX_LENGTH,
        precision="fp32",
        seed=task["seed"],
    )
    plan = planning.plan(spec, facts, this_machine(), method=task["method"], settings=settings)
    strategy = plan.chosen.estimate.strategy
    with tempfile.TemporaryDirectory() as folder:
        job = Job(source=source, spec=spec, data=facts, strategy=strategy, folder=Path(folder), threads=1)
        for event in Training(job, corpus):
            if isinstance(event, Finished):
                metrics = {metric.name: metric.value for metric in event.run.test.metrics}
                return {"f1": metrics["entity_f1"], "seconds": event.run.seconds, "rows": len(corpus.train)}
    raise AssertionError("the training ended early")


def run_trainer(task: dict) -> dict:
    """The same by transformers' Trainer, with PEFT's LoRA."""
    from transformers import (
        AutoModelForTokenClassification,
        AutoTokenizer,
        DataCollatorForTokenClassification,
        Trainer,
        TrainingArguments,
        set_seed,
    )

    set_seed(task["seed"])
    tokenizer = AutoTokenizer.from_pretrained(task["model"])
    raw = {name: _read(Path(task["data"], f"{name}.jsonl")) for name in ("train", "dev", "test")}
    names = sorted({tag for rows in raw.values() for row in rows for tag in row["tags"]})
    splits = {name: [_encoded(row, tokenizer, names) for row in rows] for name, rows in raw.items()}
    model = AutoModelForTokenClassification.from_pretrained(task["model"], num_labels=len(names))
    if task["method"] == "lora":
        from peft import LoraConfig, TaskType, get_peft_model

        config = LoraConfig(task_type=TaskType.TOKEN_CLS, r=8, lora_alpha=16, target_modules=["query", "value"])
        model = get_peft_model(model, config)

    def f1(found) -> dict:  # type: ignore[no-untyped-def]
        guesses = found.predictions.argmax(-1)
        hits = said = there = 0
        for guess, label in zip(guesses, found.label_ids, strict=True):
            words = label != -100
            mine, right = (_entities([names[i] for i in row[words]]) for row in (guess, label))
            hits, said, there = hits + len(mine & right), said + len(mine), there + len(right)
        return {"f1": 2 * hits / (said + there) if said + there else 0.0}

    with tempfile.TemporaryDirectory() as folder:
        arguments = TrainingArguments(
            output_dir=folder,
            use_cpu=True,
            seed=task["seed"],
            learning_rate=task["lr"],
            warmup_steps=WARMUP_SHARE,
            weight_decay=0.01,
            per_device_train_batch_size=task["batch"],
            per_device_eval_batch_size=64,
            num_train_epochs=task["epochs"],
            eval_strategy="epoch",
            save_strategy="epoch",
            load_best_model_at_end=True,
            metric_for_best_model="f1",
            report_to="none",
            disable_tqdm=True,
        )
        trainer = Trainer(
            model=model,
            args=arguments,
            train_dataset=splits["train"],
            eval_dataset=splits["dev"],
            data_collator=DataCollatorForTokenClassification(tokenizer),
            compute_metrics=f1,
        )
        start = time.perf_counter()
        trainer.train()
        seconds = time.perf_counter() - start
        score = trainer.evaluate(splits["test"])["eval_f1"]
    return {"f1": score, "seconds": seconds, "rows": len(splits["train"])}


def _read(path: Path) -> list[dict]:
    with path.open(encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def _encoded(row: dict, tokenizer, names: list[str]) -> dict:  # type: ignore[no-untyped-def]
    found = tokenizer(row["tokens"], is_split_into_words=True, truncation=True, max_length=MAX_LENGTH)
    labels, before = [], None
    for word in found.word_ids():
        labels.append(-100 if word is None or word == before else names.index(row["tags"][word]))
        before = word
    return {**found, "labels": labels}


def _entities(tags: list[str]) -> set[tuple[str, int, int]]:
    """(type, first, last) of BIO tags; I- that goes on with nothing begins an entity."""
    found, start = set(), 0
    for at, tag in enumerate([*tags, "O"]):
        before = tags[at - 1] if at else "O"
        goes_on = tag[0] == "I" and before != "O" and before[2:] == tag[2:]
        if before != "O" and not goes_on:
            found.add((before[2:], start, at - 1))
        if tag != "O" and not goes_on:
            start = at
    return found


def in_process(contender: str, task: dict) -> dict:
    """Run one contender in a fresh process."""
    command = [sys.executable, __file__, "--one", json.dumps({**task, "contender": contender})]
    output = subprocess.run(command, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    return json.loads(output.stdout.strip().split("\n")[-1])


def first_rows(data: str, rows: int | None, folder: str) -> str:
    """`data`, or a copy in `folder` with the first rows of train and dev alone."""
    if rows is None:
        return data
    for name, count in {"train": rows, "dev": rows // 3, "test": None}.items():
        lines = Path(data, f"{name}.jsonl").read_text(encoding="utf-8").rstrip("\n").split("\n")
        Path(folder, f"{name}.jsonl").write_text("\n".join(lines[:count]) + "\n", encoding="utf-8")
    return folder


def compare(arguments: argparse.Namespace) -> None:
    from trimtab.metrics import paired_difference

    asked = ("model", "data", "batch", "epochs", "lr", "method", "rows")
    task = {name: getattr(arguments, name) for name in asked}
    print_facts()
    names = f"{Path(arguments.model).name} on {Path(arguments.data).name}"
    print(f"{names}, {arguments.method}, {arguments.epochs} epochs, batch {arguments.batch}, rate {arguments.lr}")
    scores: dict[str, list[float]] = {"trimtab": [], "trainer": []}
    for seed in map(int, arguments.seeds.split(",")):
        for contender, found in scores.items():
            run = in_process(contender, {**task, "seed": seed})
            found.append(run["f1"])
            told = f"{run['rows']} rows, test entity F1 {run['f1']:.4f}, {run['seconds']:.0f} s"
            print(f"  seed {seed} {contender:8} {told}", flush=True)
    for contender, found in scores.items():
        print(f"{contender}: mean {sum(found) / len(found):.4f}")
    print(f"trimtab - trainer: {paired_difference(scores['trimtab'], scores['trainer'])}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default=os.path.expanduser("~/.cache/trimtab-dev-models/all-minilm-l6-v2"))
    parser.add_argument("--data", default=str(Path(__file__).parents[2] / "shared" / "data" / "wnut17"))
    parser.add_argument("--method", default="full", choices=("full", "lora"))
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--lr", type=float, default=2e-4)
    parser.add_argument("--rows", type=int, help="first rows of train, and a third as many of dev (default: all)")
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one is None:
        compare(arguments)
        return
    task = json.loads(arguments.one)
    with tempfile.TemporaryDirectory() as folder:
        task["data"] = first_rows(task["data"], task["rows"], folder)
        print(json.dumps((run_trimtab if task["contender"] == "trimtab" else run_trainer)(task)))


if __name__ == "__main__":
    main()
