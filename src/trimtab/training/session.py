"""Session: everything heavy one training needs, made from a Job: model, tokenizer, rows, optimiser, device."""

import hashlib
import importlib.metadata
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from accelerate import Accelerator
from torch import nn
from transformers import PreTrainedModel
from transformers import PreTrainedTokenizerBase as Tokenizer

from trimtab import tuning
from trimtab.data import Corpus
from trimtab.data.spec import DataSpec
from trimtab.data.token_store import TokenStore
from trimtab.errors import Message, ModelError
from trimtab.evaluation.encode import Collator, Encoded
from trimtab.evaluation.objective import Objective, Opening, ScoredRows
from trimtab.evaluation.objectives import OBJECTIVES
from trimtab.evaluation.stored import SplitReader
from trimtab.methods import Strategy, strategy_to_json
from trimtab.models import ModelSource
from trimtab.models.spec import ModelSpec
from trimtab.training.events import Event
from trimtab.training.frozen_part import FrozenPart, Whole
from trimtab.training.kernels import use_cpu_kernels
from trimtab.training.optimizer import Optimizer
from trimtab.training.packing import use_packing
from trimtab.training.rules import require_library
from trimtab.tuning.products import onednn_pays

_LIBRARIES = ("torch", "transformers", "peft", "accelerate", "trimtab")


@dataclass(frozen=True, kw_only=True, slots=True)
class Job:
    """What to train, on what, how, and where to keep it. `threads` 0 = what torch finds. A checkpoint is written
    after every evaluation and whenever `save_seconds` have passed or `save_steps` steps are done (0 = never).
    `objective`: what is learned, None = the task's own. `prefix_folder`: where what a frozen part gives is kept
    for other runs too; None = in the job's folder, until it ends. `tokens`: where the tokens of large splits are
    kept, None = all in memory. `stop_at`: seconds since 1970 after which no step begins; what is best by then is
    kept."""

    source: ModelSource
    spec: ModelSpec
    data: DataSpec
    strategy: Strategy
    folder: Path
    threads: int = 0
    save_seconds: float = 600.0
    save_steps: int = 0
    resume: bool = False
    allow_changed: bool = False
    trust_remote_code: bool = False
    objective: Objective | None = None
    prefix_folder: Path | None = None
    stop_at: float | None = None
    tokens: TokenStore | None = None

    @property
    def learned(self) -> Objective:
        """The objective that is trained with."""
        return self.objective or OBJECTIVES[self.data.task]

    @property
    def states(self) -> Path:
        """Where states of a frozen part are kept."""
        return self.prefix_folder or self.folder / "prefix"

    @property
    def checkpoints(self) -> Path:
        return self.folder / "checkpoints"

    def identity(self) -> dict[str, str]:
        """What must be the same for a resumed run to be the same training, bit for bit."""
        strategy = json.dumps(strategy_to_json(self.strategy), sort_keys=True)
        return {
            "model": self.spec.fingerprint,
            "data": self.data.fingerprint,
            "strategy": hashlib.sha256(strategy.encode()).hexdigest(),
            "threads": str(self.threads or torch.get_num_threads()),
            **({"loss": self.learned.loss_key} if self.learned.loss_key else {}),
            **_quantiser(self.strategy),
            **_products(self.strategy),
            **{f"{name} version": version for name, version in versions()},
        }


