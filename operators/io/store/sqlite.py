"""The embedded store: SQLite in write-ahead mode, one writer per process."""

import hashlib
import os
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from functools import cache
from pathlib import Path

import numpy as np

from operators.io.store.lookups import add_outcomes, query_vector, read_row
from operators.io.store.protocol import (
    Applied,
    Refusal,
    Similar,
    StoredRow,
    StoreError,
    StoreUnavailable,
    Writes,
    write_all,
    wrong_dimension,
)
from operators.io.store.rows import Row
from operators.io.store.sqlite_schema import MIGRATIONS
from operators.io.store.tables import ACTIONS, DECISIONS, OUTCOMES, TABLES, USER_PROFILES, Table
from schemas.clock import micros, moment

_NOT_NOW = {
    sqlite3.SQLITE_BUSY,
    sqlite3.SQLITE_LOCKED,
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_NOMEM,
    sqlite3.SQLITE_INTERRUPT,
    sqlite3.SQLITE_PROTOCOL,
}
_OLD_SCHEMA = ("no such table", "no such column", "has no column named")
_REFUSED = {sqlite3.SQLITE_CONSTRAINT, sqlite3.SQLITE_TOOBIG, sqlite3.SQLITE_MISMATCH}
_MIGRATIONS_TABLE = """CREATE TABLE IF NOT EXISTS schema_migrations (
    version INTEGER PRIMARY KEY, name TEXT NOT NULL, checksum TEXT NOT NULL,
    applied_at INTEGER NOT NULL) STRICT"""


