"""The catalog as it stood at a moment of event time."""

from bisect import bisect_left, bisect_right
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from heapq import heappop, heappush
from itertools import chain, pairwise
from typing import Final

from msgspec import Struct

from operators.envelope import Batch
from operators.logic.catalog_versions import (
    Identity,
    Version,
    content_of,
    held_at,
    identity_of,
    order_of,
    time_of,
)
from operators.logic.experiments.arms import can_divide
from operators.logic.experiments.layers import flaw_of_range
from operators.logic.experiments.succession import flaw_of_succession
from operators.logic.policy_memory import most_actions
from operators.logic.stale_versions import ForgottenVersions, is_stale
from schemas.bounds import CATALOG_BYTES
from schemas.catalog import Action, CatalogEntry, Experiment, Slot
from schemas.clock import micros
from schemas.codec import encode


@dataclass(frozen=True, slots=True)
class Catalog:
    """The slots and the enabled actions of each, ordered by id; ``revision`` tells two apart.

    Of more actions than a slot's policy has memory for, those that came first are among them; the
    others are ``not_shown``. ``known_actions`` are the ids that it has a record of, disabled and
    deleted ones included; it is empty where no slot takes candidates from requests. ``dividing``
    are the experiments, no drafts, that say who gets what in each slot that has any: its own, and
    those of other slots that share a layer with them. In one process two catalogs have the same
    revision where they are made of the same records.
    """

    slots: Mapping[str, Slot] = field(default_factory=dict)
    actions: Mapping[str, tuple[Action, ...]] = field(default_factory=dict)
    experiments: Mapping[str, Experiment] = field(default_factory=dict)
    revision: int = 0
    not_shown: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    known_actions: frozenset[str] = frozenset()
    dividing: Mapping[str, tuple[Experiment, ...]] = field(default_factory=dict)


NO_CATALOG = Catalog()

TOMBSTONES_KEPT: Final = 86_400_000_000
"""So many microseconds after its deletion an entry's id is one that was never heard of."""

_FAR: Final = 2**63


_RECORD = 1024
"""Bytes that a record counts for beside its JSON: what it takes in memory."""


class CatalogState(Struct):
    """What a snapshot keeps: the versions of every entry that may still hold, by time.

    ``forgotten`` are the marks of those that no longer may.
    """

    entries: list[CatalogEntry] = []
    forgotten: bytes = b""