@dataclass(kw_only=True, slots=True)
class Session:
    """A model ready to train and the rows it is trained and scored on. `objective` is the job's; `opened`: names
    of what is trained, in any stage; `tokens` as in `Optimizer`; `notices`: what there is to say of how it was
    prepared; `read_seconds`: what making or finding the rows took. Mutable: every stage has its own optimiser."""

    job: Job
    objective: Objective
    model: PreTrainedModel
    tokenizer: Tokenizer
    collator: Collator
    optimizer: Optimizer
    opened: tuple[str, ...]
    tokens: torch.Tensor
    device: torch.device
    train: Encoded
    dev: Encoded
    test: Encoded | None
    frozen: FrozenPart
    notices: tuple[Message, ...] = ()
    read_seconds: float = 0.0

    def inputs(self, rows: np.ndarray) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
        """Model inputs and targets of some training rows, on the device."""
        collator = self.collator.laid(self.job.strategy)
        batch = collator.batch(self.train, rows) | self.objective.beside(self.train, collator, rows)
        targets = self.objective.targets(self.train, collator, rows)
        return {name: x.to(self.device) for name, x in batch.items()}, targets.to(self.device)

    def scored(self, split: str, encoded: Encoded) -> ScoredRows:
        """Rows of one split, to be scored; the same metric decides on every split."""
        data = self.job.data
        main = self.objective.main_metric(data.label_counts)
        return ScoredRows(split=split, encoded=encoded, collator=self.collator, labels=data.labels, main=main)

    def enter(self, number: int) -> None:
        """Train what stage `number` (0 = first) trains, and nothing else, from now on."""
        stages, spec = self.job.strategy.stages, self.job.spec
        self.frozen.put_aside()
        touched = set()
        for stage in stages[:number]:
            tuning.open_only(stage, self.model, spec, self.opened)
            touched |= set(tuning.trained_names(self.model))
        tuning.open_only(stages[number], self.model, spec, self.opened)
        settled = sorted(touched - set(tuning.trained_names(self.model)))
        shares = tuning.rate_shares(stages[number], self.model, spec)
        self.optimizer = Optimizer(
            self.model, stages[number], self.tokens, shares, before=self.optimizer, settled=settled
        )
        tuning.train_mode(stages[number], self.model, spec)
        self.frozen.rehearse(stages[number])

    def prepare_frozen(self, number: int) -> Iterator[Event]:
        """Run once what stage `number` leaves as it is, where the strategy wants it, and train without it."""
        stage = self.job.strategy.stages[number]
        if self.frozen.is_ready_for(stage):
            return
        self._on_texts()
        yield from self.frozen.prepare(stage, self.train, self.dev)
        self.train, self.dev = self.frozen.with_states(self.train, self.dev)

    def complete(self) -> None:
        """The whole model, on texts; what an optimiser holds for further steps is given up for it."""
        if self.frozen.runs_upper_part:
            self.optimizer.zero()
            self.optimizer.forget()
        self._on_texts()
        self.frozen.end()

    def _on_texts(self) -> None:
        """Let states go, before others take their place."""
        self.train, self.dev = (replace(split, states=None) for split in (self.train, self.dev))

    def open_all(self) -> None:
        """What has been trained, in any stage, counts as trained again: it is what is saved."""
        tuning.open_only(self.job.strategy, self.model, self.job.spec, self.opened)


def versions() -> tuple[tuple[str, str], ...]:
    """Versions of the libraries a result depends on."""
    return tuple((name, importlib.metadata.version(name)) for name in _LIBRARIES)


def _quantiser(strategy: Strategy) -> dict[str, str]:
    """The library whose rounding a quantised base has, or states in 8 bit."""
    name = strategy.library
    return {f"{name} version": importlib.metadata.version(name)} if name else {}


def _products(strategy: Strategy) -> dict[str, str]:
    """Which library multiplies, where it is not torch's own choice: another sums in another order."""
    quick = strategy.precision == "fp32" and not _has_accelerator() and onednn_pays()
    return {"products": "oneDNN"} if quick else {}


