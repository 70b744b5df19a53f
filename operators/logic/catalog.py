"""The catalog as it stood at a moment of event time."""

from bisect import bisect_left, bisect_right
from collections.abc import Mapping
from dataclasses import dataclass, field

from msgspec import Struct

from operators.envelope import Batch
from schemas.catalog import Action, CatalogEntry, Experiment, Slot
from schemas.clock import micros


@dataclass(frozen=True, slots=True)
class Catalog:
    """The slots and the enabled actions of each, ordered by id; ``revision`` tells two apart."""

    slots: Mapping[str, Slot] = field(default_factory=dict)
    actions: Mapping[str, tuple[Action, ...]] = field(default_factory=dict)
    experiments: Mapping[str, Experiment] = field(default_factory=dict)
    revision: int = 0


NO_CATALOG = Catalog()


@dataclass(slots=True)
class CatalogedBatch(Batch):
    """A batch with the catalog that holds for all of its events."""

    catalog: Catalog = NO_CATALOG


class CatalogState(Struct):
    """What a snapshot keeps: every version of every entry, by time."""

    entries: list[CatalogEntry] = []


_Version = tuple[int, CatalogEntry]
"""A version of an entry, and the time from which it holds."""


class CatalogHistory:
    """Every version of every catalog entry, and the catalog that holds at a given time.

    An entry holds from its time on; before the time of its first version the first one holds, so
    that a log older than its catalog can be replayed. Taking in n records and asking for a catalog
    costs O(n log n).

    >>> from datetime import UTC, datetime
    >>> history = CatalogHistory()
    >>> history.add(Slot(id="1", time=datetime(2026, 1, 1, tzinfo=UTC), slot_id="home"))
    >>> sorted(history.as_of(0).slots)
    ['home']
    """

    def __init__(self, state: CatalogState | None = None) -> None:
        self._versions: dict[tuple[str, str], list[_Version]] = {}
        self._times: list[int] = []
        self._times_sorted = True
        self._revision = 0
        self._current: Catalog | None = None
        self._until = 0
        self._from = 0
        for entry in state.entries if state else []:
            self.add(entry)

    def add(self, entry: CatalogEntry) -> None:
        """Take in a version of an entry; the same record again changes nothing."""
        at = micros(entry.time)
        versions = self._versions.setdefault(_identity(entry), [])
        place = bisect_left(versions, (at, entry.id), key=_order)
        if place < len(versions) and _order(versions[place]) == (at, entry.id):
            return
        versions.insert(place, (at, entry))
        if len(versions) > 1:  # the first version holds before its time, too: it changes nothing
            self._times.append(versions[max(place, 1)][0])
            self._times_sorted = False
        self._current = None

    def as_of(self, at: int) -> Catalog:
        """Give the catalog that holds at ``at`` (microseconds since 1970)."""
        if self._current is None or not self._from <= at < self._until:
            times = self._change_times()
            place = bisect_right(times, at)
            self._from = times[place - 1] if place else -(2**63)
            self._until = times[place] if place < len(times) else 2**63
            self._revision += 1
            self._current = self._build(at)
        return self._current

    def next_change(self, after: int) -> int | None:
        """Give the first time later than ``after`` at which the catalog changes."""
        times = self._change_times()
        place = bisect_right(times, after)
        return times[place] if place < len(times) else None

    def state(self) -> CatalogState:
        """Give what a snapshot keeps."""
        return CatalogState([entry for kept in self._versions.values() for _, entry in kept])

    def _change_times(self) -> list[int]:
        """Give the times at which a later version of an entry takes over, sorted."""
        if not self._times_sorted:
            self._times.sort()
            self._times_sorted = True
        return self._times

    def _build(self, at: int) -> Catalog:
        held = (_held(versions, at) for versions in self._versions.values())
        entries = [entry for entry in held if not entry.deleted]
        slots = {entry.slot_id: entry for entry in entries if isinstance(entry, Slot)}
        experiments = {e.experiment_id: e for e in entries if isinstance(e, Experiment)}
        enabled = [entry for entry in entries if isinstance(entry, Action) and entry.enabled]
        by_slot: dict[str, list[Action]] = {name: [] for name in slots}
        for action in sorted(enabled, key=lambda action: action.action_id):
            for name in dict.fromkeys(action.slots):
                if name in by_slot:
                    by_slot[name].append(action)
        actions = {name: tuple(listed) for name, listed in by_slot.items()}
        return Catalog(slots, actions, experiments, self._revision)


def _order(version: _Version) -> tuple[int, str]:
    """Give what versions are ordered by: of two with one time the later id holds."""
    return version[0], version[1].id


def _identity(entry: CatalogEntry) -> tuple[str, str]:
    match entry:
        case Slot():
            return ("slot", entry.slot_id)
        case Action():
            return ("action", entry.action_id)
        case Experiment():
            return ("experiment", entry.experiment_id)


def _held(versions: list[_Version], at: int) -> CatalogEntry:
    place = bisect_right(versions, at, key=lambda version: version[0])
    return versions[max(place - 1, 0)][1]
