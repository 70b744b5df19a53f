"""Change logs for the store and other readers: profiles and policy snapshots as messages."""

import hashlib

import bytewax.operators as op
from bytewax.dataflow import operator
from bytewax.operators import KeyedStream
from msgspec import structs

from operators.envelope import Message
from schemas.codec import encode
from schemas.results import PolicyCheckpoint, PolicySnapshot, Profile

LARGEST_POSTERIOR = 700_000
"""Characters of a posterior that still goes into a record."""


@operator
def encode_profiles(step_id: str, up: KeyedStream[list[Profile]]) -> KeyedStream[list[Message]]:
    """Turn changed profiles, keyed by shard, into messages."""

    def shim_mapper(profiles: list[Profile]) -> list[Message]:
        return [Message(0, profile.subject.encode(), encode(profile)) for profile in profiles]

    return op.map_value("encode", up, shim_mapper)


@operator
def encode_policies(step_id: str, up: KeyedStream[PolicySnapshot]) -> KeyedStream[list[Message]]:
    """Turn policy snapshots, keyed by slot, into messages for the topic's one partition.

    A posterior that would not fit into a record (brokers take 1 MB) is left out; Redis has it.
    """

    def shim_mapper(item: tuple[str, PolicySnapshot]) -> tuple[str, list[Message]]:
        slot_id, snapshot = item
        if len(snapshot.posterior) > LARGEST_POSTERIOR:
            snapshot = structs.replace(snapshot, posterior="")
        return ("0", [Message(_id(snapshot), slot_id.encode(), encode(snapshot))])

    return op.map("encode", up, shim_mapper)


@operator
def encode_checkpoints(
    step_id: str, up: KeyedStream[PolicyCheckpoint]
) -> KeyedStream[list[Message]]:
    """Turn parts of checkpoints, keyed by slot, into messages for the topic's one partition."""

    def shim_mapper(item: tuple[str, PolicyCheckpoint]) -> tuple[str, list[Message]]:
        slot_id, part = item
        return ("0", [Message(0, slot_id.encode(), encode(part))])

    return op.map("encode", up, shim_mapper)


def _id(snapshot: PolicySnapshot) -> int:
    name = f"{snapshot.slot_id}\0{snapshot.version}".encode()
    return int.from_bytes(hashlib.blake2b(name, digest_size=8).digest(), "big")
