"""Why attribution refuses an event, voids a decision or does not learn: every reason name."""

from typing import Final

LATE: Final = "late"
"""The event's decision would have been settled already, or the decision itself is that old."""
LATE_WITHDRAWAL: Final = "late_withdrawal"
"""A withdrawal or erasure so late that decisions in its window may have settled; those stay."""
NO_DECISION: Final = "no_decision"
"""No decision came for an impression, click or reward within the allowed lateness."""
ORPHAN_OVERFLOW: Final = "orphan_overflow"
"""More than ``max_orphans`` events waited; the oldest had to go."""
DUPLICATE: Final = "duplicate"
"""The same click or reward, or another impression of this decision, came before."""
DUPLICATE_WAITING: Final = "duplicate_waiting"
"""The same as an event that still waits, for its decision or an impression: that one decides."""
DUPLICATE_DECISION: Final = "duplicate_decision"
"""The same decision again."""
CONFLICTING_DECISION: Final = "conflicting_decision"
"""Another answer to the same request; the first one in the log holds."""
UNKNOWN_SLOT: Final = "unknown_slot"
"""The catalog has no such slot."""
INVALID_DECISION: Final = "invalid_decision"
"""The decision's features are not base64 of little-endian float32, or a number does not fit."""
WRONG_SLOT: Final = "wrong_slot"
"""The event names another slot than its decision."""
WRONG_ACTION: Final = "wrong_action"
"""The impression shows another action than the decision chose for that position, or for any."""
WRONG_POSITION: Final = "wrong_position"
"""The event names a position that its decision did not show."""
CONFLICTING_REWARD: Final = "conflicting_reward"
"""A click or reward of this decision with this envelope id and other content counts instead."""
BEFORE_DECISION: Final = "before_decision"
"""The event's time lies before the decision's."""
OUTSIDE_WINDOW: Final = "outside_window"
"""The event's time lies after the end of the reward window."""
OUT_OF_RANGE: Final = "value_out_of_range"
"""The reward's value lies outside the slot's declared range."""
CLICK_WITHOUT_IMPRESSION: Final = "click_without_impression"
"""A quarantined click or reward whose impression did not come within the window."""

REJECTIONS: Final = frozenset(
    {
        LATE,
        LATE_WITHDRAWAL,
        NO_DECISION,
        ORPHAN_OVERFLOW,
        DUPLICATE,
        DUPLICATE_WAITING,
        DUPLICATE_DECISION,
        CONFLICTING_DECISION,
        UNKNOWN_SLOT,
        INVALID_DECISION,
        WRONG_SLOT,
        WRONG_ACTION,
        WRONG_POSITION,
        CONFLICTING_REWARD,
        BEFORE_DECISION,
        OUTSIDE_WINDOW,
        OUT_OF_RANGE,
        CLICK_WITHOUT_IMPRESSION,
    }
)
"""What an event can be rejected for."""

NOT_ACTIVATED: Final = "not_activated"
"""The window closed without the impression that the slot needs."""
CONSENT_WITHDRAWN: Final = "consent_withdrawn"
"""The subject withdrew consent between the decision and the end of its window."""
ERASED: Final = "erased"
"""The subject asked for erasure between the decision and the end of its window."""
EVICTED: Final = "evicted"
"""More than ``max_pending`` decisions were pending; those that expire first had to go."""

SUBJECT_LIMIT: Final = "subject_limit"
"""The subject has had as many decisions in this window of the slot as may teach."""
ROBOT_RATE: Final = "robot_rate"
"""The subject had more decisions in the slot, within so short a time, than a person asks for."""
ROBOT: Final = "robot"
"""The request said that no person asks."""

NOT_LEARNED: Final = ("", SUBJECT_LIMIT, ROBOT_RATE, ROBOT)
"""Why a decision that counts does not teach, by number; of several reasons the last is said."""

VOIDS: Final = frozenset({NOT_ACTIVATED, CONSENT_WITHDRAWN, ERASED, EVICTED})
"""What makes an outcome void."""
