"""What a shared policy does with sparse rows: add them up, and score them.

A column's place in the sketch and the sign of its places in a factor follow from a mix of its
number (the finaliser of SplitMix64, Steele, Lea and Flood 2014), so that no table is kept. The
sketch has four places for each column, one in each quarter, all of weight 1/2 (the block form of
Kane and Nelson 2014, Sparser Johnson-Lindenstrauss transforms, section 1). The intercept's column,
0, has the first place for itself: whatever is left of a level in other columns drowns them.
"""

import math
from typing import Any

import numpy as np

from operators.logic.kernels.compiling import inlined, kernel

Floats = np.ndarray[Any, np.dtype[np.float64]]
Singles = np.ndarray[Any, np.dtype[np.float32]]
Longs = np.ndarray[Any, np.dtype[np.int64]]
Ints = np.ndarray[Any, np.dtype[np.int32]]


@inlined
def _mix(column: int) -> np.uint64:
    z = (np.uint64(column) + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


@inlined
def _column(index: int, mask: int) -> int:
    """Fold an index onto a column; the intercept's, 0, stays its own."""
    column = index & mask
    return 1 if column == 0 and index != 0 else column


@inlined
def _add_to_sketch(column: int, value: float, exact: bool, z: Floats) -> None:
    if exact:
        z[column] += value
        return
    if column == 0:
        z[0] += value
        return
    mixed = _mix(column)
    quarter = (len(z) - 1) // 4
    half = 0.5 * value
    for part in range(4):
        bits = np.int64((mixed >> np.uint64(16 * part)) & np.uint64(0xFFFF))
        place = 1 + part * quarter + (bits >> 1) % quarter
        z[place] += half if bits & 1 else -half


@kernel(
    "void(int64[::1], int64[::1], float64[::1], int64, int32[::1], boolean, float64[::1],"
    " float64[::1], float64[::1], float64[::1], float64[::1], float64[:, ::1], float64[:, ::1])"
)
def add_rows(
    indptr: Longs,
    indices: Longs,
    values: Floats,
    mask: int,
    places: Ints,
    exact: bool,
    curvature: Floats,
    target: Floats,
    weights: Floats,
    slopes: Floats,
    targets: Floats,
    cross: Floats,
    z: Floats,
) -> None:
    """Add rows to the sums of their columns, and write each row's sketch.

    Parameters
    ----------
    indptr, indices, values
        The rows; a column counts as what it is folded onto.
    places : array [mask + 1]
        Where each column's sums lie.
    exact
        Whether the sketch is the row itself.
    curvature, target : arrays [n]
        A row x adds ``curvature`` to its columns' weights, ``curvature`` x_j² to their slopes,
        ``target`` x_j to their targets, ``curvature`` x_j z to their cross moments.
    weights, slopes, targets : arrays [U]
    cross : array [U, d]
    z : array [n, d]
        All zero; the sketches.
    """
    width = z.shape[1]
    for row in range(len(indptr) - 1):
        sketch = z[row]
        for at in range(indptr[row], indptr[row + 1]):
            _add_to_sketch(_column(indices[at], mask), values[at], exact, sketch)
        for at in range(indptr[row], indptr[row + 1]):
            value = values[at]
            place = places[_column(indices[at], mask)]
            weighted = curvature[row] * value
            weights[place] += curvature[row]
            slopes[place] += weighted * value
            targets[place] += target[row] * value
            sums = cross[place]
            for i in range(width):
                sums[i] += weighted * sketch[i]


@kernel(
    "void(int64[::1], int64[::1], float64[::1], int64, int32[::1], float64[::1],"
    " float64[::1], float64[::1], float64[::1], float64[::1], float64[:, ::1], float64[:, ::1],"
    " float64[:, ::1])"
)
def add_whole_rows(
    indptr: Longs,
    indices: Longs,
    values: Floats,
    mask: int,
    places: Ints,
    curvature: Floats,
    target: Floats,
    weights: Floats,
    slopes: Floats,
    targets: Floats,
    whole: Floats,
    z: Floats,
    dense: Floats,
) -> None:
    """Add rows to the sums of their columns as :func:`add_rows`, but whole moments to ``whole``.

    A row x adds ``curvature`` x_j x_k to ``whole`` [U, U] at its columns' places. Where there is
    room for the rows themselves, in ``dense`` [n, U], all zero, they are written there instead.
    """
    for row in range(len(indptr) - 1):
        for at in range(indptr[row], indptr[row + 1]):
            value = values[at]
            _add_to_sketch(_column(indices[at], mask), value, False, z[row])
            place = places[_column(indices[at], mask)]
            weighted = curvature[row] * value
            weights[place] += curvature[row]
            slopes[place] += weighted * value
            targets[place] += target[row] * value
            if dense.shape[1] > 0:
                dense[row, place] += value
                continue
            sums = whole[place]
            for other in range(indptr[row], indptr[row + 1]):
                sums[places[_column(indices[other], mask)]] += weighted * values[other]


@kernel("void(int64[::1], boolean, float64[:, ::1], float64[:, ::1])")
def sketch_sums(columns: Longs, exact: bool, cross: Floats, result: Floats) -> None:
    """Add to ``result`` [d, d] the rows of ``cross`` [U, d], sketched over their columns."""
    weights = np.zeros(len(result))
    for row in range(len(columns)):
        weights[:] = 0.0
        _add_to_sketch(columns[row], 1.0, exact, weights)
        for i in range(len(result)):
            if weights[i] != 0.0:
                for j in range(cross.shape[1]):
                    result[i, j] += weights[i] * cross[row, j]


@kernel(
    "void(int64[::1], int64[::1], float64[::1], int64, float32[:, ::1], float64[::1],"
    " float64[:, ::1])"
)
def score_rows(
    indptr: Longs,
    indices: Longs,
    values: Floats,
    mask: int,
    table: Singles,
    mean: Floats,
    factor: Floats,
) -> None:
    """Score rows under independent coefficients, and write how their scores vary together.

    Parameters
    ----------
    indptr, indices, values, mask
        As of :func:`add_rows`.
    table : array [mask + 1, 2]
        Each column's mean and standard deviation.
    mean : array [K]
        All zero; the scores.
    factor : array [K, r]
        All zero, r a power of two. Each column's part of a score's deviation is added to or taken
        from one of r sums (Charikar, Chen and Farach-Colton 2002, count sketch), whose products
        between rows have the covariances as their expectation; rows are scaled to their variances.
    """
    last = factor.shape[1] - 1
    for row in range(len(indptr) - 1):
        score, variance = 0.0, 0.0
        sums = factor[row]
        for at in range(indptr[row], indptr[row + 1]):
            column = _column(indices[at], mask)
            value = values[at]
            score += value * table[column, 0]
            part = value * table[column, 1]
            variance += part * part
            mixed = np.int64(_mix(column) >> np.uint64(1))
            sums[(mixed >> 1) & last] += part if mixed & 1 else -part
        mean[row] = score
        total = 0.0
        for i in range(last + 1):
            total += sums[i] * sums[i]
        scale = math.sqrt(variance / total) if total > 0.0 else 0.0
        for i in range(last + 1):
            sums[i] *= scale
        if total <= 1e-12 * variance:  # every part met its opposite
            sums[0] = math.sqrt(variance)


@kernel("void(int64[::1], int64[::1], float64[::1], int64, float64[:, ::1])")
def dense_rows(indptr: Longs, indices: Longs, values: Floats, mask: int, result: Floats) -> None:
    """Write rows into ``result`` [K, mask + 1], which is all zero."""
    for row in range(len(indptr) - 1):
        for at in range(indptr[row], indptr[row + 1]):
            result[row, _column(indices[at], mask)] += values[at]
