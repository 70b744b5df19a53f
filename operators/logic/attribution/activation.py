"""Impressions come in: the decisions that were shown begin to count."""

from collections.abc import Sequence

import numpy as np

from operators.envelope import Event
from operators.logic.attribution import reasons
from operators.logic.attribution.delays import WHOLE
from operators.logic.attribution.kinds import IMMEDIATE
from operators.logic.attribution.ledger import Ledger
from operators.logic.attribution.pending import ACTIVE, SHOWN, VOID, Rows
from operators.logic.attribution.rules import Kind


def activate(ledger: Ledger, rows: Rows) -> None:
    """Let decisions count; a learner that does not wait hears of them as failures."""
    pending, kinds = ledger.pending, ledger.kinds
    pending.touch(rows)
    pending.flags[rows] |= ACTIVE
    rows = rows[kinds.mode[pending.kind[rows]] == IMMEDIATE]
    pending.weight[rows] = WHOLE
    ledger.teaching.tell_all(rows, np.ones(len(rows)), kinds.unanswered[pending.kind[rows]])


def show(ledger: Ledger, events: Sequence[Event]) -> list[Event]:
    """Activate the decisions that were shown; give the rewards that were quarantined."""
    found = matched(ledger, events)
    if not found:
        return []
    pending, step = ledger.pending, ledger.step
    rows = np.array([row for _, row, _ in found])
    shown: dict[int, int] = {}
    seen: set[int] = set()
    for (event, row, kind), flags in zip(found, pending.flags[rows].tolist(), strict=True):
        body, rules = event.body, kind.rules
        action_id = body.action_id
        if action_id is not None and action_id != kind.action_id and not rules.slate:
            step.reject(event, reasons.WRONG_ACTION, "action_id")
        elif flags & VOID or (rules.viewable_only and not body.viewable):
            continue
        elif flags & SHOWN or row in seen:
            step.reject(event, reasons.DUPLICATE)
        else:
            seen.add(row)
            if not flags & ACTIVE:
                shown[row] = event.key
    if seen:
        rows = np.fromiter(seen, dtype=np.int64, count=len(seen))
        pending.flags[rows] |= SHOWN
        pending.touch(rows)
    if not shown:
        return []
    activate(ledger, np.fromiter(shown, dtype=np.int64, count=len(shown)))
    if not len(ledger.quarantine):
        return []
    return [event for key in shown.values() for event in ledger.quarantine.pop(key)]


def matched(ledger: Ledger, events: Sequence[Event]) -> list[tuple[Event, int, Kind]]:
    """Find the decisions of events, and reject or keep waiting the events without one."""
    if not events:
        return []
    pending, step, kinds = ledger.pending, ledger.step, ledger.kinds.all
    rows = pending.find([event.key for event in events])
    found: list[tuple[Event, int, Kind]] = []
    if not len(pending):
        for event in events:
            _wait(ledger, event)
        return found
    numbers, decided = pending.kind[rows].tolist(), pending.at[rows].tolist()
    for event, row, number, at in zip(events, rows, numbers, decided, strict=True):
        if row < 0:
            _wait(ledger, event)
            continue
        kind = kinds[number]
        age = event.at - at
        if event.body.slot_id != kind.slot_id:
            step.reject(event, reasons.WRONG_SLOT, "slot_id")
        elif age < 0:
            step.reject(event, reasons.BEFORE_DECISION, "time")
        elif age > kind.window:
            step.reject(event, reasons.OUTSIDE_WINDOW, "time")
        else:
            found.append((event, row, kind))
    return found


def _wait(ledger: Ledger, event: Event) -> None:
    if event.at < ledger.horizon:
        if not ledger.is_counted(event.body.slot_id, event.at):
            ledger.step.reject(event, reasons.LATE)
    elif not ledger.orphans.add(event):
        ledger.step.reject(event, reasons.DUPLICATE, "id")
