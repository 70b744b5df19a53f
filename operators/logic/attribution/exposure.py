"""Mode ``exposure``: an unanswered decision counts by how likely its reward had come by now."""

from typing import Final

import numpy as np

from operators.logic.attribution.delays import WHOLE
from operators.logic.attribution.kinds import EXPOSURE
from operators.logic.attribution.ledger import Ledger
from operators.logic.attribution.pending import ACTIVE, VOID

_FINEST: Final = 4
"""A weight changes by at least this many 128ths."""
_LOOKS: Final = 64
"""How often in a window weights are brought up to date."""


def expose(ledger: Ledger, now: int) -> None:
    """Let unanswered decisions count by the share of rewards that would have come by now."""
    kinds, pending = ledger.kinds, ledger.pending
    if not kinds.exposes:
        return
    exposed = kinds.mode == EXPOSURE
    if now - ledger.exposed < kinds.window[exposed].min() // _LOOKS:
        return
    ledger.exposed = now
    waiting = (pending.flags & (ACTIVE | VOID) == ACTIVE) & (pending.weight < WHOLE)
    rows = np.flatnonzero(waiting & exposed[pending.kind])
    slots = kinds.slot[pending.kind[rows]]
    for slot in np.unique(slots).tolist():
        of_slot = rows[slots == slot]
        number = pending.kind[of_slot]
        age = (now - pending.at[of_slot]) / np.maximum(kinds.window[number], 1)
        target = ledger.delays_of(kinds.slot_ids[slot]).weights(age).astype(np.int64)
        weight = pending.weight[of_slot].astype(np.int64)
        more = target >= weight + _FINEST
        of_slot, target, weight = of_slot[more], target[more], weight[more]
        share, unanswered = (target - weight) / WHOLE, kinds.unanswered[number[more]]
        reward = target / WHOLE * unanswered - weight / WHOLE * unanswered
        ledger.teaching.tell_all(of_slot, share, reward)
        pending.weight[of_slot] = target
        pending.touch(of_slot)
