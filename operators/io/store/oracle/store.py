"""The Oracle store: one transaction per batch of writes, safe to repeat at any point."""

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime
from functools import partial
from typing import Any

import oracledb

from operators.io.metrics.store import StoreMetrics
from operators.io.store.lookups import add_outcomes, query_vector
from operators.io.store.oracle import migrations
from operators.io.store.oracle.connect import Access, open_pool
from operators.io.store.oracle.errors import (
    ErrorClass,
    column_of,
    details,
    error_class_of,
    translated,
)
from operators.io.store.oracle.statements import select, similar, write
from operators.io.store.oracle.values import BIND_TYPES, bindable, fetch_long_text, fetched, vector
from operators.io.store.protocol import (
    Applied,
    Refusal,
    Similar,
    StoredRow,
    Writes,
    write_all,
    wrong_dimension,
)
from operators.io.store.rows import Row
from operators.io.store.tables import ACTIONS, DECISIONS, OUTCOMES, TABLES, USER_PROFILES, Table

_ARRAY = 1000
"""Rows per round trip."""

_EXISTS_ALREADY = 1
"""ORA-00001: for a fact it means that an earlier attempt, or an earlier record, wrote it."""


class OracleStore:
    """A :class:`~operators.io.store.protocol.Store` in Oracle Database 23ai."""

    def __init__(self, access: Access, metrics: StoreMetrics | None = None) -> None:
        self._access = access
        self._metrics = metrics or StoreMetrics()
        self._lock = threading.Lock()
        self._pool: oracledb.ConnectionPool | None = None

    def migrate(self, now: datetime) -> list[str]:
        """Bring the schema to this release; see the protocol."""
        with self._session() as holder, self._session() as worker:
            return migrations.migrate(holder, worker, migrations.load(), now)

    def status(self) -> list[StoredRow]:
        """List the migrations; see the protocol."""
        with self._session() as connection:
            return migrations.status(connection, migrations.load())

    def apply(self, writes: Writes) -> Applied:
        """Write all rows in one transaction and commit it; see the protocol."""
        with self._session() as connection:
            applied = write_all(writes, partial(_execute, connection, self._metrics))
            with self._metrics.statement("commit"):
                connection.commit()
            return applied

    def ping(self) -> None:
        """Return if the database answers."""
        with self._session() as connection:
            connection.ping()

    def decision(self, decision_id: str) -> list[StoredRow]:
        """Find all decisions with this id, each with its outcome; see the protocol."""
        with self._session() as connection:
            where = "WHERE decision_id = :1 ORDER BY time"
            decisions = _select(connection, DECISIONS, where, decision_id)
            for decision in decisions:
                add_outcomes(decision, partial(_outcome, connection))
        return decisions

    def profile(self, subject: str) -> StoredRow | None:
        """Find a subject's profile; see the protocol."""
        return self._one(USER_PROFILES, "WHERE subject = :1", subject)

    def policy(self, slot_id: str) -> StoredRow | None:
        """Find the newest policy snapshot of a slot; see the protocol."""
        return self._one(TABLES["policy_snapshots"], "WHERE slot_id = :1", slot_id)

    def checkpoint(self, slot_id: str) -> list[StoredRow]:
        """List all parts of a slot's checkpoints; see the protocol."""
        where = "WHERE slot_id = :1 ORDER BY generation, part"
        with self._session() as connection:
            return _select(connection, TABLES["policy_checkpoints"], where, slot_id)

    def content(self, hash_: str) -> StoredRow | None:
        """Find features by their hash; see the protocol."""
        return self._one(TABLES["action_contents"], "WHERE content = :1", hash_)

    def rows(self, table: str, after: str | None = None, limit: int = 1000) -> list[StoredRow]:
        """List rows of a table in the order of its key; see the protocol."""
        known = TABLES[table]
        order = f"ORDER BY {', '.join(known.key)} FETCH FIRST :2 ROWS ONLY"
        with self._session() as connection:
            if after is None:  # an empty text is NULL here, and nothing is greater than NULL
                return _select(connection, known, order.replace(":2", ":1"), limit)
            where = f"WHERE {known.key[0]} > :1 {order}"
            return _select(connection, known, where, after, limit)

    def similar_profiles(self, vector: Sequence[float], k: int) -> list[Similar]:
        """Find the k nearest profiles, exactly; see the protocol."""
        return self._similar(USER_PROFILES, vector, k)

    def similar_actions(self, vector: Sequence[float], k: int) -> list[Similar]:
        """Find the k nearest actions, exactly; see the protocol."""
        return self._similar(ACTIONS, vector, k)

    def counts(self) -> dict[str, int]:
        """Count the rows of every table."""
        with self._session() as connection, connection.cursor() as cursor:
            counts = {}
            for name in TABLES:
                cursor.execute(f"SELECT COUNT(*) FROM {name}")
                counts[name] = int(cursor.fetchone()[0])
            return counts

    def close(self) -> None:
        """Close the pool."""
        with self._lock:
            if self._pool is not None:
                with suppress(oracledb.Error):
                    self._pool.close(force=True)
                self._pool = None

    @contextmanager
    def _session(self) -> Iterator[oracledb.Connection]:
        """Lend a connection; one that failed goes back rolled back, or not at all."""
        with translated():
            pool = self._opened()
            connection = pool.acquire()
            try:
                yield connection
            except BaseException:
                _discard(pool, connection)
                raise
            connection.close()

    def _opened(self) -> oracledb.ConnectionPool:
        with self._lock:
            if self._pool is None:
                self._pool = open_pool(self._access)
            return self._pool

    def _one(self, table: Table, where: str, value: str) -> StoredRow | None:
        with self._session() as connection:
            rows = _select(connection, table, where, value)
        return rows[0] if rows else None

    def _similar(self, table: Table, numbers: Sequence[float], k: int) -> list[Similar]:
        query = query_vector(numbers)
        with self._session() as connection, connection.cursor() as cursor:
            cursor.setinputsizes(query=oracledb.DB_TYPE_VECTOR)
            cursor.execute(
                similar(table),
                query=vector(query.astype("<f4").tobytes()),
                dimension=len(query),
                k=k,
            )
            nearest = [Similar(name, float(distance)) for name, distance in cursor]
            if nearest:
                return nearest
            cursor.execute(
                f"SELECT DISTINCT dimension FROM {table.name} WHERE dimension IS NOT NULL"
            )
            others = [int(dimension) for (dimension,) in cursor]
        return [] if len(query) in others else wrong_dimension(table, len(query), others)


