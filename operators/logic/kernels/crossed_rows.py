"""The kernel of crossing: a context's features times those of each action, hashed into buckets.

A bucket is the top bits of a mixed 64-bit hash; bucket 0 is the bias's alone. Of a feature the hash
is given; of a product both are mixed by two multiplications with a shift between, because a sum or
one multiplication alone would let pairs collide that share a feature.
"""

from typing import Any

import numpy as np

from operators.logic.kernels.compiling import inlined, kernel

_PAIR_1, _PAIR_2 = np.uint64(0xFF51AFD7ED558CCD), np.uint64(0xC4CEB9FE1A85EC53)
_32 = np.uint64(32)
_NONE, _ONE, _6, _63 = np.uint64(0), np.uint64(1), np.uint64(6), np.uint64(63)

_FEW = 32
"""Fewer repeats in a row are looked for one by one."""

_SIDE = "Tuple((uint64[::1], float64[::1], int64[::1]))"
"""Items of features: their hashes, their values, and where each item begins (and the last ends)."""


@inlined
def _write(mixed: Any, value: Any, shift: Any, indices: Any, values: Any) -> None:
    """Write features by themselves."""
    for j in range(mixed.size):
        bucket = mixed[j] >> shift
        indices[j] = np.int64(bucket) + (bucket == _NONE)
        values[j] = value[j]


@inlined
def _write_products(
    one: Any, scale: float, mixed: Any, value: Any, shift: Any, indices: Any, values: Any
) -> None:
    """Write the products of one feature with several: a loop of its own, to be vectorised."""
    for j in range(mixed.size):
        z = (one ^ mixed[j]) * _PAIR_1
        z = (z ^ (z >> _32)) * _PAIR_2
        bucket = z >> shift
        indices[j] = np.int64(bucket) + (bucket == _NONE)
        values[j] = scale * value[j]


@inlined
def _repeats(start: int, end: int, seen: Any, indices: Any, places: Any) -> int:
    """Count the entries whose bucket an earlier one of the row has; note where the first ones are.

    ``seen`` has a bit for each bucket, none of them set, before and after. No branch depends on
    the buckets: they are as good as random, and each wrong guess would cost as much as six entries.
    """
    count, last = 0, places.size - 1
    for i in range(start, end):
        bucket = indices[i]
        at = np.uint64(bucket) >> _6
        word, bit = seen[at], np.uint64(bucket) & _63
        places[min(count, last)] = i
        count += (word >> bit) & _ONE == _ONE
        seen[at] = word | (_ONE << bit)
    for i in range(start, end):
        seen[np.uint64(indices[i]) >> _6] = _NONE
    return count


@inlined
def _merge_few(start: int, end: int, places: Any, indices: Any, values: Any) -> int:
    """Add up few repeats: each to the entry before it, and the row's last one takes its place."""
    for repeat in range(places.size - 1, -1, -1):
        place = places[repeat]
        bucket, known = indices[place], start
        while indices[known] != bucket:
            known += 1
        values[known] += values[place]
        end -= 1
        indices[place] = indices[end]
        values[place] = values[end]
    return end


@inlined
def _merge(start: int, end: int, table: Any, indices: Any, values: Any) -> int:
    """Add up what a row has more than once in a bucket; give where the row ends then.

    The table finds a bucket's place by open addressing. What it says of earlier rows lies before
    ``start``, so it is never cleared.
    """
    mask, place = table.size - 1, start
    for i in range(start, end):
        bucket, value = indices[i], values[i]
        slot = bucket & mask
        known = table[slot]
        while known >= start and indices[known] != bucket:
            slot = (slot + 1) & mask
            known = table[slot]
        if known >= start:
            values[known] += value
        else:
            table[slot] = place
            indices[place] = bucket
            values[place] = value
            place += 1
    return place


@kernel(
    f"int64({_SIDE}, {_SIDE}, int64[::1], int64[::1], int32[:, :, ::1], int64[::1], int64, boolean,"
    "int64[::1], int64[::1], float64[::1])"
)
def crossed_rows(
    contexts: Any,
    actions: Any,
    starts: Any,
    which: Any,
    blocks: Any,
    counted: Any,
    bits: int,
    context_alone: bool,
    indptr: Any,
    indices: Any,
    values: Any,
) -> int:
    """Fill the rows of all candidates of some decisions.

    Parameters
    ----------
    contexts, actions
        Features of n contexts and of some actions, as tuples of arrays (see the source).
    starts : int64[n + 1]
        Where each decision's candidates begin.
    which : int64[N]
        Each candidate's action.
    blocks : int32[N, P, 4]
        What is multiplied (:func:`operators.logic.kernels.crossing_plan.plan_products`).
    counted : int64[N]
        How many of the context's features count by themselves in a row.
    bits
        Buckets are numbered from 0 to 2**bits - 1.
    indptr : int64[N + 1]
    indices, values : int64[size], float64[size]
        With room for 1 and all features and products of every row.

    Returns
    -------
    Entries that were filled.
    """
    c_mixed, c_values, c_items = contexts
    a_mixed, a_values, a_items = actions
    shift = np.uint64(64 - bits)
    table = np.full(16, -1, np.int64)
    seen = np.zeros(max(1 << bits >> 6, 1), np.uint64)
    places = np.empty(_FEW, np.int64)
    at = 0
    indptr[0] = 0
    for decision in range(starts.size - 1):
        c_from = c_items[decision]
        for row in range(starts[decision], starts[decision + 1]):
            a_from, a_to = a_items[which[row]], a_items[which[row] + 1]
            start = at
            indices[at], values[at] = 0, 1.0
            at += 1
            end = at + a_to - a_from
            _write(
                a_mixed[a_from:a_to], a_values[a_from:a_to], shift, indices[at:end], values[at:end]
            )
            at = end
            if context_alone:
                c_to = c_from + counted[row]
                end = at + c_to - c_from
                _write(
                    c_mixed[c_from:c_to],
                    c_values[c_from:c_to],
                    shift,
                    indices[at:end],
                    values[at:end],
                )
                at = end
            for p in range(blocks.shape[1]):
                i, many, j, more = blocks[row, p]
                for one in range(i, i + many):
                    end = at + more
                    _write_products(
                        c_mixed[one],
                        c_values[one],
                        a_mixed[j : j + more],
                        a_values[j : j + more],
                        shift,
                        indices[at:end],
                        values[at:end],
                    )
                    at = end
            repeats = _repeats(start, at, seen, indices, places)
            if repeats < places.size:
                at = _merge_few(start, at, places[:repeats], indices, values)
            else:
                if table.size < 2 * (at - start):
                    size = table.size
                    while size < 2 * (at - start):
                        size *= 2
                    table = np.full(size, -1, np.int64)
                at = _merge(start, at, table, indices, values)
            indptr[row + 1] = at
    return at
