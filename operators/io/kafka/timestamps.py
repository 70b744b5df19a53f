"""What a record's timestamp proves: when it was appended, where the broker says so; else nothing.

Kafka keeps one timestamp with a record, and its kind. With ``LogAppendTime`` it is the broker's own
clock at the append. With ``CreateTime``, the default, it is whatever the producer wrote.
"""

import time
from collections.abc import Callable, Sequence

from confluent_kafka import TIMESTAMP_LOG_APPEND_TIME

from operators.io.kafka.client import Fetched
from schemas.clock import Clock, micros


class SteadyClock:
    """A clock in microseconds since 1970 that goes on where the machine's own is set back.

    ``steady`` is a clock in nanoseconds that nobody sets. Set ahead, the machine's clock is
    followed at once: nothing tells that from a machine that slept.

    >>> from datetime import UTC, datetime
    >>> hours, elapsed = [8], [0]
    >>> clock = SteadyClock(lambda: datetime(2026, 1, 1, hours[0], tzinfo=UTC), lambda: elapsed[0])
    >>> before = clock()
    >>> hours[0], elapsed[0] = 7, 5_000
    >>> clock() - before
    5
    """

    def __init__(self, clock: Clock, steady: Callable[[], int] = time.monotonic_ns) -> None:
        self._clock = clock
        self._steady = steady
        self._ahead = micros(clock()) - steady() // 1000

    def __call__(self) -> int:
        """Read the time."""
        wall = micros(self._clock())
        elapsed = self._steady() // 1000  # read last: a pause between the two adds nothing
        self._ahead = max(self._ahead, wall - elapsed)
        return self._ahead + elapsed


def is_append_time(message: Fetched) -> bool:
    """Say whether the record's timestamp is the broker's, and not its producer's."""
    return bool(message.timestamp()[0] == TIMESTAMP_LOG_APPEND_TIME)


def latest_times(messages: Sequence[Fetched], now: int) -> list[int]:
    """Find the latest time that each record may honestly bear, in microseconds since 1970.

    That is when the broker appended it, where it says so, but not later than ``now``, our own
    clock; and ``now`` itself where the timestamp is the producer's, or there is none.
    """
    most = now // 1000
    return [
        stamp * 1000 if kind == TIMESTAMP_LOG_APPEND_TIME and stamp <= most else now
        for kind, stamp in [message.timestamp() for message in messages]
    ]


def behind(messages: Sequence[Fetched], now: int) -> int:
    """Say by how many microseconds ``now`` is behind the newest append; 0 where it is not."""
    stamps = [message.timestamp() for message in messages]
    appended = [stamp * 1000 for kind, stamp in stamps if kind == TIMESTAMP_LOG_APPEND_TIME]
    return max(max(appended, default=now) - now, 0)


def written_at(message: Fetched, now: int) -> int:
    """Read a record's timestamp in microseconds, whoever set it; ``now`` where there is none.

    What lies outside the time from 1970 to ``now`` is brought to its end: producers write anything.
    """
    kind, stamp = message.timestamp()
    return min(max(int(stamp) * 1000, 0), now) if kind else now
