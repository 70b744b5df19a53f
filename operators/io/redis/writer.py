"""The thread that sends what is buffered to Redis, in rounds."""

import logging
import threading
import time
from collections.abc import Callable

import redis

from operators.io.backoff import Backoff
from operators.io.metrics.redis import RedisMetrics
from operators.io.redis.buffer import WriteBuffer
from operators.io.redis.call import BATCH, SCRIPT, send_what_can_be
from operators.io.redis.client import TIMEOUT, client, place_of

logger = logging.getLogger("banditflow.redis")

_REPEAT = 60.0
"""Seconds until it is said again that Redis is away."""

GATHER = 0.03
"""Seconds for which writes gather when there are few."""

HOLD_BACK = 1.0
"""Seconds for which writes gather when there are many: what is written again meanwhile is saved.

So no copy is later than this, and the two rounds beside it.
"""

_FAILED = (redis.RedisError, OSError)


class CacheWriter:
    """Sends what is buffered to Redis, from a thread of its own, until it is closed.

    It goes in rounds of what waits as one begins. After a round that filled a call it holds back.
    ``pause`` waits between rounds for so many seconds; otherwise the buffer does.
    """

    def __init__(
        self,
        url: str,
        buffer: WriteBuffer,
        timeout: float = TIMEOUT,
        longest_wait: float = 5.0,
        metrics: RedisMetrics | None = None,
        pause: Callable[[float], None] | None = None,
    ) -> None:
        self._metrics = metrics or RedisMetrics()
        self._buffer = buffer
        self._pause = pause or buffer.pause
        self._longest_wait = longest_wait
        self._place = place_of(url)
        self._said_at: float | None = None
        self._client = client(url, timeout)
        self._script = self._client.register_script(SCRIPT)
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="cache writer", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Send what still waits, where Redis answers, and stop; it never raises."""
        self._stopped.set()
        self._buffer.close()
        self._thread.join()
        self._send_round(len(self._buffer))
        self._client.close()

    def _run(self) -> None:
        backoff = Backoff(0.2, self._longest_wait)
        try:
            self._client.ping()
        except _FAILED as error:
            self._is_away(error)
        while not self._stopped.is_set():
            waiting = self._buffer.wait()
            if self._send_round(waiting):
                backoff.reset()
                self._pause(HOLD_BACK if waiting >= BATCH else GATHER)
            else:
                self._stopped.wait(backoff.next())

    def _send_round(self, waiting: int) -> bool:
        """Send so many of the writes that wait longest; tell whether Redis took them all."""
        while waiting > 0 and (writes := self._buffer.take(min(waiting, BATCH))):
            waiting -= len(writes)
            self._metrics.buffered(len(self._buffer) + len(writes))
            started = time.perf_counter()
            try:
                refused = send_what_can_be(self._script, writes, self._metrics)
            except _FAILED as error:
                self._buffer.give_back(writes)
                self._is_away(error)
                return False
            self._is_back()
            seconds = time.perf_counter() - started
            self._metrics.written(len(writes) - refused, refused, seconds)
            self._metrics.buffered(len(self._buffer))
        return True

    def _is_away(self, error: Exception) -> None:
        self._metrics.unavailable(error)
        now = time.monotonic()
        if self._said_at is None or now - self._said_at >= _REPEAT:
            self._said_at = now
            logger.warning(
                "Redis at %s (BANDITFLOW_REDIS_URL): %s; the flow goes on, without its copies, "
                "and tries again", self._place, " ".join(str(error).split()),
            )  # fmt: skip

    def _is_back(self) -> None:
        if self._said_at is not None:
            self._said_at = None
            logger.warning("Redis at %s answers", self._place)
