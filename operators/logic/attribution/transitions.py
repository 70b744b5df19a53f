"""What events do to decisions: they are added, activated by impressions, or void."""

from binascii import crc32
from collections.abc import Iterable, Iterator, Mapping, Sequence
from operator import attrgetter

import numpy as np
from msgspec.json import encode as encode_json

from operators.envelope import Event, Origin
from operators.logic.attribution import reasons
from operators.logic.attribution.chunks import DecisionColumns, Rows
from operators.logic.attribution.decision_classes import IMMEDIATE, DecisionClass
from operators.logic.attribution.decision_codec import (
    pack_decisions,
    packed_names,
    packed_subject,
    with_texts,
)
from operators.logic.attribution.ledger import Ledger
from operators.logic.attribution.matching import Joined, class_of
from operators.logic.attribution.outcomes import void_outcome
from operators.logic.attribution.pending import ACTIVE, FURTHER, LIVE, SHOWN, VOID
from operators.logic.attribution.rules import WHOLE, on_grid
from operators.logic.attribution.subject_bounds import (
    LateDecisions,
    Taken,
    bound_subjects,
    count_again,
    exclude_robots,
)
from operators.logic.attribution.waiting import Withdrawal
from operators.logic.deciding.contents import ActionContent, read_content
from operators.logic.policies.base import squared
from operators.logic.subject_windows import read_subject_windows
from schemas.clock import NEVER
from schemas.codec import Flaw
from schemas.consent import allows_profile
from schemas.events import DecisionBack, Erasure

_AT = attrgetter("at")
_PACKED_FIELDS = attrgetter("features", "subject", "decision_id")

_New = tuple[Event, int, bytes, int, int]
"""A decision that is to be added: its event, the number of its class, its bytes, its expiry, and
the number that names its visitor."""


def add_decisions(ledger: Ledger, events: Sequence[Event]) -> list[Event]:
    """Add new decisions to the pending ones; give the events that waited for them."""
    if not events:
        return []
    classes, horizon, result = ledger.classes, ledger.horizon, ledger.result
    reject = result.reject
    counted, ahead = bool(ledger.counted), bool(ledger.settled_ahead)
    ledger.decided = max(ledger.decided, max(map(_AT, events)))
    windows, number_of, all_classes = classes.windows, classes.number, classes.all
    new: dict[int, _New] = {}
    families: dict[int, list[_New]] = {}
    known = ledger.pending.find([event.key for event in events])
    blobs = pack_decisions([_PACKED_FIELDS(event.body) for event in events])
    visitors = read_subject_windows([event.body.subject_window for event in events])
    undescribed = _describe(ledger, events, blobs)
    counted_again: list[Taken] = []
    late: LateDecisions | None = None
    for event, row, blob, visitor in zip(events, known, blobs, visitors, strict=True):
        body = event.body
        number = number_of(body)
        if number is None:
            reject(event, reasons.UNKNOWN_SLOT, "slot_id")
            continue
        if blob is None:
            reject(event, reasons.INVALID_DECISION, "features")
            continue
        if undescribed and event.origin in undescribed:
            reject(event, reasons.INVALID_DECISION, undescribed[event.origin])
            continue
        if visitor < 0:
            reject(event, reasons.INVALID_DECISION, "subject_window")
            continue
        key, window = event.key, windows[number]
        expiry = event.at + window
        if counted and ledger.is_counted(body.slot_id, expiry):
            if visitor and not event.further and all_classes[number].rules.subject:
                counted_again.append(Taken(number, event.at, visitor))
                if late is not None:
                    late.take(counted_again[-1])
            continue
        if expiry < horizon or (ahead and ledger.is_settled(event.at, expiry)):
            reject(event, reasons.LATE)
            continue
        decision = (event, number, blob, expiry, visitor)
        if row >= 0 or key in new:
            same = _is_known(ledger, row, new.get(key), decision)
            reject(event, reasons.DUPLICATE_DECISION if same else reasons.CONFLICTING_DECISION)
            continue
        if event.further and result.is_refused(event):
            continue  # a record is taken with all of its positions, or not at all
        if (ahead or event.at < horizon) and not event.further:
            if late is None:
                late = LateDecisions(ledger, [*counted_again, *_taken(new.values())])
            if late.comes_too_late(Taken(number, event.at, visitor)):
                reject(event, reasons.LATE)
                continue
        new[key] = decision
        if late is not None and not event.further:
            late.take(Taken(number, event.at, visitor))
        family = window.bit_length()
        if family in families:
            families[family].append(decision)
        else:
            families[family] = [decision]
    count_again(ledger, counted_again)
    added = [_add_family(ledger, family, decisions) for family, decisions in families.items()]
    if added:
        rows = np.concatenate(added) if len(added) > 1 else added[0]
        bound_subjects(ledger, rows)
        of_family = (decision[0] for decisions in families.values() for decision in decisions)
        _begin_life(ledger, rows, of_family)
    orphans = ledger.orphans
    if not len(orphans):
        return []
    return [event for key in new if key in orphans for event in orphans.pop(key)]


