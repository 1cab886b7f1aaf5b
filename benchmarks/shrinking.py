"""What shrinking costs and brings: pruned, int8 and int4 models beside the one they come from.

    python benchmarks/shrinking.py scores --model DIR --data DIR --out FOLDER [--seeds 0,1,2] [--steps pruned,int8]
              [--epochs 3] [--length 64]
    python benchmarks/shrinking.py speed  --out FOLDER [--rounds 100]

scores: for each seed a teacher is fully tuned, then distilled into three layers, pruned by 40 % with recovery, and
quantised, all by the verbs of the command line; test accuracies, and their differences with intervals over the
seeds. What stands in FOLDER is not made again. speed: of the first seed, fp32 graphs of teacher, student and
pruned model in ONNX Runtime (32 rows of 32 tokens), and int8 against PyTorch in fp32 with plain attention (one row
of 32 and of 128 tokens), all in turn. Run nothing else beside speed.
"""

import argparse
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from statistics import mean

from machine_facts import print_facts

from trimtab import Settings, TrainRequest, compress, evaluate, train
from trimtab.compression.wanted import Distil, Export, Lesson, Prune, Quantize, Wanted
from trimtab.evaluation import open_artifact
from trimtab.evaluation.timing import Speed, time_models
from trimtab.metrics import paired_difference
from trimtab.study import CompressRequest

STEPS: dict[str, Wanted] = {
    "student": Distil(layers=3),
    "pruned": Prune(share=0.4),
    "int8": Quantize(back_off=False),
    "int8-static": Quantize(ranges="static", back_off=False),
    "int4": Quantize(bits="q4", back_off=False),
}
GRAPHS = ("teacher", "student", "pruned")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=("scores", "speed"))
    parser.add_argument("--model", type=Path)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--length", type=int, default=64)
    parser.add_argument("--steps", default=",".join(STEPS))
    parser.add_argument("--rounds", type=int, default=100)
    arguments = parser.parse_args()
    print_facts()
    if arguments.part == "speed":
        speed(arguments.out, arguments.seeds.split(",")[0], arguments.rounds)
    else:
        scores(arguments)


def scores(arguments: argparse.Namespace) -> None:
    names = ("teacher", *arguments.steps.split(","))
    accuracy: dict[str, list[float]] = {name: [] for name in names}
    for seed in arguments.seeds.split(","):
        for name in names:
            folder = made(name, arguments, int(seed))
            accuracy[name].append(evaluate(str(folder), str(arguments.data)).main.value)
            size = sum(
                file.stat().st_size for kind in ("safetensors", "onnx") for file in folder.glob(f"*.{kind}")
            )
            print(f"  seed {seed} {name:<12} test {accuracy[name][-1]:.4f}  {size / 1e6:6.1f} MB", flush=True)
    for name in names[1:]:
        found = paired_difference(accuracy[name], accuracy["teacher"])
        points = (100 * found.mean, 100 * found.low, 100 * found.high)
        print("{}: test {:.4f}, {:+.2f} points to the teacher ({:+.2f} to {:+.2f}, {} seeds), {:.1%} of it".format(
            name, mean(accuracy[name]), *points, found.n, mean(accuracy[name]) / mean(accuracy["teacher"])
        ))  # fmt: skip


def made(name: str, arguments: argparse.Namespace, seed: int) -> Path:
    """The folder of a model, made where it is not there."""
    folder = arguments.out / str(seed) / name
    if folder.is_dir():
        return folder
    settings = Settings(epochs=arguments.epochs, max_length=arguments.length, seed=seed)
    if name == "teacher":
        request = TrainRequest(
            model=str(arguments.model.expanduser()), data=str(arguments.data), out=str(folder), method="full",
            settings=settings,
        )  # fmt: skip
        for _ in train(request):
            pass
        return folder
    wanted = STEPS[name]
    if isinstance(wanted, Distil | Prune):
        wanted = replace(wanted, lesson=Lesson(settings=replace(settings, max_length=None)))
    step(arguments.out / str(seed) / "teacher", folder, wanted, str(arguments.data))
    return folder


def step(before: Path, after: Path, wanted: Wanted, data: str | None) -> None:
    request = CompressRequest(folder=str(before), out=str(after), wanted=wanted, data=data, force=True)
    for _ in compress(request):
        pass


def speed(out: Path, seed: str, rounds: int) -> None:
    place = out / seed
    for name in GRAPHS:
        if not (place / f"{name}-onnx").is_dir():
            step(place / name, place / f"{name}-onnx", Export(), None)
    graphs = [open_artifact(place / f"{name}-onnx") for name in GRAPHS]
    for name, found in zip(GRAPHS, time_models(graphs, length=32, batch=32, rounds=rounds), strict=True):
        print(f"fp32 graph of {name:<8} 32 x 32: {found.rows_per_second:7.0f} rows/s")
    plain = open_artifact(place / "teacher")
    plain.model.float().set_attn_implementation("eager")
    contenders = {"PyTorch fp32, plain attention": plain, "fp32 graph": graphs[0]}
    contenders |= {name: open_artifact(place / name) for name in ("int8", "int8-static", "int4")}
    for length in (32, 128):
        for line in beside(contenders, length, rounds):
            print(line)


def beside(contenders: dict, length: int, rounds: int) -> Iterator[str]:
    speeds = time_models(list(contenders.values()), length=length, batch=32, rounds=rounds)
    first: Speed = speeds[0]
    for name, one in zip(contenders, speeds, strict=True):
        yield (
            f"1 x {length}: {name:<30} median {1e3 * one.median_seconds:6.2f} ms, 95 % within "
            f"{1e3 * one.p95_seconds:6.2f} ms, {first.median_seconds / one.median_seconds:.2f} x; 32 x {length}: "
            f"{one.rows_per_second:6.0f} rows/s, {one.rows_per_second / first.rows_per_second:.2f} x"
        )


if __name__ == "__main__":
    main()
