"""Which requests were seen before, within a horizon of event time, in 12 bytes each."""

from collections.abc import Sequence
from enum import IntEnum
from typing import Final

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray


class Seen(IntEnum):
    """What the memory says of a request."""

    FRESH = 0
    REPEAT = 1
    CONFLICT = 2


class Run(Struct):
    """A sealed, sorted part of the memory: raw arrays, and the newest time in it."""

    newest: int
    keys: bytes
    contents: bytes


class SeenState(Struct):
    """What a snapshot keeps; a sealed run is the same bytes from epoch to epoch."""

    runs: list[Run]
    open: Run


_SEAL: Final = 16_384
_FANOUT: Final = 4

Keys = NDArray[np.uint64]
Contents = NDArray[np.uint32]


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

    def __init__(self, state: SeenState | None = None) -> None:
        self._open: dict[int, int] = {}
        self._newest = -(2**62)
        self._runs: list[tuple[Run, Keys, Contents]] = []
        if state is not None:
            self._runs = [_arrays(run) for run in state.runs]
            _, keys, contents = _arrays(state.open)
            self._open = dict(zip(keys.tolist(), contents.tolist(), strict=True))
            self._newest = state.open.newest

    def __len__(self) -> int:
        """Count the remembered requests."""
        return len(self._open) + sum(len(keys) for _, keys, _ in self._runs)

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
        self._runs = [run for run in self._runs if run[0].newest >= before]

    def state(self) -> SeenState:
        """Give what a snapshot keeps."""
        return SeenState([run for run, _, _ in self._runs], self._open_run())

    def _sealed(self, keys: Sequence[int]) -> dict[int, int]:
        found: dict[int, int] = {}
        if not self._runs:
            return found
        asked = np.array(keys, dtype=np.uint64)
        for _, stored, contents in self._runs:
            place = np.searchsorted(stored, asked)
            place[place == len(stored)] = 0
            for hit in np.flatnonzero(stored[place] == asked).tolist():
                found[keys[hit]] = int(contents[place[hit]])
        return found

    def _open_run(self) -> Run:
        keys = np.fromiter(self._open.keys(), dtype=np.uint64, count=len(self._open))
        contents = np.fromiter(self._open.values(), dtype=np.uint32, count=len(self._open))
        order = np.argsort(keys)
        return Run(self._newest, keys[order].tobytes(), contents[order].tobytes())

    def _seal(self) -> None:
        self._runs.append(_arrays(self._open_run()))
        self._open = {}
        self._newest = -(2**62)
        while len(self._runs) >= _FANOUT and _alike(self._runs[-_FANOUT:]):
            self._runs[-_FANOUT:] = [_merged(self._runs[-_FANOUT:])]


def _arrays(run: Run) -> tuple[Run, Keys, Contents]:
    return run, np.frombuffer(run.keys, np.uint64), np.frombuffer(run.contents, np.uint32)


def _alike(runs: list[tuple[Run, Keys, Contents]]) -> bool:
    sizes = [len(keys) for _, keys, _ in runs]
    return max(sizes) < 2 * min(sizes)


def _merged(runs: list[tuple[Run, Keys, Contents]]) -> tuple[Run, Keys, Contents]:
    keys = np.concatenate([keys for _, keys, _ in runs])
    contents = np.concatenate([contents for _, _, contents in runs])
    order = np.argsort(keys)
    newest = max(run.newest for run, _, _ in runs)
    return _arrays(Run(newest, keys[order].tobytes(), contents[order].tobytes()))
