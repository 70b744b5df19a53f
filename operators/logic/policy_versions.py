"""The versions of a slot's policy: they rise for every reader, whatever a crash has undone."""

from typing import Final

GENERATION: Final = 1 << 16
"""Versions jump to a multiple of this when the log shows higher ones than the learner's own."""


def resume_version(version: int, seen: int) -> int:
    """Give the version to go on from when the log shows decisions of version ``seen``.

    A higher one than the learner's own comes from a life that its state does not remember (a lost
    recovery store, or the end of an epoch that a crash undid): versions then go on above whatever
    that life may have published, so that they rise for every reader, for ever.

    >>> resume_version(7, 7), resume_version(7, 9), resume_version(70_000, 200_000)
    (7, 65536, 262144)
    """
    return version if seen <= version else (seen // GENERATION + 1) * GENERATION
