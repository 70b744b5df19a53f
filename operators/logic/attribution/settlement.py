"""What the passing of time does to decisions: exposure weights grow, and windows close."""

from collections import Counter
from collections.abc import Iterator
from typing import Final

import numpy as np
from numpy.typing import NDArray

from operators.envelope import Message
from operators.logic.attribution import reasons
from operators.logic.attribution.chunks import Rows
from operators.logic.attribution.decision_codec import packed_subject
from operators.logic.attribution.ledger import Ledger
from operators.logic.attribution.outcomes import encode_outcome, settled_outcome
from operators.logic.attribution.pending import ACTIVE, NOT_LEARNED, VOID, places_by_value
from operators.logic.attribution.rules import WHOLE, on_grid
from operators.logic.attribution.transitions import void
from operators.logic.attribution.window import delay
from operators.logic.policies.base import squared
from operators.logic.settlements import Settlements

Floats = NDArray[np.float64]

_FEW: Final = 32
"""So few outcomes are written one by one, which is faster than whole-array steps."""
_FINEST: Final = 4
"""An exposure weight changes by at least this many 128ths."""
_LOOKS: Final = 64
"""How often in a window exposure weights are brought up to date."""


def update_exposure(ledger: Ledger, now: int) -> None:
    """Let decisions without a reward count by the share of rewards that had come by their age.

    This is learning mode ``exposure``: once a decision is rewarded or settled, all of it counts.
    """
    classes, pending = ledger.classes, ledger.pending
    if not classes.any_exposure:
        return
    exposed = classes.exposed()
    if not exposed.any() or now - ledger.exposed < classes.window[exposed].min() // _LOOKS:
        return
    ledger.exposed = now
    rows = np.flatnonzero((pending.flags & (ACTIVE | VOID) == ACTIVE) & (pending.weight < WHOLE))
    rows = rows[exposed[pending.decision_class[rows]]]
    slots = classes.slot[pending.decision_class[rows]]
    slot_ids = classes.slot_ids
    for slot in np.unique(slots).tolist():
        of_slot = rows[slots == slot]
        number = pending.decision_class[of_slot]
        age = (now - pending.at[of_slot]) / np.maximum(classes.window[number], 1)
        target = ledger.delays_of(slot_ids[slot]).weights(age).astype(np.int64)
        weight = pending.weight[of_slot].astype(np.int64)
        raised = target >= weight + _FINEST
        of_slot, target, weight = of_slot[raised], target[raised], weight[raised]
        share, default = (target - weight) / WHOLE, classes.default_reward[number[raised]]
        reward = target / WHOLE * default - weight / WHOLE * default
        ledger.changes.add_many(of_slot, share, reward, share * squared(default))
        pending.weight[of_slot] = target
        pending.touch(of_slot)


def settle(ledger: Ledger, rows: Rows) -> None:
    """Report decisions whose window has closed, given by (end of window, key)."""
    if not len(rows):
        return
    pending, result = ledger.pending, ledger.result
    flags = pending.flags[rows]
    counts = flags & ACTIVE != 0
    for row in rows[~counts & (flags & VOID == 0)].tolist():
        void(ledger, row, reasons.NOT_ACTIVATED)
    active = rows[counts]
    if len(active):
        reward = ledger.classes.default_reward[pending.decision_class[active]]
        result.messages += _report(ledger, active, reward)
        for number, count in Counter(pending.decision_class[active].tolist()).items():
            result.count(ledger.classes.all[number].slot_id, "settled", count)
        taught = pending.flags[active] & NOT_LEARNED == 0
        if taught.all():
            result.settled += _settlements(ledger, active, reward)
        elif taught.any():
            result.settled += _settlements(ledger, active[taught], reward[taught])
    ledger.remove_at_end(rows)


