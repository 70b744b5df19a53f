"""The Java client's default partitioner: murmur2 of the record key.

The hash is Austin Appleby's MurmurHash2 (32 bit) with the seed that
``org.apache.kafka.common.utils.Utils.murmur2`` uses.
"""

import struct

_SEED = 0x9747B28C
_M = 0x5BD1E995
_MASK = 0xFFFFFFFF


def murmur2(data: bytes) -> int:
    """Give the unsigned 32-bit hash.

    >>> murmur2(b"foobar") == -790332482 % 2**32
    True
    """
    length = len(data)
    h = _SEED ^ length
    words = length // 4
    for k in struct.unpack_from(f"<{words}I", data):
        k = k * _M & _MASK
        h = h * _M & _MASK ^ (k ^ k >> 24) * _M & _MASK
    tail = data[words * 4 :]
    if tail:
        h = (h ^ int.from_bytes(tail, "little")) * _M & _MASK
    h = (h ^ h >> 13) * _M & _MASK
    return h ^ h >> 15


def partition_of(raw_id: str | bytes, partitions: int) -> int:
    """Give the partition of a visitor's raw id (UTF-8) among ``partitions``.

    >>> partition_of("visitor-1", 4) == partition_of(b"visitor-1", 4)
    True
    """
    data = raw_id.encode() if isinstance(raw_id, str) else raw_id
    return (murmur2(data) & 0x7FFFFFFF) % partitions
