"""Which requests were seen before, within a horizon of event time, in 12 bytes each."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

import numpy as np
from numpy.typing import NDArray

from operators.logic.state.segmented import SegmentedSnapshot, SegmentedState
from operators.logic.state.segments import SegmentFiles


class RequestStatus(IntEnum):
    """Whether a request is new, a repetition, or another request with the same key."""

    FRESH = 0
    REPEAT = 1
    CONFLICT = 2


_SEAL: Final = 4096
_FANOUT: Final = 4
_LARGEST: Final = 2**20
"""Keys of a run that is not merged with others any more."""
_OPEN: Final = "open"
"""The key of the block that still grows."""
_BEFORE_ALL: Final = -(2**62)

Keys = NDArray[np.uint64]
Contents = NDArray[np.uint32]


@dataclass(frozen=True, slots=True, eq=False)
class _Sealed:
    """A sorted part of the memory that never changes."""

    name: int
    newest: int
    keys: Keys
    contents: Contents


class SeenRequests:
    """A set of 64-bit request keys with a 32-bit digest of each request's content.

    Young keys lie in a dict; full dicts are sealed into sorted arrays and merged by size, so that
    a look-up costs one binary search per run for a whole batch (O'Neil et al. 1996, "The
    log-structured merge-tree").

    >>> seen = SeenRequests()
    >>> [int(x) for x in seen.admit([1, 2, 1], [7, 7, 8], at=0)]
    [0, 0, 2]
    >>> [int(x) for x in seen.admit([2, 3], [7, 7], at=1)]
    [1, 0]
    """

    def __init__(self) -> None:
        self._open: dict[int, int] = {}
        self._newest = _BEFORE_ALL
        self._runs: list[_Sealed] = []
        self._name = 0
        self._keyed: dict[str, _Sealed | None] = {_OPEN: None}
        self._blocks = SegmentedState(self._keyed, self._packed)

    @classmethod
    def load(cls, snapshot: SegmentedSnapshot, segments: SegmentFiles | None) -> "SeenRequests":
        """Read what :meth:`snapshot` gave."""
        seen = cls()
        seen._blocks.restore(snapshot, segments, seen._restore)
        seen._runs.sort(key=lambda run: run.name)
        seen._name = max((run.name + 1 for run in seen._runs), default=0)
        return seen

    def use(self, segments: SegmentFiles) -> None:
        """Keep the sorted runs of keys in these segment files from now on."""
        self._blocks.use(segments)

    def __len__(self) -> int:
        """Count the remembered requests."""
        return len(self._open) + sum(len(run.keys) for run in self._runs)

    def admit(self, keys: Sequence[int], contents: Sequence[int], at: int) -> list[RequestStatus]:
        """Classify a batch of requests in order and remember the fresh ones.

        ``at`` is the newest event time of the batch, in microseconds.
        """
        known = self._sealed(keys)
        verdicts = []
        for key, content in zip(keys, contents, strict=True):
            earlier = known.get(key)
            if earlier is None:
                earlier = self._open.get(key)
            if earlier is None:
                self._open[key] = content
                verdicts.append(RequestStatus.FRESH)
            else:
                verdicts.append(
                    RequestStatus.REPEAT if earlier == content else RequestStatus.CONFLICT
                )
        self._newest = max(self._newest, at)
        self._blocks.touch(_OPEN)
        if len(self._open) >= _SEAL:
            self._seal()
        self._blocks.tidy()
        return verdicts

    def forget(self, before: int) -> None:
        """Drop the runs whose newest request is older than ``before``."""
        self._drop([run for run in self._runs if run.newest < before])

    def snapshot(self) -> SegmentedSnapshot:
        """Give what a snapshot keeps, once the segments it needs are durable."""
        return self._blocks.snapshot()

    def _sealed(self, keys: Sequence[int]) -> dict[int, int]:
        found: dict[int, int] = {}
        if not self._runs:
            return found
        asked = np.array(keys, dtype=np.uint64)
        for run in self._runs:
            place = np.searchsorted(run.keys, asked)
            place[place == len(run.keys)] = 0
            for hit in np.flatnonzero(run.keys[place] == asked).tolist():
                found[keys[hit]] = int(run.contents[place[hit]])
        return found

    def _sorted(self) -> tuple[Keys, Contents]:
        keys = np.fromiter(self._open.keys(), dtype=np.uint64, count=len(self._open))
        contents = np.fromiter(self._open.values(), dtype=np.uint32, count=len(self._open))
        order = np.argsort(keys)
        return keys[order], contents[order]

    def _seal(self) -> None:
        run = _Sealed(self._name, self._newest, *self._sorted())
        self._name += 1
        self._open = {}
        self._newest = _BEFORE_ALL
        while _alike(alike := [*self._runs[1 - _FANOUT :], run]):
            self._drop(alike[:-1])
            run = self._merged(alike)
        self._runs.append(run)
        self._keyed[str(run.name)] = run
        self._blocks.seal(str(run.name))

    def _merged(self, runs: list[_Sealed]) -> _Sealed:
        keys = np.concatenate([run.keys for run in runs])
        contents = np.concatenate([run.contents for run in runs])
        order = np.argsort(keys, kind="stable")  # merges runs that are sorted already
        name, self._name = self._name, self._name + 1
        newest = max(run.newest for run in runs)
        return _Sealed(name, newest, keys[order], contents[order])

    def _drop(self, runs: list[_Sealed]) -> None:
        for run in runs:
            self._runs.remove(run)
            del self._keyed[str(run.name)]
            self._blocks.touch(str(run.name))

    def _packed(self, keys: Sequence[str]) -> Iterator[bytes]:
        for key in keys:
            run = self._keyed[key]
            if run is None:
                yield _block(self._newest, *self._sorted())
            else:
                yield _block(run.newest, run.keys, run.contents)

    def _restore(self, key: str, block: bytes) -> None:
        newest, keys, contents = _parts(block)
        if key == _OPEN:
            self._open = dict(zip(keys.tolist(), contents.tolist(), strict=True))
            self._newest = newest
        else:
            run = self._keyed[key] = _Sealed(int(key), newest, keys, contents)
            self._runs.append(run)


def _block(newest: int, keys: Keys, contents: Contents) -> bytes:
    return newest.to_bytes(8, "little", signed=True) + keys.tobytes() + contents.tobytes()


def _parts(block: bytes) -> tuple[int, Keys, Contents]:
    newest, count = int.from_bytes(block[:8], "little", signed=True), len(block) // 12
    keys = np.frombuffer(block, np.uint64, count, 8)
    return newest, keys, np.frombuffer(block, np.uint32, count, 8 + 8 * count)


def _alike(runs: list[_Sealed]) -> bool:
    if len(runs) < _FANOUT:
        return False
    sizes = [len(run.keys) for run in runs]
    return max(sizes) < min(2 * min(sizes), _LARGEST)
