"""What the writer of the copies in Redis reports."""

import math

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from operators.io.metrics.labels import Children

_SECONDS = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.5, 2.0)


class RedisMetrics:
    """Keys written, given up and waiting; whether Redis answers, and how fast."""

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        self._writes = Counter("banditflow_redis_writes", "Keys sent to Redis.", registry=registry)
        self._dropped = Counter(
            "banditflow_redis_dropped",
            "Keys given up because the buffer was full.",
            registry=registry,
        )
        self._refused = Counter(
            "banditflow_redis_refused",
            "Keys given up because they cannot be sent.",
            registry=registry,
        )
        self._errors = Children(
            Counter(
                "banditflow_redis_errors",
                "Calls that failed, by kind.",
                ["error"],
                registry=registry,
            )
        )
        self._up = Gauge(
            "banditflow_redis_up", "1 while the last call succeeded.", registry=registry
        )
        self._up.set(math.nan)  # 0 would ring the alarm of a flow that has no use for Redis
        self._buffered = Gauge(
            "banditflow_redis_buffered_keys", "Keys that wait to be sent.", registry=registry
        )
        self._seconds = Histogram(
            "banditflow_redis_write_seconds",
            "Seconds per batched call.",
            buckets=_SECONDS,
            registry=registry,
        )

    def written(self, keys: int, refused: int, seconds: float) -> None:
        """Report a call that Redis answered, and the keys among it that cannot be sent."""
        self._seconds.observe(seconds)
        self._writes.inc(keys)
        self._refused.inc(refused)
        self._up.set(1)

    def unavailable(self, error: Exception) -> None:
        """Report a call that failed as a whole."""
        self.error(error)
        self._up.set(0)

    def error(self, error: Exception) -> None:
        """Count an error by its kind."""
        self._errors[type(error).__name__,].inc()

    def dropped(self, keys: int) -> None:
        """Count keys given up because the buffer was full."""
        self._dropped.inc(keys)

    def buffered(self, keys: int) -> None:
        """Report how many keys wait."""
        self._buffered.set(keys)
