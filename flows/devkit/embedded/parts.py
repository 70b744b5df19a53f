"""What the embedded parts have in common: how one is found, started and known to be ready."""

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import confluent_kafka
import redis
from confluent_kafka.admin import AdminClient
from redis.backoff import NoBackoff
from redis.retry import Retry

from flows.runtime.ports import HOST, port_taken


class PartUnavailable(RuntimeError):  # noqa: N818 - it reads as what is the case
    """A part cannot be had on this machine; the message says why and what to do about it."""


@dataclass(frozen=True)
class Part:
    """One kind of embedded server.

    ``command(port, folder)`` is what to run to serve on that port of loopback with its data in
    that folder, and raises :class:`PartUnavailable`; ``ready(port)`` says whether it answers. A
    server that chooses its port itself says with ``own_port(folder)`` which one, once it is known.
    """

    name: str
    command: Callable[[int, Path], Sequence[str]]
    ready: Callable[[int], bool]
    timeout: float = 30.0
    own_port: Callable[[Path], int | None] | None = None


def kafka_answers(port: int) -> bool:
    """Say whether a broker on this port answers a metadata request with its own address."""
    if not port_taken(port):
        return False  # spares librdkafka's connection back-off
    admin = AdminClient({"bootstrap.servers": f"{HOST}:{port}", "log_level": 0})
    with contextlib.suppress(confluent_kafka.KafkaException):
        return any(broker.port == port for broker in admin.list_topics(timeout=2).brokers.values())
    return False


def redis_answers(port: int) -> bool:
    """Say whether a server on this port answers PING."""
    with (
        contextlib.suppress(redis.RedisError),
        redis.Redis(host=HOST, port=port, socket_timeout=1, retry=Retry(NoBackoff(), 0)) as client,
    ):
        return bool(client.ping())
    return False
