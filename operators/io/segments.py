"""Files beside the recovery store for what never changes again, so that no epoch rewrites it.

A Bytewax snapshot replaces the whole value of its key. A full chunk of pending decisions does not
change, so it is written to a file of its own, by a thread of its own, as soon as it is full; a
snapshot names it and waits until it is durable. A crash leaves at worst files that no snapshot
names: the next chunk of that name replaces them.
"""

import os
from collections import deque
from collections.abc import Collection
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
        self._writing: list[Future[None]] = []
        self._needed: deque[frozenset[int]] = deque(maxlen=_KEPT_SNAPSHOTS)

    def write(self, name: int, block: bytes) -> None:
        """Begin to write a segment."""
        self._writing.append(_WRITER.submit(_write, self._path(name), block))

    def settle(self, names: Collection[int]) -> None:
        """Return once all segments are durable; raise if one could not be written.

        Segments that neither ``names`` nor the previous snapshots need are deleted.
        """
        writing, self._writing = self._writing, []
        for write in writing:
            write.result()
        self._needed.append(frozenset(names))
        if len(self._needed) == _KEPT_SNAPSHOTS:
            needed = {self._path(name) for part in self._needed for name in part}
            for path in self._folder.glob(f"{self._shard}-*"):
                if path not in needed:
                    path.unlink(missing_ok=True)

    def read(self, name: int) -> bytes:
        """Give a segment; refuse when it is missing."""
        path = self._path(name)
        try:
            return path.read_bytes()
        except FileNotFoundError:
            raise StateError(
                f"{path} is missing, which the recovery store refers to: restore the whole "
                f"recovery folder, or start with an empty one"
            ) from None

    def _path(self, name: int) -> Path:
        return self._folder / f"{self._shard}-{name}.{_FORMAT}"


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


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)
