"""Slates as decisions: each position is attributed and learned from by itself.

A decision that shows k actions becomes k decisions, one per position, each with its action, its
probability given those above it and a feature that says the position. Position 0 keeps the
decision's key, so a slate of one is an ordinary decision. What a decision shows is in its record;
how many its slot shows by now plays no part. To which position an event belongs is said in
:mod:`operators.logic.attribution.matching`.
"""

import hashlib
from collections.abc import Mapping, Sequence

import msgspec
import numpy as np

from operators.envelope import Event
from operators.logic.deciding.slates import at_positions
from operators.logic.features import FeatureError, pack_rows, packed_dim, unpack_rows
from schemas.catalog import Slot
from schemas.events import DecisionBack


def position_key(key: int, position: int) -> int:
    """Derive the join key of one position of a decision.

    >>> position_key(7, 0), position_key(7, 1) == position_key(7, 2)
    (7, False)
    """
    if position == 0:
        return key
    text = b"%d/%d" % (key, position)
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "big")


def by_position(decisions: Sequence[Event], slots: Mapping[str, Slot]) -> Sequence[Event]:
    """Replace decisions that show slates by decisions of single positions.

    ``slots`` are those that hold for the decisions.
    """
    wide = {slot_id for slot_id, slot in slots.items() if slot.slate_size > 1}
    if not wide and not any(event.body.slate for event in decisions):
        return decisions
    split: list[Event] = []
    for event in decisions:
        body: DecisionBack = event.body
        if body.slate or body.slot_id in wide:
            split += positions_of(event, slots.get(body.slot_id))
        else:
            split.append(event)
    return split


def positions_of(decision: Event, slot: Slot | None) -> Sequence[Event]:
    """Split a decision into one for each position that it shows, the first position first.

    ``slot`` is its slot as it was when it was decided, which says how many columns of features name
    the position; a slate that is longer brings columns of its own. A decision whose features cannot
    be read, or whose slot is unknown, stays whole: attribution refuses it.
    """
    body: DecisionBack = decision.body
    slate = body.slate
    if slot is None:
        return [decision]
    size = max(slot.slate_size, len(slate or ()))
    try:
        features = _features(body.features, len(slate or (body,)), size)
    except FeatureError:
        return [decision]
    if not slate:
        single = msgspec.structs.replace(body, features=features[0])
        return [msgspec.structs.replace(decision, body=single)]
    return [
        msgspec.structs.replace(
            decision,
            key=position_key(decision.key, position),
            further=position > 0,
            body=msgspec.structs.replace(
                body,
                action_id=placed.action_id,
                propensity=placed.probability,
                eta=placed.eta,
                features=packed,
            ),
        )
        for position, (placed, packed) in enumerate(zip(slate, features, strict=True))
    ]


def _features(features: str | None, positions: int, size: int) -> Sequence[str | None]:
    """Add to a decision's features the columns that name each position of a slate of ``size``."""
    if size == 1 or (features is None and positions == 1):
        return [features]
    dim = 1 if features is None else packed_dim(features)
    if not dim:
        return [features] * positions
    row = unpack_rows([features], dim)
    places = np.arange(positions)
    return pack_rows(at_positions(np.repeat(row, positions, axis=0), places, size))
