"""Rejected records become dead letters: why and where, never what they said."""

import hashlib

import bytewax.operators as op
from bytewax.dataflow import operator
from bytewax.operators import KeyedStream

from operators.envelope import Message, Rejected
from operators.io.metrics.records import RecordMetrics
from operators.logic.attribution import reasons
from schemas.clock import moment
from schemas.codec import encode
from schemas.results import DeadLetter

REPEATS = frozenset({reasons.DUPLICATE, reasons.DUPLICATE_DECISION})
"""Reasons that need no record."""


def dead_letter(rejected: Rejected) -> DeadLetter:
    """Describe a rejected record without quoting it."""
    origin = rejected.origin
    return DeadLetter(
        reason=rejected.reason,
        topic=str(origin.topic),
        partition=origin.partition,
        offset=origin.offset,
        size=len(rejected.payload),
        hash=hashlib.sha256(rejected.payload).hexdigest(),
        time=moment(origin.time) if origin.time > 0 else None,
        field=rejected.field,
        detail=rejected.detail,
    )


def fence_id(letter: DeadLetter) -> int:
    """Give the 64-bit fence key of a dead letter: where its record lies."""
    place = f"{letter.topic}\0{letter.partition}\0{letter.offset}".encode()
    return int.from_bytes(hashlib.blake2b(place, digest_size=8).digest(), "big")


@operator
def dead_letters(
    step_id: str, up: KeyedStream[list[Rejected]], metrics: RecordMetrics
) -> KeyedStream[list[Message]]:
    """Turn rejected records, keyed by shard, into messages for the dead-letter topic.

    Repeats are counted, but not recorded: at-least-once senders make them in good faith.
    """

    def shim_mapper(rejected: list[Rejected]) -> list[Message]:
        letters = [dead_letter(item) for item in rejected if item.reason not in REPEATS]
        metrics.duplicates("event", len(rejected) - len(letters))
        metrics.dead_letters(letter.reason for letter in letters)
        return [Message(fence_id(letter), None, encode(letter)) for letter in letters]

    return op.map_value("encode", up, shim_mapper)
