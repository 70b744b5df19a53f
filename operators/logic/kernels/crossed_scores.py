"""Scores of candidates by crossed features under independent coefficients, without their rows.

A candidate's score is linear in its own features: each is worth what its coefficient says, and what
those of its products with the context's features do. The last is the same for all candidates of a
decision that have the feature, so it is added up once for each feature and not for each candidate:
features that all candidates have (numbers, above all) cost as much as those of one.
"""

import math
from typing import Any

import numpy as np

from operators.logic.kernels.compiling import inlined, kernel

_PAIR_1, _PAIR_2 = np.uint64(0xFF51AFD7ED558CCD), np.uint64(0xC4CEB9FE1A85EC53)
_32, _255 = np.uint64(32), np.uint64(255)

_SIDE = "Tuple((uint64[::1], float64[::1], int64[::1]))"
"""Items of features, as of :mod:`operators.logic.kernels.crossed_rows`."""


@inlined
def _column(mixed: Any, shift: Any, mask: int) -> Any:
    """Give the bucket of a hash, folded; the bias's, 0, stays its own."""
    bucket = np.int64(mixed >> shift)
    return max((bucket + (bucket == 0)) & mask, 1)


@inlined
def _most_features(starts: Any, which: Any, items: Any) -> int:
    """Give the most features that the candidates of a decision have together."""
    most = 0
    for decision in range(starts.size - 1):
        total = 0
        for row in range(starts[decision], starts[decision + 1]):
            total += items[which[row] + 1] - items[which[row]]
        most = max(most, total)
    return most


@inlined
def _place(hashed: Any, decision: int, decided: Any, names: Any) -> Any:
    """Find a feature's place in a table that holds those of one decision, or a free one."""
    last = names.size - 1
    place = np.int64(hashed & np.uint64(last))
    while decided[place] == decision and names[place] != hashed:
        place = (place + 1) & last
    return place


@inlined
def _add_products(
    one: Any, first: int, many: int, hashes: Any, values: Any, shift: Any, mask: int, table: Any
) -> tuple[float, float]:
    """Give mean and variance of what one feature's products with several others are worth."""
    mean, variance = 0.0, 0.0
    for i in range(first, first + many):
        z = (hashes[i] ^ one) * _PAIR_1
        z = (z ^ (z >> _32)) * _PAIR_2
        column = _column(z, shift, mask)
        mean += values[i] * table[column, 0]
        part = values[i] * table[column, 1]
        variance += part * part
    return mean, variance


@inlined
def _worth(
    j: int, one: Any, blocks: Any, hashes: Any, values: Any, shift: Any, mask: int, table: Any
) -> tuple[float, float]:
    """Give mean and deviation of what an action's feature j is worth where it is 1."""
    column = _column(one, shift, mask)
    mean, variance = np.float64(table[column, 0]), np.float64(table[column, 1]) ** 2
    for p in range(blocks.shape[0]):
        first, many, start, more = blocks[p]
        if start <= j < start + more:
            products = _add_products(one, first, many, hashes, values, shift, mask, table)
            mean += products[0]
            variance += products[1]
    return mean, math.sqrt(variance)


@inlined
def _level(
    first: int, many: int, hashes: Any, values: Any, shift: Any, mask: int, table: Any
) -> tuple[float, float]:
    """Give mean and variance of what the bias and a context's features are worth."""
    level, base = np.float64(table[0, 0]), np.float64(table[0, 1]) ** 2
    for i in range(first, first + many):
        column = _column(hashes[i], shift, mask)
        level += values[i] * table[column, 0]
        base += (values[i] * table[column, 1]) ** 2
    return level, base


@inlined
def _add_to_sketch(hashed: Any, part: float, sums: Any) -> None:
    """Add a part of a score's deviation to four of the sums behind the first, or take it away."""
    quarter = (sums.size - 1) // 4
    for number in range(4):
        bits = np.int64((hashed >> np.uint64(8 * number)) & _255)
        sums[1 + number * quarter + (bits >> 1) % quarter] += part if bits & 1 else -part


@inlined
def _scale_to(variance: float, sums: Any) -> None:
    """Scale the sums behind the first so that their squares add up to a variance."""
    total = 0.0
    for i in range(1, sums.size):
        total += sums[i] * sums[i]
    scale = math.sqrt(variance / total) if total > 0.0 else 0.0
    for i in range(1, sums.size):
        sums[i] *= scale
    if total <= 1e-12 * variance:  # every part met its opposite
        sums[1] = math.sqrt(variance)


