"""Windows close: what a decision has earned becomes final."""

from collections import Counter
from typing import Final

import numpy as np

from operators.batches import Message
from operators.logic.attribution import reasons, reports
from operators.logic.attribution.delays import WHOLE
from operators.logic.attribution.ledger import Ledger
from operators.logic.attribution.lines import unrewarded
from operators.logic.attribution.pending import ACTIVE, VOID, Rows
from operators.logic.attribution.voids import void

_FEW: Final = 32
"""So few outcomes are written one by one, which is faster than whole-array steps."""


def settle(ledger: Ledger, rows: Rows) -> None:
    """Report decisions whose window has closed, given by (end of window, key)."""
    if not len(rows):
        return
    pending, step = ledger.pending, ledger.step
    flags = pending.flags[rows]
    counts = flags & ACTIVE != 0
    for row in rows[~counts & (flags & VOID == 0)].tolist():
        void(ledger, row, reasons.NOT_ACTIVATED)
    active = rows[counts]
    if len(active):
        messages = _reported(ledger, active)
        numbers = pending.kind[active].tolist()
        slots = [kind.slot_id for kind in ledger.kinds.all]
        for number, count in Counter(numbers).items():
            step.count(slots[number], "settled", count)
        step.messages += messages
        step.final += [
            (slots[number], message.value)
            for number, message in zip(numbers, messages, strict=True)
        ]
    ledger.leave(rows)


def _reported(ledger: Ledger, rows: Rows) -> list[Message]:
    """Teach what is not taught yet; write the outcomes."""
    pending, kinds = ledger.pending, ledger.kinds
    earned = pending.rewarded(rows)
    plain = np.delete(rows, earned) if earned else rows
    weight = pending.weight[plain]
    late = np.flatnonzero(weight < WHOLE)
    if len(late):
        told = weight[late] / WHOLE
        reward = kinds.unanswered[pending.kind[plain[late]]]
        ledger.teaching.tell_all(plain[late], 1.0 - told, reward - told * reward)
    if len(plain) > _FEW:
        messages = unrewarded(pending, kinds, plain)
    else:
        messages = [_message(ledger, row) for row in plain.tolist()]
    shares: dict[str, list[float]] = {}
    for place in earned:
        messages.insert(place, _answered(ledger, int(rows[place]), shares))
    for slot_id, delays in shares.items():
        ledger.delays_of(slot_id).learn(np.array(delays))
    return messages


def _answered(ledger: Ledger, row: int, shares: dict[str, list[float]]) -> Message:
    """Settle a decision with rewards; its delay joins ``shares`` where delays are learned."""
    pending = ledger.pending
    kind = ledger.kinds.all[int(pending.kind[row])]
    rewards = pending.rewards(row)[int(pending.key[row])]
    weight = int(pending.weight[row])
    if kind.learning_mode == "wait":
        ledger.teaching.rewarded(kind.slot_id, rewards.first_at)
    elif kind.learning_mode == "exposure" and kind.window > 0:
        delay = rewards.first_at - int(pending.at[row])
        shares.setdefault(kind.slot_id, []).append(delay / kind.window)
    if weight < WHOLE:
        reward = rewards.reward(kind.rules)
        ledger.teaching.tell(row, 1.0 - weight / WHOLE, reward - rewards.told)
    message = _message(ledger, row)
    del pending.rewards(row)[int(pending.key[row])]
    return message


def _message(ledger: Ledger, row: int) -> Message:
    pending = ledger.pending
    kind, key = ledger.kinds.all[int(pending.kind[row])], int(pending.key[row])
    rewards = pending.rewards(row).get(key)
    return reports.message(key, reports.settled(pending, row, kind, rewards))
