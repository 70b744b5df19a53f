"""The versions of one catalog entry: what they are about and say, and which holds at a time."""

from bisect import bisect_right
from collections.abc import Sequence

from msgspec.structs import replace

from schemas.catalog import Action, CatalogEntry, Experiment, Slot
from schemas.clock import EPOCH
from schemas.codec import encode

Version = tuple[int, CatalogEntry]
"""A version of an entry, and the time from which it holds, in microseconds since 1970."""

Identity = tuple[str, str]
"""What an entry is about: the kind of record, and the slot's, action's or experiment's id."""


def identity_of(entry: CatalogEntry) -> Identity:
    """Name what an entry is about."""
    match entry:
        case Slot():
            return ("slot", entry.slot_id)
        case Action():
            return ("action", entry.action_id)
        case Experiment():
            return ("experiment", entry.experiment_id)


def bare(entry: CatalogEntry) -> CatalogEntry:
    """Give a record without its id and time; one that names no neighbours says that it has none."""
    if isinstance(entry, Action) and entry.neighbours is None:
        return replace(entry, id="", time=EPOCH, neighbours=[])
    return replace(entry, id="", time=EPOCH)


def content_of(entry: CatalogEntry | None) -> bytes | None:
    """Write what a record says beside its id and time; None where there is nothing."""
    return None if entry is None or entry.deleted else encode(bare(entry))


def time_of(version: Version) -> int:
    """Read the time from which a version holds."""
    return version[0]


def order_of(version: Version) -> tuple[int, str]:
    """Name what versions are ordered by: of two with one time the later id holds."""
    return version[0], version[1].id


def held_at(versions: Sequence[Version], at: int) -> CatalogEntry:
    """Find the version that holds at a time; the first one holds before its time, too.

    ``versions`` are in order (:func:`order_of`), and at least one.
    """
    place = bisect_right(versions, at, key=time_of)
    return versions[max(place - 1, 0)][1]
