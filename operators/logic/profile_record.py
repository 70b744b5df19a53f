"""What is remembered of one subject, packed into 98 bytes."""

import struct
from typing import NamedTuple

_LAYOUT = struct.Struct("<QIIIdddqqH36s")
_RECENT = struct.Struct("<QB")

SIZE = _LAYOUT.size
"""Bytes of a packed record."""

NO_CATEGORY = 255
"""The code of an action without a category."""

NOTHING_RECENT = _RECENT.pack(0, NO_CATEGORY) * 4

PRIOR_CLICKS, PRIOR_SHOWN = 1.0, 20.0
"""What the click rate of a new subject starts from."""


class Record(NamedTuple):
    """A subject's profile; times are microseconds since 1970.

    ``shown`` and ``clicked`` are impressions and clicks decayed to the time ``seen``; ``since``
    is the time of the consent in force and ``purposes`` its bits; ``recent`` packs the join key
    and category code of the last four decisions, newest first.
    """

    version: int
    requests: int
    impressions: int
    clicks: int
    rewards: float
    shown: float
    clicked: float
    seen: int
    since: int
    purposes: int
    recent: bytes

    @property
    def click_rate(self) -> float:
        """Give the decayed click rate, shrunk to 5 % by 20 impressions."""
        return (self.clicked + PRIOR_CLICKS) / (self.shown + PRIOR_SHOWN)


def new(version: int, at: int, purposes: int) -> bytes:
    """Pack the record of a subject that consented at ``at``."""
    return pack(version, 0, 0, 0, 0.0, 0.0, 0.0, at, at, purposes, NOTHING_RECENT)


pack = _LAYOUT.pack
unpack = _LAYOUT.unpack


def read(packed: bytes) -> Record:
    """Unpack a record.

    >>> read(new(1, 5, 96)).click_rate
    0.05
    """
    return Record(*unpack(packed))


def remembered(packed: bytes, key: int, category: int) -> bytes:
    """Put a decision in front of a packed record's recent ones."""
    head = len(packed) - len(NOTHING_RECENT)
    return packed[:head] + _RECENT.pack(key, category) + packed[head : -_RECENT.size]


def category_of(packed: bytes, key: int) -> int:
    """Give the category code of a recent decision, ``NO_CATEGORY`` if it is not among them.

    >>> packed = remembered(new(1, 5, 96), 7, 2)
    >>> category_of(packed, 7), category_of(packed, 8)
    (2, 255)
    """
    for kept, category in _RECENT.iter_unpack(packed[-len(NOTHING_RECENT) :]):
        if kept == key:
            return int(category)
    return NO_CATEGORY
