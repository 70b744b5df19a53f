"""What publishing a catalog changes, and the records that make a flow's catalog just that.

A publication says what slots, actions and experiments are from a moment on (``now``): afterwards
the flow's catalog is, at every time from then on, what was asked for. A version that was to hold
later is replaced from its own time on, unless it was asked for, too. What was before ``now`` stays.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any, Final, Literal

import msgspec
from msgspec import Struct, to_builtins
from msgspec.structs import replace

from operators.logic.catalog import TOMBSTONES_KEPT, CatalogHistory
from operators.logic.catalog_versions import Identity, Version, held_at, identity_of, order_of
from schemas.bounds import ID_LENGTH
from schemas.catalog import Action, CatalogEntry, Experiment, Slot
from schemas.clock import EPOCH, micros, moment
from schemas.codec import encode

ChangeKind = Literal["added", "changed", "removed", "unchanged"]


class PublicationError(ValueError):
    """A publication would not do what was asked for; the message says why and what to do."""


class Change(Struct, frozen=True, kw_only=True):
    """What becomes of a slot, an action or an experiment at a time.

    ``at`` is the time from which it holds where that is later than now; ``before`` and ``after``
    are what is there until then and from then on, None: nothing. ``instead`` says that it takes
    the place of another version that was to hold from then on.
    """

    kind: ChangeKind
    identity: Identity
    at: int | None = None
    before: CatalogEntry | None = None
    after: CatalogEntry | None = None
    instead: bool = False


class Publication(Struct, frozen=True, kw_only=True):
    """The changes, and the records that make them, in the order in which they are to be sent.

    ``outdated`` names what has earlier versions that were asked for and are not sent: what was
    before now stays as it was.
    """

    changes: list[Change]
    records: list[CatalogEntry]
    outdated: list[Identity]


class Wanted(Struct, frozen=True, kw_only=True):
    """What one entry is to be: its versions by time, and whether theirs are times to send.

    No version: it is to be deleted.
    """

    versions: list[Version]
    own_time: bool = True


_BEGINNING: Final = -(2**62)


def plan_file(
    history: CatalogHistory,
    entries: Sequence[CatalogEntry],
    now: int,
    *,
    prune: bool = False,
    is_whole: bool = True,
) -> Publication:
    """Plan how the catalog becomes what the entries say.

    An entry has several versions where a change is to come. Of those before ``now`` the last one
    holds. A record is sent with its own time where it takes effect by that, else with ``now``.

    Parameters
    ----------
    history
        What is on the topic.
    now
        From when on the entries hold, in microseconds since 1970.
    prune
        Whether what the entries do not name is deleted.
    is_whole
        Whether the topic has all that was ever on it. Where it lost records, flows may know later
        versions than it shows, and nothing is sent with a time of its own that has passed.

    Raises
    ------
    PublicationError
        Where all that is there would be deleted.
    """
    wanted: dict[Identity, Wanted] = {}
    for identity, group in groupby(sorted(entries, key=identity_of), key=identity_of):
        versions = sorted(((micros(entry.time), entry) for entry in group), key=order_of)
        wanted[identity] = Wanted(versions=versions, own_time=is_whole)
    if prune:
        absent = history.versions.keys() - wanted.keys()
        _check_pruning(history, wanted, now)
        wanted |= {identity: Wanted(versions=[]) for identity in absent}
    return _plan(history, wanted, now)


def plan_rollback(history: CatalogHistory, earlier: CatalogHistory, at: int, now: int) -> Publication:
    """Plan how the catalog becomes, from ``now`` on, what it was at an earlier time.

    ``earlier`` is what was on the topic then: what came since is deleted, whatever time it bears.
    """
    if not any(earlier.versions.values()):
        raise PublicationError("nothing was on the topic at that time: see `banditflow catalog show`")
    wanted = {identity: Wanted(versions=[]) for identity in history.versions}
    for identity, versions in earlier.versions.items():
        wanted[identity] = Wanted(versions=[(_BEGINNING, held_at(versions, at))], own_time=False)
    return _plan(history, wanted, now)


def _check_pruning(
    history: CatalogHistory, wanted: Mapping[Identity, Wanted], now: int
) -> None:
    living = {
        identity
        for identity, versions in history.versions.items()
        if not held_at(versions, now).deleted
    }
    stay = {i for i, w in wanted.items() if not all(entry.deleted for _, entry in w.versions)}
    for kind in ("slot", ""):
        there = {identity for identity in living if identity[0].startswith(kind)}
        if there and not there & stay:
            what = f"every {kind}" if kind else "everything"
            raise PublicationError(
                f"--prune would delete {what} that there is ({len(there)}): is it the right file? "
                'Delete single ones by records with "deleted": true'
            )


def _plan(
    history: CatalogHistory, wanted: Mapping[Identity, Wanted], now: int
) -> Publication:
    changes: list[Change] = []
    records: list[CatalogEntry] = []
    outdated: list[Identity] = []
    for identity in sorted(wanted, key=_slots_first):
        there = history.versions.get(identity, ())
        made, sent = _plan_entry(identity, list(there), wanted[identity], now)
        changes += made
        records += sent
        known = {*map(order_of, there), *((micros(each.time), each.id) for each in sent)}
        past = [version for version in wanted[identity].versions if version[0] <= now]
        if any(order_of(version) not in known for version in past[:-1]):
            outdated.append(identity)
    return Publication(changes=changes, records=records, outdated=outdated)


def _slots_first(identity: Identity) -> tuple[bool, Identity]:
    return identity[0] != "slot", identity


def _plan_entry(
    identity: Identity, there: list[Version], wanted: Wanted, now: int
) -> tuple[list[Change], list[CatalogEntry]]:
    """Walk the times from now on at which what is there or what is wanted changes."""
    if not there:
        return _plan_new(identity, wanted, now)
    anchor = held_at(there, now)
    is_anchored = there[0][0] > now
    if is_anchored:  # it holds before its time: until something comes between the two
        anchor = replace(anchor, time=moment(now))
        there.insert(0, (now, anchor))
    later = {at for at, _ in (*there, *wanted.versions) if at > now}
    planned, wanted_times = {at for at, _ in there}, {at for at, _ in wanted.versions}
    changes: list[Change] = []
    records: list[CatalogEntry] = []
    before = held_at(there, now)
    for at in sorted({now, *later}):
        scheduled = held_at(there, at)
        target = _wanted_at(wanted, at, scheduled)
        if content_of(scheduled) != content_of(target):
            record = _placed(there, target or scheduled, at, wanted, now, delete=target is None)
            there = sorted([*there, (micros(record.time), record)], key=order_of)
            records.append(record)
            is_instead = at > now and at in planned and at not in wanted_times
            compared = scheduled if is_instead else before
            changes.append(_change(identity, at, now, compared, target, is_instead))
        before = held_at(there, at)
    held = held_at(there, now)
    if records and is_anchored and held is anchor:
        records.insert(0, anchor)
    elif records and held.deleted and micros(held.time) + TOMBSTONES_KEPT <= now:
        # Flows may have forgotten that: what comes later must not be the first that they know.
        records.insert(0, _deletion(held, now, held.id))
    if not changes:
        entry = None if held.deleted else held
        changes.append(Change(kind="unchanged", identity=identity, before=entry, after=entry))
    return changes, records


def _plan_new(
    identity: Identity, wanted: Wanted, now: int
) -> tuple[list[Change], list[CatalogEntry]]:
    """Send all versions as they are: the first one holds before its time, for older logs.

    Where the first one is yet to come, a deletion goes before it, so that it does not hold already.
    """
    records = [entry for _, entry in wanted.versions]
    past = [entry for at, entry in wanted.versions if at <= now]
    if all(entry.deleted for entry in [*past[-1:], *records[len(past) :]]):
        if wanted.own_time:
            return [Change(kind="unchanged", identity=identity)], []
        deletion = _deletion(records[-1], now, records[-1].id)
        return [Change(kind="removed", identity=identity, before=deletion)], [deletion]
    first_at, first = wanted.versions[0]
    changes: list[Change] = []
    before: CatalogEntry | None = None
    if first_at > now:
        records.insert(0, _deletion(first, now, first.id))
    else:
        before = past[-1]
        if not wanted.own_time:
            records = [replace(before, time=moment(now)), *records[len(past) :]]
        if not before.deleted:
            changes.append(_change(identity, now, now, None, before, instead=False))
    for at, entry in wanted.versions[len(past) :]:
        if content_of(before) != content_of(entry):
            changes.append(_change(identity, at, now, before, entry, instead=False))
        before = entry
    return changes, records


def _wanted_at(
    wanted: Wanted, at: int, otherwise: CatalogEntry
) -> CatalogEntry | None:
    """Find what is wanted at a time: what is there, until the first version that is wanted."""
    if not wanted.versions:
        return None
    return otherwise if wanted.versions[0][0] > at else held_at(wanted.versions, at)


def _change(
    identity: Identity,
    at: int,
    now: int,
    before: CatalogEntry | None,
    after: CatalogEntry | None,
    instead: bool,
) -> Change:
    was, is_ = (None if entry is None or entry.deleted else entry for entry in (before, after))
    kind: ChangeKind = "added" if was is None else "removed" if is_ is None else "changed"
    return Change(
        kind=kind,
        identity=identity,
        at=at if at > now else None,
        before=was,
        after=is_,
        instead=instead,
    )


def _placed(
    there: Sequence[Version],
    entry: CatalogEntry,
    at: int,
    wanted: Wanted,
    now: int,
    *,
    delete: bool,
) -> CatalogEntry:
    """Give an entry the time and id by which it holds from ``at`` on."""
    own = micros(entry.time)
    last = max((order_of(version) for version in there if version[0] <= now), default=(own, ""))
    if wanted.own_time and not delete and own <= now == at and last < (own, entry.id):
        return entry
    rivals = [version.id for time, version in there if time == at]
    name = entry.id if not rivals or max(rivals) < entry.id else f"{max(rivals)}+"
    if len(name) > ID_LENGTH:
        raise PublicationError(
            f"{' '.join(identity_of(entry))}: the record that holds from {moment(at).isoformat()} on "
            "has an id as long as may be, and none comes after it: wait until then"
        )
    if delete:
        return _deletion(entry, at, name)
    return replace(entry, id=name, time=moment(at))


def _deletion(entry: CatalogEntry, at: int, name: str) -> CatalogEntry:
    """Make the record that deletes an entry; it repeats nothing of it."""
    time = moment(at)
    match entry:
        case Slot():
            return Slot(id=name, time=time, slot_id=entry.slot_id, deleted=True)
        case Action():
            return Action(id=name, time=time, action_id=entry.action_id, slots=[], deleted=True)
        case Experiment():
            return Experiment(
                id=name,
                time=time,
                experiment_id=entry.experiment_id,
                slot_id=entry.slot_id,
                deleted=True,
            )


def content_of(entry: CatalogEntry | None) -> bytes | None:
    """Write what a record says beside its id and time; None where there is nothing."""
    if entry is None or entry.deleted:
        return None
    return encode(replace(entry, id="", time=EPOCH))


def changed_fields(before: CatalogEntry, after: CatalogEntry) -> dict[str, tuple[Any, Any]]:
    """Name the fields that differ, with their values: of what is nested, those in it.

    >>> from schemas.catalog import PolicySettings
    >>> slot = Slot(id="1", time=EPOCH, slot_id="home")
    >>> greedy = PolicySettings(kind="greedy")
    >>> changed_fields(slot, replace(slot, id="2", policy=greedy, floor=0.1))
    {'policy.kind': ('beta', 'greedy'), 'floor': (0.0, 0.1)}
    """
    left, right = (to_builtins(replace(entry, id="", time=EPOCH)) for entry in (before, after))
    return dict(_differences("", left, right))


def _differences(path: str, left: Any, right: Any) -> Iterator[tuple[str, tuple[Any, Any]]]:
    if isinstance(left, dict) and isinstance(right, dict) and list(left) == list(right):
        for name in left:
            yield from _differences(f"{path}.{name}" if path else name, left[name], right[name])
    elif msgspec.json.encode(left) != msgspec.json.encode(right):
        yield path, (left, right)


def timeline(history: CatalogHistory, now: int) -> Iterable[CatalogEntry]:
    """List what holds now and what is to hold later, so that publishing it changes nothing."""
    for identity in sorted(history.versions, key=_slots_first):
        versions = history.versions[identity]
        rest = [held_at(versions, now), *(entry for at, entry in versions if at > now)]
        rest = rest[1:] if len(rest) > 1 and rest[0] is rest[1] else rest
        if not all(entry.deleted for entry in rest):
            yield from rest


def held_entries(history: CatalogHistory, at: int) -> Iterable[CatalogEntry]:
    """List what held at a time."""
    for identity in sorted(history.versions, key=_slots_first):
        entry = held_at(history.versions[identity], at)
        if not entry.deleted:
            yield entry


def keep_neighbours(
    entries: Iterable[CatalogEntry], history: CatalogHistory
) -> list[CatalogEntry]:
    """Give actions that name no neighbours those they have, where their embedding is the same.

    They were computed when the action was published, from its embedding and from what was there.
    """
    return [
        replace(entry, neighbours=known.neighbours)
        if isinstance(entry, Action) and (known := _alike(entry, history)) is not None
        else entry
        for entry in entries
    ]


def _alike(action: Action, history: CatalogHistory) -> Action | None:
    if action.embedding is None or action.neighbours or action.deleted:
        return None
    for _, known in reversed(history.versions.get(identity_of(action), ())):
        if isinstance(known, Action) and known.neighbours and known.embedding == action.embedding:
            return known
    return None
