"""Records as bytes: written as they are, damaged, or in a way that nobody can read."""

from collections.abc import Callable
from random import Random
from typing import Any

import msgspec

from tests.support.fuzz.extremes import extreme
from tests.support.fuzz.shapes import Tree

_ENCODER = msgspec.json.Encoder()


def encoded(rng: Random, tree: Tree) -> bytes:
    """Write a record, now and then with a key that comes twice."""
    value = _ENCODER.encode(tree)
    if isinstance(tree, dict) and tree and rng.random() < 0.03:
        name = rng.choice(list(tree))
        again = _ENCODER.encode({name: extreme(rng, 0.0)})
        return value[:-1] + b"," + again[1:]
    return value


def unreadable(rng: Random, tree: Tree) -> tuple[bytes | None, bool]:
    """Write a record in a way that nobody can read."""
    value: bytes = _ENCODER.encode(tree)
    ways: tuple[bytes | None, ...] = (
        None, b"", b"null", b"42", b'"text"', b"[" + value + b"]", value[:-1],
        value[: rng.randrange(len(value))], value + b"}", value.decode().encode("utf-16"),
        b"\xff" + value,
        b"\xef\xbb\xbf" + value, b"\x00" + value, value.replace(b'"', b"'"), b"{}", b"[]",
        value[:-1] + b',"time":[]}', b"\x00" + rng.randbytes(40),
        _ENCODER.encode(_all_null(tree)),
    )  # fmt: skip
    return rng.choice(ways), True


def _all_null(tree: Any) -> Any:
    return dict.fromkeys(tree, None) if isinstance(tree, dict) else None


def _cut(rng: Random, value: bytes) -> bytes:
    return value[: rng.randrange(len(value) + 1)]


def _flipped(rng: Random, value: bytes) -> bytes:
    place = rng.randrange(max(1, len(value)))
    return value[:place] + bytes([rng.randrange(256)]) + value[place + 1 :]


_ODD_BYTES = (b"\x00", b"\xff", b"\xc3\x28", b"\xed\xa0\x80", b" ", b",", b'"', b"\\u0000")


def _inserted(rng: Random, value: bytes) -> bytes:
    place = rng.randrange(len(value) + 1)
    return value[:place] + rng.choice(_ODD_BYTES) + value[place:]


def _padded(_: Random, value: bytes) -> bytes:
    return b" \n\t" + value + b"\r\n "


def _stretched(rng: Random, value: bytes) -> bytes:
    return value[:1] + b" " * rng.choice((10, 1000, 100_000)) + value[1:]


def _twice(_: Random, value: bytes) -> bytes:
    return value + value


def _wide(_: Random, value: bytes) -> bytes:
    return value.decode(errors="replace").encode("utf-16-le")


BYTES: list[Callable[[Random, bytes], bytes]] = [
    _cut, _flipped, _flipped, _inserted, _inserted, _padded, _stretched, _twice, _wide,
]  # fmt: skip
"""Ways to spoil what was written."""
