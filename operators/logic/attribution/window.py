"""The reward window: which events belong to a decision by their time, and how long they took.

It is the one rule of attribution, of what verifies it and of what is learned of delays. Times are
whole microseconds; ``age`` is an event's time less that of its decision.
"""

from operators.logic.attribution import reasons


def outside(age: int, window: int, tolerance: int) -> str | None:
    """Say why an event does not belong to its decision; None where it does.

    It does where -tolerance <= age <= window, both included. Browsers' clocks may be behind the
    server's, so that an event bears a time a little before its decision's.

    >>> [outside(age, 20, 5) for age in (-6, -5, 20, 21)]
    ['before_decision', None, None, 'outside_window']
    """
    if age < -tolerance:
        return reasons.BEFORE_DECISION
    return reasons.OUTSIDE_WINDOW if age > window else None


def delay(age: int) -> int:
    """Say how long after its decision an event came; with an earlier time it came at once.

    >>> delay(7), delay(-3)
    (7, 0)
    """
    return max(age, 0)