def _describe(
    ledger: Ledger, events: Sequence[Event], blobs: list[bytes | None]
) -> Mapping[Origin, str]:
    """Add to packed decisions the features of what they show, and their contexts.

    Whose features those are is said by the action's id. What is given are the records that cannot
    be used, with the field that is why: a slate as a whole, where the features of one are none.
    """
    senseless: dict[Origin, str] = {}
    given = [event.body.contents or event.body.context for event in events]
    for place, event in enumerate(events) if any(given) else ():
        body, blob = event.body, blobs[place]
        if blob is None or (body.contents is None and body.context is None):
            continue
        contents = _contents(ledger, body)
        context = read_content(encode_json(body.context)) if body.context else None
        if any(isinstance(each, Flaw) for each in contents.values()):
            senseless[event.origin] = "contents"
        elif isinstance(context, Flaw):
            senseless[event.origin] = "context"
        else:
            content = contents.get(body.action_id)
            if content is not None or context is not None:
                assert not isinstance(content, Flaw)
                texts = [None if each is None else each.text for each in (content, context)]
                blobs[place] = with_texts(blob, *texts)
                ledger.pending.described = True
    return senseless


def _contents(ledger: Ledger, body: DecisionBack) -> Mapping[str, ActionContent | Flaw | None]:
    """Read the features of all that a decision shows, the first ones where one is named twice."""
    shown = {placed.action_id for placed in body.slate} if body.slate else {body.action_id}
    contents: dict[str, ActionContent | Flaw | None] = {}
    for logged in body.contents or ():
        if logged.action_id in shown and logged.action_id not in contents:
            contents[logged.action_id] = ledger.contents.read(bytes(logged.features))
    return contents


def _taken(decisions: Iterable[_New]) -> Iterator[Taken]:
    """Give decisions as they are to be counted, a slate once."""
    for event, number, _, _, visitor in decisions:
        if not event.further:
            yield Taken(number, event.at, visitor)


def _is_known(ledger: Ledger, row: int, earlier: _New | None, decision: _New) -> bool:
    """Say whether the decision with this key, in a row or just taken in, is the same one."""
    event, number, blob, _, visitor = decision
    given = _columns([event], [number], [visitor]), blob
    if row >= 0:
        return ledger.pending.decision(row) == given
    assert earlier is not None
    event, number, blob, _, visitor = earlier
    return (_columns([event], [number], [visitor]), blob) == given


def _columns(
    events: Sequence[Event], numbers: Sequence[int], visitors: Sequence[int]
) -> DecisionColumns:
    bodies = [event.body for event in events]
    return DecisionColumns(
        key=[event.key for event in events],
        at=[event.at for event in events],
        decision_class=numbers,
        propensity=[body.propensity for body in bodies],
        eta=[body.eta for body in bodies],
        version=[body.policy_version for body in bodies],
        tag=[_tag(body.subject) if body.subject else 0 for body in bodies],
        visitor=visitors,
    )


def _add_family(ledger: Ledger, family: int, decisions: list[_New]) -> Rows:
    """Add decisions with similar windows; give their rows."""
    events, numbers, blobs, expiries, visitors = zip(*decisions, strict=True)
    rows = ledger.pending.add(family, _columns(events, numbers, visitors), blobs, min(expiries))
    ledger.classes.hold(numbers)
    further = [event.further for event in events]
    if True in further:
        ledger.pending.flags[rows[further]] |= FURTHER
    robots = [event.body.robot for event in events]
    if True in robots:
        exclude_robots(ledger, rows[robots])
    return rows


def _begin_life(ledger: Ledger, rows: Rows, events: Iterable[Event]) -> None:
    """Let the decisions that need no impression count; void those whose subject withdrew."""
    needs_impression = ledger.classes.needs_impression
    numbers = ledger.pending.decision_class[rows].tolist()
    if not all(needs_impression[number] for number in set(numbers)):
        activate(ledger, rows[[not needs_impression[number] for number in numbers]])
    if ledger.withdrawals:
        for row, event in zip(rows.tolist(), events, strict=True):
            if event.body.subject in ledger.withdrawals:
                _void_if_withdrawn(ledger, row, event.body.subject)


def activate(ledger: Ledger, rows: Rows) -> None:
    """Let decisions count; in learning mode ``immediate`` at once, by the default reward."""
    pending, classes = ledger.pending, ledger.classes
    pending.touch(rows)
    pending.flags[rows] |= ACTIVE
    rows = rows[classes.mode[pending.decision_class[rows]] == IMMEDIATE]
    pending.weight[rows] = WHOLE
    default = classes.default_reward[pending.decision_class[rows]]
    ledger.changes.add_many(rows, np.ones(len(rows)), default, squared(default))