def _discard(pool: oracledb.ConnectionPool, connection: oracledb.Connection) -> None:
    try:
        connection.rollback()
        connection.close()
    except oracledb.Error:
        with suppress(oracledb.Error):
            pool.drop(connection)


def _outcome(connection: oracledb.Connection, key: str) -> StoredRow | None:
    outcomes = _select(connection, OUTCOMES, "WHERE decision_key = :1", key)
    return outcomes[0] if outcomes else None


def _select(
    connection: oracledb.Connection, table: Table, where: str, *values: Any
) -> list[StoredRow]:
    with connection.cursor() as cursor:
        cursor.outputtypehandler = fetch_long_text
        cursor.execute(select(table, where), list(values))
        return [fetched(table, row) for row in cursor]


def _execute(
    connection: oracledb.Connection, metrics: StoreMetrics, table: Table, rows: list[Row]
) -> list[Refusal]:
    """Write rows of a table in arrays, and say which of them the database refused."""
    refusals = []
    with connection.cursor() as cursor, metrics.statement(table.name):
        for start in range(0, len(rows), _ARRAY):
            part = rows[start : start + _ARRAY]
            refusals += [
                refusal._replace(row=start + refusal.row) for refusal in _array(cursor, table, part)
            ]
    return refusals


def _array(cursor: oracledb.Cursor, table: Table, rows: list[Row]) -> list[Refusal]:
    try:
        bound = bindable(table, rows)
        cursor.setinputsizes(*(BIND_TYPES[column.kind] for column in table.columns))
        cursor.executemany(write(table), bound, batcherrors=True)
    except (oracledb.Error, OverflowError, TypeError, ValueError) as error:
        if len(rows) == 1 and _exists_already(error, table):
            return []
        code = _refused_code(error)
        if code is None and not _exists_already(error, table):
            raise
        if len(rows) == 1:
            return [Refusal(0, str(code), column_of(str(error)))]
        # The driver could not send the array: row by row, one at fault stands alone.
        return [
            refusal._replace(row=at)
            for at, row in enumerate(rows)
            for refusal in _array(cursor, table, [row])
        ]
    return _refusals(cursor, table)


def _refusals(cursor: oracledb.Cursor, table: Table) -> list[Refusal]:
    refusals = []
    for error in cursor.getbatcherrors():
        if error.code == _EXISTS_ALREADY and not table.newer:
            continue
        if error_class_of(error) is not ErrorClass.REFUSED:
            raise oracledb.DatabaseError(error)
        refusals.append(Refusal(error.offset, error.full_code, column_of(error.message)))
    return refusals


def _exists_already(error: Exception, table: Table) -> bool:
    known = details(error)
    return known is not None and known.code == _EXISTS_ALREADY and not table.newer


def _refused_code(error: Exception) -> str | None:
    """Give the code of an error for which the row is at fault, else nothing."""
    if not isinstance(error, oracledb.Error):
        return type(error).__name__
    known = details(error)
    if known is None or error_class_of(known) is not ErrorClass.REFUSED:
        return None
    return str(known.full_code)
