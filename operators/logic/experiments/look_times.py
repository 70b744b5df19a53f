"""When an experiment is looked at: fixed points of event time, from its start on.

What a look sees must not depend on how traffic came in batches; so there is a look whenever the
watermark has passed a multiple of an interval from the start, and none at any other time. Times are
whole microseconds since 1970, in UTC: no hour repeats or vanishes.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Final

DAY: Final = 86_400_000_000
"""Microseconds."""

_EPOCH: Final = date(1970, 1, 1)


@dataclass(frozen=True, slots=True)
class LookTimes:
    """A look at each ``interval`` after ``start``, up to one at ``last`` where that is known.

    Examples
    --------
    >>> list(LookTimes(start=100, interval=10).between(100, 135))
    [110, 120, 130]
    >>> list(LookTimes(start=100, interval=10, last=125).between(115, 200))
    [120, 125]
    """

    start: int
    interval: int
    last: int | None = None

    def __post_init__(self) -> None:
        """Refuse an interval that never ends."""
        if self.interval < 1:
            raise ValueError(f"interval must be 1 or more, got {self.interval}")

    def between(self, before: int, watermark: int) -> Iterator[int]:
        """Give the looks after ``before``, up to and including ``watermark``, in order.

        Each is to be taken with what is final at its own time, also when the watermark has leapt
        over many.
        """
        stop = watermark if self.last is None else min(watermark, self.last)
        number = max(1, (before - self.start) // self.interval + 1)
        look = self.start + number * self.interval
        while look <= stop:
            yield look
            look += self.interval
        last = self.last
        if last is None or (last > self.start and (last - self.start) % self.interval == 0):
            return
        if before < last <= watermark:
            yield last


def days_of_run(start: int, at: int) -> float:
    """Give how many days an experiment has run.

    >>> days_of_run(0, 36 * 3600 * 10**6)
    1.5
    """
    return max(0, at - start) / DAY


def utc_days(start: int, end: int) -> list[date]:
    """Give the days, in UTC, that the time from ``start`` to before ``end`` touches.

    >>> [str(day) for day in utc_days(0, 2 * DAY)]  # ends as the third day begins
    ['1970-01-01', '1970-01-02']
    """
    days = range(start // DAY, -(-end // DAY)) if end > start else range(0)
    return [_EPOCH + timedelta(days=number) for number in days]
