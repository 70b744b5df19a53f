"""Records of the topics as rows of the store's tables, and what a transaction writes."""

import hashlib
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Annotated, Any, NamedTuple

import msgspec
import numpy as np
from msgspec import Meta, Raw, Struct

from operators.io.store.tables import (
    ACTIONS,
    DEAD_LETTERS,
    DECISIONS,
    DELIVERIES,
    ERASURES,
    EXPERIMENT_RESULTS,
    EXPERIMENTS,
    OPTIMIZED_CONTENT,
    OUTCOMES,
    POLICY_CHECKPOINTS,
    POLICY_SNAPSHOTS,
    SLOTS,
    USER_PROFILES,
    Table,
)
from schemas.catalog import Action, Experiment, Slot
from schemas.clock import micros
from schemas.events import DecisionBack, Id, Time
from schemas.results import (
    DeadLetter,
    Delivery,
    ErasureReceipt,
    OptimizedContent,
    Outcome,
    PolicyCheckpoint,
    PolicySnapshot,
    Profile,
    TestReport,
)

Row = tuple[Any, ...]

_ENCODE = msgspec.json.Encoder().encode
_STATUS = {"pending": 0, "settled": 1, "void": 2}
_LONGEST_DETAIL = 1000


Word = Annotated[str, Meta(max_length=256)]
"""A text that fits its column; longer ones are refused here, by name, and cost no transaction."""


class AuditedDecision(DecisionBack, kw_only=True, gc=False):
    """A decision as the store keeps it for audit: everything but the content that was shown.

    The ranking stays JSON; the features are the bytes of the context vector.
    """

    subject: Word | None
    policy: Annotated[str, Meta(min_length=1, max_length=256)]
    experiment_id: Word | None = None
    variation_id: Word | None = None
    request_hash: Word = ""
    ranking: Raw
    features: bytes | None = None  # type: ignore[assignment]
    draw: float = 0.0
    baseline_action_id: Word | None = None
    policy_time: Time | None = None
    decided_at: Time | None = None


class KeyedOutcome(Outcome, kw_only=True, gc=False):
    """An outcome as the store keeps it: its key, its time and the length of its texts are checked.

    The database checks the rest.
    """

    key: Annotated[str, Meta(pattern="^[0-9a-f]{16}$")]
    time: Time
    subject: Word | None
    decision_id: Id
    slot_id: Id
    action_id: Id
    policy: Word = ""
    reason: Word = ""
    experiment_id: Word | None = None
    variation_id: Word | None = None
    settled_at: Time | None = None


class Place(NamedTuple):
    """Where a record lies: topic, partition, offset, the broker's timestamp in microseconds."""

    topic: str
    partition: int
    offset: int
    time: int
    payload: bytes


def decision_row(record: AuditedDecision) -> Row:
    """Give a decision as a row of ``decisions``."""
    return (
        record.key,
        record.decision_id,
        record.id,
        record.subject or None,
        record.slot_id,
        record.action_id,
        micros(record.time),
        _micros(record.decided_at),
        micros(record.expires_at),
        record.propensity,
        str(record.ranking, "utf-8"),
        record.policy,
        record.policy_version,
        _micros(record.policy_time),
        record.baseline_action_id or None,
        record.experiment_id or None,
        record.variation_id or None,
        record.learning_mode,
        record.deferred,
        record.features or None,
        record.eta,
        record.draw,
        record.request_hash or None,
    )


def outcome_row(record: Outcome) -> Row:
    """Give an outcome as a row of ``outcomes``; at equal revisions, void beats settled."""
    return (
        record.key,
        record.revision * 4 + _STATUS[record.status],
        record.revision,
        record.status,
        record.decision_id,
        record.subject or None,
        record.slot_id,
        record.action_id,
        micros(record.time),
        _micros(record.settled_at),
        record.propensity,
        record.reward,
        record.activated,
        record.delay,
        record.policy or None,
        record.policy_version,
        record.reason or None,
        record.experiment_id or None,
        record.variation_id or None,
        record.eta,
    )


def profile_row(record: Profile) -> Row:
    """Give a profile as a row of ``user_profiles``; a deleted one keeps nothing of the subject."""
    embedding = None if record.deleted else vector_bytes(record.embedding)
    return (
        record.subject,
        record.version,
        micros(record.time),
        record.deleted,
        _json(record.purposes),
        _json({} if record.deleted else record.features),
        embedding,
        _dimension(embedding),
    )


def policy_row(record: PolicySnapshot) -> Row:
    """Give a policy snapshot as a row of ``policy_snapshots``."""
    return (
        record.slot_id,
        record.version,
        record.policy,
        micros(record.time),
        _micros(record.published_at),
        record.decisions,
        record.rewards,
        _json(record.actions),
        record.posterior or None,
        _json(record.models),
    )


def checkpoint_row(record: PolicyCheckpoint) -> Row:
    """Give a part of a checkpoint as a row of ``policy_checkpoints``."""
    return (
        record.slot_id,
        record.generation,
        record.part,
        record.parts,
        micros(record.time),
        record.version,
        record.decisions,
        record.rewards,
        record.state,
    )


