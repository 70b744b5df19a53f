"""How a large state is kept without ever being written as a whole: changes, and shares in turns."""

from collections.abc import Iterable, Iterator, Sequence

from operators.logic.segments import Segments

EVERY = 1024
"""So many changed keys make a segment, and at most twice as many."""

SHARE = 512
"""So many other keys are written again with them."""


class Journal:
    """The segments of a state whose keys change one by one.

    Each segment holds the keys that changed since the one before and a share of all the others,
    taken in turns. Once everything has had its turn, the segments from before that round are
    needed no more. So an epoch writes what changed and a bounded share, and reading all segments
    in order, the last value of a key being its value, gives the state: a fuzzy dump beside a log
    (Hagmann 1986, "A crash recovery scheme for a memory-resident database system"). What was
    removed is gone from the segments after a round, which takes at most an epoch for every
    :data:`SHARE` keys.

    ``names`` are the segments that a snapshot named.
    """

    def __init__(self, segments: Segments, names: Sequence[int] = ()) -> None:
        self._segments = segments
        self._names = list(names)
        self._next = self._names[-1] + 1 if self._names else 0
        self._round: list[str] = []
        self._place = 0
        self._start = self._names[0] if self._names else 0
        self._settled = False

    def due(self, changed: int) -> bool:
        """Tell whether to write now: enough has changed, or an epoch has passed since."""
        return changed >= EVERY or (self._settled and bool(self._names))

    def turn(self, keys: Iterable[str]) -> list[str]:
        """Give the keys whose turn it is; ``keys`` are all that there are."""
        if self._place >= len(self._round):
            self._names = [name for name in self._names if name >= self._start]
            self._round, self._place, self._start = list(keys), 0, self._next
        turn = self._round[self._place : self._place + SHARE]
        self._place += SHARE
        return turn

    def write(self, block: bytes) -> None:
        """Begin to write a segment."""
        self._segments.write(self._next, block)
        self._names.append(self._next)
        self._next += 1
        self._settled = False

    def settle(self) -> list[int]:
        """Name the segments that a snapshot needs, once they are durable."""
        self._segments.settle(self._names)
        self._settled = True
        return list(self._names)

    def read(self) -> Iterator[bytes]:
        """Give the segments, the oldest first."""
        return map(self._segments.read, self._names)
