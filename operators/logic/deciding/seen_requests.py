"""Which requests were seen before, within a horizon of event time, in 12 bytes each."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from operators.logic.state.segments import Segments


class Seen(IntEnum):
    """What the memory says of a request."""

    FRESH = 0
    REPEAT = 1
    CONFLICT = 2


class Run(Struct):
    """A part of the memory: the newest time in it, and keys and contents as raw arrays.

    The ``block`` of a sealed run is in its segment instead, where there are segments.
    """

    name: int
    newest: int
    block: bytes


class SeenState(Struct):
    """What a snapshot keeps: the sealed runs, and the one that still grows, under the next name."""

    runs: list[Run]
    open: Run


_SEAL: Final = 4096
_FANOUT: Final = 4
_LARGEST: Final = 2**20
"""Keys of a run that is not merged with others any more."""

Keys = NDArray[np.uint64]
Contents = NDArray[np.uint32]


@dataclass(frozen=True, slots=True)
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

    def __init__(self, state: SeenState | None = None, segments: Segments | None = None) -> None:
        self._open: dict[int, int] = {}
        self._newest = -(2**62)
        self._runs: list[_Sealed] = []
        self._name = 0
        self._segments = segments
        if state is not None:
            self._runs = [self._restored(run) for run in state.runs]
            keys, contents = _arrays(state.open.block)
            self._open = dict(zip(keys.tolist(), contents.tolist(), strict=True))
            self._newest, self._name = state.open.newest, state.open.name

    def use(self, segments: Segments) -> None:
        """Keep runs there from now on."""
        self._segments = segments

    def __len__(self) -> int:
        """Count the remembered requests."""
        return len(self._open) + sum(len(run.keys) for run in self._runs)

    def admit(self, keys: Sequence[int], contents: Sequence[int], at: int) -> list[Seen]:
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
                verdicts.append(Seen.FRESH)
            else:
                verdicts.append(Seen.REPEAT if earlier == content else Seen.CONFLICT)
        self._newest = max(self._newest, at)
        if len(self._open) >= _SEAL:
            self._seal()
        return verdicts

    def forget(self, before: int) -> None:
        """Drop the runs whose newest request is older than ``before``."""
        self._runs = [run for run in self._runs if run.newest >= before]

    def state(self) -> SeenState:
        """Give what a snapshot keeps, once the segments it needs are durable."""
        inline = self._segments is None
        runs = [
            Run(run.name, run.newest, _block(run.keys, run.contents) if inline else b"")
            for run in self._runs
        ]
        if self._segments is not None:
            self._segments.settle({run.name for run in self._runs})
        keys, contents = self._sorted()
        return SeenState(runs, Run(self._name, self._newest, _block(keys, contents)))

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
        self._runs.append(_Sealed(self._name, self._newest, *self._sorted()))
        self._name += 1
        self._open = {}
        self._newest = -(2**62)
        while len(self._runs) >= _FANOUT and _alike(self._runs[-_FANOUT:]):
            self._runs[-_FANOUT:] = [self._merged(self._runs[-_FANOUT:])]
        run = self._runs[-1]
        if self._segments is not None:
            self._segments.write(run.name, _block(run.keys, run.contents))

    def _merged(self, runs: list[_Sealed]) -> _Sealed:
        keys = np.concatenate([run.keys for run in runs])
        contents = np.concatenate([run.contents for run in runs])
        order = np.argsort(keys, kind="stable")  # merges runs that are sorted already
        name, self._name = self._name, self._name + 1
        newest = max(run.newest for run in runs)
        return _Sealed(name, newest, keys[order], contents[order])

    def _restored(self, run: Run) -> _Sealed:
        block = run.block
        if self._segments is not None:
            if block:
                self._segments.write(run.name, block)
            else:
                block = self._segments.read(run.name)
        return _Sealed(run.name, run.newest, *_arrays(block))


def _block(keys: Keys, contents: Contents) -> bytes:
    return keys.tobytes() + contents.tobytes()


def _arrays(block: bytes) -> tuple[Keys, Contents]:
    count = len(block) // 12
    return np.frombuffer(block, np.uint64, count), np.frombuffer(block, np.uint32, count, 8 * count)


def _alike(runs: list[_Sealed]) -> bool:
    sizes = [len(run.keys) for run in runs]
    return max(sizes) < min(2 * min(sizes), _LARGEST)
