"""Outcomes: what attribution reports of a decision, and the identity of each report."""

from datetime import datetime
from typing import Final

from operators.batches import moment
from operators.logic.attribution import texts
from operators.logic.attribution.rules import Kind
from schemas.results import Outcome, OutcomeStatus

SETTLED_REVISION: Final = 2**31 - 2
VOID_REVISION: Final = 2**31 - 1
"""The last report on a decision outranks all others, however many a replay makes of them."""

_STATUSES: Final = {"pending": 1, "settled": 2, "void": 3}
_MASK: Final = 2**64 - 1


def outcome_id(key: int, status: OutcomeStatus, revision: int) -> int:
    """Give the 64-bit fence key of an outcome record, never 0.

    The finaliser of SplitMix64 (Steele, Lea and Flood 2014) over the decision's key, which is
    uniform already.

    >>> outcome_id(1, "pending", 1) != outcome_id(1, "pending", 2)
    True
    """
    value = (key + 0x9E3779B97F4A7C15 * (revision << 2 | _STATUSES[status])) & _MASK
    value = (value ^ value >> 30) * 0xBF58476D1CE4E5B9 & _MASK
    value = (value ^ value >> 27) * 0x94D049BB133111EB & _MASK
    return value ^ value >> 31 or 1


def report(
    kind: Kind,
    key: int,
    time: datetime,
    propensity: float,
    eta: float,
    version: int,
    blob: bytes,
    reward: float,
    status: OutcomeStatus,
    revision: int,
    delay: int | None,
    settled_at: datetime | None = None,
) -> Outcome:
    """Report on an activated decision; ``delay`` is in microseconds."""
    features, subject, decision_id = texts.unpack(blob)
    return Outcome(
        time=time,
        subject=subject,
        decision_id=decision_id,
        key=f"{key:016x}",
        slot_id=kind.slot_id,
        action_id=kind.action_id,
        propensity=propensity,
        reward=reward,
        status=status,
        revision=revision,
        activated=True,
        policy_version=version,
        policy=kind.policy,
        delay=None if delay is None else delay / 1e6,
        experiment_id=kind.experiment_id,
        variation_id=kind.variation_id,
        features=features,
        eta=eta,
        settled_at=settled_at,
    )


def void(
    kind: Kind, key: int, at: int, propensity: float, version: int, decision_id: str, reason: str
) -> Outcome:
    """Report that a decision counts for nothing; nothing of its subject is said."""
    return Outcome(
        time=moment(at),
        subject=None,
        decision_id=decision_id,
        key=f"{key:016x}",
        slot_id=kind.slot_id,
        action_id=kind.action_id,
        propensity=propensity,
        reward=0.0,
        status="void",
        revision=VOID_REVISION,
        activated=False,
        policy_version=version,
        policy=kind.policy,
        reason=reason,
        experiment_id=kind.experiment_id,
        variation_id=kind.variation_id,
        settled_at=moment(at + kind.window),
    )