class CatalogHistory:
    """The versions of every catalog entry, and the catalog that holds at a given time.

    An entry holds from its time on; before the time of its first version the first one holds, so
    that a log older than its catalog can be replayed. Taking in n records and asking for a catalog
    costs O(n log n). Versions that no event can ask for any more are forgotten (:meth:`forget`).

    >>> from datetime import UTC, datetime
    >>> history = CatalogHistory()
    >>> history.add(Slot(id="1", time=datetime(2026, 1, 1, tzinfo=UTC), slot_id="home"))
    True
    >>> sorted(history.as_of(0).slots)
    ['home']
    """

    def __init__(self, state: CatalogState | None = None) -> None:
        self._versions: dict[Identity, list[Version]] = {}
        self._times: list[int] = []
        self._times_sorted = True
        self._current: Catalog | None = None
        self._until = 0
        self._from = 0
        # When versions take over from those before them, and when tombstones may go: a heap.
        self._due: list[tuple[int, Identity]] = []
        self._longest = 0.0
        self._sizes: dict[Identity, int] = {}
        self._size = 0
        self._forgotten = ForgottenVersions(state.forgotten if state else b"")
        for entry in state.entries if state else []:
            self._take(entry, had_room=True)

    def add(self, entry: CatalogEntry) -> bool:
        """Take in a version of an entry; the same record again changes nothing.

        False, and the version is left out, where the catalog has no room for it: more than
        CATALOG_BYTES of records, the last version that came of each entry counted; or where it is
        of an experiment and cannot be beside what is known (:meth:`flaw_beside`). There is always
        room for what takes away: a smaller version, and one that disables or deletes, also an id
        that was not known: a slot that takes candidates from requests would go on showing it.
        """
        return self.flaw_beside(entry) is None and self._take(entry, had_room=False)

    def _take(self, entry: CatalogEntry, *, had_room: bool) -> bool:
        at = micros(entry.time)
        identity = identity_of(entry)
        versions = self._versions.get(identity, [])
        place = bisect_left(versions, (at, entry.id), key=order_of)
        if place < len(versions) and order_of(versions[place]) == (at, entry.id):
            return True
        before, size = self._sizes.get(identity, 0), _RECORD + len(encode(entry))
        takes_away = size <= before or not _is_on(entry)
        if not (had_room or takes_away or self._size + size - before <= CATALOG_BYTES):
            return False
        self._size += size - before
        self._sizes[identity] = size
        self._versions[identity] = versions
        versions.insert(place, (at, entry))
        if isinstance(entry, Slot):
            self._longest = max(self._longest, entry.reward_window)
        if len(versions) > 1 or entry.deleted:
            heappush(self._due, (versions[min(max(place, 1), len(versions) - 1)][0], identity))
        if len(versions) > 1:  # the first version holds before its time, too: it changes nothing
            self._times.append(versions[max(place, 1)][0])
            self._times_sorted = False
        self._current = None
        return True

    def conflicts(self, entry: CatalogEntry) -> bool:
        """Tell whether a version with the time and id of this one says something else.

        Of the two the one that came first holds: that of the other cannot be told to be newer.
        """
        versions = self._versions.get(identity_of(entry), [])
        order = (micros(entry.time), entry.id)
        place = bisect_left(versions, order, key=order_of)
        if place == len(versions) or order_of(versions[place]) != order:
            return False
        return content_of(versions[place][1]) != content_of(entry)

    def flaw_beside(self, entry: CatalogEntry) -> tuple[str, str] | None:
        """Say why an experiment's record cannot be, beside those that are known; None where it can.

        The field, and why: what has run keeps what divides it, and two experiments do not have the
        same buckets of a layer. A record that is here already can be.
        """
        if not isinstance(entry, Experiment) or entry.deleted:
            return None
        at = micros(entry.time)
        versions = self._versions.get(identity_of(entry), [])
        place = bisect_left(versions, (at, entry.id), key=order_of)
        around = [entry for _, entry in versions[max(place - 1, 0) : place + 1]]
        if any(each.id == entry.id and each.time == entry.time for each in around):
            return None
        in_order = [*around[: min(place, 1)], entry, *around[min(place, 1) :]]
        for before, after in pairwise(in_order):
            assert isinstance(before, Experiment)
            assert isinstance(after, Experiment)
            if flaw := flaw_of_succession(before, after):
                return flaw
        if entry.layer is None:
            return None
        held = (held_at(each, at) for each in self._versions.values())
        return flaw_of_range(entry, (each for each in held if isinstance(each, Experiment)))

    def is_stale(self, entry: CatalogEntry, appended: int) -> bool:
        """Tell whether a new version that was appended at this time comes too late to hold.

        One that is here already, or was until it was forgotten, is the same record again.
        """
        versions = self._versions.get(identity_of(entry), ())
        return is_stale(versions, entry, appended) and entry not in self._forgotten

    @property
    def versions(self) -> Mapping[Identity, Sequence[Version]]:
        """The versions of every entry, by time; of those with one time the last one holds."""
        return self._versions

    def as_of(self, at: int) -> Catalog:
        """Give the catalog that holds at ``at`` (microseconds since 1970)."""
        if self._current is None or not self._from <= at < self._until:
            times = self._change_times()
            place = bisect_right(times, at)
            self._from = times[place - 1] if place else -(2**63)
            self._until = times[place] if place < len(times) else _FAR
            self._current = self._build(at)
        return self._current

    def next_change(self, after: int) -> int | None:
        """Give the first time later than ``after`` at which the catalog changes."""
        times = self._change_times()
        place = bisect_right(times, after)
        return times[place] if place < len(times) else None

    @property
    def longest_window(self) -> int:
        """The longest reward window of any version of a slot, in microseconds."""
        return round(self._longest * 1e6)

    @property
    def due(self) -> int:
        """The earliest time that :meth:`forget` has something to do for."""
        return self._due[0][0] if self._due else _FAR

    def forget(self, before: int) -> None:
        """Drop the versions that hold only before this time, and ids deleted for long enough.

        What holds at this time or later stays the same; for an earlier one it is from now on the
        catalog of this time. An id that was deleted :data:`TOMBSTONES_KEPT` ago is forgotten: it is
        new when it comes again, and its first version holds before its time, too.
        """
        if self.due > before:
            return
        fewer_slots = False
        while self.due <= before:
            _, identity = heappop(self._due)
            versions = self._versions.get(identity)
            if versions is None:
                continue
            holds = max(bisect_right(versions, before, key=time_of) - 1, 0)
            fewer_slots |= holds > 0 and isinstance(versions[0][1], Slot)
            for _, passed in versions[:holds]:
                self._forgotten.note(passed)
            del versions[:holds]
            at, entry = versions[0]
            if len(versions) == 1 and entry.deleted:
                if at + TOMBSTONES_KEPT <= before:
                    del self._versions[identity]
                    self._size -= self._sizes.pop(identity)
                    self._current = None
                else:
                    heappush(self._due, (at + TOMBSTONES_KEPT, identity))
        times = self._change_times()
        del times[: bisect_right(times, before)]
        if self._until <= before:
            self._current = None
        if fewer_slots:
            windows = (e.reward_window for _, e in self._every_version() if isinstance(e, Slot))
            self._longest = max(windows, default=0.0)

    def state(self) -> CatalogState:
        """Give what a snapshot keeps."""
        entries = [entry for _, entry in self._every_version()]
        return CatalogState(entries, self._forgotten.state())

    def _every_version(self) -> Iterator[Version]:
        return chain.from_iterable(self._versions.values())

    def _change_times(self) -> list[int]:
        """Sort the times at which a later version of an entry takes over."""
        if not self._times_sorted:
            self._times.sort()
            self._times_sorted = True
        return self._times

    def _build(self, at: int) -> Catalog:
        held = [held_at(versions, at) for versions in self._versions.values()]
        entries = [entry for entry in held if not entry.deleted]
        slots = {entry.slot_id: entry for entry in entries if isinstance(entry, Slot)}
        experiments = {e.experiment_id: e for e in entries if isinstance(e, Experiment)}
        enabled = [entry for entry in entries if isinstance(entry, Action) and _is_on(entry)]
        by_slot: dict[str, list[Action]] = {name: [] for name in slots}
        for action in sorted(enabled, key=lambda action: action.action_id):
            for name in dict.fromkeys(action.slots):
                if name in by_slot:
                    by_slot[name].append(action)
        not_shown = _without_room(slots, by_slot, enabled)
        actions = {name: tuple(listed) for name, listed in by_slot.items()}
        # Not a count of our own: requests of several shards are decided together by it.
        made_of = frozenset((*identity_of(entry), entry.id, entry.time) for entry in held)
        revision = hash((made_of, *sorted(not_shown.items())))
        known: frozenset[str] = frozenset()
        if any(slot.candidates == "request" for slot in slots.values()):
            known = frozenset(entry.action_id for entry in held if isinstance(entry, Action))
        dividing = dict(_dividing(slots, experiments.values()))
        return Catalog(slots, actions, experiments, revision, not_shown, known, dividing)


