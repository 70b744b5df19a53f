"""Times as whole microseconds since 1970, exactly: what the flow computes with; and clocks.

The times of all records lie from :data:`EARLIEST` to before :data:`LATEST`: whatever is added to
one, within the bounds of the settings and of the catalog, is a ``datetime`` too.
"""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

NEVER = -(2**62)
"""The watermark before the first event."""

ALWAYS = 2**62
"""The watermark after the last event of a bounded input."""

EARLIEST = 0
"""The first moment that a record may be of: 1970-01-01T00:00:00Z."""

LATEST = 7_258_118_400_000_000
"""The first moment that no record may be of any more: 2200-01-01T00:00:00Z."""

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
    """Convert microseconds since 1970 to a time, the inverse of :func:`micros`.

    Beyond what a time can be, where only :data:`NEVER`, :data:`ALWAYS` and states of older
    releases are, it is the first or the last one.

    >>> moment(0).year, moment(NEVER).year, moment(ALWAYS).year
    (1970, 1, 9999)
    """
    try:
        return EPOCH + timedelta(microseconds=at)
    except OverflowError:
        return (datetime.min if at < 0 else datetime.max).replace(tzinfo=UTC)


def in_calendar(time: datetime) -> bool:
    """Tell whether a time lies from :data:`EARLIEST` to before :data:`LATEST`.

    >>> in_calendar(EPOCH), in_calendar(datetime(1, 1, 1, tzinfo=UTC))
    (True, False)
    """
    return 1970 < time.year < 2199 or EARLIEST <= micros(time) < LATEST