def _settlements(ledger: Ledger, rows: Rows, reward: Floats) -> Iterator[tuple[str, Settlements]]:
    """Give what became final by slot, feature fingerprint and number of features."""
    pending, classes = ledger.pending, ledger.classes
    window = classes.window[pending.decision_class[rows]]
    for group in places_by_value(classes.feature_group[pending.decision_class[rows]]):
        group_rows = rows[group]
        for part, x in pending.stored_features(group_rows):
            part_rows = group_rows[part]
            numbers = pending.decision_class[part_rows].tolist()
            first, at = classes.all[numbers[0]], pending.at[part_rows]
            names: list[str | None] = []
            if first.slot_id in classes.name_subjects:
                names = [packed_subject(pending.blob(row)) for row in part_rows.tolist()]
            yield (
                first.slot_id,
                Settlements(
                    fingerprint=first.fingerprint,
                    end=at + window[group][part],
                    key=pending.key[part_rows],
                    at=at,
                    reward=reward[group][part],
                    eta=pending.eta[part_rows],
                    actions=[classes.action_ids[number] for number in numbers],
                    x=x,
                    subjects=names,
                    contents=pending.contents(part_rows) or (),
                    contexts=pending.contexts(part_rows) or (),
                ),
            )


def _report(ledger: Ledger, rows: Rows, final: Floats) -> list[Message]:
    """Contribute the rest, and write the outcomes; ``final`` takes the rewards that came."""
    pending, classes = ledger.pending, ledger.classes
    rewarded = pending.rewarded(rows)
    unrewarded = np.delete(rows, rewarded) if rewarded else rows
    weight = pending.weight[unrewarded]
    partly = np.flatnonzero(weight < WHOLE)
    if len(partly):
        learned = weight[partly] / WHOLE
        reward = classes.default_reward[pending.decision_class[unrewarded[partly]]]
        left = 1.0 - learned
        ledger.changes.add_many(
            unrewarded[partly], left, reward - learned * reward, left * squared(reward)
        )
    if len(unrewarded) > _FEW:
        messages = ledger.encoder.encode(unrewarded)
    else:
        messages = [_message(ledger, row) for row in unrewarded.tolist()]
    shares: dict[str, list[float]] = {}
    for place in rewarded:
        message, final[place] = _settle_rewarded(ledger, int(rows[place]), shares)
        messages.insert(place, message)
    for slot_id, delays in shares.items():
        ledger.delays_of(slot_id).learn(np.array(delays))
    return messages


def _settle_rewarded(
    ledger: Ledger, row: int, shares: dict[str, list[float]]
) -> tuple[Message, float]:
    """Settle a decision with rewards; its delay joins ``shares`` where delays are learned."""
    pending = ledger.pending
    decision_class = ledger.classes.all[int(pending.decision_class[row])]
    rewards = pending.rewards(row)[int(pending.key[row])]
    weight = int(pending.weight[row])
    if not rewards:
        rewards.learned_reward = weight / WHOLE * decision_class.rules.default_reward
    if not rewards or pending.flags[row] & NOT_LEARNED:
        pass
    elif decision_class.learning_mode == "wait":
        ledger.changes.count_reward(decision_class.slot_id, rewards.first_at)
    elif decision_class.learning_mode == "exposure" and decision_class.window > 0:
        share = delay(rewards.first_at - int(pending.at[row])) / decision_class.window
        shares.setdefault(decision_class.slot_id, []).append(share)
    reward = rewards.reward(decision_class.rules)
    if weight < WHOLE:
        share, default = weight / WHOLE, decision_class.rules.default_reward
        square = on_grid(reward**2) - rewards.learned_square(share, default)
        ledger.changes.add(row, 1.0 - share, reward - rewards.learned_reward, square)
    message = _message(ledger, row)
    del pending.rewards(row)[int(pending.key[row])]
    return message, reward


def _message(ledger: Ledger, row: int) -> Message:
    pending, key = ledger.pending, int(ledger.pending.key[row])
    decision_class = ledger.classes.all[int(pending.decision_class[row])]
    rewards = pending.rewards(row).get(key)
    return encode_outcome(key, settled_outcome(pending, row, decision_class, rewards))
