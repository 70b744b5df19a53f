"""What attribution should have learned, recomputed from the whole set of events.

It knows nothing of batches, watermarks, order of arrival or state: each decision is judged by all
that is known of it. The verdicts of an unfinished log are those of learning without waiting.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from math import fsum
from typing import NamedTuple

import numpy as np

from operators.batches import Event, micros
from operators.logic.features import unpack_rows
from operators.logic.policies import Deltas
from schemas.catalog import Slot
from schemas.events import Click, Consent, DecisionBack, Erasure, Impression, Reward

_PURPOSES = {5, 6}


class Verdict(NamedTuple):
    """What a decision contributes: whether it counts, and its reward in [0, 1]."""

    decision: Event
    counts: bool
    reward: float


def recount(events: Iterable[Event], slots: Mapping[str, Slot]) -> dict[int, Verdict]:
    """Judge every decision by its key; the first of two with one key is the answer."""
    decisions: dict[int, Event] = {}
    histories: dict[int, list[Event]] = defaultdict(list)
    withdrawals: dict[str, list[int]] = defaultdict(list)
    for event in events:
        match event.body:
            case DecisionBack():
                if event.body.slot_id in slots:
                    decisions.setdefault(event.key, event)
            case Impression() | Click() | Reward():
                histories[event.key].append(event)
            case Erasure():
                withdrawals[event.subject].append(event.at)
            case Consent() if not set(event.body.purposes) >= _PURPOSES:
                withdrawals[event.subject].append(event.at)
    return {
        key: _judge(decision, histories[key], withdrawals, slots[decision.body.slot_id])
        for key, decision in decisions.items()
    }


def contributions(verdicts: Iterable[Verdict], dim: int) -> Deltas:
    """Give what the counting decisions of one slot teach, as one batch in the order of keys."""
    counting = sorted((v for v in verdicts if v.counts), key=lambda verdict: verdict.decision.key)
    bodies = [verdict.decision.body for verdict in counting]
    n = len(counting)
    return Deltas(
        [body.action_id for body in bodies],
        unpack_rows([body.features for body in bodies], dim),
        np.array([body.eta for body in bodies]),
        np.array([verdict.decision.at * 1e-6 for verdict in counting]),
        np.ones(n),
        np.array([verdict.reward for verdict in counting]),
    )


def _judge(
    decision: Event, history: Sequence[Event], withdrawals: Mapping[str, list[int]], slot: Slot
) -> Verdict:
    body: DecisionBack = decision.body
    closes = micros(body.expires_at)
    withdrawn = withdrawals.get(body.subject or "", ())
    if any(decision.at <= at <= closes for at in withdrawn):
        return Verdict(decision, counts=False, reward=0.0)
    inside = [
        event
        for event in history
        if decision.at <= event.at <= closes and event.body.slot_id == slot.slot_id
    ]
    earned = sorted({_earning(event, slot) for event in inside if _earns(event, slot)})
    shown = any(
        isinstance(event.body, Impression) and _shows(event, body, slot) for event in inside
    )
    counts = shown or not (slot.needs_impression or body.deferred)
    if earned and slot.click_without_impression == "count":
        counts = True
    if not counts:
        return Verdict(decision, counts=False, reward=0.0)
    values = [value for _, _, value in earned] or [slot.default_reward]
    total = {"first": values[0], "max": max(values), "sum": fsum(values)}[slot.reward_aggregation]
    low, high = slot.reward_range
    return Verdict(decision, counts=True, reward=min(1.0, max(0.0, (total - low) / (high - low))))


def _shows(event: Event, decision: DecisionBack, slot: Slot) -> bool:
    body: Impression = event.body
    right = body.action_id in (None, decision.action_id) or slot.slate_size > 1
    return right and (bool(body.viewable) or not slot.viewable_only)


def _earns(event: Event, slot: Slot) -> bool:
    low, high = slot.reward_range
    body = event.body
    return isinstance(body, Click) or (isinstance(body, Reward) and low <= body.value <= high)


def _earning(event: Event, slot: Slot) -> tuple[int, str, float]:
    body = event.body
    value = slot.click_reward if isinstance(body, Click) else body.value
    return event.at, f"{body.type}/{body.id}", value