@kernel(
    f"void({_SIDE}, {_SIDE}, int64[::1], int64[::1], int32[:, :, ::1], boolean[::1], int64[::1],"
    "int64, boolean, int64, float32[:, ::1], float64[::1], float64[:, ::1], float64[::1])"
)
def crossed_scores(
    contexts: Any,
    actions: Any,
    starts: Any,
    which: Any,
    blocks: Any,
    whole: Any,
    counted: Any,
    bits: int,
    context_alone: bool,
    mask: int,
    table: Any,
    mean: Any,
    factor: Any,
    own: Any,
) -> None:
    """Score the rows that :func:`operators.logic.kernels.crossed_rows.crossed_rows` would fill.

    A decision's result depends on its own context and candidates alone, to the last bit.

    Parameters
    ----------
    contexts, actions, starts, which, blocks, counted, bits, context_alone
        As there.
    whole : boolean[N]
        Whether a row has the products of its features with all of the context's that count in the
        rows of its decision that are whole.
    mask
        Buckets are folded onto ``mask`` + 1 columns.
    table : float32[mask + 1, 2]
        Each column's mean and standard deviation.
    mean : float64[N]
    factor : float64[N, r]
        All zero, r > 8. Scores vary with the first number as the bias and the context's features
        let them, all alike. What an action's feature is worth (with its products) varies as one for
        all candidates that have it: there is a number for each such feature if there are fewer than
        r of them in a decision. If there are more, each adds to or takes from four of r - 1 sums
        (Kane and Nelson 2014, Sparser Johnson-Lindenstrauss transforms, section 1), whose products
        between rows have the covariances as their expectation; rows are scaled to their variances.
    own : float64[N]
        Variances of a score alone, to which that of features is added that only one candidate has.
    """
    c_mixed, c_values, c_items = contexts
    a_mixed, a_values, a_items = actions
    shift = np.uint64(64 - bits)
    most, size = _most_features(starts, which, a_items), 16
    while size < 2 * most:
        size *= 2
    decided, names = np.full(size, -1, np.int64), np.empty(size, np.uint64)
    worth, deviations, is_valued = np.empty(size), np.empty(size), np.empty(size, np.bool_)
    owners, number, places = (
        np.empty(size, np.int64),
        np.empty(size, np.int64),
        np.empty(most, np.int64),
    )
    for decision in range(starts.size - 1):
        c_from, known = c_items[decision], -1
        level, base = 0.0, 0.0
        at, several = 0, 0
        for row in range(starts[decision], starts[decision + 1]):
            for j in range(a_items[which[row]], a_items[which[row] + 1]):
                place = _place(a_mixed[j], decision, decided, names)
                if decided[place] != decision:
                    decided[place], names[place] = decision, a_mixed[j]
                    owners[place], number[place], is_valued[place] = 0, -1, False
                owners[place] += 1
                if owners[place] == 2:
                    several += 1
                    number[place] = several
                places[at] = place
                at += 1
        at, is_exact = 0, several < factor.shape[1]
        for row in range(starts[decision], starts[decision + 1]):
            if known != counted[row]:
                known = counted[row]
                alone = known if context_alone else 0
                level, base = _level(c_from, alone, c_mixed, c_values, shift, mask, table)
            score, sketched, sums = level, 0.0, factor[row]
            for j in range(a_items[which[row]], a_items[which[row] + 1]):
                place = places[at]
                at += 1
                if whole[row] and is_valued[place]:
                    value, deviation = worth[place], deviations[place]
                else:
                    value, deviation = _worth(
                        j, a_mixed[j], blocks[row], c_mixed, c_values, shift, mask, table
                    )
                    if whole[row]:
                        is_valued[place], worth[place], deviations[place] = True, value, deviation
                score += a_values[j] * value
                part = a_values[j] * deviation
                if owners[place] == 1:
                    own[row] += part * part
                elif is_exact:
                    sums[number[place]] += part
                else:
                    sketched += part * part
                    _add_to_sketch(a_mixed[j], part, sums)
            mean[row] = score
            if not is_exact:
                _scale_to(sketched, sums)
            sums[0] = math.sqrt(base)
