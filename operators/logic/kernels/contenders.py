"""Which of some correlated normal scores may be the largest.

The scores of a decision are s_i = m_i + F_i z + √o_i e_i, with z and e standard normal. What all
have in common changes no order and is left out; a factor of more columns than there are scores is
replaced by one of fewer with the same covariance; who is nearly always below the leader takes no
part, for Φ((m_i - m_leader) / sd(s_i - s_leader)) bounds the chance that it is the largest; and
candidates that are alike are found, because they are owed the same probability.
"""

import math
from typing import Any

import numpy as np

from operators.logic.kernels.compiling import inlined, kernel

_PRUNED = 1e-4
"""What candidates that take no part may have together at most."""

_ALIKE = 1e-9
"""Parts of a standard deviation by which two candidates may differ and still be the same one."""

_RANK = 1e-13
"""Parts of the largest variance below which what is left of it is rounding."""


@inlined
def _dot(a: Any, b: Any) -> float:
    total = 0.0
    for c in range(a.size):
        total += a[c] * b[c]
    return total


@inlined
def _distance(a: Any, b: Any) -> float:
    """Give the squared distance of two rows."""
    total = 0.0
    for c in range(a.size):
        total += (a[c] - b[c]) ** 2
    return total


@inlined
def _finite(mean: Any, factor: Any, own: Any) -> bool:
    total = 0.0
    for i in range(mean.size):
        if not own[i] >= 0.0:
            return False
        # Squares: nothing that is computed from these numbers may overflow.
        total += mean[i] * mean[i] + own[i] + _dot(factor[i], factor[i])
    return bool(total < np.inf)


@inlined
def _centre(factor: Any, result: Any) -> None:
    """Take each column's mean off."""
    rows, columns = factor.shape
    middle = np.zeros(columns)
    for i in range(rows):
        for c in range(columns):
            middle[c] += factor[i, c]
    for i in range(rows):
        for c in range(columns):
            result[i, c] = factor[i, c] - middle[c] / rows


@inlined
def _add_row(total: Any, across: Any, row: int, scale: float) -> None:
    """Add a multiple of a row: a loop of its own, as LLVM vectorises it."""
    for i in range(total.size):
        total[i] += scale * across[row, i]


@inlined
def _reduce(factor: Any) -> int:
    """Replace a factor of many columns by a narrower one of the same covariance; give its width.

    Cholesky's with pivots, of the covariance of differences to the mean: no wider than rows - 1.
    """
    rows, columns = factor.shape
    if rows < 2:
        return 0
    if 4 * rows > 3 * columns:
        return int(columns)
    across, rest = np.zeros((columns, rows)), np.zeros(rows)
    for c in range(columns):
        middle = 0.0
        for i in range(rows):
            middle += factor[i, c]
        for i in range(rows):
            across[c, i] = factor[i, c] - middle / rows
            rest[i] += across[c, i] * across[c, i]
    least = _RANK * rest.max()
    roots, covariance, width = np.zeros((rows, rows)), np.empty(rows), 0
    while width < rows - 1:
        pivot = rest.argmax()
        if not rest[pivot] > least:
            break
        scale = 1.0 / math.sqrt(rest[pivot])
        covariance[:] = 0.0
        for c in range(columns):
            _add_row(covariance, across, c, scale * across[c, pivot])
        for c in range(width):
            _add_row(covariance, roots, c, -scale * roots[c, pivot])
        for i in range(rows):
            roots[width, i] = covariance[i]
            rest[i] -= covariance[i] * covariance[i]
        rest[pivot] = 0.0
        width += 1
    for i in range(rows):
        for c in range(width):
            factor[i, c] = roots[c, i]
    return width


@inlined
def _unite(mean: Any, factor: Any, own: Any, group: Any) -> None:
    """Write for each candidate one that stands for all that are alike."""
    count, columns = factor.shape
    mark = np.empty(count)
    for i in range(count):
        mark[i] = mean[i] + 0.7 * own[i]
        for c in range(columns):
            mark[i] += factor[i, c] * (1.0 + 0.37 * ((c * 7) % 11))
    order = np.argsort(mark, kind="mergesort")
    group[order[0]] = order[0]
    for place in range(1, count):
        i, j = order[place], group[order[place - 1]]
        near = _ALIKE * _ALIKE * (_dot(factor[i], factor[i]) + own[i])
        alike = (
            (mean[i] - mean[j]) ** 2 <= near
            and abs(own[i] - own[j]) <= _ALIKE * own[i]
            and _distance(factor[i], factor[j]) <= near
        )
        group[i] = j if alike else i


