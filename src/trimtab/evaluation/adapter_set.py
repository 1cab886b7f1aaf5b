"""AdapterSet: one base in memory and adapters on it by name, to load, switch, disable and let go.

Every adapter is a model of its own on the tensors of the one base (`tuning.on_same_weights`), with its own head,
labels and tokenizer settings: what it says is to the last digit what it says alone, and switching moves a name,
nothing else. What cannot be plugged in is refused before memory is spent. Adapters whose base is stored in other
number formats compute on another base: they go into a set of their own. Leaves out GPUs, and rows of several
adapters in one batch. Loading and letting go are for one thread at a time; predicting is not.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from transformers import PreTrainedModel
from transformers import PreTrainedTokenizerBase as Tokenizer

from trimtab import tuning
from trimtab.artifacts import ArtifactFacts, base_of, read_facts, require_name
from trimtab.data import Split
from trimtab.errors import ArtifactError, UsageError
from trimtab.evaluation.artifact import Artifact, base_source
from trimtab.evaluation.fitting import require_fitting
from trimtab.evaluation.objective import Opening
from trimtab.evaluation.objectives import OBJECTIVES
from trimtab.evaluation.prediction import Prediction
from trimtab.methods import BasePrecision, Head, Precision, Strategy, TokenHead
from trimtab.metrics import Score
from trimtab.models import ModelSource, ModelSpec, read_spec, weights_hash
from trimtab.models.hub import TOKENIZER_FILES as _FILES

_TOKENIZER_FILES = frozenset(_FILES) - {"generation_config.json"} | {"tokenizer_config.json"}


@dataclass(frozen=True, slots=True)
class _Base:
    """Which model all adapters are of."""

    source: ModelSource
    spec: ModelSpec
    sha256: str


@dataclass(frozen=True, slots=True)
class _Format:
    """How the base's numbers are stored, and multiplied."""

    precision: Precision
    base_precision: BasePrecision

    def __str__(self) -> str:
        return self.precision if self.base_precision == "same" else f"{self.base_precision} + {self.precision}"


@dataclass(frozen=True, slots=True)
class _Held:
    """An adapter, and the model without one whose tensors it shares."""

    artifact: Artifact
    bare: PreTrainedModel


