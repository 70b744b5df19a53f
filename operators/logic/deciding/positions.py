"""Slates as decisions: each position is attributed and learned from by itself.

A decision that shows k actions becomes k decisions, one per position, each with its action, its
probability given those above it and a feature that says the position. An impression shows all
positions unless it names one; a click belongs to the position that it names, the first otherwise.
Position 0 keeps the decision's key, so a slate of one is an ordinary decision.
"""

import hashlib
from collections.abc import Iterator, Sequence

import msgspec
import numpy as np

from operators.envelope import Event
from operators.logic.catalog import Catalog
from operators.logic.deciding.slates import at_positions
from operators.logic.features import FeatureError, pack_rows, packed_dim, unpack_rows
from schemas.catalog import Slot
from schemas.events import Click, DecisionBack, Impression, Placed


def position_key(key: int, position: int) -> int:
    """Give the join key of one position of a decision.

    >>> position_key(7, 0), position_key(7, 1) == position_key(7, 2)
    (7, False)
    """
    if position == 0:
        return key
    text = b"%d/%d" % (key, position)
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "big")


def by_position(events: Sequence[Event], catalog: Catalog) -> Sequence[Event]:
    """Replace the events of slots that show slates by events of single positions."""
    slates = {name: slot for name, slot in catalog.slots.items() if slot.slate_size > 1}
    if not slates:
        return events
    return [single for event in events for single in _singles(event, slates)]


def _singles(event: Event, slates: dict[str, Slot]) -> Iterator[Event]:
    body = event.body
    slot = slates.get(getattr(body, "slot_id", ""))
    if slot is None:
        yield event
    elif isinstance(body, DecisionBack) and body.slate:
        yield from _placed(event, body, body.slate, slot)
    elif isinstance(body, Impression):
        shown = range(slot.slate_size) if body.position is None else [body.position]
        single = msgspec.structs.replace(body, action_id=None)
        for position in shown:
            if 0 <= position < slot.slate_size:
                yield _moved(event, position, single, further=position != shown[0])
    elif isinstance(body, Click):
        position = body.position or 0
        yield _moved(event, position if 0 <= position < slot.slate_size else 0, body)
    else:
        yield event


def _placed(
    event: Event, body: DecisionBack, slate: Sequence[Placed], slot: Slot
) -> Iterator[Event]:
    try:
        packed = _features(body, slot)
    except FeatureError:  # attribution names what is wrong with it
        yield event
        return
    for position, placed in enumerate(slate[: slot.slate_size]):
        yield _moved(
            event,
            position,
            msgspec.structs.replace(
                body,
                action_id=placed.action_id,
                propensity=placed.probability,
                eta=placed.eta,
                features=packed[position],
                slate=None,
            ),
            further=position > 0,
        )


def _features(body: DecisionBack, slot: Slot) -> list[str]:
    size = slot.slate_size
    dim = 1 if body.features is None else packed_dim(body.features)
    if not dim:
        raise FeatureError("features: no numbers")
    row = unpack_rows([body.features], dim)
    return pack_rows(at_positions(np.repeat(row, size, axis=0), np.arange(size), size))


def _moved(event: Event, position: int, body: object, *, further: bool = False) -> Event:
    key = position_key(event.key, position)
    return msgspec.structs.replace(event, key=key, body=body, further=further)