@dataclass(slots=True)
class CatalogedBatch(Batch):
    """A batch with the catalog that holds for all of its events.

    ``history`` is its shard's, which goes on with what the shard hears: it gives what is decided
    later than its batch the catalog of its time. It is read only; a shard's steps are on one
    worker.
    """

    catalog: Catalog = NO_CATALOG
    history: CatalogHistory | None = None


def _without_room(
    slots: Mapping[str, Slot], by_slot: dict[str, list[Action]], arrived: Sequence[Action]
) -> dict[str, tuple[str, ...]]:
    """Take out of each slot the actions that came after as many as it may have; name them."""
    without: dict[str, tuple[str, ...]] = {}
    for name, listed in by_slot.items():
        most = most_actions(slots[name])
        if len(listed) > most:
            here = {action.action_id for action in listed}
            order = [action.action_id for action in arrived if action.action_id in here]
            without[name] = tuple(sorted(order[most:]))
            late = set(without[name])
            by_slot[name] = [action for action in listed if action.action_id not in late]
    return without


def _dividing(
    slots: Mapping[str, Slot], experiments: Collection[Experiment]
) -> Iterator[tuple[str, tuple[Experiment, ...]]]:
    """Give the experiments that matter to each slot that has one which is no draft."""
    begun = [each for each in experiments if each.state != "draft" and can_divide(each)]
    for name in {each.slot_id for each in begun}.intersection(slots):
        layers = {each.layer.layer_id for each in begun if each.slot_id == name and each.layer}
        yield (
            name,
            tuple(
                each
                for each in begun
                if each.slot_id == name or (each.layer and each.layer.layer_id in layers)
            ),
        )


def _is_on(entry: CatalogEntry) -> bool:
    """Tell whether an entry is neither deleted nor, where it can be, disabled."""
    return not entry.deleted and (isinstance(entry, Slot) or entry.enabled)
