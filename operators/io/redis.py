"""Writes copies to Redis: version-guarded, with a TTL, off the dataflow's path.

Which copies, and under which keys, is in ``operators/cache.py``.

Redis is a cache. Writes are coalesced per key in a bounded buffer and sent by a thread of their
own, one batched Lua call at a time, so a Redis that is slow, frozen or away costs freshness and
nothing else. Every key is a hash with a ``version`` field and expires.
"""

import logging
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from typing import Any
from urllib.parse import urlsplit

import redis
from bytewax.outputs import DynamicSink, StatelessSinkPartition
from msgspec import Struct
from redis.backoff import NoBackoff
from redis.exceptions import DataError
from redis.retry import Retry

from operators.io.backoff import Backoff
from operators.io.metrics.redis import RedisMetrics
from schemas.settings import SettingsError

logger = logging.getLogger("banditflow.redis")

BATCH = 500
"""Keys per call."""

_REPEAT = 60.0
"""Seconds until it is said again that Redis is away."""

BATCH_BYTES = 16_000_000
"""Bytes of fields per call, where one key has no more."""

BUFFER_BYTES = 256_000_000
"""Bytes of fields that wait in a process, while Redis is away."""

GATHER = 0.03
"""Seconds for which writes gather into one call when there are few."""

SCRIPT = """
local place, written = 1, 0
for _, key in ipairs(KEYS) do
  local version, ttl, count = ARGV[place], ARGV[place + 1], tonumber(ARGV[place + 2])
  local kept = redis.pcall('HGET', key, 'version')
  if type(kept) ~= 'string' then kept = '' end
  if #version > #kept or (#version == #kept and version > kept) then
    if written == 0 then
      local room = redis.pcall('HSET', key, 'version', version)
      if type(room) == 'table' and string.find(room.err, 'OOM', 1, true) then
        return redis.error_reply('OOM no room below maxmemory')
      end
    end
    redis.call('DEL', key)
    redis.call('HSET', key, 'version', version)
    local last = place + 2 + count
    for first = place + 3, last, 1000 do
      redis.call('HSET', key, unpack(ARGV, first, math.min(first + 999, last)))
    end
    redis.call('PEXPIRE', key, ttl)
    written = written + 1
  end
  place = place + 3 + count
end
return written
"""
# Versions are compared as decimal strings: Lua's numbers are exact up to 2^53 only. What is no hash
# is replaced, and fields go in parts because Lua's stack is small: no write may fail its batch.
# A script that has deleted may grow beyond maxmemory, so it asks for room before it first does.


class CacheWrite(Struct, frozen=True, gc=False):
    """The whole new content of a key: it replaces what is there if its version is higher.

    ``version`` is not negative; ``ttl`` is in seconds. Without fields only the version stays, so
    that an older write cannot bring back what was removed.
    """

    key: str
    version: int
    ttl: float
    fields: Mapping[str, str | bytes]


class WriteBuffer:
    """The writes that wait for a flush: the newest of each key.

    At most ``capacity`` of them, whose fields take at most ``max_bytes`` together.
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
        self._writes: dict[str, CacheWrite] = {}
        self._lock = threading.Lock()
        self._filled = threading.Condition(self._lock)

    def __len__(self) -> int:
        """Count the keys that wait."""
        return len(self._writes)

    def add(self, writes: Iterable[CacheWrite]) -> None:
        """Take in writes; where the buffer is full the key that waits longest is given up."""
        with self._filled:
            for write in writes:
                kept = self._writes.get(write.key)
                if kept is None or write.version >= kept.version:
                    self._remove(write.key)
                    self._writes[write.key] = write
                    self._bytes += _size(write)
            self._make_room()
            self._filled.notify()

    def take(self, most: int, timeout: float) -> list[CacheWrite]:
        """Wait for writes and remove up to ``most`` of them, the longest waiting first.

        Fewer where those take :data:`BATCH_BYTES`.
        """
        with self._filled:
            if not self._writes:
                self._filled.wait(timeout)
            taken: list[CacheWrite] = []
            room = BATCH_BYTES
            for write in islice(self._writes.values(), most):
                room -= _size(write)
                if taken and room < 0:
                    break
                taken.append(write)
            for write in taken:
                self._remove(write.key)
            return taken

    def give_back(self, writes: Iterable[CacheWrite]) -> None:
        """Return writes that could not be sent to the front, unless newer ones came meanwhile."""
        with self._filled:
            self._writes = {write.key: write for write in writes} | self._writes
            self._bytes = sum(map(_size, self._writes.values()))
            self._make_room()

    def _remove(self, key: str) -> None:
        write = self._writes.pop(key, None)
        if write is not None:
            self._bytes -= _size(write)

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


class CacheWriter:
    """Sends what is buffered to Redis, from a thread of its own, for as long as the process."""

    def __init__(
        self,
        url: str,
        buffer: WriteBuffer,
        timeout: float = 2.0,
        longest_wait: float = 5.0,
        metrics: RedisMetrics | None = None,
    ) -> None:
        self._metrics = metrics or RedisMetrics()
        self._buffer = buffer
        self._longest_wait = longest_wait
        self._place = place_of(url)
        self._said_at: float | None = None
        self._client = client(url, timeout)
        self._script = self._client.register_script(SCRIPT)
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="cache writer", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop sending."""
        self._stopped.set()
        self._thread.join()
        self._client.close()

    def _run(self) -> None:
        wait, backoff = 0.0, Backoff(0.2, self._longest_wait)
        try:
            self._client.ping()
        except (redis.RedisError, OSError) as error:
            self._is_away(error)
        while not self._stopped.wait(wait):
            writes = self._buffer.take(BATCH, 0.2)
            if not writes:
                self._metrics.buffered(0)
                continue
            self._metrics.buffered(len(self._buffer) + len(writes))
            try:
                started = time.perf_counter()
                refused = send_what_can_be(self._script, writes, self._metrics)
            except (redis.RedisError, OSError) as error:
                self._buffer.give_back(writes)
                self._is_away(error)
                wait = backoff.next()
            else:
                self._is_back()
                backoff.reset()
                seconds = time.perf_counter() - started
                self._metrics.written(len(writes) - refused, refused, seconds)
                self._metrics.buffered(len(self._buffer))
                wait = 0.0 if len(writes) == BATCH else GATHER

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


