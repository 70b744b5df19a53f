"""What waits to be written to Redis: the newest of each key, within bounds."""

import threading
from collections.abc import Iterable
from itertools import islice

from operators.io.metrics.redis import RedisMetrics
from operators.io.redis.call import BATCH_BYTES, CacheWrite

BUFFER_BYTES = 256_000_000
"""Bytes of fields that wait in a process, while Redis is away."""


class WriteBuffer:
    """The writes that wait for a flush: the newest of each key, in the place of its first.

    At most ``capacity`` of them, whose fields take at most ``max_bytes`` together. Any thread may
    call it.
    """

    def __init__(
        self,
        capacity: int = 100_000,
        max_bytes: int = BUFFER_BYTES,
        metrics: RedisMetrics | None = None,
    ) -> None:
        self._capacity = capacity
        self._max_bytes = max_bytes
        self._bytes = 0
        self._metrics = metrics or RedisMetrics()
        self._writes: dict[str, tuple[CacheWrite, int]] = {}
        """By key, each with the bytes of its fields."""
        self._lock = threading.Lock()
        self._filled = threading.Condition(self._lock)
        self._urgent = threading.Condition(self._lock)
        self._closed = False

    def __len__(self) -> int:
        """Count the keys that wait."""
        return len(self._writes)

    def add(self, writes: Iterable[CacheWrite]) -> None:
        """Take in writes; where the buffer is full the key that waits longest is given up."""
        with self._lock:
            for write in writes:
                kept = self._writes.get(write.key)
                if kept is not None:
                    if write.version < kept[0].version:
                        continue
                    self._bytes -= kept[1]
                size = _size(write)
                self._bytes += size
                self._writes[write.key] = (write, size)
            self._make_room()
            self._filled.notify()
            if self._is_half_full():
                self._urgent.notify()

    def take(self, most: int, most_bytes: int = BATCH_BYTES) -> list[CacheWrite]:
        """Remove up to ``most`` writes, the longest waiting first.

        Together their fields take ``most_bytes``, where there is more than one.
        """
        with self._lock:
            taken: list[CacheWrite] = []
            room = most_bytes
            for write, size in islice(self._writes.values(), most):
                room -= size
                if taken and room < 0:
                    break
                taken.append(write)
            for write in taken:
                self._remove(write.key)
            return taken

    def give_back(self, writes: Iterable[CacheWrite]) -> None:
        """Return writes that could not be sent to the front, unless newer ones came meanwhile."""
        with self._lock:
            returned = {write.key: (write, _size(write)) for write in writes}
            self._writes = returned | self._writes
            self._bytes = sum(size for _, size in self._writes.values())
            self._make_room()

    def wait(self) -> int:
        """Wait until something waits or nothing more comes; count the keys."""
        with self._lock:
            self._filled.wait_for(lambda: self._writes or self._closed)
            return len(self._writes)

    def pause(self, seconds: float) -> None:
        """Let writes come together, but not once the buffer is half full or nothing more comes."""
        with self._lock:
            self._urgent.wait_for(lambda: self._closed or self._is_half_full(), seconds)

    def close(self) -> None:
        """Say that nothing more comes."""
        with self._lock:
            self._closed = True
            self._filled.notify_all()
            self._urgent.notify_all()

    def _is_half_full(self) -> bool:
        return 2 * len(self._writes) >= self._capacity or 2 * self._bytes >= self._max_bytes

    def _remove(self, key: str) -> None:
        self._bytes -= self._writes.pop(key)[1]

    def _make_room(self) -> None:
        dropped = 0
        while len(self._writes) > self._capacity or self._bytes > self._max_bytes:
            self._remove(next(iter(self._writes)))
            dropped += 1
        if dropped:
            self._metrics.dropped(dropped)


def _size(write: CacheWrite) -> int:
    """Count the bytes of a write's fields; what is no text is refused when it is sent."""
    return sum(len(value) for value in write.fields.values() if isinstance(value, str | bytes))
