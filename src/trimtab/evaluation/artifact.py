"""Artifacts: save what was trained so that it stands alone, open it again, and refuse one that lies.

A whole model is an ordinary transformers folder; an adapter is a PEFT folder. Either holds the tokenizer, the
label map and artifact.json beside the weights. After saving, the folder is opened afresh and must compute what
the trained model computes: a silent difference is an error.
"""

import tempfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

import numpy as np
from transformers import PreTrainedModel
from transformers import PreTrainedTokenizerBase as Tokenizer

from trimtab import tuning
from trimtab.artifacts import FACTS_FILE, ArtifactFacts, read_facts
from trimtab.data import Split
from trimtab.data.spec import Example
from trimtab.errors import ArtifactError
from trimtab.evaluation.encode import Collator, Encoded
from trimtab.evaluation.engines import ENGINES, Closed
from trimtab.evaluation.fitting import require_fitting
from trimtab.evaluation.objective import Objective, Opening, ScoredRows
from trimtab.evaluation.objectives import OBJECTIVES
from trimtab.evaluation.prediction import Prediction
from trimtab.methods import Precision
from trimtab.metrics import Score
from trimtab.models import ModelSource, load_config, read_spec, weights_hash
from trimtab.models.spec import ModelSpec

_WINDOW = 512  # texts read ahead, so that batches have like lengths
# Of the largest output; the same machine gives 0.
_ALLOWED: Mapping[Precision, float] = {"fp32": 1e-4, "bf16": 2e-2, "fp16": 2e-2}


@dataclass(frozen=True, kw_only=True, slots=True)
class Artifact:
    """A loaded artifact. `spec` is of the model it computes with: of an adapter, its base. `model`: a transformers
    model, or what is called like one (`engines`). `base_folder`: where the base of an adapter lies."""

    folder: Path
    facts: ArtifactFacts
    spec: ModelSpec
    model: PreTrainedModel
    tokenizer: Tokenizer
    base_folder: Path | None = None

    @property
    def objective(self) -> Objective:
        return OBJECTIVES[self.facts.task]

    def encode(self, examples: Iterable[Example]) -> Encoded:
        return self.objective.encode(examples, self.tokenizer, self.facts.strategy.max_length)

    @property
    def collator(self) -> Collator:
        strategy = self.facts.strategy
        return self.objective.collator(self.tokenizer, strategy.max_length).beside(strategy)

    def logits(self, encoded: Encoded) -> np.ndarray:
        """Head outputs, float32 (rows, outputs); of a language model as `LanguageModelling.outputs`."""
        return self.objective.outputs(self.model, encoded, self.collator)

    def score(self, split: Split) -> Score:
        """Score the model on rows that have what the task asks for. Raises Diverged, DataError TT-D107."""
        rows = ScoredRows(
            split=split.name, encoded=self.encode(split), collator=self.collator, labels=self.facts.labels
        )
        return self.objective.score(self.model, rows)

    def of_passages(self) -> "Artifact":
        """The same, taking what it is asked for passages and not for queries: behind another prefix, of a table in
        another column."""
        return replace(self, facts=self.facts.of_passages())

    def predict(self, examples: Iterable[Example], *, ahead: int = _WINDOW) -> Iterator[Prediction]:
        """One Prediction an example, in order, reading `ahead` of them at a time (1 = answer each at once). Raises
        ArtifactError TT-A008 where one has another number of texts than the model was trained on."""
        iterator = iter(examples)
        while window := list(islice(iterator, ahead)):
            yield from self.objective.predict(self.model, self.tokenizer, self.facts, window)


def save_artifact(
    folder: Path, facts: ArtifactFacts, model: PreTrainedModel, tokenizer: Tokenizer, spec: ModelSpec
) -> None:
    """Write the artifact beside, then move it into `folder` file by file; artifact.json comes last. A whole model
    with matrices in few bits is unpacked for it, `model` itself: what it computes stays the same."""
    with tuning.quiet_transformers(), tempfile.TemporaryDirectory(prefix=".artifact-", dir=folder) as name:
        beside = Path(name)
        if facts.adapter:
            base = facts.base.hub_id or facts.base.name
            tuning.save_adapter(facts.strategy, model, spec, beside, base)
        else:
            tuning.unpack(model)
            OBJECTIVES[facts.task].before_writing(model, tokenizer)
            model.save_pretrained(str(beside))
        tokenizer.save_pretrained(str(beside))
        OBJECTIVES[facts.task].write_beside(beside, facts, model)
        facts.write(beside)
        files = [file for file in beside.rglob("*") if file.is_file()]
        for file in sorted(files, key=lambda file: file.name == FACTS_FILE):
            target = folder / file.relative_to(beside)
            target.parent.mkdir(exist_ok=True)
            file.chmod(0o644)
            file.replace(target)


