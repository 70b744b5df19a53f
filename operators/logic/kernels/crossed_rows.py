"""The kernel of crossing: a context's features times those of each action, hashed into buckets.

A bucket is the top bits of a mixed 64-bit hash; bucket 0 is the bias's alone. Of a feature the hash
is that of its name, mixed by the finaliser of SplitMix64 (Steele, Lea and Flood 2014) with its
side's salt; of a product both, mixed by two multiplications with a shift between, because a sum or
one multiplication alone would let pairs collide that share a feature.
"""

from typing import Any

import numpy as np

from operators.logic.kernels.compiling import inlined, kernel

_CONTEXT_SALT = np.uint64(0x9E3779B97F4A7C15)
_ACTION_SALT = np.uint64(0xC2B2AE3D27D4EB4F)
_MIX_1, _MIX_2 = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
_PAIR_1, _PAIR_2 = np.uint64(0xFF51AFD7ED558CCD), np.uint64(0xC4CEB9FE1A85EC53)
_27, _30, _31, _32 = np.uint64(27), np.uint64(30), np.uint64(31), np.uint64(32)
_NONE, _ONE, _6, _63 = np.uint64(0), np.uint64(1), np.uint64(6), np.uint64(63)

_FEW = 32
"""Fewer repeats in a row are looked for one by one."""

_SIDE = "Tuple((uint64[::1], float32[::1], int64[::1], uint64[::1], int64[::1]))"
"""Items of features: names, values, where each group begins (and the last ends), the groups'
namespaces, and where each item's groups begin. In a group names rise."""


@inlined
def _identities(names: Any, salt: Any) -> Any:
    mixed = np.empty(names.size, np.uint64)
    for i in range(names.size):
        z = names[i] + salt
        z = (z ^ (z >> _30)) * _MIX_1
        z = (z ^ (z >> _27)) * _MIX_2
        mixed[i] = z ^ (z >> _31)
    return mixed


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


@inlined
def _find(pair: Any, first: int, last: int, spaces: Any) -> int:
    """Give the group of a namespace among rising ones, or ``last`` where there is none."""
    end = last
    while first < last:
        middle = (first + last) // 2
        if spaces[middle] < pair:
            first = middle + 1
        else:
            last = middle
    return first if first < end and spaces[first] == pair else end


@inlined
def _share_room(most: int, sizes: Any, room: Any) -> None:
    """Share room among blocks: the small ones whole, the same for each of the others."""
    left, blocks = most, sizes.size
    room[:] = -1
    for done in range(blocks):
        least = -1
        for p in range(blocks):
            if room[p] < 0 and (least < 0 or sizes[p] < sizes[least]):
                least = p
        room[least] = min(sizes[least], left // (blocks - done))
        left -= room[least]


@inlined
def _cut(a: int, b: int, room: int) -> tuple[int, int]:
    """Say how many of a and of b features are multiplied: the larger side is cut first."""
    if a * b <= room:
        return a, b
    side = int(np.sqrt(room))
    if a <= side:
        return a, room // a
    if b <= side:
        return room // b, b
    return side, side


@kernel(
    f"Tuple((int64, int64))({_SIDE}, {_SIDE}, int64[::1], int64[::1], uint64[:, ::1], int64, int64,"
    "boolean, int64[::1], int64[::1], float64[::1])"
)
def crossed_rows(
    contexts: Any,
    actions: Any,
    starts: Any,
    which: Any,
    pairs: Any,
    most: int,
    bits: int,
    context_alone: bool,
    indptr: Any,
    indices: Any,
    values: Any,
) -> tuple[int, int]:
    """Fill the rows of all candidates of some decisions.

    Parameters
    ----------
    contexts, actions
        Features of n contexts and of some actions, as tuples of arrays (see the source).
    starts : int64[n + 1]
        Where each decision's candidates begin.
    which : int64[N]
        Each candidate's action.
    pairs : uint64[P, 2]
        Namespaces of context and action that are crossed, each pair once.
    most
        Products of a row: beyond it the pairs share this room, and a pair that has too little
        leaves out features that come last in the order of hashes, of its larger side first.
    bits
        Buckets are numbered from 0 to 2**bits - 1.
    indptr : int64[N + 1]
    indices, values : int64[size], float64[size]
        With room for 1 and all features and products of every row.

    Returns
    -------
    Entries that were filled, and products that were left out.
    """
    c_names, c_values, c_groups, c_spaces, c_items = contexts
    a_names, a_values, a_groups, a_spaces, a_items = actions
    c_mixed, a_mixed = _identities(c_names, _CONTEXT_SALT), _identities(a_names, _ACTION_SALT)
    shift = np.uint64(64 - bits)
    blocks = pairs.shape[0]
    group, other = np.empty(blocks, np.int64), np.empty(blocks, np.int64)
    sizes, room = np.empty(blocks, np.int64), np.empty(blocks, np.int64)
    table = np.full(16, -1, np.int64)
    seen = np.zeros(max(1 << bits >> 6, 1), np.uint64)
    places = np.empty(_FEW, np.int64)
    at, left_out = 0, 0
    indptr[0] = 0
    for decision in range(starts.size - 1):
        c_first, c_last = c_items[decision], c_items[decision + 1]
        c_from, c_to = c_groups[c_first], c_groups[c_last]
        for p in range(blocks):
            group[p] = _find(pairs[p, 0], c_first, c_last, c_spaces)
        for row in range(starts[decision], starts[decision + 1]):
            a_first, a_last = a_items[which[row]], a_items[which[row] + 1]
            a_from, a_to = a_groups[a_first], a_groups[a_last]
            start, total = at, 0
            for p in range(blocks):
                sizes[p] = 0
                if group[p] < c_last:
                    other[p] = _find(pairs[p, 1], a_first, a_last, a_spaces)
                    if other[p] < a_last:
                        many = c_groups[group[p] + 1] - c_groups[group[p]]
                        sizes[p] = many * (a_groups[other[p] + 1] - a_groups[other[p]])
                total += sizes[p]
            room[:] = sizes
            if total > most:
                _share_room(most, sizes, room)
            indices[at], values[at] = 0, 1.0
            at += 1
            end = at + a_to - a_from
            _write(
                a_mixed[a_from:a_to], a_values[a_from:a_to], shift, indices[at:end], values[at:end]
            )
            at = end
            if context_alone:
                end = at + c_to - c_from
                _write(
                    c_mixed[c_from:c_to],
                    c_values[c_from:c_to],
                    shift,
                    indices[at:end],
                    values[at:end],
                )
                at = end
            for p in range(blocks):
                if room[p] > 0:
                    i, j = c_groups[group[p]], a_groups[other[p]]
                    many, more = _cut(
                        c_groups[group[p] + 1] - i, a_groups[other[p] + 1] - j, room[p]
                    )
                    for one in range(i, i + many):
                        end = at + more
                        _write_products(
                            c_mixed[one],
                            np.float64(c_values[one]),
                            a_mixed[j : j + more],
                            a_values[j : j + more],
                            shift,
                            indices[at:end],
                            values[at:end],
                        )
                        at = end
                    total -= many * more
            left_out += total
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
    return at, left_out
