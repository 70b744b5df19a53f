"""What look-ups in the store take and give: neutral rows as Python values, query vectors."""

from collections.abc import Callable, Sequence
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from operators.io.store.tables import Kind, Table
from operators.logic.deciding.positions import position_key
from schemas.clock import moment

_HEXADECIMAL = frozenset("0123456789abcdef")
_DECODE = msgspec.json.Decoder().decode


def read_row(table: Table, row: Sequence[Any]) -> dict[str, Any]:
    """Give a neutral row as column name to value: times in UTC, JSON parsed, vectors as lists.

    >>> from operators.io.store.tables import EXPERIMENT_RESULTS
    >>> read_row(EXPERIMENT_RESULTS, ("e", 0, "home", "{}"))["time"].isoformat()
    '1970-01-01T00:00:00+00:00'
    >>> read_row(EXPERIMENT_RESULTS, ("e", 0, "home", "9" * 5000))["summary"] is None
    True
    """
    values: dict[str, Any] = {}
    for column, value in zip(table.columns, row, strict=True):
        if value is None:
            values[column.name] = "" if column.blank else None
        elif column.kind is Kind.TIME:
            values[column.name] = moment(value)
        elif column.kind is Kind.JSON:
            values[column.name] = _json(value)
        elif column.kind is Kind.BOOLEAN:
            values[column.name] = bool(value)
        elif column.kind is Kind.VECTOR:
            values[column.name] = np.frombuffer(value, dtype="<f4").tolist()
        else:
            values[column.name] = value
    return values


def _json(text: str) -> Any:
    """Read a stored JSON text; None where it is beyond what can be read.

    The ranking of a decision is stored as it was written, and somebody else may have written it.
    """
    try:
        return _DECODE(text)
    except (msgspec.DecodeError, RecursionError):
        return None


def add_outcomes(decision: dict[str, Any], outcome: Callable[[str], dict[str, Any] | None]) -> None:
    """Add to a stored decision, and to each position of its slate, the outcome by its key."""
    key = decision["decision_key"]
    decision["outcome"] = outcome(key)
    for position, placed in enumerate(decision["slate"] or ()):
        if not position:
            placed["outcome"] = decision["outcome"]
        elif set(key) <= _HEXADECIMAL:
            placed["outcome"] = outcome(f"{position_key(int(key, 16), position):016x}")
        else:  # somebody else's key, which no position of ours is derived from
            placed["outcome"] = None


def query_vector(vector: Sequence[float]) -> NDArray[np.float64]:
    """Read the vector of a similarity query as stored vectors are: float32.

    Raises ValueError where it has no direction.
    """
    with np.errstate(over="ignore"):
        numbers = np.asarray(vector, dtype="<f4").astype(np.float64)
    if numbers.ndim != 1 or not numbers.any() or not np.isfinite(numbers).all():
        raise ValueError("vector: needs finite numbers, one of them not zero")
    return numbers