def apply_impressions(ledger: Ledger, joined: Sequence[Joined]) -> list[Joined]:
    """Activate the decisions that were shown; give the rewards that were quarantined."""
    if not joined:
        return []
    pending, result = ledger.pending, ledger.result
    rows = np.array([row for _, row, _, _ in joined])
    activated: dict[int, tuple[int, DecisionClass, int]] = {}
    shown: set[int] = set()
    for (event, row, decision_class, decision_key), flags in zip(
        joined, pending.flags[rows].tolist(), strict=True
    ):
        body = event.body
        action_id = body.action_id
        if action_id is not None and action_id != decision_class.action_id:
            result.reject(event, reasons.WRONG_ACTION, "action_id")
        elif flags & VOID or (decision_class.rules.viewable_only and not body.viewable):
            continue
        elif flags & SHOWN or row in shown:
            if not event.further:
                result.reject(event, reasons.DUPLICATE)
        else:
            shown.add(row)
            if not flags & ACTIVE:
                activated[row] = event.key, decision_class, decision_key
    if shown:
        rows = np.fromiter(shown, dtype=np.int64, count=len(shown))
        pending.flags[rows] |= SHOWN
        pending.touch(rows)
    if not activated:
        return []
    activate(ledger, np.fromiter(activated, dtype=np.int64, count=len(activated)))
    if not len(ledger.quarantine):
        return []
    return [
        (event, row, decision_class, decision_key)
        for row, (key, decision_class, decision_key) in activated.items()
        for event in ledger.quarantine.pop(key)
    ]


def apply_withdrawals(ledger: Ledger, events: Sequence[Event]) -> None:
    """Void the pending decisions of subjects who withdrew consent or asked for erasure.

    One that comes so late that some may have settled, which is not undone, is reported as late.
    """
    if not events:
        return
    pending, oldest = ledger.pending, ledger.horizon - ledger.classes.longest_window
    settled = ledger.settled_before(NEVER)
    subjects: dict[int, set[str]] = {}
    for event in events:
        body = event.body
        if isinstance(body, Erasure):
            withdrawal = Withdrawal(event.at, event.subject, reasons.ERASED)
        elif allows_profile(body.purposes):
            continue
        else:
            withdrawal = Withdrawal(event.at, event.subject, reasons.CONSENT_WITHDRAWN)
        if event.at < settled:
            ledger.result.reject(event, reasons.LATE_WITHDRAWAL, "time")
        if event.at >= oldest and ledger.withdrawals.add(withdrawal):
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
    """Void the decisions that expire first while there are more than ``most``.

    A slate goes with all of its positions, which its events are looked up by.
    """
    pending = ledger.pending
    excess = len(pending) - most
    if excess > 0:
        rows = pending.soonest(excess, ledger.classes.window)
        if any(class_of(ledger, row).positions > 1 for row in rows.tolist()):
            rows = _with_all_positions(ledger, rows)
        for row in rows.tolist():
            if not pending.flags[row] & VOID:
                void(ledger, row, reasons.EVICTED)
        ledger.remove_at_end(rows)


def _with_all_positions(ledger: Ledger, rows: Rows) -> Rows:
    """Add the other positions of slates: they have the same time, end of window and subject."""
    pending = ledger.pending
    chosen = {row: _slate_of(ledger, row) for row in rows.tolist()}
    slates = set(chosen.values()) - {None}
    times = np.array(sorted({slate[0] for slate in slates if slate}))
    near = np.flatnonzero((pending.at >= times[0]) & (pending.at <= times[-1]))
    near = near[np.isin(pending.at[near], times) & (pending.flags[near] & LIVE != 0)]
    more = [row for row in near.tolist() if row not in chosen and _slate_of(ledger, row) in slates]
    return np.concatenate([rows, np.array(more, dtype=np.int64)])


def _slate_of(ledger: Ledger, row: int) -> tuple[int, int, bytes] | None:
    """Tell the decision of a position from the others: its time, number of positions and names."""
    pending, positions = ledger.pending, class_of(ledger, row).positions
    if positions == 1:
        return None
    return int(pending.at[row]), positions, packed_names(pending.blob(row))


def void(ledger: Ledger, row: int, reason: str) -> None:
    """Take back all that a decision contributed, and report it void."""
    pending = ledger.pending
    key = int(pending.key[row])
    decision_class = ledger.classes.all[int(pending.decision_class[row])]
    weight = int(pending.weight[row]) / WHOLE
    pending.touch_row(row)
    rewards = pending.rewards(row).pop(key, None)
    default = decision_class.rules.default_reward
    learned = rewards.learned_reward if rewards else weight * default
    square = rewards.learned_square(weight, default) if rewards else weight * on_grid(default**2)
    ledger.changes.add(row, -weight, -learned, -square)
    pending.weight[row] = 0
    pending.flags[row] = pending.flags[row] & FURTHER | LIVE | VOID
    for event in ledger.quarantine.pop(key):
        if reason in (reasons.NOT_ACTIVATED, reasons.EVICTED):
            ledger.result.reject(event, reasons.CLICK_WITHOUT_IMPRESSION)
    ledger.result.report(key, void_outcome(pending, row, decision_class, reason))


def _tag(subject: str) -> int:
    """Give 16 bits that find a subject's decisions without reading their bytes."""
    return crc32(subject.encode()) & 0xFFFF
