"""What clicks and rewards do: each counts once, for one position of one decision.

Where a decision has several with one id and different content, the least by (time, value,
position) counts, in whatever order they come: one that comes later takes the place of a greater
one, and what that had taught is taken back.
"""

from collections.abc import Sequence

import numpy as np

from operators.envelope import Event
from operators.logic.attribution import reasons
from operators.logic.attribution.decision_classes import DecisionClass
from operators.logic.attribution.ledger import Ledger
from operators.logic.attribution.matching import Joined, class_of, rows_at
from operators.logic.attribution.outcomes import pending_outcome
from operators.logic.attribution.pending import ACTIVE, NOT_LEARNED, SHOWN, VOID
from operators.logic.attribution.rewards import Content, first_reward, reward_id, reward_value
from operators.logic.attribution.rules import WHOLE, on_grid
from operators.logic.attribution.transitions import activate
from operators.logic.deciding.positions import position_key
from schemas.events import Reward


def apply_rewards(ledger: Ledger, joined: Sequence[Joined]) -> None:
    """Count the clicks and rewards whose time lies within the window of their decision."""
    pending, result = ledger.pending, ledger.result
    for event, row, decision_class, decision_key in joined:
        body, rules = event.body, decision_class.rules
        value = reward_value(body, rules)
        flags = int(pending.flags[row])
        if type(body) is Reward and not rules.low <= value <= rules.high:
            result.reject(event, reasons.OUT_OF_RANGE, "value")
        elif flags & VOID or (
            decision_class.positions > 1
            and not _claim(ledger, event, decision_class, decision_key, value)
        ):
            continue
        elif not flags & ACTIVE and rules.quarantine:
            _quarantine(ledger, event, decision_class, value)
        else:
            if not flags & ACTIVE:
                activate(ledger, np.array([row]))
            _count(ledger, event, row, decision_class, value)


def _count(
    ledger: Ledger, event: Event, row: int, decision_class: DecisionClass, value: float
) -> None:
    """Count a click or reward of an active decision."""
    pending, key, rules = ledger.pending, event.key, decision_class.rules
    id_ = reward_id(event.body)
    by_key = pending.rewards(row)
    rewards = by_key.get(key)
    weight = int(pending.weight[row]) / WHOLE
    if rewards is None:
        before = rules.default_reward
        rewards = by_key[key] = first_reward(event.at, id_, value)
        rewards.learned_reward = weight * before
    else:
        before = rewards.reward(rules)
        earlier = rewards.get(id_)
        if earlier is None:
            if not rewards:
                rewards.learned_reward = weight * before
            rewards.add(event.at, id_, value)
        elif _is_less(ledger, event, (event.at, value), earlier):
            rewards.replace(event.at, id_, value)
        else:
            return
    pending.touch_row(row)
    reward = rewards.reward(rules)
    if decision_class.learning_mode != "wait":
        square = on_grid(reward**2) - rewards.learned_square(weight, rules.default_reward)
        ledger.changes.add(row, 1.0 - weight, reward - rewards.learned_reward, square)
        if not pending.flags[row] & NOT_LEARNED:
            ledger.changes.count_reward(decision_class.slot_id, event.at)
        pending.weight[row] = WHOLE
        rewards.learned_reward = reward
    if reward != before:
        ledger.result.report(key, pending_outcome(pending, row, decision_class, rewards))


def _quarantine(ledger: Ledger, event: Event, decision_class: DecisionClass, value: float) -> None:
    """Let a click or reward wait for the impression of its position."""
    waiting = ledger.quarantine.get(event.key, reward_id(event.body))
    if waiting is not None:
        content = waiting.at, reward_value(waiting.body, decision_class.rules)
        if content == (event.at, value):
            ledger.result.reject(event, reasons.DUPLICATE_WAITING, "id")
            return
        if not _is_less(ledger, event, (event.at, value), content):
            return
        ledger.quarantine.discard(waiting)
        ledger.result.reject(waiting, reasons.CONFLICTING_REWARD, "id")
    ledger.quarantine.add(event)


def _is_less(ledger: Ledger, event: Event, content: Content, known: Content) -> bool:
    """Say whether an event takes the place of the known one with its id; refuse it if not."""
    if content == known:
        ledger.result.reject(event, reasons.DUPLICATE, "id")
        return False
    ledger.result.conflicts += 1
    if content > known:
        ledger.result.reject(event, reasons.CONFLICTING_REWARD, "id")
    return content < known


def _claim(
    ledger: Ledger, event: Event, decision_class: DecisionClass, decision_key: int, value: float
) -> bool:
    """Take an id away from another position of the slate, unless it has the lesser content."""
    id_ = reward_id(event.body)
    own = event.body.position or 0
    rows = rows_at(ledger, decision_key, range(decision_class.positions))
    for position, row in enumerate(rows):
        if position == own:
            continue
        key = position_key(decision_key, position)
        rewards, waiting = ledger.pending.rewards(row).get(key), ledger.quarantine.get(key, id_)
        if rewards is not None and (content := rewards.get(id_)) is not None:
            known = (*content, position)
        elif waiting is not None:
            known = (waiting.at, reward_value(waiting.body, decision_class.rules), position)
        else:
            continue
        ledger.result.conflicts += 1
        if (event.at, value, own) > known:
            ledger.result.reject(event, reasons.CONFLICTING_REWARD, "id")
            return False
        if waiting is not None:
            ledger.quarantine.discard(waiting)
            ledger.result.reject(waiting, reasons.CONFLICTING_REWARD, "id")
        else:
            _take_back(ledger, key, row, id_)
        return True
    return True


def _take_back(ledger: Ledger, key: int, row: int, id_: str) -> None:
    """Let a counted click or reward count no more, and its position only if it still should."""
    pending, decision_class = ledger.pending, class_of(ledger, row)
    rules, by_key = decision_class.rules, pending.rewards(row)
    rewards = by_key[key]
    learned, share = rewards.learned_reward, int(pending.weight[row]) / WHOLE
    default = rules.default_reward
    learned_square = rewards.learned_square(share, default)
    pending.touch_row(row)
    before = rewards.reward(rules)
    rewards.remove(id_)
    reward = rewards.reward(rules)
    if rewards:
        if decision_class.learning_mode != "wait":
            ledger.changes.add(row, 0.0, reward - learned, on_grid(reward**2) - learned_square)
            rewards.learned_reward = reward
    elif decision_class.needs_impression and not pending.flags[row] & SHOWN:
        ledger.changes.add(row, -share, -learned, -learned_square)
        pending.weight[row] = 0
        pending.flags[row] &= ~ACTIVE & 0xFF
    else:
        square = share * on_grid(default**2) - learned_square
        ledger.changes.add(row, 0.0, share * default - learned, square)
    if reward != before or not pending.flags[row] & ACTIVE:
        ledger.result.report(key, pending_outcome(pending, row, decision_class, rewards))
