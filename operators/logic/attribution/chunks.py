"""Chunks of decisions that expire at about the same time, and the columns that they share."""

from dataclasses import dataclass, field
from mmap import MAP_ANONYMOUS, MAP_PRIVATE, mmap
from typing import Any, Final

import numpy as np
from msgspec import Raw, Struct
from numpy.typing import NDArray

from operators.logic.attribution.rewards import Rewards

FAR: Final = 2**62

_SLAB: Final = 2**18
"""The bytes that a slab starts with: only those that are written take memory."""

RECORD: Final = (
    ("key", np.uint64),
    ("at", np.int64),
    ("kind", np.uint32),
    ("propensity", np.float64),
    ("eta", np.float64),
    ("version", np.uint32),
    ("end", np.uint32),
    ("tag", np.uint16),
)
"""The columns that never change once written; ``end`` is where the row's bytes end in the slab."""

STATUS: Final = (("flags", np.uint8), ("weight", np.uint8))
"""The columns that do: what has happened, and how much of the decision has been taught."""


class ChunkState(Struct, array_like=True):
    """What a snapshot keeps of a chunk: status, rewards, and the decisions as a ``block``.

    The block of a full chunk is in the chunk's segment instead, where there are segments.
    """

    name: int
    family: int
    rows: int
    status: bytes
    rewards: dict[int, Rewards]
    block: bytes = b""


def column(rows: int, type_: type) -> NDArray[Any]:
    """Make a column in a mapping of its own, so that outgrown ones leave no holes."""
    made: NDArray[Any] = np.frombuffer(_slab(rows * np.dtype(type_).itemsize), dtype=type_)
    return made


def _slab(size: int = _SLAB) -> mmap:
    return mmap(-1, size, flags=MAP_PRIVATE | MAP_ANONYMOUS)


@dataclass(slots=True)
class Chunk:
    """Decisions that arrived one after another and expire at about the same time.

    The slab is anonymous memory of its own, so that growing and dropping it leaves no holes; the
    first ``used`` bytes are taken. ``kept`` is what the last snapshot kept of the chunk, if that
    still holds.
    """

    name: int
    family: int
    start: int
    capacity: int
    fill: int = 0
    alive: int = 0
    first_expiry: int = FAR
    slab: mmap = field(default_factory=_slab)
    used: int = 0
    rewards: dict[int, Rewards] = field(default_factory=dict)
    kept: Raw | None = None

    def write(self, data: bytes) -> None:
        """Append to the slab."""
        end = self.used + len(data)
        if end > len(self.slab):
            self._resize(max(end, 2 * len(self.slab)))
        self.slab[self.used : end] = data
        self.used = end

    def _resize(self, size: int) -> None:
        slab = _slab(size)
        slab[: self.used] = self.slab[: self.used]
        self.slab.close()
        self.slab = slab

    @property
    def full(self) -> bool:
        """Whether nothing more can be added."""
        return self.fill == self.capacity

    @property
    def rows(self) -> slice:
        """The rows that have been written."""
        return slice(self.start, self.start + self.fill)
