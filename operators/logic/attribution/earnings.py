"""Clicks and rewards come in: those within the window of their decision count."""

from collections.abc import Sequence

import numpy as np

from operators.envelope import Event
from operators.logic.attribution import reasons, reports
from operators.logic.attribution.activation import activate, matched
from operators.logic.attribution.delays import WHOLE
from operators.logic.attribution.ledger import Ledger
from operators.logic.attribution.pending import ACTIVE, VOID
from operators.logic.attribution.rewards import begin
from operators.logic.attribution.rules import Kind
from schemas.events import Click, Reward


def earn(ledger: Ledger, events: Sequence[Event]) -> None:
    """Count rewards whose time lies within the window of their decision."""
    pending, step = ledger.pending, ledger.step
    for event, row, kind in matched(ledger, events):
        body, rules = event.body, kind.rules
        value = rules.click_reward if type(body) is Click else body.value
        flags = int(pending.flags[row])
        if type(body) is Reward and not rules.low <= value <= rules.high:
            step.reject(event, reasons.OUT_OF_RANGE, "value")
        elif flags & VOID:
            continue
        elif not flags & ACTIVE and rules.quarantine:
            if not ledger.quarantine.add(event):
                step.reject(event, reasons.DUPLICATE, "id")
        else:
            if not flags & ACTIVE:
                activate(ledger, np.array([row]))
            _reward(ledger, event, row, kind, f"{body.type}/{body.id}", value)


def _reward(ledger: Ledger, event: Event, row: int, kind: Kind, id_: str, value: float) -> None:
    pending, key = ledger.pending, event.key
    earned = pending.rewards(row)
    rewards = earned.get(key)
    weight = int(pending.weight[row]) / WHOLE
    if rewards is None:
        before = kind.rules.unanswered
        rewards = earned[key] = begin(event.at, id_, value)
        rewards.told = weight * before
    else:
        before = rewards.reward(kind.rules)
        if not rewards.add(event.at, id_, value):
            ledger.step.reject(event, reasons.DUPLICATE, "id")
            return
    pending.touch_row(row)
    reward = rewards.reward(kind.rules)
    if kind.learning_mode != "wait":
        ledger.teaching.tell(row, 1.0 - weight, reward - rewards.told)
        ledger.teaching.rewarded(kind.slot_id, event.at)
        pending.weight[row] = WHOLE
        rewards.told = reward
    if reward != before:
        ledger.step.report(key, reports.so_far(pending, row, kind, rewards))
