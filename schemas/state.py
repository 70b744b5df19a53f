"""Versioned, compact snapshots of operator state: a header that says what follows, then msgpack."""

from collections.abc import Collection
from typing import NamedTuple, TypeVar

import msgspec
from msgspec import Struct

T = TypeVar("T", bound=Struct)


class StateError(ValueError):
    """A snapshot is not what the operator expects; the message says what to do."""


class StateFormat(NamedTuple):
    """The kind of a step's snapshots and the version of their form, as their header says them."""

    kind: str
    version: int


def pack(kind: str, version: int, state: Struct) -> bytes:
    """Write a snapshot as ``kind/version`` and its msgpack body."""
    return f"{kind}/{version}\n".encode() + msgspec.msgpack.encode(state)


def unpack(
    kind: str, version: int, type_: type[T], snapshot: bytes, *, older: Collection[int] = ()
) -> T:
    """Read a snapshot of this kind and version; refuse any other with a clear message.

    ``older`` are earlier versions that the type can read, too: they lack what has a default.

    >>> class Count(Struct):
    ...     n: int
    >>> unpack("count", 1, Count, pack("count", 1, Count(3)))
    Count(n=3)
    >>> unpack("counts", 1, Count, pack("count", 1, Count(3)))
    Traceback (most recent call last):
    schemas.state.StateError: state of 'count' was given to 'counts': a step was renamed
    """
    check_format(kind, version, snapshot, older=older)
    try:
        return msgspec.msgpack.decode(snapshot.partition(b"\n")[2], type=type_)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise StateError(
            f"state {kind!r} is damaged: {error}: bring back a copy of the recovery store, or "
            "start with an empty one"
        ) from error


def check_format(kind: str, version: int, snapshot: bytes, *, older: Collection[int] = ()) -> None:
    """Raise :class:`StateError` where a snapshot is of another kind or version."""
    if not isinstance(snapshot, bytes):
        raise StateError(f"state {kind!r} is none of ours: start with an empty recovery store")
    header = snapshot.partition(b"\n")[0]
    written_kind, _, written = header.decode(errors="replace").partition("/")
    if written_kind != kind:
        raise StateError(f"state of {written_kind!r} was given to {kind!r}: a step was renamed")
    if written not in {str(readable) for readable in (version, *older)}:
        raise StateError(
            f"state {kind!r} was written as version {written}, this release reads version "
            f"{version}: run the release that wrote it, or start with an empty recovery store"
        )
