"""What events do to decisions: they are added, activated by impressions, rewarded, or void."""

from binascii import crc32
from collections.abc import Sequence
from operator import attrgetter

import numpy as np

from operators.envelope import Event
from operators.logic.attribution import reasons
from operators.logic.attribution.chunks import DecisionColumns, Rows
from operators.logic.attribution.decision_classes import IMMEDIATE, DecisionClass
from operators.logic.attribution.decision_codec import pack_decisions, packed_subject
from operators.logic.attribution.ledger import Ledger
from operators.logic.attribution.outcomes import pending_outcome, void_outcome
from operators.logic.attribution.pending import ACTIVE, LIVE, SHOWN, VOID
from operators.logic.attribution.rules import WHOLE, first_reward
from operators.logic.attribution.waiting import Withdrawal
from operators.logic.attribution.window import outside
from schemas.consent import allows_profile
from schemas.events import Click, Erasure, Reward

_AT = attrgetter("at")
_PACKED_FIELDS = attrgetter("features", "subject", "decision_id")

_New = tuple[Event, int, bytes, int]
"""A decision that is to be added: its event, the number of its class, its bytes, its expiry."""


def add_decisions(ledger: Ledger, events: Sequence[Event]) -> list[Event]:
    """Add new decisions to the pending ones; give the events that waited for them."""
    if not events:
        return []
    classes, horizon, result = ledger.classes, ledger.horizon, ledger.result
    reject = result.reject
    counted, ahead = bool(ledger.counted), bool(ledger.settled_ahead)
    ledger.decided = max(ledger.decided, max(map(_AT, events)))
    windows, number_of = classes.windows, classes.number
    new: dict[int, _New] = {}
    families: dict[int, list[_New]] = {}
    known = ledger.pending.find([event.key for event in events])
    blobs = pack_decisions([_PACKED_FIELDS(event.body) for event in events])
    for event, row, blob in zip(events, known, blobs, strict=True):
        body = event.body
        number = number_of(body)
        if number is None:
            reject(event, reasons.UNKNOWN_SLOT, "slot_id")
            continue
        if blob is None:
            reject(event, reasons.INVALID_DECISION, "features")
            continue
        key, window = event.key, windows[number]
        expiry = event.at + window
        if counted and ledger.is_counted(body.slot_id, expiry):
            continue
        if expiry < horizon or (ahead and ledger.is_settled(event.at, expiry)):
            reject(event, reasons.LATE)
            continue
        decision = (event, number, blob, expiry)
        if row >= 0 or key in new:
            same = _is_known(ledger, row, new.get(key), decision)
            reject(event, reasons.DUPLICATE_DECISION if same else reasons.CONFLICTING_DECISION)
            continue
        if event.further and result.is_refused(event):
            continue  # a record is taken with all of its positions, or not at all
        new[key] = decision
        family = window.bit_length()
        if family in families:
            families[family].append(decision)
        else:
            families[family] = [decision]
    for family, decisions in families.items():
        _add_family(ledger, family, decisions)
    orphans = ledger.orphans
    if not len(orphans):
        return []
    return [event for key in new if key in orphans for event in orphans.pop(key)]


def _is_known(ledger: Ledger, row: int, earlier: _New | None, decision: _New) -> bool:
    """Say whether the decision with this key, in a row or just taken in, is the same one."""
    event, number, blob, _ = decision
    given = _columns([event], [number]), blob
    if row >= 0:
        return ledger.pending.decision(row) == given
    assert earlier is not None
    event, number, blob, _ = earlier
    return (_columns([event], [number]), blob) == given


def _columns(events: Sequence[Event], numbers: Sequence[int]) -> DecisionColumns:
    bodies = [event.body for event in events]
    return DecisionColumns(
        key=[event.key for event in events],
        at=[event.at for event in events],
        decision_class=numbers,
        propensity=[body.propensity for body in bodies],
        eta=[body.eta for body in bodies],
        version=[body.policy_version for body in bodies],
        tag=[_tag(body.subject) if body.subject else 0 for body in bodies],
    )


def _add_family(ledger: Ledger, family: int, decisions: list[_New]) -> None:
    """Add decisions with similar windows; those that need no impression count at once."""
    events, numbers, blobs, expiries = zip(*decisions, strict=True)
    rows = ledger.pending.add(family, _columns(events, numbers), blobs, min(expiries))
    ledger.classes.hold(numbers)
    needs_impression = ledger.classes.needs_impression
    if not all(needs_impression[number] for number in set(numbers)):
        activate(ledger, rows[[not needs_impression[number] for number in numbers]])
    if ledger.withdrawals:
        for row, event in zip(rows.tolist(), events, strict=True):
            _void_if_withdrawn(ledger, row, event.body.subject)


