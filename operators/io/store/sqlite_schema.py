"""The embedded store's schema: the tables of ``ops/sql`` as SQLite has them.

Times are microseconds since 1970 (UTC), booleans 0 or 1, vectors blobs of float32. The lengths of
texts in decisions and outcomes are checked when their records are decoded, which is faster.
"""

_ID = "TEXT NOT NULL CHECK (length({0}) BETWEEN 1 AND 256)"
_OPTIONAL_ID = "TEXT CHECK (length({0}) <= 256)"
_TEXT = "TEXT NOT NULL"
_FLAG = "INTEGER NOT NULL CHECK ({0} IN (0, 1))"
_SHARE = "REAL NOT NULL CHECK ({0} > 0 AND {0} <= 1.000000001)"
_JSON = "TEXT NOT NULL CHECK (json_valid({0}))"
_VECTOR = "BLOB CHECK (length({0}) % 4 = 0)"
_KEY = "TEXT PRIMARY KEY NOT NULL CHECK (length({0}) = 16)"
_TIME = "INTEGER NOT NULL"


def _columns(**types: str) -> str:
    return ",\n    ".join(f"{name} {type_.format(name)}" for name, type_ in types.items())


def _table(name: str, constraint: str = "", **types: str) -> str:
    body = _columns(**types) + (f",\n    {constraint}" if constraint else "")
    return f"CREATE TABLE {name} (\n    {body}\n) STRICT"


_CATALOG_HEAD = {"time": _TIME, "event_id": _ID, "deleted": _FLAG}

