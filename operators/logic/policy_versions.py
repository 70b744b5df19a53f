"""Policy versions: how they rise for every reader over lost state, and which of others count.

A learner whose state was lost, or goes back by an epoch, does not know what it published before:
its decisions in the log do. But what lies in the log may be damaged, or another's. So a version
that only decisions show counts within a stated reach, and none beyond half of the numbers that a
decision may bear (``ops/adr/0017-logs-have-an-identity.md``).
"""

from collections.abc import Collection
from typing import Final

GENERATION: Final = 1 << 16
"""Versions jump to a multiple of this to leave behind what they do not know of.

They do so in each execution of the flow, and when the log shows higher ones than the learner's own.
"""

MOST_JUMPS: Final = 1 << 15
"""Executions of a flow from which on versions only count on: they take 32 bits."""

REACH: Final = 64 * GENERATION
"""How far above the learner's own version that of a decision is believed."""

HIGHEST_BELIEVED: Final = 1 << 30
"""No version from here on is believed: as many remain below 2**31 for publications to count on."""


def next_generation(version: int) -> int:
    """Find the first version of the generation after that of a version.

    >>> next_generation(9), next_generation(GENERATION)
    (65536, 131072)
    """
    return (version // GENERATION + 1) * GENERATION


def first_version(executions: int, version: int | None = None) -> int:
    """Say from which version a learner goes on after so many executions of the flow.

    ``version`` is that of its snapshot, None where it has none. What comes next lies above all that
    earlier executions may have exported, also in epochs that a crash undid: readers outside take no
    version that is below the one they have.

    >>> first_version(0), first_version(0, 7), first_version(3, 7), first_version(3)
    (0, 65536, 196608, 196608)
    """
    least = min(executions, MOST_JUMPS) * GENERATION
    if version is None:
        return least
    if version >= MOST_JUMPS * GENERATION:
        return version
    return max(next_generation(version), least)


def above_published(version: int, published: int) -> int:
    """Choose the version to go on from where ``published`` is known to have been published.

    >>> above_published(7, 7), above_published(7, 9), above_published(7, HIGHEST_BELIEVED)
    (7, 65536, 7)
    """
    return next_generation(published) if version < published < HIGHEST_BELIEVED else version


def above_decisions(version: int, seen: Collection[int]) -> int:
    """Choose the version to go on from where the log shows decisions of the versions ``seen``.

    >>> above_decisions(7, {3, 9}), above_decisions(7, {4_294_967_295}), above_decisions(7, ())
    (65536, 7, 7)
    >>> above_decisions(0, {1, GENERATION})
    131072
    """
    chosen = version
    for each in sorted(seen):
        if version < each < HIGHEST_BELIEVED and chosen <= each <= chosen + REACH:
            chosen = next_generation(each)
    return chosen


def nothing_published(_: str) -> int:
    """Say of every slot that no version is known to have been published."""
    return 0