def activate(ledger: Ledger, rows: Rows) -> None:
    """Let decisions count; in learning mode ``immediate`` at once, by the default reward."""
    pending, classes = ledger.pending, ledger.classes
    pending.touch(rows)
    pending.flags[rows] |= ACTIVE
    rows = rows[classes.mode[pending.decision_class[rows]] == IMMEDIATE]
    pending.weight[rows] = WHOLE
    default = classes.default_reward[pending.decision_class[rows]]
    ledger.changes.add_many(rows, np.ones(len(rows)), default)


def apply_impressions(ledger: Ledger, events: Sequence[Event]) -> list[Event]:
    """Activate the decisions that were shown; give the rewards that were quarantined."""
    joined = _with_decisions(ledger, events)
    if not joined:
        return []
    pending, result = ledger.pending, ledger.result
    rows = np.array([row for _, row, _ in joined])
    activated: dict[int, int] = {}
    shown: set[int] = set()
    for (event, row, decision_class), flags in zip(
        joined, pending.flags[rows].tolist(), strict=True
    ):
        body, rules = event.body, decision_class.rules
        action_id = body.action_id
        if action_id is not None and action_id != decision_class.action_id and not rules.slate:
            result.reject(event, reasons.WRONG_ACTION, "action_id")
        elif flags & VOID or (rules.viewable_only and not body.viewable):
            continue
        elif flags & SHOWN or row in shown:
            result.reject(event, reasons.DUPLICATE)
        else:
            shown.add(row)
            if not flags & ACTIVE:
                activated[row] = event.key
    if shown:
        rows = np.fromiter(shown, dtype=np.int64, count=len(shown))
        pending.flags[rows] |= SHOWN
        pending.touch(rows)
    if not activated:
        return []
    activate(ledger, np.fromiter(activated, dtype=np.int64, count=len(activated)))
    if not len(ledger.quarantine):
        return []
    return [event for key in activated.values() for event in ledger.quarantine.pop(key)]


def apply_rewards(ledger: Ledger, events: Sequence[Event]) -> None:
    """Count the clicks and rewards whose time lies within the window of their decision."""
    pending, result = ledger.pending, ledger.result
    for event, row, decision_class in _with_decisions(ledger, events):
        body, rules = event.body, decision_class.rules
        value = rules.click_reward if type(body) is Click else body.value
        flags = int(pending.flags[row])
        if type(body) is Reward and not rules.low <= value <= rules.high:
            result.reject(event, reasons.OUT_OF_RANGE, "value")
        elif flags & VOID:
            continue
        elif not flags & ACTIVE and rules.quarantine:
            if not ledger.quarantine.add(event):
                result.reject(event, reasons.DUPLICATE, "id")
        else:
            if not flags & ACTIVE:
                activate(ledger, np.array([row]))
            _reward(ledger, event, row, decision_class, value)


def _reward(
    ledger: Ledger, event: Event, row: int, decision_class: DecisionClass, value: float
) -> None:
    pending, key, rules = ledger.pending, event.key, decision_class.rules
    id_ = f"{event.body.type}/{event.body.id}"
    by_key = pending.rewards(row)
    rewards = by_key.get(key)
    weight = int(pending.weight[row]) / WHOLE
    if rewards is None:
        before = rules.default_reward
        rewards = by_key[key] = first_reward(event.at, id_, value)
        rewards.learned_reward = weight * before
    else:
        before = rewards.reward(rules)
        if not rewards.add(event.at, id_, value):
            ledger.result.reject(event, reasons.DUPLICATE, "id")
            return
    pending.touch_row(row)
    reward = rewards.reward(rules)
    if decision_class.learning_mode != "wait":
        ledger.changes.add(row, 1.0 - weight, reward - rewards.learned_reward)
        ledger.changes.count_reward(decision_class.slot_id, event.at)
        pending.weight[row] = WHOLE
        rewards.learned_reward = reward
    if reward != before:
        ledger.result.report(key, pending_outcome(pending, row, decision_class, rewards))


