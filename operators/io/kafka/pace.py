"""Lets the epochs of all of a flow's sources end together, in every process of the flow.

Bytewax ends the epochs of each source by themselves, at the first look for input after the
interval. Whoever ends an epoch first waits for the last before it may read on, and since each look
is a little late, the last would fall further behind with every epoch, up to a whole interval.
"""

import math
from datetime import UTC, datetime
from typing import Final

from schemas.clock import Clock

SLACK: Final = 0.01
"""Seconds by which the epochs of several processes are longer, so that the late may catch up."""

_CLOSE: Final = 0.005
"""A look so shortly before the end of the interval might be late and end the epoch alone."""

_STEP: Final = 0.05
"""The part of an interval that a process waits each time until its epochs are at common times."""


class Beat:
    """When one source polls for input, so that its partitions end their epochs together."""

    def __init__(self, pace: "Pace") -> None:
        self._pace = pace
        self._interval = pace.interval
        self._clock = pace.clock
        self._looked = 0.0
        self._began: float | None = None
        self.ended = 0
        """How many epochs the source has ended."""

    @property
    def due(self) -> float:
        """When the source's partitions may end their epoch."""
        return (self._began or 0.0) + self._interval

    @property
    def ends_epoch(self) -> bool:
        """Whether the poll noted last may end the epoch; one of these polls does."""
        return bool(self._interval) and self._looked >= self.due

    @property
    def seconds_left(self) -> float:
        """How long the poll noted last may take before the end of its epoch is near."""
        return self.due - self._looked - _CLOSE if self._interval else math.inf

    def note_poll(self) -> None:
        """Note that a partition polls for input."""
        self._looked = self._clock().timestamp()
        if self._began is None:
            self._began = self._looked

    def note_epoch_end(self) -> None:
        """Note that the partition that polled last has ended its epoch."""
        if self._began is None or self._looked - self._began > self._interval / 2:
            self._began = self._looked
            self.ended += 1

    def next_poll(self, wanted: datetime | None) -> datetime | None:
        """Give when to poll next: when ``wanted`` (None: at once), or at the epoch's common end."""
        if not self._interval:
            return wanted
        now = self._clock().timestamp()
        at = now if wanted is None else wanted.timestamp()
        if at < self.due - _CLOSE:
            return wanted
        common = self._pace.common_end(self.ended)
        return wanted if now >= common else datetime.fromtimestamp(common, UTC)


class Pace:
    """Lets all sources of a process end their epochs at one time; one :class:`Beat` each.

    ``alone`` says that the flow has no other process.

    Nobody looks between the end of its interval and the time at which the last of the process's
    sources may end its epoch; with several processes, at which their clocks all show a multiple of
    a little more than the interval. Without an interval everybody looks when they want.
    """

    def __init__(
        self,
        clock: Clock,
        interval: float = 0.0,
        alone: bool = True,
    ) -> None:
        self.interval = interval
        self.clock = clock
        self._alone = alone
        self._beats: list[Beat] = []

    def beat(self) -> Beat:
        """Give the beat of one more source."""
        self._beats.append(Beat(self))
        return self._beats[-1]

    def common_end(self, ended: int) -> float:
        """Give when the sources that have ended this number of epochs end the next one together."""
        last = max(beat.due for beat in self._beats if beat.ended == ended)
        if self._alone:
            return last
        period = self.interval + SLACK
        common = math.ceil(last / period) * period
        return min(common, last + _STEP * self.interval)
