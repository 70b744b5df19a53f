"""Which worker of a cluster holds which shard, so that a shard's batches stay on one.

Bytewax sends the state of a key to worker ``hash(key) % workers``, by SipHash-1-3 with a key of
zeros (Aumasson and Bernstein 2012, "SipHash: a fast short-input PRF") over the key's UTF-8 and a
byte 0xff, as Rust hashes a string. Partitions of sources and sinks go to the workers that list
them. So shards have keys that hash to even shares of the workers, and a worker lists the
partitions whose keys come to it. Were Bytewax to place keys otherwise, batches would cross between
workers, and nothing else would change.
"""

from dataclasses import dataclass
from functools import cache
from itertools import count
from typing import Final

_EVEN: Final = 120
"""Shards are spread evenly over any number of workers that divides this."""

_MASK: Final = 2**64 - 1


@dataclass(frozen=True, slots=True)
class WorkerPlace:
    """One worker of a cluster of some.

    >>> [[shard for shard in range(6) if WorkerPlace(n, 3).owns(shard)] for n in range(3)]
    [[0, 3], [1, 4], [2, 5]]
    """

    worker: int = 0
    workers: int = 1

    def owns(self, shard: int) -> bool:
        """Say whether the state of a shard is this worker's."""
        return worker_of(shard_key(shard), self.workers) == self.worker


ALONE: Final = WorkerPlace()
"""The only worker there is."""


@cache
def shard_key(shard: int) -> str:
    """Give the key of a shard's state and batches; it begins with the shard's number.

    >>> shard_of(shard_key(7)), worker_of(shard_key(7), 4)
    (7, 3)
    """
    keys = (f"{shard}-{salt}" for salt in count())
    return next(key for key in keys if _hash(key) % _EVEN == shard % _EVEN)


def shard_of(key: str) -> int:
    """Read the shard's number from its key, or from the name of its partition.

    >>> shard_of("12-7"), shard_of("00003")
    (12, 3)
    """
    return int(key.partition("-")[0])


def worker_of(key: str, workers: int) -> int:
    """Give the worker that a key's state is on."""
    return _hash(key) % workers


def _hash(key: str) -> int:
    data = key.encode() + b"\xff"
    v0, v1, v2, v3 = (
        0x736F6D6570736575, 0x646F72616E646F6D, 0x6C7967656E657261, 0x7465646279746573
    )  # fmt: skip
    padded = data + bytes(7 - len(data) % 8) + bytes([len(data) & 0xFF])
    for start in range(0, len(padded), 8):
        word = int.from_bytes(padded[start : start + 8], "little")
        v0, v1, v2, v3 = _round(v0, v1, v2, v3 ^ word)
        v0 ^= word
    v2 ^= 0xFF
    for _ in range(3):
        v0, v1, v2, v3 = _round(v0, v1, v2, v3)
    return v0 ^ v1 ^ v2 ^ v3


def _round(v0: int, v1: int, v2: int, v3: int) -> tuple[int, int, int, int]:
    v0 = (v0 + v1) & _MASK
    v1 = _turned(v1, 13) ^ v0
    v2 = (v2 + v3) & _MASK
    v3 = _turned(v3, 16) ^ v2
    v0 = (_turned(v0, 32) + v3) & _MASK
    v3 = _turned(v3, 21) ^ v0
    v2 = (v2 + v1) & _MASK
    v1 = _turned(v1, 17) ^ v2
    return v0, v1, _turned(v2, 32), v3


def _turned(value: int, bits: int) -> int:
    return (value << bits | value >> 64 - bits) & _MASK