def open_artifact(folder: Path, *, trust_remote_code: bool = False) -> Artifact:
    """Load an artifact from its folder; an adapter finds its base by the name it was trained from.

    Raises ArtifactError (TT-A…) where a file or the base is not what was saved, ModelError where the base
    cannot be found, or where there is code of its own that is not trusted (TT-M016).
    """
    facts = read_facts(folder)
    own = ModelSource(folder=folder, name=str(folder), kind="folder", trust_remote_code=trust_remote_code)
    if facts.adapter:
        source = base_source(facts, trust_remote_code)
        spec = read_spec(source)
        require_fitting(facts, spec, folder, trust_remote_code=trust_remote_code)
    else:
        # Where code is not trusted transformers takes its own class in silence, which computes something else.
        load_config(folder, trust_remote_code=trust_remote_code)
        source, spec = own, read_spec(own, weights_needed=facts.engine == "transformers")
    objective = OBJECTIVES[facts.task]
    tokenizer = objective.tokenizer(own, trust_remote_code=trust_remote_code)
    opening = Opening(
        source=source,
        outputs=facts.outputs,
        pad_token_id=int(tokenizer.pad_token_id),
        labels=facts.labels,
        pooling=facts.strategy.pooling.kind if facts.strategy.pooling else None,
        trust_remote_code=trust_remote_code,
    )
    closed = Closed(folder=folder, facts=facts, spec=spec, objective=objective, opening=opening)
    model = ENGINES[facts.engine](closed)
    model.requires_grad_(False)
    return Artifact(
        folder=folder,
        facts=facts,
        spec=spec,
        model=model.eval(),
        tokenizer=tokenizer,
        base_folder=source.folder if facts.adapter else None,
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class Equality:
    """How far two models are from giving the same: on `rows` rows their outputs differ by up to `difference`,
    and `allowed` is rounding."""

    rows: int
    difference: float
    allowed: float

    @property
    def holds(self) -> bool:
        return self.difference <= self.allowed  # NaN is not


def equality(
    artifact: Artifact, encoded: Encoded, before: np.ndarray, allowed: Mapping[Precision, float] = _ALLOWED
) -> Equality:
    """What `artifact` gives for `encoded`, beside what another model gave (`Objective.outputs`). `allowed`: of the
    largest output, by number format."""
    return Equality(
        rows=min(len(encoded), len(before)),
        difference=float(np.abs(artifact.logits(encoded) - before).max()),
        allowed=allowed_difference(before, artifact.facts.strategy.precision, allowed),
    )


def allowed_difference(
    before: np.ndarray, precision: Precision, allowed: Mapping[Precision, float] = _ALLOWED
) -> float:
    """What outputs in `precision` may differ by from `before` and be the same but for rounding. `allowed`: of the
    largest output, by number format."""
    return allowed[precision] * max(1.0, float(np.abs(before).max()))


def require_equal(artifact: Artifact, encoded: Encoded, trained: np.ndarray) -> None:
    """The equality gate: the reopened artifact gives `trained`, the outputs of the model before saving.

    Raises ArtifactError TT-A007 with the largest difference.
    """
    found = equality(artifact, encoded, trained)
    if not found.holds:
        raise ArtifactError(
            "TT-A007",
            rows=found.rows,
            difference=found.difference,
            allowed=found.allowed,
            folder=str(artifact.folder),
        )


def base_source(facts: ArtifactFacts, trust_remote_code: bool) -> ModelSource:
    """The base of an adapter, found by the name it was trained from. Raises ArtifactError TT-A004 where it is
    another by now."""
    name = f"{facts.base.name}@{facts.base.revision}" if _revisable(facts) else facts.base.name
    source = tuning.locate_unpacked(name, trust_remote_code=trust_remote_code)
    if weights_hash(source.folder) != facts.base.weights_sha256:
        raise ArtifactError("TT-A004", base=facts.base.name)
    return source


def _revisable(facts: ArtifactFacts) -> bool:
    base = facts.base
    return bool(base.revision) and base.name == base.hub_id
