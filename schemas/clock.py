"""Times as whole microseconds since 1970, exactly: what the flow computes with; and clocks."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

NEVER = -(2**62)
"""The watermark before the first event."""

ALWAYS = 2**62
"""The watermark after the last event of a bounded input."""

Clock = Callable[[], datetime]
"""Gives the time of day, with its zone; whoever needs it is handed one."""

_MICROSECOND = timedelta(microseconds=1)


def micros(time: datetime) -> int:
    """Give a time as whole microseconds since 1970, exactly.

    >>> micros(datetime(2026, 1, 1, tzinfo=UTC))
    1767225600000000
    """
    return (time - EPOCH) // _MICROSECOND


def moment(at: int) -> datetime:
    """Give microseconds since 1970 as a time, the inverse of :func:`micros`."""
    return EPOCH + timedelta(microseconds=at)
