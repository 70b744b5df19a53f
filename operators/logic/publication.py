"""What publishing a catalog changes, and the records that make a flow's catalog just that.

A publication says what slots, actions and experiments are from a moment on (``now``): afterwards
the flow's catalog is, at every time from then on, what was asked for. What was before stays.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import groupby
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from operators.logic.catalog import CatalogHistory
from operators.logic.catalog_contents import slots_first, timeline
from operators.logic.catalog_versions import Identity, held_at, identity_of, order_of
from operators.logic.entry_publication import Change, PublicationError, Wanted, plan_entry
from schemas.catalog import CatalogEntry
from schemas.clock import micros


class Publication(Struct, frozen=True, kw_only=True):
    """The changes, and the records that make them, in the order in which they are to be sent.

    ``repeated`` are records that hold already and are to be sent again. ``outdated`` names what has
    earlier versions that were asked for and are not sent: what was before now stays as it was.
    ``not_named`` counts what is there, or is to be, and is not asked about: it stays.
    """

    changes: list[Change]
    records: list[CatalogEntry]
    outdated: list[Identity]
    repeated: list[CatalogEntry] = []
    not_named: int = 0


_BEGINNING: Final = -(2**62)


def plan_file(
    history: CatalogHistory,
    entries: Sequence[CatalogEntry],
    now: int,
    *,
    prune: bool = False,
    again: bool = False,
    is_whole: bool = True,
) -> Publication:
    """Plan how the catalog becomes what the entries say.

    An entry has several versions where a change is to come. Of those before ``now`` the last one
    holds, and is sent with the time ``now``; only what is not there at all yet is sent with times
    of its own that have passed.

    Parameters
    ----------
    history
        What is on the topic.
    now
        From when on the entries hold, in microseconds since 1970.
    prune
        Whether what the entries do not name is deleted.
    again
        Whether what holds already is sent again, where a broker would delete it for its age.
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
    there = {identity_of(entry) for entry in timeline(history, now)}
    publication = replace(_plan(history, wanted, now), not_named=len(there.difference(wanted)))
    if not again:
        return publication
    return replace(publication, repeated=list(_repeated(history, publication, wanted, now)))


def _repeated(
    history: CatalogHistory, publication: Publication, wanted: Collection[Identity], now: int
) -> Iterator[CatalogEntry]:
    """List what holds, now or later, and is not sent as a change."""
    after = CatalogHistory(history.state())
    for entry in publication.records:
        after.add(entry)
    for entry in timeline(after, now):
        if identity_of(entry) in wanted and entry not in publication.records:
            yield entry


def plan_rollback(history: CatalogHistory, earlier: CatalogHistory, now: int) -> Publication:
    """Plan how the catalog becomes, from ``now`` on, what it would be without what came since.

    ``earlier`` is what was on the topic at the time to go back to: what came since is deleted,
    whatever time it bears; what had been on it for a later time holds from that time on.
    """
    if not any(earlier.versions.values()):
        raise PublicationError(
            "nothing was on the topic at that time: see `banditflow catalog show`"
        )
    wanted = {identity: Wanted(versions=[]) for identity in history.versions}
    for identity, versions in earlier.versions.items():
        later = [version for version in versions if version[0] > now]
        held = held_at(versions, now)
        wanted[identity] = Wanted(versions=[(_BEGINNING, held), *later], own_time=False)
    return _plan(history, wanted, now)


def _check_pruning(history: CatalogHistory, wanted: Mapping[Identity, Wanted], now: int) -> None:
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


def _plan(history: CatalogHistory, wanted: Mapping[Identity, Wanted], now: int) -> Publication:
    changes: list[Change] = []
    records: list[CatalogEntry] = []
    outdated: list[Identity] = []
    for identity in sorted(wanted, key=slots_first):
        there = history.versions.get(identity, ())
        made, sent = plan_entry(identity, list(there), wanted[identity], now)
        changes += made
        records += sent
        known = {*map(order_of, there), *((micros(each.time), each.id) for each in sent)}
        past = [version for version in wanted[identity].versions if version[0] <= now]
        if any(order_of(version) not in known for version in past[:-1]):
            outdated.append(identity)
    return Publication(changes=changes, records=records, outdated=outdated)
