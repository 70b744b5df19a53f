"""Vectors as text: base64 of little-endian float32."""

from binascii import Error, a2b_base64, b2a_base64
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from operators.logic.features.layout import FeatureError

Floats = NDArray[np.float64]


def pack(row: Floats) -> str:
    """Write one vector as base64 of little-endian float32.

    >>> pack(np.array([1.0, 0.5]))
    'AACAPwAAAD8='
    """
    return b2a_base64(row.astype("<f4").tobytes(), newline=False).decode()


def pack_rows(rows: Floats) -> list[str]:
    """Write each row of a matrix as :func:`pack` does."""
    data = rows.astype("<f4").tobytes()
    size = 4 * rows.shape[1]
    return [
        b2a_base64(data[at : at + size], newline=False).decode()
        for at in range(0, size * len(rows), size)
    ]


def packed_length(dim: int) -> int:
    """Count the characters of a packed vector: a quick test of whether one fits a feature map."""
    return (4 * dim + 2) // 3 * 4


def packed_dim(row: str) -> int:
    """Count the numbers of a packed vector.

    Raises :class:`FeatureError` if it is not base64.
    """
    try:
        return len(a2b_base64(row)) // 4
    except (Error, ValueError):
        raise FeatureError("features: not base64") from None


def unpack_rows(rows: Sequence[str | None], dim: int) -> Floats:
    """Read packed vectors into a matrix of shape (rows, dim).

    A row of ``None`` (a decision without context) is the intercept alone.

    Raises
    ------
    FeatureError
        If a row is not base64, or not a vector of ``dim`` finite numbers; it names the row.

    >>> unpack_rows(["AACAPwAAAD8=", None], 2).tolist()
    [[1.0, 0.5], [1.0, 0.0]]
    """
    blank = b"\x00\x00\x80?" + bytes(4 * (dim - 1))
    try:
        parts = [blank if row is None else a2b_base64(row) for row in rows]
    except (Error, ValueError):
        raise _refusal(rows, dim) from None
    data = b"".join(parts)
    if len(data) != 4 * dim * len(rows):
        raise _refusal(rows, dim)
    x = np.frombuffer(data, "<f4").astype(np.float64).reshape(len(rows), dim)
    if not np.isfinite(x).all() or any(len(part) != 4 * dim for part in parts):
        raise _refusal(rows, dim)
    return x


def _refusal(rows: Sequence[str | None], dim: int) -> FeatureError:
    for place, row in enumerate(rows):
        try:
            data = None if row is None else a2b_base64(row)
        except (Error, ValueError):
            return FeatureError(f"features of row {place}: not base64")
        if data is not None and len(data) != 4 * dim:
            have = len(data) / 4
            return FeatureError(f"features of row {place}: {have:g} numbers where {dim} belong")
        if data is not None and not np.isfinite(np.frombuffer(data, "<f4")).all():
            return FeatureError(f"features of row {place}: a number is not finite")
    raise AssertionError("every row fits")
