"""What the store keeps of one run, beside its ledger entries, and of a smaller model made of it."""

from dataclasses import dataclass

from trimtab.metrics.score import Score


@dataclass(frozen=True, kw_only=True, slots=True)
class RunRecord:
    """One run of a study. A study is one model, one data set, one machine; it is made on its first run.

    The fingerprints tell a model or data set from another of the same name. `plan`, `strategy` and `run` are
    JSON texts, kept whole. `folder` is where the artifact lies. `id` and `created_at` (UTC, ISO 8601) are the
    store's.
    """

    model: str
    data: str
    machine: str
    model_fingerprint: str = ""
    data_fingerprint: str = ""
    goal: str
    method: str
    strategy: str
    plan: str
    run: str
    seed: int
    seconds: float
    peak_memory_bytes: int
    folder: str = ""
    scores: tuple[Score, ...] = ()
    id: str = ""
    created_at: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class VariantRecord:
    """A smaller model, made by `steps` of the artifact in `parent`, beside what it was predicted to be.

    `folder` is where it lies, "" where it was not kept; `weight_bytes` with those of a base; `text_seconds` of one
    text of `text_tokens` tokens, None where it was not timed. On `rows` rows of `split` the metric was `before`
    and is `after`, [low, high] the interval of their difference; "" and None without data. `holds`: it kept what
    was asked of it. `changes` is a JSON text, kept whole. `study_id`, that of the run or variant that lies in
    `parent` ("" where none is known), `id` and `created_at` (UTC, ISO 8601) are the store's.
    """

    parent: str
    folder: str
    steps: tuple[str, ...]
    model: str
    machine: str
    seconds: float
    weight_bytes_before: int
    weight_bytes: int
    predicted_bytes: int | None = None
    text_tokens: int = 0
    text_seconds: float | None = None
    predicted_text_seconds: float | None = None
    split: str = ""
    rows: int = 0
    metric: str = ""
    before: float | None = None
    after: float | None = None
    low: float | None = None
    high: float | None = None
    holds: bool = True
    changes: str = "[]"
    study_id: str = ""
    id: str = ""
    created_at: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class TrialRecord:
    """A trial of a bake-off, taken by `worker`, which renewed its claim at `renewed_at` (seconds since 1970); once
    it is over, `outcome` is a JSON text, kept whole, "" until then."""

    bakeoff: str
    trial: str
    worker: str
    renewed_at: float
    outcome: str = ""