def slot_row(record: Slot) -> Row:
    """Give a slot as a row of ``slots``; ``settings`` is the whole record."""
    return (
        record.slot_id,
        micros(record.time),
        record.id,
        record.deleted,
        record.policy.kind,
        record.reward_window,
        _json(record),
    )


def action_row(record: Action) -> Row:
    """Give an action as a row of ``actions``."""
    embedding = vector_bytes(record.embedding)
    return (
        record.action_id,
        micros(record.time),
        record.id,
        record.deleted,
        record.enabled,
        _json(record.slots),
        _json(record.features),
        None if record.content is None else _json(record.content),
        embedding,
        _dimension(embedding),
    )


def experiment_row(record: Experiment) -> Row:
    """Give an experiment as a row of ``experiments``; ``settings`` is the whole record."""
    return (
        record.experiment_id,
        micros(record.time),
        record.id,
        record.deleted,
        record.enabled,
        record.slot_id,
        _json(record),
    )


def report_row(record: TestReport) -> Row:
    """Give a test report as a row of ``experiment_results``."""
    return (record.experiment_id, micros(record.time), record.slot_id, _json(record.summary))


def optimized_content_row(record: OptimizedContent) -> Row:
    """Give a winner as a row of ``optimized_content``."""
    return (
        record.slot_id,
        record.segment,
        micros(record.time),
        record.action_id,
        record.experiment_id or None,
        record.policy_version,
        record.probability,
        None if record.content is None else _json(record.content),
        record.reason or None,
    )


def delivery_row(record: Delivery) -> Row:
    """Give a delivery as a row of ``deliveries``."""
    return (
        record.delivery_id,
        record.revision,
        record.status,
        micros(record.time),
        _micros(record.updated_at),
        record.channel,
        record.subject or None,
        record.slot_id,
        record.action_id,
        record.decision_id or None,
        record.attempts,
        record.reason or None,
    )


def erasure_row(record: ErasureReceipt) -> Row:
    """Give the receipt of an erasure as a row of ``erasures``."""
    return (
        record.receipt_id,
        record.event_id,
        record.subject,
        micros(record.time),
        micros(record.completed_at),
        _json(record.removed),
    )


def dead_letter_row(record: DeadLetter) -> Row:
    """Give a dead letter as a row of ``dead_letters``."""
    return (
        record.topic,
        record.partition,
        record.offset,
        record.reason,
        record.field or None,
        record.detail[:_LONGEST_DETAIL] or None,
        _micros(record.time),
        record.size,
        record.hash,
    )


def refusal_row(place: Place, reason: str, field: str | None, detail: str) -> Row:
    """Give the dead letter of a record that cannot be stored, which never quotes the record."""
    return (
        place.topic,
        place.partition,
        place.offset,
        reason,
        field or None,
        detail[:_LONGEST_DETAIL] or None,
        place.time if place.time > 0 else None,
        len(place.payload),
        hashlib.sha256(place.payload).hexdigest(),
    )


_ROWS: dict[type, tuple[Table, Callable[[Any], Row]]] = {
    AuditedDecision: (DECISIONS, decision_row),
    KeyedOutcome: (OUTCOMES, outcome_row),
    Outcome: (OUTCOMES, outcome_row),
    Profile: (USER_PROFILES, profile_row),
    PolicySnapshot: (POLICY_SNAPSHOTS, policy_row),
    PolicyCheckpoint: (POLICY_CHECKPOINTS, checkpoint_row),
    Slot: (SLOTS, slot_row),
    Action: (ACTIONS, action_row),
    Experiment: (EXPERIMENTS, experiment_row),
    TestReport: (EXPERIMENT_RESULTS, report_row),
    OptimizedContent: (OPTIMIZED_CONTENT, optimized_content_row),
    Delivery: (DELIVERIES, delivery_row),
    ErasureReceipt: (ERASURES, erasure_row),
    DeadLetter: (DEAD_LETTERS, dead_letter_row),
}


def row_of(record: Struct) -> tuple[Table, Row]:
    """Give the table and the row of a record that the store keeps.

    >>> from datetime import UTC, datetime
    >>> report = TestReport(
    ...     experiment_id="e", slot_id="home", time=datetime(2026, 1, 1, tzinfo=UTC)
    ... )
    >>> table, row = row_of(report)
    >>> table.name, row
    ('experiment_results', ('e', 1767225600000000, 'home', '{}'))
    """
    table, make = _ROWS[type(record)]
    return table, make(record)


def vector_bytes(vector: Sequence[float] | None) -> bytes | None:
    """Give a vector as float32 bytes; one without length or direction counts as none.

    Raises ValueError naming the field where a number does not fit.

    >>> vector_bytes([1.0, 0.5]).hex(), vector_bytes([0.0, 0.0])
    ('0000803f0000003f', None)
    """
    if not vector:
        return None
    with np.errstate(over="ignore"):
        numbers = np.asarray(vector, dtype="<f4")
    if not np.isfinite(numbers).all():
        raise ValueError("embedding: a number is too large for float32")
    return numbers.tobytes() if numbers.any() else None


def _dimension(embedding: bytes | None) -> int | None:
    return None if embedding is None else len(embedding) // 4


def _json(value: Any) -> str:
    return _ENCODE(value).decode()


def _micros(time: datetime | None) -> int | None:
    return None if time is None else micros(time)
