"""A policy snapshot as a record, however many actions the slot has."""

import base64
from operator import itemgetter

from msgspec import structs

from operators.logic.policies.base import Posterior
from schemas.bounds import MOST_COPIED_BYTES
from schemas.codec import encode
from schemas.results import PolicySnapshot

POSTERIOR_SHARE = 0.7
"""The share of a record that its posterior may take; the rest is for the actions."""

VIEW_SHARE = 0.1
"""The share that the settings of features without a declaration may take, with all their names."""


def largest_posterior(limit: int) -> int:
    """Say how many characters a posterior may have in a record of at most ``limit`` bytes.

    >>> largest_posterior(1_000_000)
    700000
    """
    return int(limit * POSTERIOR_SHARE)


def posterior_text(posterior: Posterior) -> str:
    """Write a posterior as base64, or as nothing where no reader's copy has room for it."""
    dump = posterior.dump()
    if len(dump) // 3 * 4 > largest_posterior(MOST_COPIED_BYTES):
        return ""
    return base64.b64encode(dump).decode()


def snapshot_record(snapshot: PolicySnapshot, limit: int) -> bytes:
    """Write a snapshot as JSON of at most ``limit`` bytes.

    A posterior that takes more than its share is left out, a view of features that does, too, and
    so are the actions with the fewest decisions where not all have room; the record says so.
    """
    if len(snapshot.posterior) > largest_posterior(limit):
        snapshot = structs.replace(snapshot, posterior="")
    view = snapshot.features_view
    if view is not None and len(encode(view)) > limit * VIEW_SHARE:
        snapshot = structs.replace(snapshot, features_view=None)
    record = encode(snapshot)
    if len(record) <= limit:
        return record
    actions = snapshot.actions
    counted = structs.replace(snapshot, actions=[], actions_left_out=len(actions))
    room = limit - len(encode(counted))
    listed = []
    for place, _ in sorted(enumerate(actions), key=lambda each: -each[1].count):
        room -= len(encode(actions[place])) + len(b",")
        if room < 0:
            break
        listed.append((place, actions[place]))
    return encode(
        structs.replace(
            snapshot,
            actions=[action for _, action in sorted(listed, key=itemgetter(0))],
            actions_left_out=len(actions) - len(listed),
        )
    )
