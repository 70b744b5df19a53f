"""Append-only files beside the recovery store: what need not be written again at each epoch.

A Bytewax snapshot replaces the whole value of its key. Pending decisions never change once they
are known, so a snapshot holds only how many bytes of which segments belong to it; what lies behind
is from an epoch that was not committed, and is cut off by the next append.
"""

import os
from collections import deque
from collections.abc import Collection
from pathlib import Path
from typing import Final

from schemas.state import StateError

_FORMAT: Final = "segment-1"
_KEPT_SNAPSHOTS: Final = 3
"""A segment stays until this many snapshots did not need it: resume may go back an epoch."""


class ShardSegments:
    """The segments of one shard in ``folder``, which only its owner may read (mode 0700)."""

    def __init__(self, folder: Path, shard: int) -> None:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._folder = folder
        self._shard = shard
        self._needed: deque[frozenset[int]] = deque(maxlen=_KEPT_SNAPSHOTS)

    def append(self, name: int, offset: int, block: bytes) -> None:
        """Write a block at ``offset`` of a segment, durably; what was behind it is cut off."""
        path = self._path(name)
        file = os.open(path, os.O_WRONLY | os.O_CREAT, 0o600)
        try:
            os.ftruncate(file, offset)
            view = memoryview(block)
            while view:
                written = os.pwrite(file, view, offset)
                view, offset = view[written:], offset + written
            os.fdatasync(file)
        finally:
            os.close(file)

    def read(self, name: int, length: int) -> bytes:
        """Give the first ``length`` bytes of a segment; refuse one that is missing or short."""
        path = self._path(name)
        try:
            with path.open("rb") as file:
                found = file.read(length)
        except FileNotFoundError:
            found = b""
        if len(found) < length:
            raise StateError(
                f"{path} holds {len(found)} of the {length} bytes that the recovery store refers "
                f"to: restore it together with the store, or start with an empty recovery folder"
            )
        return found

    def keep(self, names: Collection[int]) -> None:
        """Delete the segments that neither this nor the previous snapshots need."""
        self._needed.append(frozenset(names))
        if len(self._needed) < _KEPT_SNAPSHOTS:
            return
        needed = frozenset().union(*self._needed)
        for path in self._folder.glob(f"{self._shard}-*.{_FORMAT}"):
            if int(path.name.split("-")[1].split(".")[0]) not in needed:
                path.unlink(missing_ok=True)

    def _path(self, name: int) -> Path:
        return self._folder / f"{self._shard}-{name}.{_FORMAT}"
