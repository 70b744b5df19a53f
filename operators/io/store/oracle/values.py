"""Neutral values to what the driver binds, and what it fetches to Python values."""

from array import array
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import msgspec
import oracledb

from operators.io.store.protocol import StoredRow
from operators.io.store.rows import Row
from operators.io.store.tables import Kind, Table

_EPOCH = datetime(1970, 1, 1)
_decode = msgspec.json.Decoder().decode
_EXACT = 2**53
"""Integers of a JSON document beyond this came from a float."""

BIND_TYPES = {
    Kind.TEXT: oracledb.DB_TYPE_VARCHAR,
    Kind.LONG_TEXT: oracledb.DB_TYPE_CLOB,
    Kind.TIME: oracledb.DB_TYPE_TIMESTAMP,
    Kind.REAL: oracledb.DB_TYPE_BINARY_DOUBLE,
    Kind.INTEGER: oracledb.DB_TYPE_NUMBER,
    Kind.BOOLEAN: oracledb.DB_TYPE_BOOLEAN,
    Kind.JSON: oracledb.DB_TYPE_JSON,
    Kind.VECTOR: oracledb.DB_TYPE_VECTOR,
}


def vector(numbers: bytes) -> "array[float]":
    """Give float32 bytes as the array that the driver binds to a VECTOR."""
    values = array("f")
    values.frombytes(numbers)
    return values


def _time(at: int) -> datetime:
    return _EPOCH + timedelta(microseconds=at)


def _json(text: str) -> Any:
    try:
        return _decode(text)
    except (msgspec.DecodeError, RecursionError) as error:
        raise ValueError(f"JSON that cannot be stored: {error}") from error


_BIND: dict[Kind, Callable[[Any], Any]] = {
    Kind.TIME: _time,
    Kind.JSON: _json,
    Kind.VECTOR: vector,
    Kind.REAL: float,
}


def bindable(table: Table, rows: Sequence[Row]) -> list[list[Any]]:
    """Convert neutral rows to what the driver binds.

    Raises OverflowError or ValueError where a value cannot be bound.
    """
    converts = [
        (at, _BIND[column.kind]) for at, column in enumerate(table.columns) if column.kind in _BIND
    ]
    bound = [list(row) for row in rows]
    for row in bound:
        for at, convert in converts:
            if row[at] is not None:
                row[at] = convert(row[at])
    return bound


def fetched(table: Table, row: Sequence[Any]) -> StoredRow:
    """Give a fetched row as column name to Python value."""
    values: StoredRow = {}
    for column, value in zip(table.columns, row, strict=True):
        if value is None:
            values[column.name] = "" if column.blank else None
        elif column.kind is Kind.TIME:
            values[column.name] = value.replace(tzinfo=UTC)
        elif column.kind is Kind.JSON:
            values[column.name] = _plain(value)
        elif column.kind is Kind.VECTOR:
            values[column.name] = list(value)
        elif column.kind is Kind.INTEGER:
            values[column.name] = int(value)
        else:
            values[column.name] = value
    return values


def fetch_long_text(cursor: oracledb.Cursor, metadata: oracledb.FetchInfo) -> oracledb.Var | None:
    """Fetch a CLOB with its row, not by a round trip of its own."""
    if metadata.type_code is oracledb.DB_TYPE_CLOB:
        return cursor.var(oracledb.DB_TYPE_LONG, arraysize=cursor.arraysize)
    return None


def _plain(value: Any) -> Any:
    """Give a fetched JSON document with numbers as int and float instead of Decimal."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if isinstance(value, Decimal):
        whole = value == value.to_integral_value() and abs(value) <= _EXACT
        return int(value) if whole else float(value)
    return value
