"""Catalog records that come too late to hold: one that says something else does so already.

Such a record changes nothing but what is still to be decided of its own past, and whoever sent it
believes that it holds. The same record again is none: producers repeat what they sent. So of
versions that were forgotten as nothing asks for them any more a mark is kept.
"""

from collections.abc import Sequence
from hashlib import blake2b
from typing import Final

from msgspec import msgpack

from operators.logic.catalog_versions import Version, content_of, held_at, identity_of, order_of
from schemas.catalog import CatalogEntry
from schemas.clock import micros

MARKS_KEPT: Final = 10_000
"""Versions that are known again after they were forgotten: those that were forgotten last."""

_MARK: Final = 8


class ForgottenVersions:
    """Marks of catalog versions that were forgotten, so that they are known when they come again.

    >>> from schemas.catalog import Slot
    >>> from schemas.clock import moment
    >>> slot, forgotten = Slot(id="1", time=moment(0), slot_id="home"), ForgottenVersions()
    >>> forgotten.note(slot)
    >>> slot in forgotten, slot in ForgottenVersions(forgotten.state())
    (True, True)
    """

    def __init__(self, state: bytes = b"") -> None:
        starts = range(0, len(state), _MARK)
        self._marks = dict.fromkeys(state[start : start + _MARK] for start in starts)

    def note(self, entry: CatalogEntry) -> None:
        """Keep the mark of a version, in place of the oldest one where there are many."""
        self._marks[_mark(entry)] = None
        if len(self._marks) > MARKS_KEPT:
            del self._marks[next(iter(self._marks))]

    def __contains__(self, entry: CatalogEntry) -> bool:
        """Tell whether this very version was forgotten."""
        return bool(self._marks) and _mark(entry) in self._marks

    def state(self) -> bytes:
        """Write the marks, the oldest first."""
        return b"".join(self._marks)


def is_stale(versions: Sequence[Version], entry: CatalogEntry, appended: int) -> bool:
    """Tell whether a version that comes to these will never hold, for one that says otherwise.

    ``versions`` are those of the same entry that came before, in order. ``appended`` is when it
    came, in microseconds since 1970: what is to hold later does not yet stand in its way.
    """
    at = micros(entry.time)
    if not versions or any(order_of(each) == (at, entry.id) for each in versions):
        return False
    now = max(at, appended)
    holds = held_at(versions, now)
    since = micros(holds.time)
    is_later = since <= now and (since, holds.id) > (at, entry.id)
    return is_later and content_of(holds) != content_of(entry)


def _mark(entry: CatalogEntry) -> bytes:
    says = (*identity_of(entry), entry.id, micros(entry.time), content_of(entry))
    return blake2b(msgpack.encode(says), digest_size=_MARK).digest()
