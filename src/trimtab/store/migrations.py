"""How the tables came to be: numbered steps, each applied once, in order, never edited after a release.

To change the tables, append a step here and bring tables.py in line; a test holds the two together. The SQL
is the part that SQLite and PostgreSQL share.
"""

from sqlalchemy import Connection, text

_FIRST = (
    """CREATE TABLE studies (
        id VARCHAR(32) PRIMARY KEY,
        model TEXT NOT NULL, model_fingerprint TEXT NOT NULL,
        data TEXT NOT NULL, data_fingerprint TEXT NOT NULL,
        machine TEXT NOT NULL,
        created_at VARCHAR(32) NOT NULL,
        UNIQUE (model, model_fingerprint, data, data_fingerprint, machine))""",
    """CREATE TABLE plans (
        id VARCHAR(32) PRIMARY KEY,
        study_id VARCHAR(32) NOT NULL REFERENCES studies (id),
        goal TEXT NOT NULL, method TEXT NOT NULL, strategy TEXT NOT NULL, plan TEXT NOT NULL,
        created_at VARCHAR(32) NOT NULL)""",
    """CREATE TABLE runs (
        id VARCHAR(32) PRIMARY KEY,
        plan_id VARCHAR(32) NOT NULL REFERENCES plans (id),
        seed BIGINT NOT NULL, seconds DOUBLE PRECISION NOT NULL, peak_memory_bytes BIGINT NOT NULL,
        folder TEXT NOT NULL, run TEXT NOT NULL,
        created_at VARCHAR(32) NOT NULL)""",
    """CREATE TABLE scores (
        run_id VARCHAR(32) NOT NULL REFERENCES runs (id),
        split TEXT NOT NULL, position INTEGER NOT NULL,
        n BIGINT NOT NULL, loss DOUBLE PRECISION NOT NULL,
        metric TEXT NOT NULL, value DOUBLE PRECISION NOT NULL,
        low DOUBLE PRECISION NOT NULL, high DOUBLE PRECISION NOT NULL,
        PRIMARY KEY (run_id, split, position))""",
    """CREATE TABLE ledger (
        id VARCHAR(32) PRIMARY KEY,
        run_id VARCHAR(32) NOT NULL, source TEXT NOT NULL,
        quantity TEXT NOT NULL, method TEXT NOT NULL, strategy TEXT NOT NULL,
        model TEXT NOT NULL, family TEXT NOT NULL,
        device TEXT NOT NULL, device_kind TEXT NOT NULL, precision TEXT NOT NULL,
        batch BIGINT NOT NULL, micro_batch BIGINT NOT NULL, max_length BIGINT NOT NULL,
        trainable_parameters BIGINT NOT NULL, total_parameters BIGINT NOT NULL,
        predicted DOUBLE PRECISION NOT NULL, low DOUBLE PRECISION NOT NULL, high DOUBLE PRECISION NOT NULL,
        evidence TEXT NOT NULL, measured DOUBLE PRECISION NOT NULL, ratio DOUBLE PRECISION NOT NULL,
        versions TEXT NOT NULL,
        created_at VARCHAR(32) NOT NULL)""",
    "CREATE INDEX ledger_by_group ON ledger (device_kind, method, quantity)",
)

_VARIANTS = (
    """CREATE TABLE variants (
        id VARCHAR(32) PRIMARY KEY,
        study_id VARCHAR(32) NOT NULL,
        parent TEXT NOT NULL, folder TEXT NOT NULL, steps TEXT NOT NULL,
        model TEXT NOT NULL, machine TEXT NOT NULL,
        seconds DOUBLE PRECISION NOT NULL,
        weight_bytes_before BIGINT NOT NULL, weight_bytes BIGINT NOT NULL, predicted_bytes BIGINT,
        text_tokens BIGINT NOT NULL, text_seconds DOUBLE PRECISION, predicted_text_seconds DOUBLE PRECISION,
        split TEXT NOT NULL, "rows" BIGINT NOT NULL, metric TEXT NOT NULL,
        "before" DOUBLE PRECISION, "after" DOUBLE PRECISION, low DOUBLE PRECISION, high DOUBLE PRECISION,
        holds BOOLEAN NOT NULL, changes TEXT NOT NULL,
        created_at VARCHAR(32) NOT NULL)""",
    "CREATE INDEX variants_by_folder ON variants (folder)",
    "CREATE INDEX runs_by_folder ON runs (folder)",
)

_TRIALS = (
    """CREATE TABLE trials (
        bakeoff VARCHAR(64) NOT NULL, trial VARCHAR(255) NOT NULL,
        worker TEXT NOT NULL, outcome TEXT NOT NULL,
        renewed_at DOUBLE PRECISION NOT NULL,
        created_at VARCHAR(32) NOT NULL,
        PRIMARY KEY (bakeoff, trial))""",
)

MIGRATIONS: tuple[tuple[str, ...], ...] = (_FIRST, _VARIANTS, _TRIALS)


def applied(connection: Connection) -> int:
    """The number of the last step applied; 0 for an empty database. Makes the table that counts them."""
    columns = "number INTEGER PRIMARY KEY, applied_at VARCHAR(32) NOT NULL"
    connection.execute(text(f"CREATE TABLE IF NOT EXISTS migrations ({columns})"))
    return int(connection.execute(text("SELECT COALESCE(MAX(number), 0) FROM migrations")).scalar_one())


def migrate(connection: Connection, now: str) -> None:
    """Apply what is missing, inside the caller's transaction: all of it or nothing."""
    for number in range(applied(connection) + 1, len(MIGRATIONS) + 1):
        for statement in MIGRATIONS[number - 1]:
            connection.execute(text(statement))
        connection.execute(
            text("INSERT INTO migrations (number, applied_at) VALUES (:number, :now)"),
            {"number": number, "now": now},
        )
