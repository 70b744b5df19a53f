"""Which decision an event belongs to, and which of the positions that the decision shows.

An event follows the decision's own slate as it was shown, whatever its slot shows by now:

- A click or reward belongs to the position that it names, the first where it names none.
- An impression shows the position that it names; else the position of the action that it names;
  else all positions.
- What names a position that the decision did not show, or another action than the one at that
  position, is refused.

All positions of a decision come, become void and leave together.
"""

from collections.abc import Iterable, Sequence

from msgspec.structs import replace

from operators.envelope import Event
from operators.logic.attribution import reasons
from operators.logic.attribution.decision_classes import DecisionClass
from operators.logic.attribution.ledger import Ledger
from operators.logic.attribution.window import outside
from operators.logic.deciding.positions import position_key
from schemas.events import Impression

Joined = tuple[Event, int, DecisionClass, int]
"""An event at a position: with that position's key, its row and class, and the decision's key."""


def with_decisions(ledger: Ledger, events: Sequence[Event]) -> list[Joined]:
    """Join events with their decisions, at each position concerned; the others wait or are refused.

    :func:`operators.logic.attribution.window.outside` is the rule of the reward window.
    """
    if not events:
        return []
    pending, result, classes = ledger.pending, ledger.result, ledger.classes.all
    tolerance = ledger.tolerance
    rows = pending.find([event.key for event in events])
    joined: list[Joined] = []
    if not len(pending):
        for event in events:
            _wait(ledger, event)
        return joined
    numbers, decision_times = pending.decision_class[rows].tolist(), pending.at[rows].tolist()
    for event, row, number, at in zip(events, rows, numbers, decision_times, strict=True):
        if row < 0:
            _wait(ledger, event)
            continue
        decision_class, body = classes[number], event.body
        if body.slot_id != decision_class.slot_id:
            result.reject(event, reasons.WRONG_SLOT, "slot_id")
        elif (reason := outside(event.at - at, decision_class.window, tolerance)) is not None:
            result.reject(event, reason, "time")
        elif body.position and body.position >= decision_class.positions:
            result.reject(event, reasons.WRONG_POSITION, "position")
        elif decision_class.positions > 1:
            joined += _at_positions(ledger, event, decision_class.positions)
        else:
            joined.append((event, row, decision_class, event.key))
    return joined


def rows_at(ledger: Ledger, key: int, positions: Iterable[int]) -> list[int]:
    """Find the rows of some positions of a pending decision."""
    return ledger.pending.find([position_key(key, position) for position in positions])


def class_of(ledger: Ledger, row: int) -> DecisionClass:
    """Look up the class of a row."""
    return ledger.classes.all[int(ledger.pending.decision_class[row])]


def _at_positions(ledger: Ledger, event: Event, shown: int) -> list[Joined]:
    """Put an event to each position of a slate that it concerns."""
    body, key = event.body, event.key
    positions: Sequence[int] = [body.position or 0]
    if type(body) is Impression and body.position is None:
        positions = range(shown)
    at = list(zip(positions, rows_at(ledger, key, positions), strict=True))
    if len(at) > 1 and body.action_id is not None:
        at = [each for each in at if class_of(ledger, each[1]).action_id == body.action_id][:1]
        if not at:
            ledger.result.reject(event, reasons.WRONG_ACTION, "action_id")
    return [
        (
            replace(event, key=position_key(key, position), further=position != at[0][0]),
            row,
            class_of(ledger, row),
            key,
        )
        for position, row in at
    ]


def _wait(ledger: Ledger, event: Event) -> None:
    if event.at < ledger.horizon - ledger.tolerance:
        if not ledger.is_counted(event.body.slot_id, event.at):
            ledger.result.reject(event, reasons.LATE)
    elif not ledger.orphans.add(event):
        ledger.result.reject(event, reasons.DUPLICATE_WAITING, "id")
