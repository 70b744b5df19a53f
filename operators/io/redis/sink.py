"""The sink of copies: nothing here is durable, and no epoch waits for it."""

import threading

from bytewax.outputs import DynamicSink, StatelessSinkPartition

from operators.io.metrics.redis import RedisMetrics
from operators.io.redis.buffer import WriteBuffer
from operators.io.redis.call import CacheWrite
from operators.io.redis.writer import CacheWriter

Item = tuple[str, list[CacheWrite]]


class RedisSink(DynamicSink[Item]):
    """Takes ``(shard, [CacheWrite, …])``; a process's workers share one buffer and one writer."""

    def __init__(self, url: str, metrics: RedisMetrics | None = None) -> None:
        self._url = url
        self._metrics = metrics or RedisMetrics()
        self._buffer: WriteBuffer | None = None
        self._writer: CacheWriter | None = None
        self._open = 0
        self._lock = threading.Lock()

    def build(
        self,
        step_id: str,  # noqa: ARG002
        worker_index: int,  # noqa: ARG002
        worker_count: int,  # noqa: ARG002
    ) -> StatelessSinkPartition[Item]:
        """Open one more worker's way in."""
        with self._lock:
            if self._buffer is None:
                self._buffer = WriteBuffer(metrics=self._metrics)
                self._writer = CacheWriter(self._url, self._buffer, metrics=self._metrics)
            self._open += 1
            return _Partition(self, self._buffer)

    def leave(self) -> None:
        """Close a worker's way in; after the last, what still waits is sent."""
        with self._lock:
            self._open -= 1
            if self._open == 0 and self._writer is not None:
                self._writer.close()
                self._buffer = self._writer = None


class _Partition(StatelessSinkPartition[Item]):
    def __init__(self, sink: RedisSink, buffer: WriteBuffer) -> None:
        self._sink = sink
        self._buffer = buffer

    def write_batch(self, items: list[Item]) -> None:
        self._buffer.add([write for _, writes in items for write in writes])

    def close(self) -> None:
        """Bytewax calls it at the end of a finite flow alone."""
        self._sink.leave()