class SqliteStore:
    """A :class:`~operators.io.store.protocol.Store` in one file, or in memory (``:memory:``).

    ``patience`` is how many seconds a statement waits for another process's transaction.
    """

    def __init__(self, path: str | Path, patience: float = 5.0) -> None:
        self._lock = threading.Lock()
        if path != ":memory:":
            _check_path(Path(path))
        try:
            with _errors():
                self._connection = sqlite3.connect(
                    path, timeout=patience, isolation_level=None, check_same_thread=False
                )
                self._connection.execute("PRAGMA journal_mode = WAL")
                self._connection.execute("PRAGMA synchronous = FULL")
        except StoreUnavailable:
            raise
        except StoreError as error:
            raise StoreError(f"BANDITFLOW_STORE: {path}: {error}") from error

    @staticmethod
    def is_there(path: str) -> bool:
        """Say whether there is a file, or anything else, at this path."""
        with _path_errors(Path(path)):
            return Path(path).exists()

    def migrate(self, now: datetime) -> list[str]:
        """Bring the schema to this release, in one transaction; see the protocol."""
        applied = []
        with self._transaction():
            self._connection.execute(_MIGRATIONS_TABLE)
            known = self._known()
            for version, name, statements in MIGRATIONS:
                checksum = _checksum(statements)
                if version in known:
                    _check(version, known[version], checksum)
                    continue
                for statement in statements:
                    self._connection.execute(statement)
                self._connection.execute(
                    "INSERT INTO schema_migrations VALUES (?, ?, ?, ?)",
                    (version, name, checksum, micros(now)),
                )
                applied.append(f"V{version:03d} {name}")
        return applied

    def status(self) -> list[StoredRow]:
        """List the migrations; see the protocol."""
        with self._lock, _errors():
            exists = self._connection.execute(
                "SELECT 1 FROM sqlite_master WHERE name = 'schema_migrations'"
            ).fetchone()
            known = self._known() if exists else {}
        return [
            {
                "version": version,
                "name": name,
                "checksum": _checksum(statements),
                "applied_at": moment(known[version][1]) if version in known else None,
            }
            for version, name, statements in MIGRATIONS
        ]

    def apply(self, writes: Writes) -> Applied:
        """Write all rows in one transaction and commit it; see the protocol."""
        with self._transaction():
            return write_all(writes, self._execute)

    def ping(self) -> None:
        """Return if the file can be read."""
        with self._lock, _errors():
            self._connection.execute("SELECT 1 FROM sqlite_master LIMIT 1").fetchall()

    def decision(self, decision_id: str) -> list[StoredRow]:
        """Find all decisions with this id, each with its outcome; see the protocol."""
        decisions = self._select(DECISIONS, "WHERE decision_id = ? ORDER BY time", decision_id)
        for decision in decisions:
            add_outcomes(decision, self._outcome)
        return decisions

    def _outcome(self, key: str) -> StoredRow | None:
        outcomes = self._select(OUTCOMES, "WHERE decision_key = ?", key)
        return outcomes[0] if outcomes else None

    def profile(self, subject: str) -> StoredRow | None:
        """Find a subject's profile; see the protocol."""
        rows = self._select(USER_PROFILES, "WHERE subject = ?", subject)
        return rows[0] if rows else None

    def policy(self, slot_id: str) -> StoredRow | None:
        """Find the newest policy snapshot of a slot; see the protocol."""
        rows = self._select(TABLES["policy_snapshots"], "WHERE slot_id = ?", slot_id)
        return rows[0] if rows else None

    def checkpoint(self, slot_id: str) -> list[StoredRow]:
        """List all parts of a slot's checkpoints; see the protocol."""
        where = "WHERE slot_id = ? ORDER BY generation, part"
        return self._select(TABLES["policy_checkpoints"], where, slot_id)

    def content(self, hash_: str) -> StoredRow | None:
        """Find features by their hash; see the protocol."""
        rows = self._select(TABLES["action_contents"], "WHERE content = ?", hash_)
        return rows[0] if rows else None

    def rows(self, table: str, after: str | None = None, limit: int = 1000) -> list[StoredRow]:
        """List rows of a table in the order of its key; see the protocol."""
        known = TABLES[table]
        key = known.key[0]
        where = f"WHERE {key} > ? ORDER BY {', '.join(known.key)} LIMIT ?"
        return self._select(known, where, after or "", limit)

    def similar_profiles(self, vector: Sequence[float], k: int) -> list[Similar]:
        """Find the k nearest profiles, exactly; see the protocol."""
        return self._similar(USER_PROFILES, vector, k)

    def similar_actions(self, vector: Sequence[float], k: int) -> list[Similar]:
        """Find the k nearest actions, exactly; see the protocol."""
        return self._similar(ACTIONS, vector, k)

    def counts(self) -> dict[str, int]:
        """Count the rows of every table."""
        with self._lock, _errors():
            return {
                name: self._connection.execute(f"SELECT count(*) FROM {name}").fetchone()[0]
                for name in TABLES
            }

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._connection.close()

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        with self._lock, _errors():
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._connection.execute("COMMIT")
            except BaseException:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise

    def _known(self) -> dict[int, tuple[str, int]]:
        rows = self._connection.execute(
            "SELECT version, checksum, applied_at FROM schema_migrations"
        )
        return {version: (checksum, applied_at) for version, checksum, applied_at in rows}

    def _execute(self, table: Table, rows: list[Row]) -> list[Refusal]:
        statement = _statement(table)
        try:
            self._connection.executemany(statement, rows)
        except (sqlite3.Error, OverflowError, UnicodeEncodeError) as error:
            if _refusal(0, error) is None:
                raise
            return self._one_by_one(statement, rows)
        return []

    def _one_by_one(self, statement: str, rows: list[Row]) -> list[Refusal]:
        """Write what can be written; the rows before the refused one are written again."""
        refusals = []
        for index, row in enumerate(rows):
            try:
                self._connection.execute(statement, row)
            except (sqlite3.Error, OverflowError, UnicodeEncodeError) as error:
                refusal = _refusal(index, error)
                if refusal is None:
                    raise
                refusals.append(refusal)
        return refusals

    def _select(self, table: Table, where: str, *values: object) -> list[StoredRow]:
        query = f"SELECT {', '.join(table.names)} FROM {table.name} {where}"
        with self._lock, _errors():
            rows = self._connection.execute(query, values).fetchall()
        return [read_row(table, row) for row in rows]

    def _similar(self, table: Table, vector: Sequence[float], k: int) -> list[Similar]:
        query = query_vector(vector)
        key = table.key[0]
        with self._lock, _errors():
            rows = self._connection.execute(
                f"SELECT {key}, embedding FROM {table.name}"
                f" WHERE dimension = ? AND deleted = 0 ORDER BY {key}",
                (len(query),),
            ).fetchall()
            others = self._connection.execute(
                f"SELECT DISTINCT dimension FROM {table.name} WHERE dimension IS NOT NULL"
            ).fetchall()
        if not rows:
            return wrong_dimension(table, len(query), [dimension for (dimension,) in others])
        stored = np.frombuffer(b"".join(blob for _, blob in rows), dtype="<f4")
        stored = stored.reshape(len(rows), -1).astype(np.float64)
        norms = np.linalg.norm(stored, axis=1) * np.linalg.norm(query)
        distances = 1.0 - (stored @ query) / norms
        nearest = np.argsort(distances, kind="stable")[:k]
        return [Similar(rows[at][0], float(distances[at])) for at in nearest]


