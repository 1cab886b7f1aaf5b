"""RunRecord: what the store keeps of one run, beside its ledger entries."""

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
