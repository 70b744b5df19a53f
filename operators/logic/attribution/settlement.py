"""Windows close: what a decision has earned becomes final."""

from collections import Counter
from collections.abc import Iterator
from typing import Final

import numpy as np
from numpy.typing import NDArray

from operators.envelope import Message
from operators.logic.attribution import reasons, reports, texts
from operators.logic.attribution.delays import WHOLE
from operators.logic.attribution.ledger import Ledger
from operators.logic.attribution.lines import unrewarded
from operators.logic.attribution.pending import ACTIVE, VOID, Rows, alike
from operators.logic.attribution.voids import void
from operators.logic.settlements import Settlements

Floats = NDArray[np.float64]

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
        reward = ledger.kinds.unanswered[pending.kind[active]]
        step.messages += _reported(ledger, active, reward)
        for number, count in Counter(pending.kind[active].tolist()).items():
            step.count(ledger.kinds.all[number].slot_id, "settled", count)
        step.final += _columns(ledger, active, reward)
    ledger.leave(rows)


def _columns(ledger: Ledger, rows: Rows, reward: Floats) -> Iterator[tuple[str, Settlements]]:
    """Give what became final by slot, feature mapping and number of features."""
    pending, kinds = ledger.pending, ledger.kinds
    window = kinds.window[pending.kind[rows]]
    for course in alike(kinds.course[pending.kind[rows]]):
        mine = rows[course]
        for part, x in pending.singles(mine):
            some = mine[part]
            numbers = pending.kind[some].tolist()
            kind = kinds.all[numbers[0]]
            at = pending.at[some]
            names: list[str | None] = []
            if kind.slot_id in kinds.named:
                names = [texts.subject_of(pending.blob(row)) for row in some.tolist()]
            yield (
                kind.slot_id,
                Settlements(
                    mapping=kind.mapping,
                    end=at + window[course][part],
                    key=pending.key[some],
                    at=at,
                    reward=reward[course][part],
                    eta=pending.eta[some],
                    actions=[kinds.all[number].action_id for number in numbers],
                    x=x,
                    subjects=names,
                ),
            )


def _reported(ledger: Ledger, rows: Rows, final: Floats) -> list[Message]:
    """Teach what is not taught yet; write the outcomes, and rewards that came into ``final``."""
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
        message, final[place] = _answered(ledger, int(rows[place]), shares)
        messages.insert(place, message)
    for slot_id, delays in shares.items():
        ledger.delays_of(slot_id).learn(np.array(delays))
    return messages


def _answered(ledger: Ledger, row: int, shares: dict[str, list[float]]) -> tuple[Message, float]:
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
    reward = rewards.reward(kind.rules)
    if weight < WHOLE:
        ledger.teaching.tell(row, 1.0 - weight / WHOLE, reward - rewards.told)
    message = _message(ledger, row)
    del pending.rewards(row)[int(pending.key[row])]
    return message, reward


def _message(ledger: Ledger, row: int) -> Message:
    pending = ledger.pending
    kind, key = ledger.kinds.all[int(pending.kind[row])], int(pending.key[row])
    rewards = pending.rewards(row).get(key)
    return reports.message(key, reports.settled(pending, row, kind, rewards))
