"""Mappings from integers to numbers or vectors, packed."""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from schemas.state import StateError

Floats = NDArray[np.float64]


class PackedTable(Struct):
    """A mapping from integers to numbers, or to vectors of ``width`` numbers, in its order."""

    keys: bytes
    values: bytes
    width: int = 1


def pack_numbers(numbers: Mapping[int, float]) -> PackedTable:
    """Pack a mapping to numbers."""
    keys = np.fromiter(numbers.keys(), np.int64, len(numbers))
    return PackedTable(
        keys.tobytes(), np.fromiter(numbers.values(), np.float64, len(numbers)).tobytes()
    )


def pack_vectors(numbers: Mapping[int, Floats], width: int) -> PackedTable:
    """Pack a mapping to vectors of ``width`` numbers."""
    keys = np.fromiter(numbers.keys(), np.int64, len(numbers))
    return PackedTable(keys.tobytes(), b"".join(v.tobytes() for v in numbers.values()), width)


def unpack_table(table: PackedTable) -> Iterable[tuple[int, Any]]:
    """Read a packed mapping as pairs of key and value, in its order."""
    keys = np.frombuffer(table.keys, np.int64).tolist()
    values = np.frombuffer(table.values)
    if len(values) != len(keys) * table.width:
        raise StateError("state 'click-model' is cut short: start with an empty recovery store")
    if table.width == 1:
        return zip(keys, values.tolist(), strict=True)
    return zip(keys, values.reshape(-1, table.width).copy(), strict=True)
