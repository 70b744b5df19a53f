"""What the resume fence knows a written record by: the 64-bit id that its message carried."""

from collections.abc import Callable

from msgspec import Struct
from msgspec.json import Decoder

from operators.dead_letters import fence_id
from operators.logic.attribution import outcome_id
from schemas.codec import decode
from schemas.results import DeadLetter, OutcomeStatus
from schemas.topics import Topic


class _DecisionKey(Struct):
    key: str


class _OutcomeKey(Struct):
    key: str
    status: OutcomeStatus
    revision: int


_DECISION = Decoder(_DecisionKey)
_OUTCOME = Decoder(_OutcomeKey)


def decision_fence(value: bytes) -> int:
    """Identify a decision by its key: one answer per request."""
    return int(_DECISION.decode(value).key, 16)


def outcome_fence(value: bytes) -> int:
    """Identify an outcome record by (key, status, revision)."""
    found = _OUTCOME.decode(value)
    return outcome_id(int(found.key, 16), found.status, found.revision)


def dead_letter_fence(value: bytes) -> int:
    """Identify a dead letter by the place of its record."""
    letter = decode(Topic.DEAD_LETTERS, value)
    return fence_id(letter) if isinstance(letter, DeadLetter) else 0


FENCES: dict[Topic, Callable[[bytes], int]] = {
    Topic.DECISIONS: decision_fence,
    Topic.OUTCOMES: outcome_fence,
    Topic.DEAD_LETTERS: dead_letter_fence,
}
"""What identifies a record of each topic that has a fence (``schemas.topics.TopicSpec.fence``)."""
