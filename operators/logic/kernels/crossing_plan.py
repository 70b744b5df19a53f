"""Which features of a context and of its candidates are multiplied, and what they hash to.

Of a feature the hash is that of its name, mixed by the finaliser of SplitMix64 (Steele, Lea and
Flood 2014) with its side's salt.
"""

from typing import Any

import numpy as np

from operators.logic.kernels.compiling import inlined, kernel

_CONTEXT_SALT = np.uint64(0x9E3779B97F4A7C15)
_ACTION_SALT = np.uint64(0xC2B2AE3D27D4EB4F)
_MIX_1, _MIX_2 = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
_27, _30, _31 = np.uint64(27), np.uint64(30), np.uint64(31)

_GROUPS = "Tuple((int64[::1], uint64[::1], int64[::1]))"
"""Of items of features: where each group begins (and the last ends), the groups' namespaces, and
where each item's groups begin."""


@inlined
def _mix(names: Any, salt: Any, mixed: Any) -> None:
    for i in range(names.size):
        z = names[i] + salt
        z = (z ^ (z >> _30)) * _MIX_1
        z = (z ^ (z >> _27)) * _MIX_2
        mixed[i] = z ^ (z >> _31)


@kernel("void(uint64[::1], uint64[::1], uint64[::1], uint64[::1])")
def mix_names(contexts: Any, actions: Any, context_hashes: Any, action_hashes: Any) -> None:
    """Write the hash that stands for each name, of contexts and of actions, in products."""
    _mix(contexts, _CONTEXT_SALT, context_hashes)
    _mix(actions, _ACTION_SALT, action_hashes)


@inlined
def _find(space: Any, first: int, last: int, spaces: Any) -> int:
    """Give the group of a namespace among rising ones, or ``last`` where there is none."""
    end = last
    while first < last:
        middle = (first + last) // 2
        if spaces[middle] < space:
            first = middle + 1
        else:
            last = middle
    return first if first < end and spaces[first] == space else end


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
    f"int64({_GROUPS}, {_GROUPS}, int64[::1], int64[::1], uint64[:, ::1], int64, int32[:, :, ::1],"
    "boolean[::1])"
)
def plan_products(
    contexts: Any,
    actions: Any,
    starts: Any,
    which: Any,
    pairs: Any,
    most: int,
    blocks: Any,
    whole: Any,
) -> int:
    """Plan the products of all candidates of some decisions.

    Parameters
    ----------
    contexts, actions
        Groups of features, as tuples of arrays (see the source).
    starts : int64[n + 1]
        Where each decision's candidates begin.
    which : int64[N]
        Each candidate's action.
    pairs : uint64[P, 2]
        Namespaces of context and action that are crossed, each pair once.
    most
        Products of a row: beyond it the pairs share this room, and a pair that has too little
        leaves out features that come last in the order of hashes, of its larger side first.
    blocks : int32[N, P, 4]
        Of each row and pair: the first feature of the context and how many, the first of the
        action and how many; none of either where nothing is multiplied.
    whole : boolean[N]
        Whether nothing of a row is left out.

    Returns
    -------
    Products that were left out.
    """
    c_groups, c_spaces, c_items = contexts
    a_groups, a_spaces, a_items = actions
    count = pairs.shape[0]
    group, sizes, room = (
        np.empty(count, np.int64),
        np.empty(count, np.int64),
        np.empty(count, np.int64),
    )
    left_out = 0
    for decision in range(starts.size - 1):
        c_first, c_last = c_items[decision], c_items[decision + 1]
        for p in range(count):
            group[p] = _find(pairs[p, 0], c_first, c_last, c_spaces)
        for row in range(starts[decision], starts[decision + 1]):
            a_first, a_last = a_items[which[row]], a_items[which[row] + 1]
            total = 0
            for p in range(count):
                block = blocks[row, p]
                block[:] = 0
                sizes[p] = 0
                if group[p] < c_last:
                    other = _find(pairs[p, 1], a_first, a_last, a_spaces)
                    if other < a_last:
                        block[0] = c_groups[group[p]]
                        block[1] = c_groups[group[p] + 1] - c_groups[group[p]]
                        block[2] = a_groups[other]
                        block[3] = a_groups[other + 1] - a_groups[other]
                        sizes[p] = np.int64(block[1]) * np.int64(block[3])
                total += sizes[p]
            whole[row] = total <= most
            if total > most:
                _share_room(most, sizes, room)
                for p in range(count):
                    many, more = _cut(blocks[row, p, 1], blocks[row, p, 3], room[p])
                    if many * more == 0:
                        many, more = 0, 0
                    blocks[row, p, 1], blocks[row, p, 3] = many, more
                    total -= many * more
                left_out += total
    return left_out
