"""The embedded store's schema: the tables as SQLite has them, made from their descriptions.

Times are microseconds since 1970 (UTC), booleans 0 or 1, vectors blobs of float32. The lengths of
texts in decisions and outcomes are checked when their records are decoded, which is faster.
"""

from itertools import chain

from operators.io.store.sqlite_views import VIEWS, VIEWS_SINCE
from operators.io.store.tables import (
    ACTION_CONTENTS,
    ACTIONS,
    DEAD_LETTERS,
    DECISIONS,
    DELIVERIES,
    ERASURES,
    EXPERIMENT_RESULTS,
    EXPERIMENTS,
    OPTIMIZED_CONTENT,
    OUTCOMES,
    POLICY_CHECKPOINTS,
    POLICY_SNAPSHOTS,
    SLOTS,
    TABLES,
    USER_PROFILES,
    Column,
    Kind,
    Table,
)

CHECKS = {
    "decisions.propensity": "{0} > 0 AND {0} <= 1.000000001",
    "decisions.learning_mode": "{0} IN ('immediate', 'wait', 'exposure')",
    "outcomes.propensity": "{0} > 0 AND {0} <= 1.000000001",
    "outcomes.revision": "{0} >= 0",
    "outcomes.status": "{0} IN ('pending', 'settled', 'void')",
    "optimized_content.probability": "{0} BETWEEN 0 AND 1",
    "deliveries.revision": "{0} >= 0",
    "deliveries.status": "{0} IN ('pending', 'sent', 'failed', 'suppressed')",
    "deliveries.attempts": "{0} >= 0",
    "dead_letters.detail": "length({0}) <= 1000",
}
"""What the values of a column must fulfil, beyond what its kind says."""

_ROW_CHECKS = {"policy_checkpoints": ", CHECK (part >= 0 AND part < parts)"}
_CHECKED_BEFORE = {"decisions", "outcomes"}
"""The tables whose texts and documents are checked when their records are decoded."""

_TYPES = {
    Kind.TEXT: "TEXT",
    Kind.LONG_TEXT: "TEXT",
    Kind.TIME: "INTEGER",
    Kind.REAL: "REAL",
    Kind.INTEGER: "INTEGER",
    Kind.BOOLEAN: "INTEGER",
    Kind.JSON: "TEXT",
    Kind.VECTOR: "BLOB",
}


_LINE = ",\n    "


def _table(table: Table) -> str:
    """Give the statement that makes a table with the columns that it had at first."""
    lines = [_column(table, column) for column in table.columns if not column.since]
    if len(table.key) > 1:
        lines.append(f"PRIMARY KEY ({', '.join(table.key)}){_ROW_CHECKS.get(table.name, '')}")
    return f"CREATE TABLE {table.name} (\n    {_LINE.join(lines)}\n) STRICT"


def _column(table: Table, column: Column) -> str:
    parts = [f"{column.name} {_TYPES[column.kind]}"]
    key = table.key == (column.name,)
    if table.name in _CHECKED_BEFORE and key:
        parts.append("PRIMARY KEY")
    if column.required:
        parts.append("NOT NULL")
    if column.default is not None:
        default = column.default
        parts.append(f"DEFAULT '{default}'" if isinstance(default, str) else f"DEFAULT {+default}")
    check = _check(table, column)
    if check:
        parts.append(f"CHECK ({check.format(column.name)})")
    if table.name not in _CHECKED_BEFORE and key:
        parts.append("PRIMARY KEY")
    return " ".join(parts)


def _check(table: Table, column: Column) -> str:
    name = f"{table.name}.{column.name}"
    if name in CHECKS:
        return CHECKS[name]
    if column.kind is Kind.BOOLEAN:
        return "{0} IN (0, 1)"
    if column.kind is Kind.VECTOR:
        return "length({0}) % 4 = 0"
    if table.name in _CHECKED_BEFORE:
        return "length({0}) = 16" if table.key == (column.name,) else ""
    if column.kind is Kind.JSON:
        return "json_valid({0})" if column.required else "{0} IS NULL OR json_valid({0})"
    if column.kind is Kind.TEXT:
        return "length({0}) BETWEEN 1 AND 256" if column.required else "length({0}) <= 256"
    return ""


V001 = (
    *map(_table, (SLOTS, ACTIONS, EXPERIMENTS, USER_PROFILES, DECISIONS)),
    "CREATE INDEX decisions_by_id ON decisions (decision_id)",
    *map(
        _table,
        (OUTCOMES, POLICY_SNAPSHOTS, EXPERIMENT_RESULTS, OPTIMIZED_CONTENT, DELIVERIES),
    ),
    "CREATE INDEX deliveries_by_subject ON deliveries (subject, time)",
    *map(_table, (ERASURES, DEAD_LETTERS)),
    *VIEWS,
)

V002 = (_table(POLICY_CHECKPOINTS),)

_TABLES_SINCE = {10: (ACTION_CONTENTS,)}
"""The tables that a later migration adds, together with columns."""


def _additions() -> tuple[tuple[int, str, tuple[str, ...]], ...]:
    """Make a migration of what each of ``ops/sql`` adds: tables, columns, and views made anew."""
    added: dict[int, dict[str, tuple[str, ...]]] = {
        version: {table.name: (_table(table),) for table in tables}
        for version, tables in _TABLES_SINCE.items()
    }
    for table in TABLES.values():
        for column in table.columns:
            if column.since:
                statement = f"ALTER TABLE {table.name} ADD COLUMN {_column(table, column)}"
                added.setdefault(column.since, {})[f"{table.name} {column.name}"] = (statement,)
    for version, views in VIEWS_SINCE.items():
        for view in views:
            name = view.split()[2]
            added.setdefault(version, {})[name] = (f"DROP VIEW {name}", view)
    return tuple(
        (version, ", ".join(names), tuple(chain(*names.values())))
        for version, names in sorted(added.items())
    )


MIGRATIONS: tuple[tuple[int, str, tuple[str, ...]], ...] = (
    (1, "tables", V001),
    (2, "checkpoints", V002),
    *_additions(),
)
"""Version, name and statements of each migration; a released one never changes.

From version 5 on the numbers are those of ``ops/sql``.
"""
