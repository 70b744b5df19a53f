"""Which decisions do not teach: those of one subject beyond a bound, and those of robots.

A decision's place is its rank by (end of reward window, key) among those of one subject in one
window of a slot. That is the order in which decisions settle: what comes late, but not too late,
takes its place after all that have settled, and can only displace decisions that are pending. So
which decisions teach is a function of those that were taken in, whatever their order, and nothing
that is settled ever changes. A verdict only becomes stricter: a decision that does not teach by now
never will.
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from operators.logic.attribution import reasons
from operators.logic.attribution.chunks import Rows
from operators.logic.attribution.decision_codec import unpack_decision
from operators.logic.attribution.ledger import Ledger
from operators.logic.attribution.pending import FURTHER, LIVE, VOID, places_by_value
from operators.logic.attribution.rules import WHOLE, SubjectRules, on_grid
from operators.logic.attribution.subject_counts import SlotWindow

_LIMIT, _RATE, _ROBOT = (
    reasons.NOT_LEARNED.index(reason)
    for reason in (reasons.SUBJECT_LIMIT, reasons.ROBOT_RATE, reasons.ROBOT)
)
_FEW = 8

Flags = NDArray[np.bool_]


class Taken(NamedTuple):
    """A decision as it is counted: the number of its class, its time and its visitor."""

    number: int
    at: int
    visitor: int


class LateDecisions:
    """Says which late decisions of a batch would change what is settled.

    ``taken`` are the decisions of the batch so far, which are taken in and not counted yet.
    """

    def __init__(self, ledger: Ledger, taken: Iterable[Taken]) -> None:
        self._ledger = ledger
        self._uncounted: Counter[tuple[SlotWindow, int]] = Counter()
        for each in taken:
            self.take(each)

    def take(self, taken: Taken) -> None:
        """Note a decision that is to be counted at the end of the batch."""
        for window in _slot_windows(self._ledger, taken.number, taken.at):
            self._uncounted[window, taken.visitor] += 1

    def comes_too_late(self, late: Taken) -> bool:
        """Say whether a decision would make robots of settled ones, or is of forgotten windows."""
        if not late.visitor:
            return False
        windows = _slot_windows(self._ledger, late.number, late.at)
        return any(self._changes_settled(late, window) for window in windows)

    def _changes_settled(self, late: Taken, window: SlotWindow) -> bool:
        ledger, rules = self._ledger, window.rules
        if ledger.counts.is_forgotten(window):
            return True
        if rules.most_of_robots is None:
            return False
        length = _robot_window(rules, ledger.classes.windows[late.number])
        begin = late.at - late.at % rules.window % length
        if begin + length >= ledger.settled_before(begin):
            return False  # all decisions of that time are pending
        counted = ledger.counts.total(window, late.visitor)
        return counted + self._uncounted[window, late.visitor] >= rules.most_of_robots


def count_again(ledger: Ledger, taken: list[Taken]) -> None:
    """Count decisions that were learned already, for the sake of younger ones."""
    classes = ledger.classes
    for number, at, visitor in taken:
        for window in _slot_windows(ledger, number, at):
            until = window.end + classes.windows[number]
            ledger.counts.add(window, np.array([visitor], dtype=np.uint32), until)


def exclude_robots(ledger: Ledger, rows: Rows) -> None:
    """Let decisions teach nothing whose requests said that no person asks."""
    for row in rows.tolist():
        _exclude(ledger, row, _ROBOT)


def bound_subjects(ledger: Ledger, rows: Rows) -> None:
    """Say which decisions do not teach now that those in ``rows`` were added.

    What others have taught is taken back. Positions of a slate share the verdict on their decision.
    """
    classes = ledger.classes
    _bound(ledger, rows, classes.subject_group, classes.subject_window)
    _bound(ledger, rows, classes.robot_group, classes.robot_window)


def _bound(ledger: Ledger, rows: Rows, class_groups: Rows, class_windows: Rows) -> None:
    """Apply the rules that these groups of classes have, in windows of these lengths."""
    pending, classes = ledger.pending, ledger.classes
    groups = class_groups[pending.decision_class[rows]]
    counted = (groups > 0) & (pending.visitor[rows] > 0)
    if not counted.any():
        return
    rows, groups = rows[counted], groups[counted]
    window_numbers = pending.at[rows] // class_windows[pending.decision_class[rows]]
    for places in places_by_value(window_numbers):
        for part in places_by_value(groups[places]):
            some = rows[places][part]
            first = int(some[0])
            decision_class = classes.all[int(pending.decision_class[first])]
            is_robots = class_groups is classes.robot_group
            rules = decision_class.rules.robots if is_robots else decision_class.rules.subject
            assert rules is not None
            at = int(pending.at[first])
            window = SlotWindow(decision_class.slot_id, rules, at // rules.window)
            until = window.end + int(classes.window[pending.decision_class[some]].max())
            own = some[pending.flags[some] & FURTHER == 0]
            loud = ledger.counts.add(window, pending.visitor[own], until)
            if loud:
                in_group = class_groups == groups[places][part][0]
                _judge(ledger, window, in_group, loud)


def _slot_windows(ledger: Ledger, number: int, at: int) -> list[SlotWindow]:
    """Give the windows in which a decision is counted."""
    decision_class = ledger.classes.all[number]
    return [
        SlotWindow(decision_class.slot_id, rules, at // rules.window)
        for rules in decision_class.rules.of_subjects
    ]


def _judge(ledger: Ledger, window: SlotWindow, in_group: Flags, loud: list[int]) -> None:
    """Judge the pending decisions of visitors who got many in a window.

    ``in_group`` says of each class whether the window's rules are its own.
    """
    pending = ledger.pending
    for visitor, rows in _rows_of(ledger, window, in_group, loud):
        own = rows[pending.flags[rows] & FURTHER == 0]
        verdicts = _verdicts(ledger, window, visitor, own)
        stricter = verdicts > pending.reasons(own)
        for row, reason in zip(own[stricter].tolist(), verdicts[stricter].tolist(), strict=True):
            _exclude(ledger, row, reason)
        if len(own) < len(rows):
            _follow(ledger, rows, own)


def _rows_of(
    ledger: Ledger, window: SlotWindow, in_group: Flags, visitors: list[int]
) -> Iterator[tuple[int, Rows]]:
    """Find the pending decisions of visitors in a window."""
    pending = ledger.pending
    column = pending.visitor
    if len(visitors) <= _FEW:
        found = [np.flatnonzero(column == visitor) for visitor in visitors]
    else:
        rows = np.flatnonzero(np.isin(column, np.array(visitors, dtype=np.uint32)))
        order = rows[np.argsort(column[rows], kind="stable")]
        ends = np.searchsorted(column[order], visitors, side="right")
        starts = np.searchsorted(column[order], visitors)
        found = [order[start:end] for start, end in zip(starts, ends, strict=True)]
    for visitor, rows in zip(visitors, found, strict=True):
        rows = rows[pending.flags[rows] & LIVE != 0]
        rows = rows[in_group[pending.decision_class[rows]]]
        yield visitor, rows[pending.at[rows] // window.rules.window == window.number]


def _verdicts(ledger: Ledger, window: SlotWindow, visitor: int, rows: Rows) -> NDArray[np.int64]:
    """Give the number of the reason why each of a visitor's decisions does not teach.

    ``rows`` are the pending ones; those that have settled rank before all of them.
    """
    pending, classes, rules = ledger.pending, ledger.classes, window.rules
    spans, at = classes.window[pending.decision_class[rows]], pending.at[rows]
    verdicts = np.zeros(len(rows), dtype=np.int64)
    if rules.most is not None:
        settled = ledger.counts.total(window, visitor) - len(rows)
        order = np.lexsort((pending.key[rows], at + spans))
        verdicts[order[max(rules.most - settled, 0) :]] = _LIMIT
    if rules.most_of_robots is not None:
        lengths = np.maximum(np.minimum(rules.robot_window, spans), 1)
        pairs = np.stack((lengths, at % rules.window // lengths))
        _, which, counts = np.unique(pairs, axis=1, return_inverse=True, return_counts=True)
        verdicts[counts[which.reshape(-1)] > rules.most_of_robots] = _RATE
    return verdicts


def _follow(ledger: Ledger, rows: Rows, own: Rows) -> None:
    """Let the further positions of slates share the verdict on their decision."""
    pending = ledger.pending
    decided = {
        unpack_decision(pending.blob(row))[2]: reason
        for row, reason in zip(own.tolist(), pending.reasons(own).tolist(), strict=True)
    }
    for row in rows[pending.flags[rows] & FURTHER != 0].tolist():
        reason = decided.get(unpack_decision(pending.blob(row))[2], 0)
        if reason > pending.reasons(np.array([row]))[0]:
            _exclude(ledger, row, reason)


def _exclude(ledger: Ledger, row: int, reason: int) -> None:
    """Take back what a decision has taught: from now on it teaches nothing."""
    pending = ledger.pending
    decision_class = ledger.classes.all[int(pending.decision_class[row])]
    if not pending.flags[row] & VOID and not pending.reasons(np.array([row]))[0]:
        weight = int(pending.weight[row]) / WHOLE
        rewards = pending.rewards(row).get(int(pending.key[row]))
        default = decision_class.rules.default_reward
        learned = rewards.learned_reward if rewards else weight * default
        square = (
            rewards.learned_square(weight, default) if rewards else weight * on_grid(default**2)
        )
        ledger.changes.add(row, -weight, -learned, -square)
        if not pending.flags[row] & FURTHER:  # a slate is one decision
            ledger.result.count_not_learned(decision_class.slot_id, reasons.NOT_LEARNED[reason])
    pending.give_reason(row, reason)


def _robot_window(rules: SubjectRules, span: int) -> int:
    """Give the length of the windows that robots are known by: at most a reward window."""
    return max(min(rules.robot_window, span), 1)
