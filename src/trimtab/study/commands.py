"""The command lines that do again what was asked of the facade. Nothing here imports torch."""

import shlex

from trimtab.planning.halving import MOST_SEEDS
from trimtab.study.bakeoff import USUAL_OBJECTIVES, CompareRequest
from trimtab.study.request import AskedToChoose, PlanRequest, TrainRequest
from trimtab.units import GIB, MIB


def command_of(request: TrainRequest) -> str:
    """The command line that makes this training again, as far as the command line can ask for it."""
    words = ["trimtab", "train", request.model, "--data", request.data, "--out", request.out]
    return shlex.join([*words, *_options(request)])


def plan_command_of(request: PlanRequest) -> str:
    """The command line that plans the same."""
    words = ["trimtab", "plan", request.model, "--data", request.data]
    on = [] if request.on is None else ["--on", request.on]
    return shlex.join([*words, *on, *_options(request)])


def compare_command_of(request: CompareRequest) -> str:
    """The command line that makes the same bake-off, or goes on with it."""
    first, *others = request.models
    words = ["trimtab", "compare", *([] if others else [first]), "--data", request.data, "--out", request.out]
    words += ["--models", ",".join(request.models)] if others else []
    words += ["--methods", ",".join(request.methods)] if request.methods else []
    words += ["--seeds", str(request.seeds)] if request.seeds != MOST_SEEDS else []
    words += ["--frontier", ",".join(request.objectives)] if request.objectives != USUAL_OBJECTIVES else []
    return shlex.join([*words, *_options(request)])


def _options(request: AskedToChoose) -> list[str]:
    settings, choices, reading = request.settings, request.choices, request.reading
    words = []
    options = {
        "--method": request.method,
        "--goal": None if request.goal == "balanced" else request.goal,
        "--memory": request.limits.memory_bytes and _size(request.limits.memory_bytes),
        "--time": request.limits.seconds and f"{request.limits.seconds:.10g}",
        "--money": request.limits.money and request.limits.money.typed,
        "--price": request.price and request.price.typed,
        "--rate": request.pricing.cny_per_usd,
        "--rank": choices.rank,
        "--targets": choices.targets and ",".join(choices.targets),
        "--lora-variant": choices.lora_variant,
        "--bottleneck": choices.bottleneck,
        "--placement": choices.placement,
        "--top-layers": choices.top_layers,
        "--virtual-tokens": choices.virtual_tokens,
        "--init-text": choices.init_text,
        "--epochs": settings.epochs,
        "--batch": settings.batch,
        "--lr": settings.learning_rate,
        "--max-length": settings.max_length,
        "--precision": settings.precision,
        "--quantize": settings.base_precision,
        "--optimizer": settings.optimizer,
        "--decay": settings.decay,
        "--layer-decay": settings.layer_decay,
        "--stages": settings.stages,
        "--ema": settings.ema,
        "--label-smoothing": settings.label_smoothing,
        "--class-weights": settings.class_weights,
        "--temperature": settings.temperature,
        "--prefix": reading.prefixes.query or None,
        "--passage-prefix": reading.prefixes.passage,
        "--seed": settings.seed or None,
        "--task": reading.task,
        "--label": reading.label,
    }
    for flag, value in options.items():
        if value is not None:
            words += [flag, str(value)]
    for flag, rows in (("--sample", reading.sample.train_rows), ("--dev-sample", reading.sample.dev_rows)):
        words += [] if rows is None else [flag, str(rows)]
    for column in reading.text or ():
        words += ["--text", column]
    if settings.packed:
        words.append("--pack")
    if settings.prefix_cache != "auto":
        words += ["--prefix-cache", settings.prefix_cache]
    if reading.keep_overlap:
        words.append("--keep-overlap")
    if request.trust_remote_code:
        words.append("--trust-remote-code")
    return words


def _size(count: int) -> str:
    """Bytes as they are typed: in the largest unit of which they are a whole number."""
    for unit, size in (("GiB", GIB), ("MiB", MIB)):
        if count % size == 0:
            return f"{count // size}{unit}"
    return str(count)
