"""Decisions that count for nothing after all: withdrawn, erased, evicted, never shown."""

from binascii import crc32
from collections.abc import Sequence

import numpy as np

from operators.envelope import Event
from operators.logic.attribution import reasons, reports, texts
from operators.logic.attribution.delays import WHOLE
from operators.logic.attribution.ledger import Ledger
from operators.logic.attribution.pending import LIVE, VOID
from operators.logic.attribution.withdrawals import Withdrawal
from schemas.consent import allows_profile
from schemas.events import Erasure


def withdraw(ledger: Ledger, events: Sequence[Event]) -> None:
    """Void the pending decisions of subjects who withdrew consent or asked for erasure."""
    pending = ledger.pending
    asked: dict[int, set[str]] = {}
    for event in events:
        body = event.body
        if isinstance(body, Erasure):
            withdrawal = Withdrawal(event.at, event.subject, reasons.ERASED)
        elif allows_profile(body.purposes):
            continue
        else:
            withdrawal = Withdrawal(event.at, event.subject, reasons.CONSENT_WITHDRAWN)
        if event.at >= ledger.horizon and ledger.withdrawals.add(withdrawal):
            asked.setdefault(_tag(event.subject), set()).add(event.subject)
    if not asked:
        return
    wanted = np.zeros(2**16, dtype=bool)
    wanted[list(asked)] = True
    for row in np.flatnonzero(wanted[pending.tag]).tolist():
        if pending.flags[row] & LIVE:
            subject = texts.subject_of(pending.blob(row))
            if subject in asked[int(pending.tag[row])]:
                void_if_withdrawn(ledger, row, subject)


def void_if_withdrawn(ledger: Ledger, row: int, subject: str | None) -> None:
    """Void a decision whose subject withdrew within its window."""
    pending = ledger.pending
    if subject is None or pending.flags[row] & VOID:
        return
    at = int(pending.at[row])
    window = ledger.kinds.windows[int(pending.kind[row])]
    reason = ledger.withdrawals.voids(subject, at, at + window)
    if reason is not None:
        void(ledger, row, reason)


def evict(ledger: Ledger, most: int) -> None:
    """Void the decisions that expire first while there are more than ``most``."""
    pending = ledger.pending
    excess = len(pending) - most
    if excess > 0:
        rows = pending.soonest(excess, ledger.kinds.window)
        for row in rows.tolist():
            if not pending.flags[row] & VOID:
                void(ledger, row, reasons.EVICTED)
        ledger.leave(rows)


def void(ledger: Ledger, row: int, reason: str) -> None:
    """Take back all that a decision has taught, and report it void."""
    pending, kinds = ledger.pending, ledger.kinds
    key, number = int(pending.key[row]), int(pending.kind[row])
    weight = int(pending.weight[row]) / WHOLE
    pending.touch_row(row)
    rewards = pending.rewards(row).pop(key, None)
    told = rewards.told if rewards else weight * kinds.all[number].rules.unanswered
    ledger.teaching.tell(row, -weight, -told)
    pending.weight[row] = 0
    pending.flags[row] = LIVE | VOID
    for event in ledger.quarantine.pop(key):
        if reason in (reasons.NOT_ACTIVATED, reasons.EVICTED):
            ledger.step.reject(event, reasons.CLICK_WITHOUT_IMPRESSION)
    ledger.step.report(key, reports.void(pending, row, kinds.all[number], reason))


def _tag(subject: str) -> int:
    return crc32(subject.encode()) & 0xFFFF