def prepare(job: Job, corpus: Corpus) -> Session:
    """Tokenise the corpus, load the model, attach the strategy. Every random choice comes from the seed."""
    strategy = job.strategy
    accelerator = Accelerator(cpu=not _has_accelerator())
    require_library(strategy.optimizer, accelerator.device)
    if job.threads:
        torch.set_num_threads(job.threads)
    objective = job.learned
    tokenizer = objective.tokenizer(job.source, trust_remote_code=job.trust_remote_code)
    start = time.perf_counter()
    reader = SplitReader(
        objective=objective, tokenizer=tokenizer, max_length=strategy.max_length, store=job.tokens
    )
    train, of_train = reader.read(corpus.train)
    dev, of_dev = reader.read(corpus.dev)
    test, of_test = (None, None) if corpus.test is None else reader.read(corpus.test)
    read_seconds = time.perf_counter() - start
    for name, split in (("train", train), ("dev", dev), ("test", test)):
        if split is not None:
            objective.require_targets(split, name, strategy.max_length)
    tokens = train.distinct_tokens(int(tokenizer.pad_token_id))
    if tokens[-1] >= job.spec.vocab:
        raise ModelError("TT-T005", folder=str(job.source.folder), token=int(tokens[-1]), rows=job.spec.vocab)
    opening = Opening(
        source=job.source,
        outputs=job.data.outputs,
        pad_token_id=int(tokenizer.pad_token_id),
        labels=job.data.labels,
        pooling=strategy.pooling.kind if strategy.pooling else None,
        seed=strategy.seed,
        trust_remote_code=job.trust_remote_code,
    )
    model = objective.model(opening)
    ids = torch.from_numpy(tokens)
    also = objective.also_trained(model)
    model, optimizer, opened = _opened(model, strategy, job.spec, accelerator.device, ids, tokenizer, also)
    if strategy.packed:
        use_packing(model, strategy.max_length)
    model = accelerator.prepare_model(model)
    collator = objective.collator(tokenizer, strategy.max_length).beside(strategy)

    def again() -> PreTrainedModel:
        with torch.random.fork_rng():
            fresh = objective.model(opening)
            _attach(fresh, strategy, job.spec, accelerator.device, tokenizer)
            _make_quick(fresh, strategy, accelerator.device)
        return fresh

    whole = Whole(model=model, spec=job.spec, collator=collator, opened=opened, again=again)
    return Session(
        job=job,
        objective=objective,
        model=model,
        tokenizer=tokenizer,
        collator=collator,
        optimizer=optimizer,
        opened=opened,
        tokens=ids,
        device=accelerator.device,
        train=train,
        dev=dev,
        test=test,
        frozen=FrozenPart(whole, strategy.stages, job.states, passing=job.prefix_folder is None),
        notices=tuple(dict.fromkeys(note for note in (of_train, of_dev, of_test) if note is not None)),
        read_seconds=read_seconds,
    )


def make_trainable(
    model: PreTrainedModel,
    strategy: Strategy,
    spec: ModelSpec,
    device: torch.device,
    tokens: torch.Tensor | None = None,
    tokenizer: Tokenizer | None = None,
) -> tuple[PreTrainedModel, Optimizer]:
    """Attach the strategy, take the fp32 masters, cast to the strategy's precision, choose kernels. `tokens` as
    in `Optimizer`; `tokenizer` for what starts as a text. Of several stages it is the first that can be trained
    now."""
    model, optimizer, _ = _opened(model, strategy, spec, device, tokens, tokenizer)
    return model, optimizer


def _opened(
    model: PreTrainedModel,
    strategy: Strategy,
    spec: ModelSpec,
    device: torch.device,
    tokens: torch.Tensor | None,
    tokenizer: Tokenizer | None,
    also: tuple[nn.Module, ...] = (),
) -> tuple[PreTrainedModel, Optimizer, tuple[str, ...]]:
    """As `make_trainable`, with the names of what any stage trains, modules of `also` among it."""
    _attach(model, strategy, spec, device, tokenizer, also)
    opened, first = tuning.trained_names(model), strategy.stages[0]
    tuning.open_only(first, model, spec, opened)
    optimizer = Optimizer(model, first, tokens, tuning.rate_shares(first, model, spec))
    _make_quick(model, strategy, device)
    return model, optimizer, opened


def _attach(
    model: PreTrainedModel,
    strategy: Strategy,
    spec: ModelSpec,
    device: torch.device,
    tokenizer: Tokenizer | None,
    also: tuple[nn.Module, ...] = (),
) -> None:
    torch.manual_seed(strategy.seed)
    tuning.apply(strategy, model, spec)
    for module in also:
        module.requires_grad_(True)
    if tokenizer is not None:
        tuning.start_from_text(strategy, model, tokenizer)
    if strategy.precision == "fp32":
        model.float()
    model.to(device)


def _make_quick(model: PreTrainedModel, strategy: Strategy, device: torch.device) -> None:
    """Its precision and kernels, once masters have been taken."""
    tuning.cast(model, strategy.precision)
    if device.type == "cpu":
        use_cpu_kernels(model)
    if strategy.recompute:
        tuning.require_recompute(strategy)
        recompute_layers(model)
    model.config.use_cache = False


def recompute_layers(model: PreTrainedModel) -> None:
    """Gradient checkpointing of every layer that gradients pass through, and of no other: transformers would let
    them pass down to the embeddings, whatever is trained."""
    enable = getattr(model, "activation_checkpointing_enable", model.gradient_checkpointing_enable)  # before 5.20
    enable({"use_reentrant": False})
    model.disable_input_require_grads()


def _has_accelerator() -> bool:
    return torch.accelerator.is_available()
