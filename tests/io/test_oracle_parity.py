"""Every column of every table reads back from Oracle's protocol as from SQLite, bit for bit."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import oracledb
import pytest

from flows.runtime.clock import system_clock
from operators.io.store.oracle import OracleStore
from operators.io.store.oracle.statements import select
from operators.io.store.protocol import Writes
from operators.io.store.rows import RecordPlace, Row
from operators.io.store.sqlite import SqliteStore
from operators.io.store.tables import TABLES, Column, Kind, Table
from tests.support.mirror import PASSWORD, USER, Mirror

pytestmark = pytest.mark.mirror

TEXTS = ["a", "é", "漢字かな", "😀😁", "it's", 'say "x"', "a;b--c", "tab\there", " both ", "%_"]
NUMBERS = [0.0, 1.0, -1.0, 0.1, 1 / 3, 1e-300, 1.7e308, -1.7e308, 5e-324, 2.0**53 + 2]
INTEGERS = [0, 1, -1, 2**31, 2**53 + 1, 10**18, -(10**18)]
DAYS = [datetime(1970, 1, 1, tzinfo=UTC), datetime(2026, 3, 29, 2, 30, tzinfo=UTC)]
DOCUMENTS = ["{}", "[]", '{"a":[1,2.5,null,true,"é😀",{"b":""}]}', '{"k":0.1}', "[1e-30,1e30]"]
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
CHECKED: dict[str, list[Any]] = {
    "propensity": [1.0, 0.5, 1e-12, 1 / 3],
    "learning_mode": ["immediate", "wait", "exposure"],
    "outcomes.status": ["pending", "settled", "void"],
    "deliveries.status": ["pending", "sent", "failed", "suppressed"],
    "revision": [0, 1, 2**40],
    "generation": [0, 1],
    "part": [0, 3],
    "parts": [4, 9],
    "topic_partition": [0, 7],
    "probability": [0.0, 1.0, 1 / 3],
    "attempts": [0, 3],
    "dimension": [3],
}


def value(table: Table, column: Column, random: np.random.Generator, number: int) -> Any:
    """A value for the column; one in four optional ones is missing."""
    if not column.required and random.random() < 0.25:
        return None
    if column.name == "decision_key":
        return f"{number:016x}"
    allowed = CHECKED.get(column.name) or CHECKED.get(f"{table.name}.{column.name}")
    if allowed:
        return random.choice(np.array(allowed, dtype=object))
    if column.kind is Kind.TEXT:
        return str(random.choice(TEXTS)) + f"-{number}"
    if column.kind is Kind.LONG_TEXT:
        return str(random.choice(TEXTS)) * int(random.integers(1, 5_000))
    if column.kind is Kind.TIME:
        day = DAYS[int(random.integers(len(DAYS)))]
        time = day + timedelta(microseconds=int(random.integers(10**13)))
        return (time - EPOCH) // timedelta(microseconds=1)
    if column.kind is Kind.REAL:
        return float(random.choice(NUMBERS))
    if column.kind is Kind.INTEGER:
        return INTEGERS[int(random.integers(len(INTEGERS)))]
    if column.kind is Kind.BOOLEAN:
        return bool(random.integers(2))
    if column.kind is Kind.JSON:
        return str(random.choice(DOCUMENTS))
    return random.normal(size=3).astype("<f4").tobytes()


def random_rows(table: Table, count: int, seed: int) -> list[Row]:
    random = np.random.default_rng(seed)
    return [
        tuple(value(table, column, random, number) for column in table.columns)
        for number in range(count)
    ]


@pytest.mark.parametrize("table", TABLES.values(), ids=lambda table: table.name)
def test_every_column_reads_back_as_from_sqlite(
    table: Table, mirror: Mirror, tmp_path: Path
) -> None:
    rows = random_rows(table, 60, seed=11)
    writes = Writes()
    for offset, row in enumerate(rows):
        writes.add(table, row, RecordPlace("any", 0, offset, 0, b""))
    sqlite, oracle = SqliteStore(tmp_path / "store.db"), OracleStore(mirror.access())
    sqlite.migrate(system_clock())
    found = []
    for store in (sqlite, oracle):
        assert store.apply(writes).refused == {}
        found.append(store.rows(table.name, limit=1000))
        store.close()
    expected, got = found
    assert len(got) == 60
    for name in table.names:
        assert [row[name] for row in got] == [row[name] for row in expected], name


def test_a_vector_of_a_wrong_dimension_is_refused_where_one_is_declared(mirror: Mirror) -> None:
    """A deployment that indexes its vectors declares their dimension."""
    connection = oracledb.connect(user=USER, password=PASSWORD, dsn=mirror.dsn)
    with connection, connection.cursor() as cursor:
        cursor.execute("CREATE TABLE declared (id NUMBER(5), embedding VECTOR(3, FLOAT32))")
        try:
            with pytest.raises(oracledb.DatabaseError, match="ORA-51803"):
                cursor.execute(
                    "INSERT INTO declared (id, embedding) VALUES (1, TO_VECTOR('[1, 2]'))"
                )
        finally:
            connection.rollback()
            cursor.execute("DROP TABLE declared")


def test_queries_name_every_column_of_the_table() -> None:
    for table in TABLES.values():
        assert select(table, "").startswith(f"SELECT {', '.join(table.names)} FROM {table.name}")
