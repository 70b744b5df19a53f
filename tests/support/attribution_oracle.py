"""What attribution should give, recomputed from the whole set of events: slow and obvious.

It knows nothing of batches, watermarks, arrival order or state.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import fsum

from operators.envelope import Event
from schemas.catalog import Slot
from schemas.clock import micros
from schemas.events import Click, Consent, DecisionBack, Erasure, Impression, Reward


@dataclass(frozen=True)
class Verdict:
    """The final word on one decision; where several withdrawals void it, any may be named."""

    status: str
    reward: float = 0.0
    delay: float | None = None
    reasons: frozenset[str] = frozenset({""})


def verdicts(events: Sequence[Event], slots: dict[str, Slot]) -> dict[int, Verdict]:
    """Judge every decision by all that is known."""
    decisions: dict[int, Event] = {}
    for event in events:
        if isinstance(event.body, DecisionBack) and event.body.slot_id in slots:
            decisions.setdefault(event.key, event)
    return {key: _judge(decision, events, slots) for key, decision in decisions.items()}


def _judge(decision: Event, events: Sequence[Event], slots: dict[str, Slot]) -> Verdict:
    body = decision.body
    slot = slots[body.slot_id]
    closes = micros(body.expires_at)
    inside = [event for event in events if decision.at <= event.at <= closes]
    withdrawals = frozenset(
        "erased" if isinstance(event.body, Erasure) else "consent_withdrawn"
        for event in inside
        if _withdraws(event) and event.subject == body.subject
    )
    if withdrawals:
        return Verdict("void", reasons=withdrawals)
    ours = [
        event
        for event in inside
        if event.key == decision.key
        and isinstance(event.body, Impression | Click | Reward)
        and event.body.slot_id == slot.slot_id
    ]
    earned = sorted(
        {
            (event.at, f"{event.body.type}/{event.body.id}", _value(event, slot))
            for event in ours
            if not isinstance(event.body, Impression) and _in_range(event, slot)
        }
    )
    shown = any(isinstance(event.body, Impression) and _shows(event, body, slot) for event in ours)
    counts = shown or not (slot.needs_impression or body.deferred)
    if earned and slot.click_without_impression == "count":
        counts = True
    if not counts:
        return Verdict("void", reasons=frozenset({"not_activated"}))
    if not earned:
        return Verdict("settled", _scaled(slot.default_reward, slot))
    values = [value for _, _, value in earned]
    total = {"first": values[0], "max": max(values), "sum": fsum(values)}[slot.reward_aggregation]
    return Verdict("settled", _scaled(total, slot), (earned[0][0] - decision.at) / 1e6)


def _withdraws(event: Event) -> bool:
    body = event.body
    if isinstance(body, Consent):
        return not (5 in body.purposes and 6 in body.purposes)
    return isinstance(body, Erasure)


def _shows(event: Event, decision: DecisionBack, slot: Slot) -> bool:
    body = event.body
    right = body.action_id is None or body.action_id == decision.action_id or slot.slate_size > 1
    return right and (bool(body.viewable) or not slot.viewable_only)


def _value(event: Event, slot: Slot) -> float:
    return slot.click_reward if isinstance(event.body, Click) else event.body.value


def _in_range(event: Event, slot: Slot) -> bool:
    low, high = slot.reward_range
    return isinstance(event.body, Click) or low <= event.body.value <= high


def _scaled(value: float, slot: Slot) -> float:
    low, high = slot.reward_range
    return min(1.0, max(0.0, (value - low) / (high - low)))
