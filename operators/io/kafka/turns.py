"""When the partition groups of a process take their turns to look for records.

A turn is one look of every group: what all of them give in it is worked on together. A turn costs
the same for one record as for some dozens, so turns are no closer than an interval while something
comes. Where nothing comes, a group may wait in its look for what does.
"""

from datetime import UTC, datetime
from typing import Protocol

from schemas.clock import Clock

LIVE_TURN = 0.015
"""Seconds from the beginning of one turn to that of the next, while requests come."""

_LULL = 0.03
"""Seconds after a turn in which something came for which nobody waits in a look: what came then is
on its way through the steps, which one waiting look would hold up."""

_LOOK = 0.002
"""Seconds between looks in that time, and until what is known to be on its way is looked for."""

_TICK = 1e-6
"""The unit of the times that Bytewax is given."""

_LONGEST_WAIT = 0.025
"""Seconds of a waiting look: other sources, timers and workers are served after it."""


class Turns(Protocol):
    """Tells groups when to look, and for how long they may wait in it."""

    number: int
    """How many turns have begun."""

    def begin(self, last: int) -> float | None:
        """Give the seconds that a group may wait in its look for something to come.

        ``last`` is the turn in which it looked last; None says that it is to look in the next one.
        """

    def waited(self) -> None:
        """Note that a group has waited in its look."""

    def next(self, *, gave: bool, at_end: bool) -> datetime:
        """Say when a group looks next; ``gave`` says that it has given something."""


class ClockTurns:
    """Turns at multiples of ``interval`` on the clock: nobody waits for what comes."""

    def __init__(self, clock: Clock, interval: float) -> None:
        self._clock = clock
        self._interval = interval
        self.number = 0

    def begin(self, last: int) -> float | None:  # noqa: ARG002
        """Let every group look, and none wait."""
        return 0.0

    def waited(self) -> None:
        """Note nothing."""

    def next(self, *, gave: bool, at_end: bool) -> datetime:  # noqa: ARG002
        """Give the next multiple of the interval, or soon where something is on its way."""
        seconds = self._interval if at_end else _LOOK
        now = self._clock().timestamp()
        return datetime.fromtimestamp((now // seconds + 1) * seconds, UTC)


class ArrivalTurns:
    """Turns that begin when something comes, ``interval`` seconds after the last at the earliest.

    >>> seconds = 100.0
    >>> turns = ArrivalTurns(lambda: datetime.fromtimestamp(seconds, UTC), 0.01)
    >>> turns.begin(0)  # something may be on its way through the steps
    0.0
    >>> round(turns.next(gave=True, at_end=True).timestamp() - seconds, 3)
    0.01
    >>> turns.begin(1) is None
    True
    >>> seconds = 101.0
    >>> turns.begin(1), turns.number
    (0.025, 2)
    """

    def __init__(self, clock: Clock, interval: float = LIVE_TURN) -> None:
        self._clock = clock
        self._interval = interval
        self.number = 0
        self._began = self._due = self._given = clock().timestamp()

    def begin(self, last: int) -> float | None:
        """Begin a turn where one is due; let nobody look twice in one that gave something."""
        now = self._clock().timestamp()
        if now >= self._due - _TICK or now < self._began:
            self.number += 1
            self._began, self._due = now, now + self._interval
        elif last == self.number and self._given >= self._began:
            return None
        return _LONGEST_WAIT if now - self._given > _LULL else 0.0

    def waited(self) -> None:
        """Let the turn begin now: a group has waited in its look."""
        self._began = self._clock().timestamp()
        self._due = self._began + self._interval

    def next(self, *, gave: bool, at_end: bool) -> datetime:
        """Give the beginning of the next turn where this one gave something, and else soon."""
        now = self._clock().timestamp()
        if gave:
            self._given = now
        if at_end and self._given >= self._began:
            due = min(max(self._due, now), now + self._interval)  # the clock may have been set back
            return datetime.fromtimestamp(due, UTC)
        return datetime.fromtimestamp(now + (0.0 if gave else _LOOK), UTC)
