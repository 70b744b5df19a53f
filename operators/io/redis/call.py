"""One batched call: a Lua script that replaces each key whose version is lower."""

from collections.abc import Mapping, Sequence
from typing import Any

import redis
from msgspec import Struct
from redis.exceptions import DataError

from operators.io.metrics.redis import RedisMetrics

BATCH = 500
"""Keys per call."""

BATCH_BYTES = 16_000_000
"""Bytes of fields per call, where one key has no more."""

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
