"""The versions of a slot's policy: they rise for every reader, whatever a crash has undone."""

from typing import Final

GENERATION: Final = 1 << 16
"""Versions jump to a multiple of this in each execution of the flow, and when the log shows higher
ones than the learner's own."""


MOST_JUMPS: Final = 1 << 15
"""Executions of a flow from which on versions only count on: they take 32 bits."""


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
    return max(resume_version(version, version + 1), least)


def resume_version(version: int, seen: int) -> int:
    """Give the version to go on from when the log shows decisions of version ``seen``.

    A higher one than the learner's own comes from a life that its state does not remember (a lost
    recovery store, or the end of an epoch that a crash undid): versions then go on above whatever
    that life may have published, so that they rise for every reader, for ever.

    >>> resume_version(7, 7), resume_version(7, 9), resume_version(70_000, 200_000)
    (7, 65536, 262144)
    """
    return version if seen <= version else (seen // GENERATION + 1) * GENERATION
