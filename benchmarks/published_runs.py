"""Predicted beside published: memory and step time of fine-tuning runs that others have measured.

    python benchmarks/published_runs.py [--runs FILE.csv] [--all]

Reads a table of published runs (the default is published_runs.csv of the shared facts, which users do not have)
and prints, for every source and kind of length, the error of Trimtab's formula and of three rules in use: four
times the weights (accelerate's estimate-memory), LLaMA-Factory's table, and ftune where it is installed. One
figure a group of equal configurations, the median of its runs. Constants that are fitted (`Allocator`, `Rates`)
are fitted for every source on the other sources alone. `--all` prints every group.
"""

import argparse
import csv
import itertools
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median

from machine_facts import print_facts

from trimtab.errors import TrimtabError
from trimtab.estimation.setups import ALLOCATOR, RATES, Allocator, Rates, Setup, setup_memory, setup_time
from trimtab.study.rows import setup_of

RUNS = Path(__file__).parents[2] / "shared" / "facts" / "published_runs.csv"
GIB = 2**30


@dataclass(frozen=True)
class Group:
    """Runs of one configuration: what they need, and the median of what was measured."""

    id: str
    source: str
    exact: bool
    kind: str
    cells: dict[str, str]
    setup: Setup
    peak_bytes: float = 0.0
    step_seconds: float = 0.0  # or seconds a token, where the source says only that
    by_token: bool = False


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=Path, default=RUNS)
    parser.add_argument("--all", action="store_true")
    arguments = parser.parse_args()
    if not arguments.runs.is_file():
        raise SystemExit(f"There is no {arguments.runs}: name a table of published runs with --runs.")
    print_facts()
    with arguments.runs.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    memory(rows, arguments.all)
    step_time(rows, arguments.all)


# -------------------------------------------------------------------- memory


def memory(rows: list[dict[str, str]], every: bool) -> None:
    groups = [
        group for group in grouped(rows, "grade", "peak_bytes") if group.cells["source"] not in ("swiftex", "axo")
    ]
    rules: dict[str, Callable[[Group], float | None]] = {
        "Trimtab": trimtab_memory(groups, rows),
        "4 x weights": four_times_weights,
        "LLaMA-Factory": llama_factory(rows),
    }
    if (rule := ftune()) is not None:
        rules["ftune"] = rule
    start = time.perf_counter()
    found = {name: {group.id: rule(group) for group in groups} for name, rule in rules.items()}
    print(f"\nPeak memory, grade A, one figure a group ({time.perf_counter() - start:.1f} s)")
    for label, chosen in parted(groups):
        for name, predicted in found.items():
            pairs = [(value, group) for group in chosen if (value := predicted[group.id]) is not None]
            print_errors(f"{label:22} {name:14}", [value / group.peak_bytes - 1 for value, group in pairs])
    print_interval([group for group in groups if group.exact])
    if every:
        for group in groups:
            value = found["Trimtab"][group.id] or 0.0
            print(
                f"  {group.id:14} {value / 1e9:7.2f} {group.peak_bytes / 1e9:7.2f} "
                f"{value / group.peak_bytes - 1:+.1%}"
            )


def trimtab_memory(groups: Sequence[Group], rows: list[dict[str, str]]) -> Callable[[Group], float]:
    """The formula, each source with the allocator that the others give. Runs on several devices and of unknown
    detail help to fit it (grade B), never to judge it."""
    helpers = [*groups, *grouped(rows, "grade", "peak_bytes", grade="B", several=True)]
    allocators = {source: fitted_allocator(helpers, source) for source in {group.source for group in groups}}
    for source, allocator in sorted(allocators.items()):
        print(f"reserved / allocated for {source}, from the other sources: {allocator.share:.3f}")
    return lambda group: getattr(setup_memory(group.setup, allocators[group.source]), group.kind).value


def fitted_allocator(groups: Iterable[Group], but: str) -> Allocator:
    """The median of what reserved memory was beyond the segments, over the formula's live tensors."""
    shares = [
        (group.peak_bytes - ALLOCATOR.segment_bytes) / setup_memory(group.setup).allocated.value
        for group in groups
        if group.source != but and group.kind == "reserved" and group.exact
    ]
    return replace(ALLOCATOR, share=max(1.0, median(shares))) if shares else ALLOCATOR


