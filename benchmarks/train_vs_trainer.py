"""Trimtab against the Hugging Face Trainer with PEFT: same model, data, epochs and batch, in one run.

    python benchmarks/train_vs_trainer.py speed    [--rounds 3] [--steps 200]
    python benchmarks/train_vs_trainer.py accuracy [--seeds 0,1,2]
    python benchmarks/train_vs_trainer.py profile  [--steps 200] [--precision fp32]
    options of all: --model DIR --data FOLDER --methods full,lora --batch 16

Contenders: `trimtab` as it plans on this machine, `trainer` with the Trainer's defaults, `trainer-sorted` with
batches of like length, `trainer-bf16` with bf16 as well; which of the two is faster depends on the machine. Speed:
windows of 200 steps after 10 of warm-up, each in a process of its own,
interleaved; medians and ratios of samples a second, and peak resident memory. Accuracy: whole trainings of three
epochs, best epoch on dev kept by both, scored on test; the paired difference over seeds with its interval.
Profile: where the time of Trimtab's own step goes, and its share of the measured matmul peak (`step_profile`).
Run nothing else beside speed and profile.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

from machine_facts import print_facts

TRAINER_SETTINGS: dict[str, dict] = {
    "trainer": {},
    "trainer-sorted": {"train_sampling_strategy": "group_by_length"},
    "trainer-bf16": {"train_sampling_strategy": "group_by_length", "bf16": True},
}
CONTENDERS = ("trimtab", *TRAINER_SETTINGS)
LEARNING_RATES = {"full": 5e-5, "lora": 5e-4, "freeze": 5e-5, "head": 1e-3}
EPOCHS, WARMUP_SHARE, MAX_LENGTH, WARMUP_STEPS = 3, 0.06, 128, 10


def planned(task: dict):  # type: ignore[no-untyped-def]
    """What Trimtab plans for `task` on this machine: machine, source, corpus, its facts, spec and the plan. Beside
    what `run_trainer` reads of it, "prefix" (the planner's word for --prefix-cache) and "precision"."""
    from dataclasses import replace

    from trimtab import planning
    from trimtab.hardware import calibration_key, this_machine
    from trimtab.methods import Choices
    from trimtab.models import locate, read_spec
    from trimtab.planning import Settings
    from trimtab.study import Reading, gather
    from trimtab.training.calibrate import calibrated

    machine = this_machine()
    machine = replace(machine, calibration=calibrated(calibration_key(machine), machine.cores))
    source = locate(task["model"])
    corpus = gather.open_corpus(task["data"], Reading())
    facts = gather.describe(corpus, gather.TokenizerFile(source.folder / "tokenizer.json"))
    spec = read_spec(source)
    settings = Settings(
        epochs=task.get("epochs", EPOCHS),
        batch=task["batch"],
        learning_rate=LEARNING_RATES[task["method"]],
        max_length=MAX_LENGTH,
        prefix_cache=task.get("prefix", "off"),
        precision=task.get("precision"),
        seed=task["seed"],
    )
    choices = Choices(top_layers=task.get("top_layers"))
    plan = planning.plan(spec, facts, machine, method=task["method"], choices=choices, settings=settings)
    return machine, source, corpus, facts, spec, plan


def run_trimtab(task: dict) -> dict:
    """One training by Trimtab's loop, cut after the window where one is asked for. `task` as in `planned`, with
    "states", a folder for what the frozen part gives."""
    from dataclasses import replace

    from trimtab.training import Finished, Job, Step, Training

    machine, source, corpus, facts, spec, plan = planned(task)
    strategy = plan.chosen.estimate.strategy
    threads = int(os.environ.get("OMP_NUM_THREADS", machine.cores))
    seconds: list[float] = []
    with tempfile.TemporaryDirectory() as folder:
        job = Job(source=source, spec=spec, data=facts, strategy=strategy, folder=Path(folder), threads=threads)
        if task.get("states"):
            job = replace(job, prefix_folder=Path(task["states"]))
        for event in Training(job, corpus):
            if isinstance(event, Step):
                seconds.append(event.seconds)
                if task["steps"] and event.step == WARMUP_STEPS + task["steps"]:
                    return _window(task, sum(seconds[WARMUP_STEPS:]))
            if isinstance(event, Finished):
                run = event.run
                return {
                    "accuracy": run.test.main.value,
                    "seconds": run.seconds,
                    "evaluate_seconds": run.evaluate_seconds,
                    "prefix_seconds": run.prefix_seconds,
                    "prefix_built": run.prefix_built,
                    "prefix_bytes": run.prefix_bytes,
                    "predicted_seconds": plan.chosen.estimate.time.total_seconds.value,
                    "samples": run.samples,
                    "peak_bytes": run.peak_memory_bytes,
                }
    raise AssertionError("the training ended early")


def profile_trimtab(task: dict) -> dict:
    """As many steps as they are, then as many under torch's profiler: {"lines": what to print}."""
    from step_profile import lines, share_of_peak, spent
    from torch.profiler import ProfilerActivity, profile

    from trimtab.training import Job, Step, Training

    machine, source, corpus, facts, spec, plan = planned(task)
    strategy, steps = plan.chosen.estimate.strategy, task["steps"]
    threads = int(os.environ.get("OMP_NUM_THREADS", machine.cores))
    profiler, seconds = profile(activities=[ProfilerActivity.CPU]), [0.0, 0.0]
    with tempfile.TemporaryDirectory() as folder:
        job = Job(source=source, spec=spec, data=facts, strategy=strategy, folder=Path(folder), threads=threads)
        for event in Training(job, corpus):
            if not isinstance(event, Step) or event.step < WARMUP_STEPS:
                continue
            done = event.step - WARMUP_STEPS
            if done:
                seconds[done > steps] += event.seconds / steps
            if done == steps:
                profiler.start()
            if done == 2 * steps:
                profiler.stop()
                break
    share = share_of_peak(strategy, spec, facts, machine, seconds[0])
    found = spent(profiler.key_averages(), steps, step_seconds=seconds[1])
    predicted = plan.chosen.estimate.time.step_seconds.value
    head = (
        f"{task['method']} in {strategy.precision}, {threads} threads: a step of {strategy.batch} rows takes "
        f"{1e3 * seconds[0]:.1f} ms ({strategy.batch / seconds[0]:.1f} samples/s), "
        f"predicted {1e3 * predicted:.1f}, profiled {1e3 * seconds[1]:.1f}; "
        f"{100 * share:.0f} % of the measured matmul peak"
    )
    return {"lines": [head, *lines(found)]}


def run_trainer(task: dict, settings: dict) -> dict:
    """The same by transformers' Trainer, with PEFT's LoRA. `task`: "epochs" of whole trainings, "top_layers" that
    are trained (None = all), "evaluate": whether a whole training is scored after every epoch."""
    import numpy as np
    from transformers import (
        AutoModelForSequenceClassification,
        AutoTokenizer,
        DataCollatorWithPadding,
        Trainer,
        TrainerCallback,
        TrainingArguments,
        set_seed,
    )

    set_seed(task["seed"])
    tokenizer = AutoTokenizer.from_pretrained(task["model"])
    splits = {name: _rows(Path(task["data"], f"{name}.jsonl"), tokenizer) for name in ("train", "dev", "test")}
    model = AutoModelForSequenceClassification.from_pretrained(task["model"], num_labels=2)
    if task["method"] == "lora":
        from peft import LoraConfig, TaskType, get_peft_model

        config = LoraConfig(
            task_type=TaskType.SEQ_CLS,
            r=8,
            lora_alpha=16,
            target_modules=["query", "value"],
            layers_to_transform=_top(model, task),
        )
        model = get_peft_model(model, config)
    else:
        _freeze(model, task)

    class Clock(TrainerCallback):
        start = 0.0

        def on_train_begin(self, args, state, control, **kwargs):  # type: ignore[no-untyped-def]
            self.start = time.perf_counter()

        def on_step_end(self, args, state, control, **kwargs):  # type: ignore[no-untyped-def]
            if task["steps"] and state.global_step == WARMUP_STEPS:
                self.start = time.perf_counter()

        def on_train_end(self, args, state, control, **kwargs):  # type: ignore[no-untyped-def]
            self.seconds = time.perf_counter() - self.start

    clock = Clock()
    whole = not task["steps"]
    scored = whole and task.get("evaluate", True)
    with tempfile.TemporaryDirectory() as folder:
        arguments = TrainingArguments(
            output_dir=folder,
            use_cpu=True,
            seed=task["seed"],
            learning_rate=LEARNING_RATES[task["method"]],
            warmup_steps=WARMUP_SHARE,
            weight_decay=0.01,
            per_device_train_batch_size=task["batch"],
            per_device_eval_batch_size=64,
            num_train_epochs=task.get("epochs", EPOCHS),
            max_steps=-1 if whole else WARMUP_STEPS + task["steps"],
            eval_strategy="epoch" if scored else "no",
            save_strategy="epoch" if scored else "no",
            load_best_model_at_end=scored,
            metric_for_best_model="accuracy" if scored else None,
            report_to="none",
            disable_tqdm=True,
            **settings,
        )
        trainer = Trainer(
            model=model,
            args=arguments,
            train_dataset=splits["train"],
            eval_dataset=splits["dev"],
            data_collator=DataCollatorWithPadding(tokenizer),
            compute_metrics=lambda p: {"accuracy": float((np.argmax(p.predictions, 1) == p.label_ids).mean())},
            callbacks=[clock],
        )
        trainer.train()
        if not whole:
            return _window(task, clock.seconds)
        return {
            "accuracy": trainer.evaluate(splits["test"])["eval_accuracy"],
            "seconds": clock.seconds,
            "samples": trainer.args.num_train_epochs * len(splits["train"]),
            "peak_bytes": _peak_bytes(),
        }


def _top(model, task: dict) -> list[int] | None:  # type: ignore[no-untyped-def]
    """The numbers of the layers that are trained; None = all."""
    layers, top = model.config.num_hidden_layers, task.get("top_layers")
    return None if top is None else list(range(layers - top, layers))


def _freeze(model, task: dict) -> None:  # type: ignore[no-untyped-def]
    """All but the layers that are trained, and what stands above; by the head alone all layers."""
    if task["method"] == "full" and task.get("top_layers") is None:
        return
    open_layers = _top(model, task) if task["method"] != "head" else []
    for name, parameter in model.base_model.named_parameters():
        of_layer = name.split(".layer.")[1].split(".")[0] if ".layer." in name else None
        above = of_layer is None and "pooler" in name
        parameter.requires_grad_(above or (of_layer is not None and int(of_layer) in (open_layers or [])))


def _rows(path: Path, tokenizer) -> list[dict]:  # type: ignore[no-untyped-def]
    with path.open(encoding="utf-8") as file:
        rows = [json.loads(line) for line in file]
    index = {label: number for number, label in enumerate(sorted({row["label"] for row in rows}))}
    encodings = [tokenizer(row["text"], truncation=True, max_length=MAX_LENGTH) for row in rows]
    return [{**encoding, "labels": index[row["label"]]} for encoding, row in zip(encodings, rows, strict=True)]


def _window(task: dict, seconds: float) -> dict:
    return {"samples_per_second": task["steps"] * task["batch"] / seconds, "peak_bytes": _peak_bytes()}


def _peak_bytes() -> int:
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmHWM:"))


def in_process(contender: str, task: dict) -> dict:
    """Run one contender in a fresh process."""
    command = [sys.executable, __file__, "one", "--task", json.dumps({**task, "contender": contender})]
    output = subprocess.run(command, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    return json.loads(output.stdout.strip().split("\n")[-1])


def speed(arguments: argparse.Namespace, task: dict) -> None:
    for method in arguments.methods.split(","):
        found: dict[str, list[dict]] = {name: [] for name in CONTENDERS}
        for round_ in range(arguments.rounds):
            for contender in CONTENDERS:
                window = in_process(
                    contender, {**task, "method": method, "seed": round_, "steps": arguments.steps}
                )
                found[contender].append(window)
                print(
                    f"  {method} round {round_ + 1} {contender:15} {window['samples_per_second']:7.1f} samples/s "
                    f"{window['peak_bytes'] / 2**20:6.0f} MiB",
                    flush=True,
                )
        rate = {name: median(w["samples_per_second"] for w in windows) for name, windows in found.items()}
        peak = {name: median(w["peak_bytes"] for w in windows) for name, windows in found.items()}
        print(f"{method}: {rate['trimtab']:.1f} samples/s{_ratios(rate)}", flush=True)
        print(f"{method}: peak {peak['trimtab'] / 2**20:.0f} MiB{_ratios(peak)}", flush=True)


def _ratios(figures: dict[str, float]) -> str:
    return "".join(f", {figures['trimtab'] / figures[name]:.2f} x {name}" for name in TRAINER_SETTINGS)


def accuracy(arguments: argparse.Namespace, task: dict) -> None:
    from trimtab.metrics import paired_difference

    for method in arguments.methods.split(","):
        scores: dict[str, list[float]] = {name: [] for name in arguments.contenders.split(",")}
        for seed in map(int, arguments.seeds.split(",")):
            for contender, found in scores.items():
                run = in_process(contender, {**task, "method": method, "seed": seed, "steps": 0})
                found.append(run["accuracy"])
                print(
                    f"  {method} seed {seed} {contender:15} test accuracy {run['accuracy']:.4f}, "
                    f"{run['seconds']:.0f} s",
                    flush=True,
                )
        ours = scores.pop("trimtab")
        for rival, theirs in scores.items():
            print(f"{method}: trimtab - {rival}: {paired_difference(ours, theirs)}", flush=True)


def profile_methods(arguments: argparse.Namespace, task: dict) -> None:
    for method in arguments.methods.split(","):
        asked = {"method": method, "seed": 0, "steps": arguments.steps, "precision": arguments.precision}
        print("\n".join(in_process("profile", {**task, **asked})["lines"]), flush=True)


PARTS = {"speed": speed, "accuracy": accuracy, "profile": profile_methods}


def run_one(task: dict) -> dict:
    """One contender, in this process."""
    ours = {"trimtab": run_trimtab, "profile": profile_trimtab}
    contender = task["contender"]
    return ours[contender](task) if contender in ours else run_trainer(task, TRAINER_SETTINGS[contender])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=(*PARTS, "one"))
    parser.add_argument("--model", default=os.path.expanduser("~/.cache/trimtab-dev-models/all-minilm-l6-v2"))
    parser.add_argument("--data", default=str(Path(__file__).parents[2] / "shared" / "data" / "sst2"))
    parser.add_argument("--methods", default="full,lora")
    parser.add_argument("--contenders", default="trimtab,trainer-bf16")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--precision", choices=("fp32", "bf16"), help="of Trimtab; otherwise as it plans")
    parser.add_argument("--task", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.part == "one":
        print(json.dumps(run_one(json.loads(arguments.task))))
        return
    print_facts()
    print(f"{Path(arguments.model).name} on {Path(arguments.data).name}, batch {arguments.batch}", flush=True)
    task = {"model": arguments.model, "data": arguments.data, "batch": arguments.batch}
    PARTS[arguments.part](arguments, task)


if __name__ == "__main__":
    main()