def client(url: str, timeout: float = 2.0) -> redis.Redis:
    """Connect to Redis; every call ends within ``timeout`` seconds."""
    try:
        made = redis.Redis.from_url(
            url,
            socket_timeout=timeout,
            socket_connect_timeout=timeout,
            health_check_interval=30,
            retry=Retry(NoBackoff(), 0),  # who calls decides whether and when to try again
        )
        made.connection_pool.make_connection()  # whose options come from the address
    except (ValueError, TypeError, redis.RedisError) as error:
        raise SettingsError(
            "BANDITFLOW_REDIS_URL: what follows its '?' is no option of the client, or has a wrong "
            "value"
        ) from error
    return made


def place_of(url: str) -> str:
    """Write an address as it may be shown: without user and password."""
    parts = urlsplit(url)
    return parts.netloc.rpartition("@")[2] or parts.path


def send(script: Any, writes: Sequence[CacheWrite]) -> int:
    """Write the batch in one call and count the keys that took it, loading a lost script again."""
    arguments: list[str | bytes | int] = []
    for write in writes:
        fields = [part for pair in write.fields.items() for part in pair]
        arguments += [str(write.version), round(write.ttl * 1000), len(fields), *fields]
    return int(script(keys=[write.key for write in writes], args=arguments))


def send_what_can_be(script: Any, writes: Sequence[CacheWrite], metrics: RedisMetrics) -> int:
    """Write the batch without those that no server can be sent; count those.

    What Redis or the network answers concerns the whole batch and is raised.
    """
    try:
        send(script, writes)
    except Exception as error:
        if isinstance(error, (redis.RedisError, OSError)) and not isinstance(error, DataError):
            raise
        if len(writes) == 1:
            metrics.error(error)
            return 1
        half = len(writes) // 2
        parts = (writes[:half], writes[half:])
        return sum(send_what_can_be(script, part, metrics) for part in parts)
    return 0


class RedisSink(DynamicSink[tuple[str, list[CacheWrite]]]):
    """Takes ``(shard, [CacheWrite, …])``; nothing here is durable: no epoch waits."""

    def __init__(self, url: str, metrics: RedisMetrics | None = None) -> None:
        self._url = url
        self._metrics = metrics or RedisMetrics()
        self._buffer: WriteBuffer | None = None
        self._lock = threading.Lock()

    def build(
        self,
        step_id: str,  # noqa: ARG002
        worker_index: int,  # noqa: ARG002
        worker_count: int,  # noqa: ARG002
    ) -> StatelessSinkPartition[tuple[str, list[CacheWrite]]]:
        """Share one buffer and one writer among the process's workers."""
        with self._lock:
            if self._buffer is None:
                self._buffer = WriteBuffer(metrics=self._metrics)
                CacheWriter(self._url, self._buffer, metrics=self._metrics)
        return _Partition(self._buffer)


class _Partition(StatelessSinkPartition[tuple[str, list[CacheWrite]]]):
    def __init__(self, buffer: WriteBuffer) -> None:
        self._buffer = buffer

    def write_batch(self, items: list[tuple[str, list[CacheWrite]]]) -> None:
        self._buffer.add([write for _, writes in items for write in writes])


class CachedCopy(Struct):
    """What a key holds."""

    version: int
    fields: dict[str, str]


def read(connection: redis.Redis, key: str) -> CachedCopy | None:
    """Read a copy; None where there is none, or only the mark of a removed one."""
    stored: Mapping[bytes, bytes] = connection.hgetall(key)  # type: ignore[assignment]
    fields = {name.decode(): value.decode() for name, value in stored.items()}
    version = fields.pop("version", None)
    return CachedCopy(int(version), fields) if version is not None and fields else None