def _with_decisions(
    ledger: Ledger, events: Sequence[Event]
) -> list[tuple[Event, int, DecisionClass]]:
    """Join events with the rows and classes of their decisions; the others wait or are rejected.

    :func:`operators.logic.attribution.window.outside` is the rule of the reward window.
    """
    if not events:
        return []
    pending, result, classes = ledger.pending, ledger.result, ledger.classes.all
    tolerance = ledger.tolerance
    rows = pending.find([event.key for event in events])
    joined: list[tuple[Event, int, DecisionClass]] = []
    if not len(pending):
        for event in events:
            _wait(ledger, event)
        return joined
    numbers, decision_times = pending.decision_class[rows].tolist(), pending.at[rows].tolist()
    for event, row, number, at in zip(events, rows, numbers, decision_times, strict=True):
        if row < 0:
            _wait(ledger, event)
            continue
        decision_class = classes[number]
        if event.body.slot_id != decision_class.slot_id:
            result.reject(event, reasons.WRONG_SLOT, "slot_id")
        elif (reason := outside(event.at - at, decision_class.window, tolerance)) is not None:
            result.reject(event, reason, "time")
        else:
            joined.append((event, row, decision_class))
    return joined


def _wait(ledger: Ledger, event: Event) -> None:
    if ledger.result.is_refused(event):
        return
    if event.at < ledger.horizon - ledger.tolerance:
        if not ledger.is_counted(event.body.slot_id, event.at):
            ledger.result.reject(event, reasons.LATE)
    elif not ledger.orphans.add(event):
        ledger.result.reject(event, reasons.DUPLICATE, "id")


def apply_withdrawals(ledger: Ledger, events: Sequence[Event]) -> None:
    """Void the pending decisions of subjects who withdrew consent or asked for erasure."""
    pending = ledger.pending
    subjects: dict[int, set[str]] = {}
    for event in events:
        body = event.body
        if isinstance(body, Erasure):
            withdrawal = Withdrawal(event.at, event.subject, reasons.ERASED)
        elif allows_profile(body.purposes):
            continue
        else:
            withdrawal = Withdrawal(event.at, event.subject, reasons.CONSENT_WITHDRAWN)
        if event.at >= ledger.horizon and ledger.withdrawals.add(withdrawal):
            subjects.setdefault(_tag(event.subject), set()).add(event.subject)
    if not subjects:
        return
    wanted = np.zeros(2**16, dtype=bool)
    wanted[list(subjects)] = True
    standing = pending.flags & (LIVE | VOID) == LIVE
    for row in np.flatnonzero(wanted[pending.tag] & standing).tolist():
        subject = packed_subject(pending.blob(row))
        if subject in subjects[int(pending.tag[row])]:
            _void_if_withdrawn(ledger, row, subject)


def _void_if_withdrawn(ledger: Ledger, row: int, subject: str | None) -> None:
    """Void a decision whose subject withdrew within its window."""
    pending = ledger.pending
    if subject is None or pending.flags[row] & VOID:
        return
    at = int(pending.at[row])
    window = ledger.classes.windows[int(pending.decision_class[row])]
    reason = ledger.withdrawals.voids(subject, at, at + window)
    if reason is not None:
        void(ledger, row, reason)


def evict(ledger: Ledger, most: int) -> None:
    """Void the decisions that expire first while there are more than ``most``."""
    pending = ledger.pending
    excess = len(pending) - most
    if excess > 0:
        rows = pending.soonest(excess, ledger.classes.window)
        for row in rows.tolist():
            if not pending.flags[row] & VOID:
                void(ledger, row, reasons.EVICTED)
        ledger.remove_at_end(rows)


def void(ledger: Ledger, row: int, reason: str) -> None:
    """Take back all that a decision contributed, and report it void."""
    pending = ledger.pending
    key = int(pending.key[row])
    decision_class = ledger.classes.all[int(pending.decision_class[row])]
    weight = int(pending.weight[row]) / WHOLE
    pending.touch_row(row)
    rewards = pending.rewards(row).pop(key, None)
    learned = rewards.learned_reward if rewards else weight * decision_class.rules.default_reward
    ledger.changes.add(row, -weight, -learned)
    pending.weight[row] = 0
    pending.flags[row] = LIVE | VOID
    for event in ledger.quarantine.pop(key):
        if reason in (reasons.NOT_ACTIVATED, reasons.EVICTED):
            ledger.result.reject(event, reasons.CLICK_WITHOUT_IMPRESSION)
    ledger.result.report(key, void_outcome(pending, row, decision_class, reason))


def _tag(subject: str) -> int:
    """Give 16 bits that find a subject's decisions without reading their bytes."""
    return crc32(subject.encode()) & 0xFFFF
