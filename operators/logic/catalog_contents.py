"""What catalog records say, beside their ids and times: compared, and listed as of a time."""

from collections.abc import Iterable, Iterator
from typing import Any

import msgspec
from msgspec import to_builtins
from msgspec.structs import replace

from operators.logic.catalog import CatalogHistory
from operators.logic.catalog_versions import Identity, bare, held_at, identity_of
from schemas.catalog import Action, CatalogEntry


def changed_fields(before: CatalogEntry, after: CatalogEntry) -> dict[str, tuple[Any, Any]]:
    """Name the fields that differ, with their values: of what is nested, those in it.

    >>> from schemas.catalog import PolicySettings, Slot
    >>> from schemas.clock import EPOCH
    >>> slot = Slot(id="1", time=EPOCH, slot_id="home")
    >>> greedy = PolicySettings(kind="greedy")
    >>> changed_fields(slot, replace(slot, id="2", policy=greedy, floor=0.1))
    {'policy.kind': ('beta', 'greedy'), 'floor': (0.0, 0.1)}
    """
    left, right = (to_builtins(bare(entry)) for entry in (before, after))
    return dict(_differences("", left, right))


def _differences(path: str, left: Any, right: Any) -> Iterator[tuple[str, tuple[Any, Any]]]:
    if isinstance(left, dict) and isinstance(right, dict) and list(left) == list(right):
        for name in left:
            yield from _differences(f"{path}.{name}" if path else name, left[name], right[name])
    elif msgspec.json.encode(left) != msgspec.json.encode(right):
        yield path, (left, right)


def timeline(history: CatalogHistory, now: int) -> Iterable[CatalogEntry]:
    """List what holds now and what is to hold later, so that publishing it changes nothing."""
    for identity in sorted(history.versions, key=slots_first):
        versions = history.versions[identity]
        rest = [held_at(versions, now), *(entry for at, entry in versions if at > now)]
        rest = rest[1:] if len(rest) > 1 and rest[0] is rest[1] else rest
        if not all(entry.deleted for entry in rest):
            yield from rest


def held_entries(history: CatalogHistory, at: int) -> Iterable[CatalogEntry]:
    """List what held at a time."""
    for identity in sorted(history.versions, key=slots_first):
        entry = held_at(history.versions[identity], at)
        if not entry.deleted:
            yield entry


def keep_neighbours(entries: Iterable[CatalogEntry], history: CatalogHistory) -> list[CatalogEntry]:
    """Give actions that say nothing of neighbours those they have, where the embedding is the same.

    They were computed when the action was published, from its embedding and from what was there. An
    action that says that it has none is left without any.
    """
    return [
        replace(entry, neighbours=known.neighbours)
        if isinstance(entry, Action) and (known := _alike(entry, history)) is not None
        else entry
        for entry in entries
    ]


def _alike(action: Action, history: CatalogHistory) -> Action | None:
    if action.embedding is None or action.neighbours is not None or action.deleted:
        return None
    for _, known in reversed(history.versions.get(identity_of(action), ())):
        if isinstance(known, Action) and known.embedding == action.embedding:
            return known if known.neighbours else None
    return None


def slots_first(identity: Identity) -> tuple[bool, Identity]:
    """Order what is published: a slot before the actions that it shows."""
    return identity[0] != "slot", identity