def _check_path(path: Path) -> None:
    with _path_errors(path):
        folder = path.parent
        if not folder.is_dir():
            raise StoreError(f"BANDITFLOW_STORE: the folder of {path} does not exist")
        if path.exists() and not path.is_file():
            raise StoreError(f"BANDITFLOW_STORE: {path} is no file")
        writable = os.access(folder, os.W_OK | os.X_OK)  # its log is beside it
        if not writable or (path.exists() and not os.access(path, os.R_OK | os.W_OK)):
            raise StoreError(f"BANDITFLOW_STORE: {path} and its folder must be writable")


@contextmanager
def _path_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StoreError(f"BANDITFLOW_STORE: {path}: {error.strerror}") from error


@contextmanager
def _errors() -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR)
        name = getattr(error, "sqlite_errorname", type(error).__name__)
        if code & 0xFF in _NOT_NOW:
            raise StoreUnavailable(name, str(error)) from error
        if any(sign in str(error) for sign in _OLD_SCHEMA):
            raise StoreError(f"{error}: run `banditflow store migrate`") from error
        raise StoreError(f"{name}: {error}") from error


def _refusal(index: int, error: Exception) -> Refusal | None:
    """Say whether the row is at fault, not the database."""
    if isinstance(error, OverflowError):
        return Refusal(index, "SQLITE_TOOBIG")
    if isinstance(error, UnicodeEncodeError):
        return Refusal(index, "SQLITE_MISMATCH")
    code = getattr(error, "sqlite_errorcode", None)
    if code is None or code & 0xFF not in _REFUSED:
        return None
    return Refusal(index, str(getattr(error, "sqlite_errorname", code)))


@cache
def _statement(table: Table) -> str:
    names = ", ".join(table.names)
    values = ", ".join("?" * len(table.columns))
    key = ", ".join(table.key)
    insert = f"INSERT INTO {table.name} ({names}) VALUES ({values}) ON CONFLICT ({key}) "
    if not table.newer:
        return insert + "DO NOTHING"
    changes = ", ".join(f"{name} = excluded.{name}" for name in table.names)
    new = ", ".join(f"excluded.{name}" for name in table.newer)
    old = ", ".join(f"{table.name}.{name}" for name in table.newer)
    order = ">" if table.keeps_first else ">="
    return f"{insert}DO UPDATE SET {changes} WHERE ({new}) {order} ({old})"


def _checksum(statements: Sequence[str]) -> str:
    return hashlib.sha256("\n;\n".join(statements).encode()).hexdigest()


def _check(version: int, known: tuple[str, int], checksum: str) -> None:
    if known[0] != checksum:
        raise StoreError(
            f"migration V{version:03d} was applied on {moment(known[1]):%Y-%m-%d} in another form"
            " than this release has: restore the released file, or start with an empty store"
        )
