"""A policy snapshot as a record, however many actions the slot has."""

from operator import itemgetter

from msgspec import structs

from schemas.codec import encode
from schemas.results import PolicySnapshot

POSTERIOR_SHARE = 0.7
"""The share of a record that its posterior may take; the rest is for the actions."""


def largest_posterior(limit: int) -> int:
    """Say how many characters a posterior may have in a record of at most ``limit`` bytes.

    >>> largest_posterior(1_000_000)
    700000
    """
    return int(limit * POSTERIOR_SHARE)


def snapshot_record(snapshot: PolicySnapshot, limit: int) -> bytes:
    """Write a snapshot as JSON of at most ``limit`` bytes.

    A posterior that takes more than its share is left out, and so are the actions with the fewest
    decisions where not all have room; the record says so.
    """
    if len(snapshot.posterior) > largest_posterior(limit):
        snapshot = structs.replace(snapshot, posterior="")
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
