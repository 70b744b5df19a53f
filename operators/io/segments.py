"""Files beside the recovery store for what never changes again, so that no epoch rewrites it.

A Bytewax snapshot replaces the whole value of its key. A full chunk of pending decisions does not
change, so it is written to a file of its own, by a thread of its own, as soon as it is full; a
snapshot names it and waits until it is durable. The same thread deletes, in order of request. A
crash leaves at worst files that no snapshot names: the next chunk of that name replaces them.
"""

import os
from collections import deque
from collections.abc import Collection, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Final

from schemas.state import StateError

_FORMAT: Final = "chunk-1"
_KEPT_SNAPSHOTS: Final = 3
"""A segment stays until this many snapshots did not need it: resume may go back an epoch."""

_WRITER: Final = ThreadPoolExecutor(1, thread_name_prefix="segments")


class ShardSegments:
    """The segments of one shard in ``folder``, which only its owner may read (mode 0700)."""

    def __init__(self, folder: Path, shard: int) -> None:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._folder = folder
        self._shard = shard
        self._present = {path.name for path in folder.glob(f"{shard}-*")}
        self._running: list[Future[None]] = []
        self._needed: deque[frozenset[str]] = deque(maxlen=_KEPT_SNAPSHOTS)

    def write(self, name: int, block: bytes) -> None:
        """Begin to write a segment."""
        file = self._file(name)
        self._present.add(file)
        self._running.append(_WRITER.submit(_write, self._folder / file, block))

    def settle(self, names: Collection[int]) -> None:
        """Return once all segments are durable; raise if one could not be written.

        Segments that neither ``names`` nor the previous snapshots need begin to be deleted: the
        next call returns once they are gone.
        """
        running, self._running = self._running, []
        for future in running:
            future.result()
        self._needed.append(frozenset(map(self._file, names)))
        if len(self._needed) == _KEPT_SNAPSHOTS:
            stale = self._present.difference(*self._needed)
            if stale:
                self._present -= stale
                self._running.append(_WRITER.submit(_delete, self._folder, stale))

    def read(self, name: int) -> bytes:
        """Give a segment; refuse when it is missing."""
        return _read(self._folder / self._file(name))

    def _file(self, name: int) -> str:
        return _name(self._shard, name)


class KeptSegments:
    """The segments of a stopped flow's shard, to be looked at only: nothing is written there."""

    def __init__(self, folder: Path, shard: int) -> None:
        self._folder = folder
        self._shard = shard

    def write(self, name: int, block: bytes) -> None:
        """Leave the folder as it is."""

    def settle(self, names: Collection[int]) -> None:
        """Leave the folder as it is."""

    def read(self, name: int) -> bytes:
        """Give a segment; refuse when it is missing."""
        return _read(self._folder / _name(self._shard, name))


def _name(shard: int, name: int) -> str:
    return f"{shard}-{name}.{_FORMAT}"


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise StateError(
            f"{path} is missing, which the recovery store refers to: restore the whole "
            f"recovery folder, or start with an empty one"
        ) from None


def _write(path: Path, block: bytes) -> None:
    """Write a file so that it is there as a whole or not at all, also after a power cut."""
    partial = path.with_suffix(".partial")
    with open(partial, "wb", opener=_private) as file:
        file.write(block)
        file.flush()
        os.fdatasync(file.fileno())
    partial.rename(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _delete(folder: Path, files: Iterable[str]) -> None:
    for file in files:
        (folder / file).unlink(missing_ok=True)


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)
