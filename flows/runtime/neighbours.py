"""The nearest actions by content vector, found by the store and written into catalog records."""

from collections.abc import Iterator, Sequence

import msgspec
import numpy as np
from numpy.typing import NDArray

from flows.runtime.catalog_file import CatalogFileError
from operators.io.store.lookups import query_vector
from operators.io.store.protocol import Store, StoredRow
from schemas.catalog import Action, CatalogEntry, Neighbour

Floats = NDArray[np.float64]

_PAGE = 1000


def with_neighbours(
    store: Store, entries: Sequence[CatalogEntry], count: int
) -> list[CatalogEntry]:
    """Give the records, every action that has an embedding with its ``count`` nearest.

    Neighbours are actions of the store or of ``entries`` that share a slot with it and have a
    positive cosine; of an action in both, the record counts. Given neighbours stay. Raises
    :class:`CatalogFileError` where the store knows vectors, but none of the action's dimension.
    """
    actions = {entry.action_id: entry for entry in entries if isinstance(entry, Action)}
    stored = {
        row["action_id"]: set(row["slots"])
        for row in _rows(store)
        if row["enabled"] and not row["deleted"] and row["action_id"] not in actions
    }
    return [
        msgspec.structs.replace(entry, neighbours=_nearest(store, stored, actions, entry, count))
        if isinstance(entry, Action) and _usable(entry) and entry.neighbours is None
        else entry
        for entry in entries
    ]


def _nearest(
    store: Store,
    stored: dict[str, set[str]],
    actions: dict[str, Action],
    action: Action,
    count: int,
) -> list[Neighbour]:
    vector = query_vector(action.embedding or ())
    cosines = {
        other.action_id: _cosine(vector, query_vector(other.embedding or ()))
        for other in actions.values()
        if other.action_id != action.action_id
        and other.enabled
        and _usable(other)
        and len(other.embedding or ()) == len(vector)
        and set(other.slots) & set(action.slots)
    }
    shared = {name for name, slots in stored.items() if slots & set(action.slots)}
    if shared:
        cosines |= _from_store(store, shared, action, count)
    rounded = {name: min(round(cosine, 6), 1.0) for name, cosine in cosines.items()}
    near = sorted((-cosine, name) for name, cosine in rounded.items() if cosine > 0.0)
    return [Neighbour(action_id=name, similarity=-below) for below, name in near[:count]]


def _from_store(store: Store, shared: set[str], action: Action, count: int) -> dict[str, float]:
    """Ask for more until enough of the answer shares a slot, or there is no more."""
    k = 2 * count
    while True:
        try:
            answer = store.similar_actions(action.embedding or (), k)
        except ValueError as error:
            raise CatalogFileError(f"action {action.action_id!r}: embedding: {error}") from error
        near = {one.id: 1.0 - one.distance for one in answer if one.id in shared}
        if len(near) >= count or len(answer) < k:
            return near
        k *= 4


def _rows(store: Store) -> Iterator[StoredRow]:
    after: str | None = None
    while page := store.rows("actions", after, _PAGE):
        yield from page
        after = page[-1]["action_id"]


def _usable(action: Action) -> bool:
    return not action.deleted and any(action.embedding or ())


def _cosine(left: Floats, right: Floats) -> float:
    return float(left @ right / (np.linalg.norm(left) * np.linalg.norm(right)))
