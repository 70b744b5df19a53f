"""The connection to Redis, and how a copy is read."""

from collections.abc import Mapping
from urllib.parse import urlsplit

import redis
from msgspec import Struct
from redis.backoff import NoBackoff
from redis.retry import Retry

from schemas.settings import SettingsError

TIMEOUT = 2.0
"""Seconds after which a call ends, answered or not."""


class CachedCopy(Struct):
    """What a key holds."""

    version: int
    fields: dict[str, str]


def client(url: str, timeout: float = TIMEOUT) -> redis.Redis:
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


def read(connection: redis.Redis, key: str) -> CachedCopy | None:
    """Read a copy; None where there is none, or only the mark of a removed one."""
    stored: Mapping[bytes, bytes] = connection.hgetall(key)  # type: ignore[assignment]
    fields = {name.decode(): value.decode() for name, value in stored.items()}
    version = fields.pop("version", None)
    return CachedCopy(int(version), fields) if version is not None and fields else None
