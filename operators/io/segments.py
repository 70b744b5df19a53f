"""Files beside the recovery store for state of which no epoch writes the whole.

A Bytewax snapshot replaces the whole value of its key, so what is large lies in segment files: a
snapshot names those that it needs and waits until they are durable. They are written by a thread of
its own, which also deletes, in order of request. A crash leaves at worst files that no snapshot
names: their numbers are not used again, and they are deleted.
"""

import errno
import os
from collections import deque
from collections.abc import Collection, Iterable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Final
from zlib import crc32

from operators.logic.state.segments import SegmentError

PENDING, SUBJECTS = "pending", "subjects"
SEEN, PROFILES, FACTORS = "seen", "profiles", "factors"
"""The parts of the state that lie in segments."""

_SUFFIX: Final = ".segment"
_KEPT_SNAPSHOTS: Final = 3
"""A segment stays until this many snapshots did not need it: resume may go back an epoch."""

_WRITER: Final = ThreadPoolExecutor(1, thread_name_prefix="segments")


def segment_folder(recovery: str, step: str) -> Path | None:
    """Give the folder of a step's segments; None where no recovery folder is set."""
    return Path(recovery) / step if recovery else None


def shard_files(folder: Path | None, shard: int | None) -> "ShardFiles | None":
    """Open a shard's segments; None where there is no folder, or the shard has no number yet."""
    return ShardFiles(folder, shard) if folder is not None and shard is not None else None


def segment_folders(recovery: str) -> list[Path]:
    """Give the folders of all steps' segments below a recovery folder."""
    return [Path(recovery) / step for step in (PENDING, SUBJECTS, SEEN, PROFILES, FACTORS)]


FOR_NOW = frozenset(
    {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.ESTALE, errno.EMFILE, errno.ENFILE}
)
"""Errors of a disk that may pass, without any change of settings."""


class SegmentsUnwritable(RuntimeError):  # noqa: N818 - it reads as what is the case
    """The segment files cannot be written; ``may_pass`` says whether a new start may help."""

    def __init__(self, folder: Path, error: OSError) -> None:
        self.may_pass = error.errno in FOR_NOW
        super().__init__(
            f"segment files cannot be written to {folder} (BANDITFLOW_RECOVERY): {error.strerror}. "
            "Nothing is lost: make room there, or mend what is wrong with it, and start the flow "
            "again; it goes on from its last complete epoch"
        )


class ShardFiles:
    """The segments of one shard in ``folder``, which only its owner may read (mode 0700)."""

    def __init__(self, folder: Path, shard: int) -> None:
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise SegmentsUnwritable(folder, error) from error
        self._folder = folder
        self._shard = shard
        self._present = {path.name for path in folder.glob(f"{shard}-*")}
        self._next = max(map(_number, self._present), default=-1) + 1
        self._running: dict[int, Future[int]] = {}
        self._deleting: Future[None] | None = None
        self._needed: deque[frozenset[str]] = deque(maxlen=_KEPT_SNAPSHOTS)

    def write(self, data: bytes) -> int:
        """Begin to write a segment and give its number, above those of all segments before."""
        number, self._next = self._next, self._next + 1
        file = _name(self._shard, number)
        self._present.add(file)
        self._running[number] = _WRITER.submit(_write, self._folder / file, data)
        return number

    def sync(self, needed: Collection[int]) -> Mapping[int, int]:
        """Wait until all segments are durable; give the check sums of those that are new.

        Segments that neither ``needed`` nor the previous snapshots name begin to be deleted: the
        next call returns once they are gone. Where a write failed, raises
        :class:`SegmentsUnwritable`.
        """
        running, self._running = self._running, {}
        try:
            checksums = {number: future.result() for number, future in running.items()}
            if self._deleting is not None:
                self._deleting.result()
                self._deleting = None
        except OSError as error:
            raise SegmentsUnwritable(self._folder, error) from error
        self._needed.append(frozenset(_name(self._shard, number) for number in needed))
        if len(self._needed) == _KEPT_SNAPSHOTS:
            stale = self._present.difference(*self._needed)
            if stale:
                self._present -= stale
                self._deleting = _WRITER.submit(_delete, self._folder, stale)
        return checksums

    def read(self, number: int, checksum: int) -> bytes:
        """Give a segment; refuse when it is missing, or not the one that was written."""
        return _read(self._folder / _name(self._shard, number), checksum)


class ReadOnlyFiles:
    """The segments of a stopped flow's shard, to be looked at: the folder stays as it is."""

    def __init__(self, folder: Path, shard: int) -> None:
        self._folder = folder
        self._shard = shard

    def write(self, data: bytes) -> int:
        """Refuse."""
        raise NotImplementedError("the folder is only read")

    def sync(self, needed: Collection[int]) -> Mapping[int, int]:
        """Refuse."""
        raise NotImplementedError("the folder is only read")

    def read(self, number: int, checksum: int) -> bytes:
        """Give a segment; refuse when it is missing, or not the one that was written."""
        return _read(self._folder / _name(self._shard, number), checksum)


def _name(shard: int, number: int) -> str:
    return f"{shard}-{number}{_SUFFIX}"


def _number(file: str) -> int:
    digits = Path(file).stem.partition("-")[2]
    return int(digits) if digits.isdecimal() else -1


def _read(path: Path, checksum: int) -> bytes:
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise SegmentError(f"{path} is missing, which the recovery store names") from None
    except OSError as error:
        raise SegmentError(f"{path} cannot be read: {error.strerror}") from error
    if crc32(data) != checksum:
        raise SegmentError(f"{path} is not the file of that name that the recovery store names")
    return data


def _write(path: Path, data: bytes) -> int:
    """Write a file so that it is there as a whole or not at all, also after a power cut."""
    partial = path.with_suffix(".partial")
    with open(partial, "wb", opener=_private) as file:
        file.write(data)
        file.flush()
        os.fdatasync(file.fileno())
    partial.rename(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
    return crc32(data)


def _delete(folder: Path, files: Iterable[str]) -> None:
    for file in files:
        (folder / file).unlink(missing_ok=True)


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)
