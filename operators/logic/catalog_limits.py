"""Which records a catalog takes, and how many actions a slot: what is left out is named."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from operators.logic.catalog import Catalog, CatalogHistory
from operators.logic.policy_memory import in_words
from schemas.bounds import CATALOG_BYTES
from schemas.catalog import Action, CatalogEntry, Slot
from schemas.codec import Flaw

AT_LAST = 2**62
"""A time after every record's."""


class LeftOut(NamedTuple):
    """The place of an entry among those given, and why the catalog is without it, or a part."""

    place: int
    flaw: Flaw


def take_in(
    history: CatalogHistory, entries: Sequence[CatalogEntry], appended: Sequence[int] = ()
) -> list[LeftOut]:
    """Add entries to the history; name those that it cannot take, or has no room for.

    An entry beyond the bytes of a catalog is not taken in, nor one with the time and id of another
    that says something else, nor an experiment's that cannot be beside what is known. An action
    that came to a slot after as many as the slot's policy has
    memory for is, but is not shown there (:class:`Catalog`); which ones is said for the catalog as
    it will be after all that is known. Where ``appended`` says when each entry came, one that came
    too late to hold is named, too; it is taken in, since what was before is judged by it.

    >>> from schemas.clock import moment
    >>> take_in(CatalogHistory(), [Slot(id="1", time=moment(0), slot_id="home")])
    []
    """
    left_out = []
    for place, entry in enumerate(entries):
        is_stale = bool(appended) and history.is_stale(entry, appended[place])
        if history.conflicts(entry):
            left_out.append(LeftOut(place, _CONFLICT))
        elif flaw := history.flaw_beside(entry):
            left_out.append(LeftOut(place, Flaw("invalid_value", *flaw)))
        elif not history.add(entry):
            left_out.append(LeftOut(place, _FULL))
        elif is_stale:
            left_out.append(LeftOut(place, _STALE))
    named = {each.place for each in left_out}
    not_shown = _not_shown(history.as_of(AT_LAST), entries)
    return left_out + [each for each in not_shown if each.place not in named]


_CONFLICT = Flaw(
    "conflicting_version",
    "time",
    "another record with this id and time says something else, and holds: a change needs a time of "
    "its own",
)
_STALE = Flaw(
    "stale_version",
    "time",
    "a record that came before it says something else from a later time on, or from the same time "
    "with a later id, and holds: a change needs a time later than that",
)
_FULL = Flaw("invalid_value", None, f"the catalog has {in_words(CATALOG_BYTES)} of records already")


def _not_shown(catalog: Catalog, entries: Sequence[CatalogEntry]) -> Iterator[LeftOut]:
    if not catalog.not_shown:
        return
    where: dict[str, str] = {}
    for slot_id, action_ids in catalog.not_shown.items():
        for action_id in action_ids:
            where.setdefault(action_id, slot_id)
    for place, entry in enumerate(entries):
        if isinstance(entry, Action) and entry.action_id in where:
            slot_id = where[entry.action_id]
            shown = len(catalog.actions[slot_id])
            detail = f"slot {slot_id!r} has {shown:,} actions already: this one is not shown there"
            yield LeftOut(place, Flaw("invalid_value", "slots", detail))
        elif isinstance(entry, Slot) and entry.slot_id in catalog.not_shown:
            shown, more = len(catalog.actions[entry.slot_id]), len(catalog.not_shown[entry.slot_id])
            detail = f"its policy has memory for {shown:,} actions: {more:,} more are not shown"
            yield LeftOut(place, Flaw("invalid_value", "policy", detail))