def four_times_weights(group: Group) -> float:
    """`accelerate estimate-memory`: training with Adam takes four times the weights in their dtype."""
    number = {"fp32": 4, "bf16": 2, "fp16": 2}[group.setup.weights]
    return 4.0 * number * group.setup.spec.parameters


def llama_factory(rows: list[dict[str, str]]) -> Callable[[Group], float | None]:
    """LLaMA-Factory's README table, a straight line through its sizes a method; its rows are in the runs."""
    points: dict[str, list[tuple[float, float]]] = defaultdict(list)
    for row in rows:
        if row["source"] == "lfest" and row["peak_bytes"]:
            key = _factory_method(row["method"], row["method_detail"])
            size = _billions(row["model"]) or _billions(row["model_key"])
            if key and size:
                points[key].append((size * 1e9, float(row["peak_bytes"])))

    def rule(group: Group) -> float | None:
        known = sorted(points.get(_factory_method(group.setup.method, "pure bf16"), ()))
        if not known:
            return None
        slope = median(value / size for size, value in known)
        return slope * group.setup.spec.parameters

    return rule


def _factory_method(method: str, detail: str) -> str:
    if method == "full":
        return "full" if "pure" in detail.lower() else ""
    return {"lora": "lora", "freeze": "lora", "qlora4": "qlora4", "qlora8": "qlora8"}.get(method, "")


def _billions(name: str) -> float:
    import re

    found = re.search(r"([0-9.]+) ?[bB]\b", name)
    return float(found[1]) if found else 0.0


def ftune() -> Callable[[Group], float | None] | None:
    """ftune's estimate (PyPI: ftuneai), where it is installed; None for methods it has not."""
    try:
        from ftuneai.core import models
        from ftuneai.core.memory import MemoryEstimator
    except ImportError:
        print("ftune is not installed (pip install ftuneai): left out")
        return None

    def rule(group: Group) -> float | None:
        setup, spec = group.setup, group.setup.spec
        method = {"full": "full", "lora": "lora", "qlora4": "qlora", "qlora8": "qlora"}.get(setup.method)
        if method is None:
            return None
        layers = {"q", "v"} == set(setup.roles)
        config = models.TrainingConfig(
            method=models.FineTuneMethod(method),
            quantization=models.Quantization({"qlora4": "4bit", "qlora8": "8bit"}.get(setup.method, "none")),
            batch_size=setup.micro_batch,
            seq_length=setup.length,
            gradient_checkpointing=setup.recompute,
            optimizer=models.OptimizerType("adam_8bit" if "8bit" in setup.optimizer.name else "adamw"),
            lora_rank=setup.rank or 16,
            lora_target=models.LoRATarget("attention" if layers else "all_linear"),
            flash_attention=setup.attention != "eager",
        )
        shape = models.ModelSpec(
            name=spec.name,
            parameters=spec.parameters,
            hidden_size=spec.hidden,
            num_layers=spec.layers,
            num_attention_heads=spec.heads,
            num_kv_heads=spec.kv_heads,
            intermediate_size=spec.ffn,
            vocab_size=spec.vocab,
            max_seq_length=spec.max_positions,
        )
        return MemoryEstimator(shape, config).estimate().total_gb * GIB

    return rule


def print_interval(groups: Sequence[Group]) -> None:
    """How often a run took more than `high`, and how wide the interval is."""
    figures = [(getattr(setup_memory(group.setup), group.kind), group.peak_bytes) for group in groups]
    above = sum(peak > figure.high for figure, peak in figures)
    width = median(figure.high / figure.value for figure, _ in figures)
    print(
        f"exact: above high in {above} of {len(figures)} groups ({above / len(figures):.1%}), "
        f"high/predicted {width:.2f}"
    )


# -------------------------------------------------------------------- time


