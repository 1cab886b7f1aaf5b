"""Embeddings by Trimtab against the same training written out in plain transformers and torch, in one run.

    python benchmarks/embed_vs_transformers.py [--form scored|ranked] [--seeds 0,1,2]
    also: --model DIR --data FOLDER --epochs 1 --batch 32 --lr 5e-5

Same model, data (STS-B), epochs, batch, rate and seeds; full tuning in fp32; CoSENT over scored pairs (`scored`),
or InfoNCE over those that mean the same (`ranked`: score 4 and more, no hard negatives). The reference shuffles
rows where Trimtab makes batches of like length, and keeps the last weights where Trimtab keeps the best of its dev
evaluations, one an epoch. Scored by Spearman's correlation of cosines on the test split, the untrained model
beside; the paired difference over seeds with its interval."""

import argparse
import json
import os
import random
import tempfile
from pathlib import Path

from machine_facts import print_facts

MAX_LENGTH, TEMPERATURE, WARMUP_SHARE, CLIP = 64, 0.05, 0.06, 1.0


def run_trimtab(task: dict) -> dict:
    from trimtab.data import count_tokens, describe, open_corpus, open_labelled
    from trimtab.evaluation import OBJECTIVES, ScoredRows
    from trimtab.methods import Choices, Schedule, Strategy, method_named, parts_for
    from trimtab.models import locate, read_spec
    from trimtab.training import Evaluated, Finished, Job, Training

    source = locate(task["model"])
    spec = read_spec(source)
    ranked = task["form"] == "ranked"
    text = ("text_a", "text_b") if ranked else ()
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder, "data")
        data.mkdir()
        for split in ("train", "dev"):
            rows = [row for row in _rows(task, split) if not ranked or row["label"] >= 4]
            (data / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        corpus = open_corpus(str(data), task="embed", text=text, keep_overlap=True)
        facts = describe(corpus, count_tokens(corpus.train, source.folder / "tokenizer.json"))
        strategy = Strategy(
            method="full",
            parts=parts_for(method_named("full"), "embed", spec, Choices()),
            schedule=Schedule(epochs=task["epochs"], learning_rate=task["lr"], warmup_share=WARMUP_SHARE),
            batch=task["batch"],
            micro_batch=task["batch"],
            max_length=MAX_LENGTH,
            max_grad_norm=CLIP,
            temperature=TEMPERATURE,
            seed=task["seed"],
        )
        job = Job(source=source, spec=spec, data=facts, strategy=strategy, folder=Path(folder, "out"), threads=1)
        training = Training(job, corpus)
        seconds, untrained = 0.0, None
        for event in training:
            if isinstance(event, Evaluated) and event.step == 0:
                untrained = _test(training.session, task, open_labelled, ScoredRows, OBJECTIVES["embed"])
            if isinstance(event, Finished):
                seconds = event.run.seconds - event.run.evaluate_seconds
        after = _test(training.session, task, open_labelled, ScoredRows, OBJECTIVES["embed"])
    return {"spearman": after, "untrained": untrained, "seconds": seconds}


def _test(session, task, open_labelled, scored_rows, objective) -> float:  # type: ignore[no-untyped-def]
    split = open_labelled(
        str(Path(task["data"], "test.jsonl")),
        task="embed",
        columns=("text_a", "text_b"),
        label_column="label",
        labels=(),
    )
    encoded = objective.encode(split, session.tokenizer, MAX_LENGTH)
    rows = scored_rows(split="test", encoded=encoded, collator=session.collator, labels=())
    return objective.score(session.model, rows).main.value


def run_reference(task: dict) -> dict:
    """Nothing of Trimtab: transformers, torch, and numpy for the correlation."""
    import time

    import torch
    from torch.nn import functional as F
    from transformers import AutoModel, AutoTokenizer, get_linear_schedule_with_warmup, set_seed

    torch.set_num_threads(1)
    set_seed(task["seed"])
    tokenizer = AutoTokenizer.from_pretrained(task["model"])
    model = AutoModel.from_pretrained(task["model"])
    pooler = [parameter for name, parameter in model.named_parameters() if "pooler" in name]
    for parameter in pooler:
        parameter.requires_grad_(False)

    def vectors(texts: list[str]):  # type: ignore[no-untyped-def]
        found = tokenizer(texts, padding=True, truncation=True, max_length=MAX_LENGTH, return_tensors="pt")
        hidden = model(**found).last_hidden_state
        mask = found["attention_mask"][:, :, None].to(hidden.dtype)
        return F.normalize((hidden * mask).sum(1) / mask.sum(1), dim=1)

    def spearman() -> float:
        from scipy.stats import spearmanr

        model.eval()
        rows = _rows(task, "test")
        with torch.inference_mode():
            cosines = torch.cat(
                [
                    (vectors([r["text_a"] for r in part]) * vectors([r["text_b"] for r in part])).sum(1)
                    for part in (rows[start : start + 64] for start in range(0, len(rows), 64))
                ]
            )
        return float(spearmanr(cosines.numpy(), [row["label"] for row in rows]).statistic)

    ranked = task["form"] == "ranked"
    rows = [row for row in _rows(task, "train") if not ranked or row["label"] >= 4]
    steps = -(-len(rows) // task["batch"]) * task["epochs"]
    matrices = [p for p in model.parameters() if p.requires_grad and p.dim() > 1]
    vectors_of_weights = [p for p in model.parameters() if p.requires_grad and p.dim() < 2]
    optimizer = torch.optim.AdamW(
        [{"params": matrices, "weight_decay": 0.01}, {"params": vectors_of_weights, "weight_decay": 0.0}],
        lr=task["lr"],
    )
    schedule = get_linear_schedule_with_warmup(optimizer, round(WARMUP_SHARE * steps), steps)
    untrained, draw = spearman(), random.Random(task["seed"])
    start = time.perf_counter()
    model.train()
    for _ in range(task["epochs"]):
        draw.shuffle(rows)
        for at in range(0, len(rows), task["batch"]):
            part = rows[at : at + task["batch"]]
            one, other = vectors([r["text_a"] for r in part]), vectors([r["text_b"] for r in part])
            if ranked:
                loss = F.cross_entropy(one @ other.T / TEMPERATURE, torch.arange(len(part)))
            else:
                cosines = (one * other).sum(1) / TEMPERATURE
                scores = torch.tensor([row["label"] for row in part])
                differences = cosines[None, :] - cosines[:, None]
                differences = differences[scores[:, None] > scores[None, :]]
                loss = torch.logsumexp(torch.cat([torch.zeros(1), differences]), 0)
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_([*matrices, *vectors_of_weights], CLIP)
            optimizer.step()
            schedule.step()
    seconds = time.perf_counter() - start
    return {"spearman": spearman(), "untrained": untrained, "seconds": seconds}


def _rows(task: dict, split: str) -> list[dict]:
    with Path(task["data"], f"{split}.jsonl").open(encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    models = os.path.expanduser("~/.cache/trimtab-dev-models")
    parser.add_argument("--model", default=f"{models}/paraphrase-minilm-l3-v2")
    parser.add_argument("--data", default=str(Path(__file__).parents[2] / "shared" / "data" / "stsb_en"))
    parser.add_argument("--form", choices=("scored", "ranked"), default="scored")
    parser.add_argument("--epochs", type=int, default=1)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--lr", type=float, default=5e-5)
    parser.add_argument("--seeds", default="0,1,2")
    arguments = parser.parse_args()
    from trimtab.metrics import paired_difference

    print_facts()
    task = {name: value for name, value in vars(arguments).items() if name != "seeds"}
    print(f"{Path(task['model']).name} on {Path(task['data']).name}, {json.dumps(task)}", flush=True)
    found: dict[str, list[float]] = {"trimtab": [], "reference": []}
    for seed in map(int, arguments.seeds.split(",")):
        for name, run in (("trimtab", run_trimtab), ("reference", run_reference)):
            result = run({**task, "seed": seed})
            found[name].append(result["spearman"])
            print(
                f"  seed {seed} {name:10} test Spearman {result['spearman']:.4f}, "
                f"untrained {result['untrained']:.4f}, {result['seconds']:.0f} s",
                flush=True,
            )
    print(f"trimtab - reference: {paired_difference(found['trimtab'], found['reference'])}")


if __name__ == "__main__":
    main()
