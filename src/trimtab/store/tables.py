"""The tables as queries see them after the last migration. Making them is migrations.py's."""

from sqlalchemy import BigInteger, Boolean, Column, Double, Integer, MetaData, String, Table, Text

metadata = MetaData()

studies = Table(
    "studies",
    metadata,
    Column("id", String(32), primary_key=True),
    *(Column(name, Text) for name in ("model", "model_fingerprint", "data", "data_fingerprint", "machine")),
    Column("created_at", String(32)),
)

plans = Table(
    "plans",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("study_id", String(32)),
    *(Column(name, Text) for name in ("goal", "method", "strategy", "plan")),
    Column("created_at", String(32)),
)

runs = Table(
    "runs",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("plan_id", String(32)),
    Column("seed", BigInteger),
    Column("seconds", Double),
    Column("peak_memory_bytes", BigInteger),
    *(Column(name, Text) for name in ("folder", "run")),
    Column("created_at", String(32)),
)

scores = Table(
    "scores",
    metadata,
    Column("run_id", String(32), primary_key=True),
    Column("split", Text, primary_key=True),
    Column("position", Integer, primary_key=True),
    Column("n", BigInteger),
    Column("loss", Double),
    Column("metric", Text),
    *(Column(name, Double) for name in ("value", "low", "high")),
)

variants = Table(
    "variants",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("study_id", String(32)),
    *(Column(name, Text) for name in ("parent", "folder", "steps", "model", "machine")),
    Column("seconds", Double),
    *(
        Column(name, BigInteger)
        for name in ("weight_bytes_before", "weight_bytes", "predicted_bytes", "text_tokens")
    ),
    *(Column(name, Double) for name in ("text_seconds", "predicted_text_seconds")),
    Column("split", Text),
    Column("rows", BigInteger),
    Column("metric", Text),
    *(Column(name, Double) for name in ("before", "after", "low", "high")),
    Column("holds", Boolean),
    Column("changes", Text),
    Column("created_at", String(32)),
)

trials = Table(
    "trials",
    metadata,
    Column("bakeoff", String(64), primary_key=True),
    Column("trial", String(255), primary_key=True),
    *(Column(name, Text) for name in ("worker", "outcome")),
    Column("renewed_at", Double),
    Column("created_at", String(32)),
)

ledger = Table(
    "ledger",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("run_id", String(32)),
    *(Column(name, Text) for name in ("source", "quantity", "method", "strategy", "model", "family")),
    *(Column(name, Text) for name in ("device", "device_kind", "precision")),
    *(Column(name, BigInteger) for name in ("batch", "micro_batch", "max_length")),
    *(Column(name, BigInteger) for name in ("trainable_parameters", "total_parameters")),
    *(Column(name, Double) for name in ("predicted", "low", "high")),
    Column("evidence", Text),
    *(Column(name, Double) for name in ("measured", "ratio")),
    Column("versions", Text),
    Column("created_at", String(32)),
)
