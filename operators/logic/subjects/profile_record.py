"""A subject's profile in 88 bytes, unpacked (open) while events of the subject come."""

import struct
from collections.abc import Callable, Iterable, Iterator

from msgspec import Struct
from msgspec.structs import astuple

_LAYOUT = struct.Struct("<QIIIdddq36s")
_SEEN, _SEEN_AT = struct.Struct("<q"), struct.calcsize("<QIIIddd")
_RECENT = struct.Struct("<QB")

SIZE = _LAYOUT.size
"""Bytes of a packed record."""

NO_CATEGORY = 255
"""The code of an action without a category."""

MOST_RECENT = 4
"""So many of the actions shown are remembered."""

NOTHING_RECENT = _RECENT.pack(0, NO_CATEGORY) * MOST_RECENT

MOST_OPEN = 2000
"""So many records may be open at a time; one takes about 450 bytes."""

PRIOR_CLICKS, PRIOR_SHOWN = 1.0, 20.0
"""What the click rate of a new subject starts from."""


class ProfileRecord(Struct, gc=False):
    """A subject's profile; times are microseconds since 1970.

    ``shown`` and ``clicked`` are impressions and clicks decayed to the time ``seen``; ``recent``
    packs the join key and category code of the last four actions shown, newest first.
    """

    version: int
    requests: int
    impressions: int
    clicks: int
    rewards: float
    shown: float
    clicked: float
    seen: int
    recent: bytes

    @property
    def click_rate(self) -> float:
        """Give the decayed click rate, shrunk to 5 % by 20 impressions.

        >>> new(1, 5).click_rate
        0.05
        """
        return (self.clicked + PRIOR_CLICKS) / (self.shown + PRIOR_SHOWN)

    def remember(self, key: int, category: int) -> None:
        """Put an action that was shown, by its join key, in front of the recent ones."""
        self.recent = _RECENT.pack(key, category) + self.recent[: -_RECENT.size]

    def category_of(self, key: int) -> int:
        """Look up the category code of a recent action; ``NO_CATEGORY`` if it is not among them.

        >>> record = new(1, 5)
        >>> record.remember(7, 2)
        >>> record.category_of(7), record.category_of(8)
        (2, 255)
        """
        for kept, category in _RECENT.iter_unpack(self.recent):
            if kept == key:
                return int(category)
        return NO_CATEGORY


def new(version: int, at: int) -> ProfileRecord:
    """Give the record of a subject that consented at ``at``."""
    return ProfileRecord(
        version=version,
        requests=0,
        impressions=0,
        clicks=0,
        rewards=0.0,
        shown=0.0,
        clicked=0.0,
        seen=at,
        recent=NOTHING_RECENT,
    )


class ProfileRecords:
    """ProfileRecords by subject, in the order in which they came, each packed unless it is open.

    A subject's events come in bursts, so a record stays open after it was asked for, until
    :data:`MOST_OPEN` are. A record that was got is good until the next is. ``touch`` is called for
    each subject whose record may change, or go.

    >>> touched = []
    >>> records = ProfileRecords(touched.append)
    >>> records.put("ann", new(1, 5))
    >>> records.get("ann").clicks += 1
    >>> again = ProfileRecords(touched.append)
    >>> again.load("ann", *records.packed(["ann"]))
    >>> again.peek("ann").clicks, touched
    (1, ['ann', 'ann'])
    """

    def __init__(self, touch: Callable[[str], None]) -> None:
        self._packed: dict[str, bytes] = {}
        self._open: dict[str, ProfileRecord] = {}
        self._touch = touch

    def __len__(self) -> int:
        """Count the subjects."""
        return len(self._packed)

    def __contains__(self, subject: str) -> bool:
        """Tell whether there is a record of the subject."""
        return subject in self._packed

    def __iter__(self) -> Iterator[str]:
        """Go through the subjects."""
        return iter(self._packed)

    def get(self, subject: str) -> ProfileRecord | None:
        """Give a subject's record, which may be changed, or ``None``."""
        record = self._open.get(subject)
        if record is None and subject in self._packed:
            record = self._opened(subject, self._packed[subject])
        return record

    def put(self, subject: str, record: ProfileRecord) -> None:
        """Set the record of a subject."""
        self._open.pop(subject, None)
        self._touch(subject)
        self._packed[subject] = _LAYOUT.pack(*astuple(record))

    def pop(self, subject: str) -> ProfileRecord | None:
        """Remove the record of a subject and give it, if there is one."""
        record = self.get(subject)
        if record is not None:
            del self._packed[subject], self._open[subject]
        return record

    def peek(self, subject: str) -> ProfileRecord:
        """Give a subject's record, which must not be changed."""
        return self._open.get(subject) or ProfileRecord(*_LAYOUT.unpack(self._packed[subject]))

    def last_seen(self) -> Iterator[tuple[str, int]]:
        """Go through the subjects, each with the time when it was seen last."""
        self._close()
        return ((s, _SEEN.unpack_from(packed, _SEEN_AT)[0]) for s, packed in self._packed.items())

    def packed(self, subjects: Iterable[str]) -> Iterator[bytes | None]:
        """Give the record of each subject in ``SIZE`` bytes, ``None`` where there is none."""
        self._close()
        return map(self._packed.get, subjects)

    def load(self, subject: str, packed: bytes) -> None:
        """Take over what :meth:`packed` gave for a subject."""
        self._packed[subject] = packed

    def _opened(self, subject: str, packed: bytes) -> ProfileRecord:
        if len(self._open) >= MOST_OPEN:
            self._close()
        record = self._open[subject] = ProfileRecord(*_LAYOUT.unpack(packed))
        self._touch(subject)
        return record

    def _close(self) -> None:
        for subject, record in self._open.items():
            self._packed[subject] = _LAYOUT.pack(*astuple(record))
        self._open.clear()
