"""What publishing changes of one catalog entry, and the records that make it so.

From ``now`` on the entry is to be what is wanted. Each time at which what is there or what is
wanted changes is looked at, earliest first; where the two differ, a record is placed at that time
so that it holds over what is there. So a version that was to hold later is replaced at its own
time, unless it is wanted, too. A record's own time that has passed counts only where nothing is
there: what was before ``now`` stays as it was.
"""

from collections.abc import Sequence
from typing import Literal

from msgspec import Struct
from msgspec.structs import replace

from operators.logic.catalog import TOMBSTONES_KEPT
from operators.logic.catalog_versions import (
    Identity,
    Version,
    content_of,
    held_at,
    identity_of,
    order_of,
)
from operators.logic.slot_policy import policy_family, policy_shape
from schemas.bounds import ID_LENGTH
from schemas.catalog import Action, CatalogEntry, Experiment, Slot
from schemas.clock import micros, moment

ChangeKind = Literal["added", "changed", "removed", "unchanged"]


class PublicationError(ValueError):
    """A publication would not do what was asked for; the message says why and what to do."""


class Change(Struct, frozen=True, kw_only=True):
    """What becomes of a slot, an action or an experiment at a time.

    ``at`` is the time from which it holds where that is later than now; ``before`` and ``after``
    are what is there until then and from then on, None: nothing. ``instead`` says that it takes
    the place of another version that was to hold from then on. ``begins_anew`` says that a slot
    loses what its policy has learned until then, ``begins_view`` that what it has learned decides
    until the policy has learned enough under its new settings.
    """

    kind: ChangeKind
    identity: Identity
    at: int | None = None
    before: CatalogEntry | None = None
    after: CatalogEntry | None = None
    instead: bool = False
    begins_anew: bool = False
    begins_view: bool = False


class Wanted(Struct, frozen=True, kw_only=True):
    """What one entry is to be: its versions by time; none: it is to be deleted.

    ``own_time`` says whether what is new is sent with a time of its own that has passed.
    """

    versions: list[Version]
    own_time: bool = True


def plan_entry(
    identity: Identity, there: list[Version], wanted: Wanted, now: int
) -> tuple[list[Change], list[CatalogEntry]]:
    """Plan the records that make of an entry what is wanted; ``there`` are its versions."""
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
            record = _placed(there, target or scheduled, at, delete=target is None)
            there = sorted([*there, (micros(record.time), record)], key=order_of)
            records.append(record)
            is_instead = at > now and at in planned and at not in wanted_times
            compared = scheduled if is_instead else before
            change = _change(identity, at, now, compared, target, is_instead)
            changes.append(_with_beginning(change, before, target))
        before = held_at(there, at)
    held = held_at(there, now)
    if records and is_anchored:
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
            change = _change(identity, at, now, before, entry, instead=False)
            changes.append(_with_beginning(change, before, entry))
        before = entry
    return changes, records


def _wanted_at(wanted: Wanted, at: int, otherwise: CatalogEntry) -> CatalogEntry | None:
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


def _with_beginning(
    change: Change, before: CatalogEntry | None, after: CatalogEntry | None
) -> Change:
    """Say whether a slot's learner leaves, or is to leave, what it has learned."""
    match before, after:
        case Slot(deleted=False), Slot(deleted=False):
            begins_anew = policy_family(before) != policy_family(after)
            begins_view = not begins_anew and policy_shape(before) != policy_shape(after)
            return replace(change, begins_anew=begins_anew, begins_view=begins_view)
    return change


def _placed(
    there: Sequence[Version], entry: CatalogEntry, at: int, *, delete: bool
) -> CatalogEntry:
    """Give an entry the time and id by which it holds from ``at`` on, and not before."""
    rivals = [version.id for time, version in there if time == at]
    name = entry.id if not rivals or max(rivals) < entry.id else f"{max(rivals)}+"
    if len(name) > ID_LENGTH:
        raise PublicationError(
            f"{' '.join(identity_of(entry))}: the record that holds from {moment(at).isoformat()} "
            "on has an id as long as may be, and none comes after it: wait until then"
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