V001 = (
    _table(
        "slots",
        slot_id=f"{_ID} PRIMARY KEY",
        **_CATALOG_HEAD,
        policy=_ID,
        reward_window="REAL NOT NULL",
        settings=_JSON,
    ),
    _table(
        "actions",
        action_id=f"{_ID} PRIMARY KEY",
        **_CATALOG_HEAD,
        enabled=_FLAG,
        slots=_JSON,
        features=_JSON,
        content="TEXT CHECK ({0} IS NULL OR json_valid({0}))",
        embedding=_VECTOR,
        dimension="INTEGER",
    ),
    _table(
        "experiments",
        experiment_id=f"{_ID} PRIMARY KEY",
        **_CATALOG_HEAD,
        enabled=_FLAG,
        slot_id=_ID,
        settings=_JSON,
    ),
    _table(
        "user_profiles",
        subject=f"{_ID} PRIMARY KEY",
        version="INTEGER NOT NULL",
        time=_TIME,
        deleted=_FLAG,
        purposes=_JSON,
        features=_JSON,
        embedding=_VECTOR,
        dimension="INTEGER",
    ),
    _table(
        "decisions",
        decision_key=_KEY,
        decision_id=_TEXT,
        event_id=_TEXT,
        subject="TEXT",
        slot_id=_TEXT,
        action_id=_TEXT,
        time=_TIME,
        decided_at="INTEGER",
        expires_at=_TIME,
        propensity=_SHARE,
        ranking="TEXT NOT NULL",
        policy=_TEXT,
        policy_version="INTEGER NOT NULL",
        policy_time="INTEGER",
        baseline_action_id="TEXT",
        experiment_id="TEXT",
        variation_id="TEXT",
        learning_mode="TEXT NOT NULL CHECK ({0} IN ('immediate', 'wait', 'exposure'))",
        deferred=_FLAG,
        features=_VECTOR,
        eta="REAL NOT NULL",
        draw="REAL NOT NULL",
        request_hash="TEXT",
    ),
    "CREATE INDEX decisions_by_id ON decisions (decision_id)",
    _table(
        "outcomes",
        decision_key=_KEY,
        version="INTEGER NOT NULL",
        revision="INTEGER NOT NULL CHECK ({0} >= 0)",
        status="TEXT NOT NULL CHECK ({0} IN ('pending', 'settled', 'void'))",
        decision_id=_TEXT,
        subject="TEXT",
        slot_id=_TEXT,
        action_id=_TEXT,
        time=_TIME,
        settled_at="INTEGER",
        propensity=_SHARE,
        reward="REAL NOT NULL",
        activated=_FLAG,
        delay="REAL",
        policy="TEXT",
        policy_version="INTEGER NOT NULL",
        reason="TEXT",
        experiment_id="TEXT",
        variation_id="TEXT",
        eta="REAL NOT NULL",
    ),
    _table(
        "policy_snapshots",
        slot_id=f"{_ID} PRIMARY KEY",
        version="INTEGER NOT NULL",
        policy=_ID,
        time=_TIME,
        published_at="INTEGER",
        decisions="REAL NOT NULL",
        rewards="REAL NOT NULL",
        actions=_JSON,
        posterior="TEXT",
        models=_JSON,
    ),
    _table(
        "experiment_results",
        "PRIMARY KEY (experiment_id, time)",
        experiment_id=_ID,
        time=_TIME,
        slot_id=_ID,
        summary=_JSON,
    ),
    _table(
        "optimized_content",
        "PRIMARY KEY (slot_id, segment, time)",
        slot_id=_ID,
        segment=_ID,
        time=_TIME,
        action_id=_ID,
        experiment_id=_OPTIONAL_ID,
        policy_version="INTEGER",
        probability="REAL CHECK ({0} BETWEEN 0 AND 1)",
        content="TEXT CHECK ({0} IS NULL OR json_valid({0}))",
        reason=_OPTIONAL_ID,
    ),
    _table(
        "deliveries",
        delivery_id=f"{_ID} PRIMARY KEY",
        revision="INTEGER NOT NULL CHECK ({0} >= 0)",
        status="TEXT NOT NULL CHECK ({0} IN ('pending', 'sent', 'failed', 'suppressed'))",
        time=_TIME,
        updated_at="INTEGER",
        channel=_ID,
        subject=_OPTIONAL_ID,
        slot_id=_ID,
        action_id=_ID,
        decision_id=_OPTIONAL_ID,
        attempts="INTEGER NOT NULL CHECK ({0} >= 0)",
        reason=_OPTIONAL_ID,
    ),
    "CREATE INDEX deliveries_by_subject ON deliveries (subject, time)",
    _table(
        "erasures",
        receipt_id=f"{_ID} PRIMARY KEY",
        event_id=_ID,
        subject=_ID,
        time=_TIME,
        completed_at=_TIME,
        removed=_JSON,
    ),
    _table(
        "dead_letters",
        "PRIMARY KEY (topic, topic_partition, topic_offset)",
        topic=_ID,
        topic_partition="INTEGER NOT NULL",
        topic_offset="INTEGER NOT NULL",
        reason=_ID,
        field=_OPTIONAL_ID,
        detail="TEXT CHECK (length({0}) <= 1000)",
        time="INTEGER",
        payload_bytes="INTEGER NOT NULL",
        payload_sha256=_ID,
    ),
    "CREATE VIEW consents AS SELECT subject, version, time, purposes, deleted FROM user_profiles",
    """CREATE VIEW current_content AS
    SELECT slot_id, segment, time, action_id, experiment_id, policy_version, probability
    FROM (
        SELECT o.*, row_number() OVER (PARTITION BY slot_id, segment ORDER BY time DESC) AS age
        FROM optimized_content o
    ) WHERE age = 1""",
    """CREATE VIEW slot_daily AS
    SELECT date(d.time / 1000000, 'unixepoch') AS day, d.slot_id, count(*) AS decisions,
        sum(coalesce(o.activated AND o.status <> 'void', 0)) AS impressions,
        sum(coalesce(CASE WHEN o.status <> 'void' THEN o.reward END, 0)) AS reward,
        sum(CASE WHEN o.activated AND o.status <> 'void' THEN 1.0 / d.propensity ELSE 0 END)
            AS inverse_propensity
    FROM decisions d LEFT JOIN outcomes o ON o.decision_key = d.decision_key
    GROUP BY date(d.time / 1000000, 'unixepoch'), d.slot_id""",
    """CREATE VIEW action_funnel AS
    SELECT d.slot_id, d.action_id, count(*) AS decisions,
        sum(coalesce(o.activated AND o.status <> 'void', 0)) AS impressions,
        sum(coalesce(o.reward > 0 AND o.status <> 'void', 0)) AS rewarded,
        sum(coalesce(CASE WHEN o.status <> 'void' THEN o.reward END, 0)) AS reward,
        avg(d.propensity) AS mean_propensity
    FROM decisions d LEFT JOIN outcomes o ON o.decision_key = d.decision_key
    GROUP BY d.slot_id, d.action_id""",
    """CREATE VIEW learning_curve AS
    SELECT slot_id, hour, decisions, reward,
        sum(reward) OVER (PARTITION BY slot_id ORDER BY hour)
            / sum(decisions) OVER (PARTITION BY slot_id ORDER BY hour) AS mean_reward_so_far
    FROM (
        SELECT slot_id, time / 3600000000 * 3600000000 AS hour, count(*) AS decisions,
            sum(reward) AS reward
        FROM outcomes WHERE activated AND status <> 'void'
        GROUP BY slot_id, time / 3600000000
    )""",
    """CREATE VIEW experiment_summary AS
    SELECT experiment_id, variation_id, slot_id, count(*) AS decisions,
        sum(reward) AS reward, avg(reward) AS mean_reward,
        sum(reward / propensity) / sum(1.0 / propensity) AS weighted_mean_reward
    FROM outcomes WHERE experiment_id IS NOT NULL AND activated AND status <> 'void'
    GROUP BY experiment_id, variation_id, slot_id""",
)

V002 = (
    _table(
        "policy_checkpoints",
        "PRIMARY KEY (slot_id, generation, part), CHECK (part >= 0 AND part < parts)",
        slot_id=_ID,
        generation="INTEGER NOT NULL",
        part="INTEGER NOT NULL",
        parts="INTEGER NOT NULL",
        time=_TIME,
        version="INTEGER NOT NULL",
        decisions="REAL NOT NULL",
        rewards="REAL NOT NULL",
        state=_TEXT,
    ),
)

MIGRATIONS: tuple[tuple[int, str, tuple[str, ...]], ...] = (
    (1, "tables", V001),
    (2, "checkpoints", V002),
)
"""Version, name and statements of each migration; a released one never changes."""