@kernel(
    "int64(float64[::1], float64[:, ::1], float64[::1], boolean[::1], int64[::1],"
    "float64[::1], float64[:, ::1], float64[::1], float64[::1], int64[::1], int64[::1],"
    "int64[::1])"
)
def contenders(
    mean: Any,
    factor: Any,
    own: Any,
    remaining: Any,
    indptr: Any,
    level: Any,
    spread: Any,
    alone: Any,
    bound: Any,
    group: Any,
    place: Any,
    rank: Any,
) -> int:
    """Reduce each decision to the candidates whose draw may be the largest.

    Parameters
    ----------
    mean, own : arrays [T]
        The candidates of decision d are rows ``indptr[d]:indptr[d + 1]``.
    factor : array [T, r]
    remaining : array [T] of bool
        Which take part at all.
    indptr : array [n + 1]
    level, spread, alone : arrays [T], [T, r], [T], written
        Mean, factor and own variance of the contenders, first of the decision's rows, in units of
        its largest standard deviation; the mean is that above the leader's.
    bound : array [T], written
        An upper bound of the probability; 0 for those whom another one stands for, -1 for those
        that do not remain.
    group : array [T], written
        The row, counted from the decision's first, of one that stands for all that are alike.
    place : array [T], written
        The contenders' rows, counted likewise and in order, then -1.
    rank : array [n], written
        How many columns of ``spread`` are used.

    Returns
    -------
    int
        -1, or the first decision with a number that is not finite, too large, or a negative own.
    """
    stands = np.empty(mean.size, np.bool_)
    for d in range(indptr.size - 1):
        first, last = indptr[d], indptr[d + 1]
        rank[d] = 0
        if first == last:
            continue
        m, f, o = mean[first:last], factor[first:last], own[first:last]
        rest, marks, limit = remaining[first:last], group[first:last], bound[first:last]
        if not _finite(m, f, o):
            return int(d)
        scaled, root, variance = level[first:last], spread[first:last], alone[first:last]
        _centre(f, root)
        leader, kept, widest = -1, 0, 0.0
        for i in range(m.size):
            widest = max(widest, _dot(root[i], root[i]) + o[i])
            if rest[i]:
                kept += 1
                if leader < 0 or m[i] > m[leader]:
                    leader = i
        unit = 1.0 / math.sqrt(widest) if widest > 1e-300 else 1e150
        for i in range(m.size):
            scaled[i] = (m[i] - m[max(leader, 0)]) * unit
            variance[i] = o[i] * unit * unit if widest > 1e-300 else 0.0
            for c in range(root.shape[1]):
                root[i, c] = root[i, c] * unit if widest > 1e-300 else 0.0
        _unite(scaled, root, variance, marks)
        place[first:last] = -1
        taken = 0
        stands[: m.size] = False
        for i in range(m.size):
            limit[i] = -1.0
            if not rest[i]:
                continue
            narrow = variance[i] <= _ALIKE * _ALIKE
            gap = _distance(root[i], root[leader]) + variance[i] + variance[leader]
            if i == leader or (narrow and marks[i] == marks[leader]):
                limit[i] = 1.0
            else:
                limit[i] = 0.5 * math.erfc(-scaled[i] / math.sqrt(2.0 * gap)) if gap > 0.0 else 0.0
            if narrow and stands[marks[i]]:
                limit[i] = 0.0
            elif limit[i] * kept > _PRUNED:
                place[first + taken] = i
                stands[marks[i]] = True
                taken += 1
        for t in range(taken):
            i = place[first + t]
            if i != t:
                scaled[t], variance[t] = scaled[i], variance[i]
                for c in range(root.shape[1]):
                    root[t, c] = root[i, c]
        rank[d] = _reduce(root[:taken])
    return -1