class AdapterSet:
    """Adapters on one base. `base` is what MODEL is on the command line; None = the base of the first adapter.
    `precision`: the number format that all compute in; None = the one they were trained in, which must be one.
    `blocked`: the base's matrices lie as oneDNN multiplies by them, where that is faster: other rounding.

    >>> adapters = AdapterSet()                               # doctest: +SKIP
    >>> adapters.load("law", "runs/law")                      # doctest: +SKIP
    >>> adapters.load("mood", "runs/mood")                    # doctest: +SKIP
    >>> adapters.predict(["合同纠纷如何起诉？"], "law")[0].label    # doctest: +SKIP
    """

    def __init__(
        self,
        base: str | None = None,
        *,
        precision: Precision | None = None,
        blocked: bool = False,
        trust_remote_code: bool = False,
    ) -> None:
        self._precision = precision
        self._blocked = blocked
        self._trusted = trust_remote_code
        self._base = (
            None if base is None else _described(tuning.locate_unpacked(base, trust_remote_code=trust_remote_code))
        )
        self._format: _Format | None = None
        # By class and pooling: one backbone, under a head of each kind.
        self._bare: dict[object, PreTrainedModel] = {}
        self._tokenizers: dict[object, Tokenizer] = {}
        self._held: dict[str, _Held] = {}
        self._active: str | None = None
        self._fitting: set[ArtifactFacts] = set()

    @property
    def names(self) -> tuple[str, ...]:
        """In the order in which they were loaded."""
        return tuple(self._held)

    @property
    def active(self) -> str | None:
        """The adapter that answers where none is named; None = the base itself."""
        return self._active

    @property
    def base_bytes(self) -> int:
        """Memory of the base's tensors, as far as they have been read."""
        tensors = (x for model in self._bare.values() for x in (*model.parameters(), *model.buffers()))
        return sum({x.data_ptr(): x.nbytes for x in tensors}.values())

    def load(self, name: str, folder: str | Path) -> ArtifactFacts:
        """Plug an artifact in as `name`; the first one is switched to.

        Raises, before the base is loaded (its files are read once, for their hash): UsageError TT-U101, TT-U102
        where it cannot be called so; ArtifactError TT-A040 where `folder` holds a whole model, TT-A041 an adapter
        of another base, TT-A042 one whose base is stored otherwise, and what `read_facts` and `require_fitting`
        raise.
        """
        if require_name(name) in self._held:
            raise UsageError("TT-U102", name=name, loaded=", ".join(self._held))
        place = Path(folder).expanduser()
        facts, base, form = self._checked(place)
        try:
            held = self._opened(facts, place, base)
        except BaseException:
            if self._format is None:  # what was read for it may be of another base, in another format
                self._bare.clear()
            raise
        self._base, self._format, self._held[name] = base, form, held
        if len(self._held) == 1:
            self._active = name
        return facts

    def check(self, folder: str | Path) -> ArtifactFacts:
        """What `folder` holds. Raises what `load` raises of it; nothing is loaded. For as long as its files have
        the same hashes they are not held to the base again. The first one decides on the base and its number
        format."""
        facts, self._base, self._format = self._checked(Path(folder).expanduser())
        return facts

    def switch(self, name: str) -> None:
        """Let `name` answer where none is named. Raises UsageError TT-U103."""
        self.artifact(name)
        self._active = name

    def disable(self) -> None:
        """No adapter answers where none is named. A chat model then answers as it was published; the base of
        classifiers has no head of its own, and `predict` says so."""
        self._active = None

    def unload(self, name: str) -> None:
        """Let an adapter go; the base stays. Raises UsageError TT-U103."""
        self.artifact(name)
        del self._held[name]
        if self._active == name:
            self._active = None

    def artifact(self, name: str) -> Artifact:
        """An adapter, as `open_artifact` gives it. Raises UsageError TT-U103 with the names there are."""
        if name not in self._held:
            raise UsageError("TT-U103", name=name[:80], loaded=", ".join(self._held) or "-")
        return self._held[name].artifact

    def bare(self, name: str) -> PreTrainedModel:
        """The model without an adapter whose tensors the adapter `name` shares. Raises UsageError TT-U103."""
        self.artifact(name)
        return self._held[name].bare

    def predict(self, texts: Iterable[str], name: str | None = None) -> list[Prediction]:
        """One Prediction for each of `texts`, in order; for pairs for each two of them. Of the adapter `name`,
        else of the active one, else of the base. Raises UsageError TT-U103, ArtifactError TT-A008, TT-A043."""
        chosen = self._active if name is None else name
        artifact = self.own() if chosen is None else self.artifact(chosen)
        asked = artifact.objective.asked(tuple(texts), None, artifact.facts.columns)
        return list(artifact.predict(asked))

    def score(self, split: Split, name: str) -> Score:
        """As `Artifact.score`."""
        return self.artifact(name).score(split)

    def own_bytes(self, name: str) -> int:
        """Memory of the weights of an adapter, its head among them, that are not the base's."""
        return tuning.own_bytes(self.artifact(name).model, self._held[name].bare)

    def _checked(self, place: Path) -> "tuple[ArtifactFacts, _Base, _Format]":
        facts = self._computed(read_facts(place))
        if not (facts.adapter or is_head_alone(facts)):
            raise ArtifactError("TT-A040", folder=str(place), method=facts.strategy.method)
        base = self._base or _described(base_source(facts, self._trusted))
        form = self._required_format(facts, base, place)
        if facts not in self._fitting:
            require_fitting(facts, base.spec, place, trust_remote_code=self._trusted)
            self._fitting.add(facts)
        return facts, base, form

    def _computed(self, facts: ArtifactFacts) -> ArtifactFacts:
        """In the number format that is asked for."""
        precision = self._precision or facts.strategy.precision
        return replace(facts, strategy=replace(facts.strategy, precision=precision))

    def _required_format(self, facts: ArtifactFacts, base: _Base, place: Path) -> _Format:
        if facts.base.weights_sha256 != base.sha256:
            raise ArtifactError(
                "TT-A041", folder=str(place), wanted=facts.base.name, wanted_hash=facts.base.weights_sha256[:12],
                base=base.source.name, base_hash=base.sha256[:12],
            )  # fmt: skip
        form = _Format(facts.strategy.precision, facts.strategy.base_precision)
        if self._format not in (None, form):
            raise ArtifactError("TT-A042", folder=str(place), wanted=str(form), held=str(self._format))
        return form

    def _opened(self, facts: ArtifactFacts, place: Path, base: _Base) -> _Held:
        tokenizer = self._tokenizer(facts, place)
        bare = self._under_head(facts, base, tokenizer)
        model = tuning.on_same_weights(bare, facts.strategy, base.spec, facts.labels, facts.outputs)
        model.config.pad_token_id = int(tokenizer.pad_token_id)
        if facts.adapter:
            tuning.load_adapter(facts.strategy, model, place)
        else:
            tuning.load_head(model, place)
        model.requires_grad_(False)
        artifact = Artifact(folder=place, facts=facts, spec=base.spec, model=model.eval(), tokenizer=tokenizer)
        return _Held(artifact, bare)

    def _tokenizer(self, facts: ArtifactFacts, place: Path) -> Tokenizer:
        """One object for all that are the same files: that of a large vocabulary takes hundreds of MiB."""
        files = tuple((name, digest) for name, _, digest in facts.files if name in _TOKENIZER_FILES)
        objective = OBJECTIVES[facts.task]
        key = (type(objective), files)
        if not files or key not in self._tokenizers:
            source = ModelSource(folder=place, name=str(place))
            self._tokenizers[key] = objective.tokenizer(source, trust_remote_code=self._trusted)
        return self._tokenizers[key]

    def _under_head(self, facts: ArtifactFacts, base: _Base, tokenizer: Tokenizer) -> PreTrainedModel:
        """The base under a head of the kind that the task has: read once, on one backbone with the other kinds."""
        objective = OBJECTIVES[facts.task]
        with torch.device("meta"), tuning.quiet_transformers():
            kind = (type(objective.shape(base.spec, facts.outputs)), facts.strategy.pooling)
        if kind not in self._bare:
            opening = Opening(
                source=base.source,
                outputs=facts.outputs,
                pad_token_id=int(tokenizer.pad_token_id),
                labels=facts.labels,
                pooling=facts.strategy.pooling.kind if facts.strategy.pooling else None,
                trust_remote_code=self._trusted,
            )
            model = objective.model(opening).requires_grad_(False)
            tuning.quantise(facts.strategy, model, base.spec)
            tuning.cast(model, facts.strategy.precision)
            for other in self._bare.values():
                tuning.share_backbone(model, other)
            if self._blocked:
                tuning.block(model, base.spec)
            self._bare[kind] = model.eval()
        return self._bare[kind]

    def own(self) -> Artifact:
        """The base as it was published, where it has a head: that over the vocabulary. Raises ArtifactError
        TT-A043 where it has none."""
        base = self._base
        if base is None or base.spec.kind != "decoder":
            name = "-" if base is None else base.source.name
            raise ArtifactError("TT-A043", base=name, loaded=", ".join(self._held) or "-")
        form = self._format or _Format(self._precision or "fp32", "same")
        self._format = form
        strategy = Strategy(method="base", parts=(), precision=form.precision, base_precision=form.base_precision)
        facts = ArtifactFacts(
            adapter=False, task="instruct", labels=(), columns=(), label_column="", outputs=0,
            base=base_of(base.source, base.spec.family, sha256=base.sha256),
            strategy=strategy, trimtab_version="",
        )  # fmt: skip
        tokenizer = self._tokenizer(facts, base.source.folder)
        model = self._under_head(facts, base, tokenizer)
        return Artifact(folder=base.source.folder, facts=facts, spec=base.spec, model=model, tokenizer=tokenizer)


def _described(source: ModelSource) -> _Base:
    return _Base(source=source, spec=read_spec(source), sha256=weights_hash(source.folder))


def is_head_alone(facts: ArtifactFacts) -> bool:
    """Whether nothing but the head was trained: a whole model on disk, and no more than its head beside the
    base."""
    return facts.origin == "trained" and all(isinstance(part, Head | TokenHead) for part in facts.strategy.parts)
