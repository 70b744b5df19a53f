"""Messages for the topics that the flow writes, and the fence key that each is known by.

After a crash a sink reads what its topic has already and does not write it again. It knows a record
by its fence key: 64 bits that its message carried (:attr:`operators.envelope.Message.id`, 0 where
there is no fence) and that :data:`FENCES` reads from the written bytes. For each topic with a fence
the two stand together, where the messages are made: decisions in
``operators/decide/decision_encoder.py``, outcomes in ``operators/logic/attribution/outcomes.py``,
dead letters here.
"""

import hashlib
from collections.abc import Callable

import bytewax.operators as op
from bytewax.dataflow import operator
from bytewax.operators import KeyedStream

from operators.decide.decision_encoder import decision_fence
from operators.envelope import Message, Rejected
from operators.io.metrics.records import RecordMetrics
from operators.logic.attribution import outcome_fence, reasons
from operators.logic.policies.snapshot_record import snapshot_record
from schemas.bounds import DETAIL_LENGTH, TEXT_LENGTH
from schemas.clock import EARLIEST, LATEST, moment
from schemas.codec import decode, encode
from schemas.results import DeadLetter, PolicyCheckpoint, PolicySnapshot, Profile
from schemas.topics import Topic

REPEATS = frozenset({reasons.DUPLICATE, reasons.DUPLICATE_DECISION})
"""The reasons for a rejection that make no dead letter."""


def dead_letter_message(letter: DeadLetter) -> Message:
    """Give the message of a dead letter; its fence key is the place of the rejected record."""
    return Message(_place_key(letter), None, encode(letter))


def dead_letter_fence(value: bytes) -> int | None:
    """Read the fence key of a written dead letter; None for what is none."""
    letter = decode(Topic.DEAD_LETTERS, value)
    return _place_key(letter) if isinstance(letter, DeadLetter) else None


def _place_key(letter: DeadLetter) -> int:
    return _digest(f"{letter.topic}\0{letter.partition}\0{letter.offset}")


FENCES: dict[Topic, Callable[[bytes], int | None]] = {
    Topic.DECISIONS: decision_fence,
    Topic.OUTCOMES: outcome_fence,
    Topic.DEAD_LETTERS: dead_letter_fence,
}
"""What reads the fence key of a written record; ``TopicSpec.fence`` names the fields it is of.

It is 0 for a record of another writer, None for what is no record of the topic.
"""


def dead_letter(rejected: Rejected) -> DeadLetter:
    """Describe a rejected record without quoting it: what it named itself may be cut short."""
    origin = rejected.origin
    return DeadLetter(
        reason=rejected.reason,
        topic=str(origin.topic),
        partition=origin.partition,
        offset=origin.offset,
        size=len(rejected.payload),
        hash=hashlib.sha256(rejected.payload).hexdigest(),
        time=moment(origin.time) if EARLIEST < origin.time < LATEST else None,
        field=None if rejected.field is None else rejected.field[:TEXT_LENGTH],
        detail=rejected.detail[:DETAIL_LENGTH],
    )


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
        return [dead_letter_message(letter) for letter in letters]

    return op.map_value("encode", up, shim_mapper)


@operator
def encode_profiles(step_id: str, up: KeyedStream[list[Profile]]) -> KeyedStream[list[Message]]:
    """Turn changed profiles, keyed by shard, into messages."""

    def shim_mapper(profiles: list[Profile]) -> list[Message]:
        return [Message(0, profile.subject.encode(), encode(profile)) for profile in profiles]

    return op.map_value("encode", up, shim_mapper)


@operator
def encode_policies(
    step_id: str, up: KeyedStream[PolicySnapshot], max_value_bytes: int
) -> KeyedStream[list[Message]]:
    """Turn policy snapshots, keyed by slot, into messages for the topic's one partition.

    What would make a record longer than ``max_value_bytes`` is left out of it.
    """

    def shim_mapper(item: tuple[str, PolicySnapshot]) -> tuple[str, list[Message]]:
        slot_id, snapshot = item
        id_ = _digest(f"{snapshot.slot_id}\0{snapshot.version}")
        record = snapshot_record(snapshot, max_value_bytes)
        return ("0", [Message(id_, slot_id.encode(), record)])

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


def _digest(name: str) -> int:
    return int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8).digest(), "big")
