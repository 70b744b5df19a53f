"""Outcomes: what attribution reports of a decision, and the identity of each report."""

from typing import Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from operators.envelope import Message
from operators.logic.attribution import texts
from operators.logic.attribution.pending import Pending
from operators.logic.attribution.rewards import Rewards
from operators.logic.attribution.rules import Kind
from schemas.clock import moment
from schemas.codec import encode
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


def settled_ids(keys: NDArray[np.uint64]) -> list[int]:
    """Give the fence keys of the settled outcomes of decisions.

    >>> keys = np.array([0, 1, 2**64 - 1], dtype=np.uint64)
    >>> settled_ids(keys) == [outcome_id(key, "settled", SETTLED_REVISION) for key in keys.tolist()]
    True
    """
    value = keys + np.uint64(
        0x9E3779B97F4A7C15 * (SETTLED_REVISION << 2 | _STATUSES["settled"]) & _MASK
    )
    value = (value ^ value >> np.uint64(30)) * np.uint64(0xBF58476D1CE4E5B9)
    value = (value ^ value >> np.uint64(27)) * np.uint64(0x94D049BB133111EB)
    return [id_ or 1 for id_ in (value ^ value >> np.uint64(31)).tolist()]


def constants(kind: Kind) -> bytes:
    """Write what all settled outcomes without a reward say alike: fields of a JSON object."""
    record: dict[str, object] = {
        "slot_id": kind.slot_id,
        "action_id": kind.action_id,
        "reward": kind.rules.unanswered,
        "status": "settled",
        "revision": SETTLED_REVISION,
        "activated": True,
        "policy": kind.policy,
    }
    if kind.experiment_id is not None:
        record["experiment_id"] = kind.experiment_id
    if kind.variation_id is not None:
        record["variation_id"] = kind.variation_id
    if kind.mapping:
        record["mapping"] = kind.mapping
    return msgspec.json.encode(record)[1:-1]


def so_far(pending: Pending, row: int, kind: Kind, rewards: Rewards) -> Outcome:
    """Report the reward that a decision has earned so far."""
    return _active(pending, row, kind, rewards, "pending", rewards.count)


def settled(pending: Pending, row: int, kind: Kind, rewards: Rewards | None) -> Outcome:
    """Report the final reward of a decision."""
    outcome = _active(pending, row, kind, rewards, "settled", SETTLED_REVISION)
    outcome.settled_at = moment(int(pending.at[row]) + kind.window)
    return outcome


def void(pending: Pending, row: int, kind: Kind, reason: str) -> Outcome:
    """Report that a decision counts for nothing; nothing of its subject is said."""
    at = int(pending.at[row])
    return Outcome(
        time=moment(at),
        subject=None,
        decision_id=texts.unpack(pending.blob(row))[2],
        key=f"{int(pending.key[row]):016x}",
        slot_id=kind.slot_id,
        action_id=kind.action_id,
        propensity=float(pending.propensity[row]),
        reward=0.0,
        status="void",
        revision=VOID_REVISION,
        activated=False,
        policy_version=int(pending.version[row]),
        policy=kind.policy,
        reason=reason,
        experiment_id=kind.experiment_id,
        variation_id=kind.variation_id,
        settled_at=moment(at + kind.window),
    )


def _active(
    pending: Pending,
    row: int,
    kind: Kind,
    rewards: Rewards | None,
    status: OutcomeStatus,
    revision: int,
) -> Outcome:
    features, subject, decision_id = texts.unpack(pending.blob(row))
    at = int(pending.at[row])
    return Outcome(
        time=moment(at),
        subject=subject,
        decision_id=decision_id,
        key=f"{int(pending.key[row]):016x}",
        slot_id=kind.slot_id,
        action_id=kind.action_id,
        propensity=float(pending.propensity[row]),
        reward=rewards.reward(kind.rules) if rewards else kind.rules.unanswered,
        status=status,
        revision=revision,
        activated=True,
        policy_version=int(pending.version[row]),
        policy=kind.policy,
        delay=(rewards.first_at - at) / 1e6 if rewards else None,
        experiment_id=kind.experiment_id,
        variation_id=kind.variation_id,
        features=features,
        mapping=kind.mapping,
        eta=float(pending.eta[row]),
    )


def message(key: int, outcome: Outcome) -> Message:
    """Write a report."""
    id_ = outcome_id(key, outcome.status, outcome.revision)
    return Message(id_, outcome.key.encode(), encode(outcome))
