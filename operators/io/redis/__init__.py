"""Writes copies to Redis: version-guarded, with a TTL, off the dataflow's path.

Which copies, and under which keys, is in ``operators/cache.py``.

Redis is a cache. Writes are coalesced per key in a bounded buffer and sent by a thread of their
own, one batched Lua call at a time, so a Redis that is slow, frozen or away costs freshness and
nothing else. Every key is a hash with a ``version`` field and expires.
"""

from operators.io.redis.buffer import WriteBuffer
from operators.io.redis.call import CacheWrite
from operators.io.redis.client import CachedCopy, client, place_of, read
from operators.io.redis.sink import RedisSink
from operators.io.redis.writer import CacheWriter

__all__ = [
    "CacheWrite",
    "CacheWriter",
    "CachedCopy",
    "RedisSink",
    "WriteBuffer",
    "client",
    "place_of",
    "read",
]
