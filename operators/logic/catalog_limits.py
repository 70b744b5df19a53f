"""How many records a catalog takes, and how many actions a slot: what has no room is named."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from operators.logic.catalog import Catalog, CatalogHistory
from operators.logic.policy_memory import in_words
from schemas.bounds import CATALOG_BYTES
from schemas.catalog import Action, CatalogEntry, Slot
from schemas.codec import Flaw

_AT_LAST = 2**62
"""A time after every record's."""


class NoRoom(NamedTuple):
    """The place of an entry among those given, and what there is no room for."""

    place: int
    flaw: Flaw


def take_in(history: CatalogHistory, entries: Sequence[CatalogEntry]) -> list[NoRoom]:
    """Add entries to the history; name those for which it has no room.

    An entry beyond the bytes of a catalog is not taken in. An action that came to a slot after as
    many as the slot's policy has memory for is, but is not shown there (:class:`Catalog`); which
    ones is said for the catalog as it will be after all that is known.

    >>> from schemas.clock import moment
    >>> take_in(CatalogHistory(), [Slot(id="1", time=moment(0), slot_id="home")])
    []
    """
    full = [NoRoom(place, _FULL) for place, entry in enumerate(entries) if not history.add(entry)]
    return full + list(_not_shown(history.as_of(_AT_LAST), entries))


_FULL = Flaw("invalid_value", None, f"the catalog has {in_words(CATALOG_BYTES)} of records already")


def _not_shown(catalog: Catalog, entries: Sequence[CatalogEntry]) -> Iterator[NoRoom]:
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
            yield NoRoom(place, Flaw("invalid_value", "slots", detail))
        elif isinstance(entry, Slot) and entry.slot_id in catalog.not_shown:
            shown, more = len(catalog.actions[entry.slot_id]), len(catalog.not_shown[entry.slot_id])
            detail = f"its policy has memory for {shown:,} actions: {more:,} more are not shown"
            yield NoRoom(place, Flaw("invalid_value", "policy", detail))