def step_time(rows: list[dict[str, str]], every: bool) -> None:
    groups = [group for group in grouped(rows, "time_grade", "step_time_s") if setup_time(group.setup) is not None]
    rates = {source: fitted_rates(groups, source) for source in {group.source for group in groups}}
    for source, found in sorted(rates.items()):
        print(f"constants for {source}, from the other sources: {found}")
    errors = {group.id: seconds(group, rates[group.source]) / group.step_seconds - 1 for group in groups}
    print("\nStep time, time grade A, one figure a group")
    for label, chosen in parted(groups):
        print_errors(f"{label:22} {'Trimtab':14}", [errors[group.id] for group in chosen])
    if every:
        for group in groups:
            print(f"  {group.id:14} {group.step_seconds:9.4g} {errors[group.id]:+.1%}")


def seconds(group: Group, rates: Rates) -> float:
    found = setup_time(group.setup, rates)
    assert found is not None
    return 1 / found.tokens_per_second.value if group.by_token else found.step_seconds.value


def fitted_rates(groups: Sequence[Group], but: str) -> Rates:
    """The grid point with the smallest median error over the other sources, each weighing the same. A constant
    that they do not tell apart stays as it is shipped."""
    others = [group for group in groups if group.source != but]
    best, least = RATES, _loss(others, RATES)
    for plain, layer, beside in itertools.product((0.40, 0.45, 0.50, 0.55), (25, 30, 35, 40), (2, 4, 6)):
        trial = replace(RATES, plain=plain, layer_seconds=layer / 1e4, beside_seconds=beside / 1e4)
        if (loss := _loss(others, trial)) < 0.98 * least:
            best, least = trial, loss
    return best


def _loss(groups: Sequence[Group], rates: Rates) -> float:
    errors: dict[str, list[float]] = defaultdict(list)
    for group in groups:
        errors[group.source].append(abs(seconds(group, rates) / group.step_seconds - 1))
    return sum(median(values) for values in errors.values()) / max(1, len(errors))


# -------------------------------------------------------------------- rows


def grouped(
    rows: list[dict[str, str]], grade_column: str, value_column: str, *, grade: str = "A", several: bool = False
) -> list[Group]:
    """One Group for every configuration of that grade, with the median of its runs."""
    members: dict[str, list[dict[str, str]]] = defaultdict(list)
    for row in rows:
        measured = row[value_column] or (value_column == "step_time_s" and row["tokens_per_s_per_gpu"])
        if row[grade_column] == grade and measured and row["measured"] == "yes":
            members[row["group"]].append(row)
    found = []
    for group in members.values():
        row = group[0]
        try:
            setup = setup_of(row)
        except TrimtabError:  # a family that is not predicted, a cell that is not said
            continue
        by_token = value_column == "step_time_s" and not row["step_time_s"]
        column = "tokens_per_s_per_gpu" if by_token else value_column
        value = median(float(member[column]) for member in group)
        kind = {"allocated": "allocated", "nvidia-smi": "device"}.get(row["mem_kind"], "reserved")
        found.append(
            Group(
                id=row["id"],
                source=row["source"],
                exact=row["seq_len_kind"] == "exact",
                kind=kind,
                cells=row,
                setup=setup,
                peak_bytes=value if value_column == "peak_bytes" else 0.0,
                step_seconds=(1 / value if by_token else value) if value_column == "step_time_s" else 0.0,
                by_token=by_token,
            )
        )
    return found


def parted(groups: Sequence[Group]) -> Iterable[tuple[str, list[Group]]]:
    """By source and by whether the length is exact or a limit; and all of exact length together."""
    parts: dict[str, list[Group]] = defaultdict(list)
    for group in groups:
        parts[f"{group.source}, {'exact' if group.exact else 'limit'}"].append(group)
    yield from parts.items()
    yield "all exact", [group for group in groups if group.exact]
    yield "all", list(groups)


def print_errors(label: str, errors: Sequence[float]) -> None:
    if not errors:
        return
    sizes = sorted(abs(error) for error in errors)
    ninth = sizes[min(len(sizes) - 1, int(0.9 * len(sizes)))]
    low = sum(error < 0 for error in errors) / len(errors)
    print(f"{label} n {len(sizes):3}  median {median(sizes):6.1%}  p90 {ninth:6.1%}  too low in {low:.0%}")


if __name__ == "__main__":
    main()
