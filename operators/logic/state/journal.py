"""How a large state is kept without ever being written as a whole: changes, and shares in turns."""

from collections.abc import Iterable, Iterator, Sequence

from msgspec import msgpack

from operators.logic.state.segments import Segments

STEP = 512
"""So many changed keys are packed at a time, and at most twice as many."""

EVERY = 2 * STEP
"""So many changed keys make a segment."""

SHARE = 512
"""So many other keys are written again with them."""

_BLOCKS = msgpack.Decoder(list[bytes])


class Journal:
    """The segments of a state whose keys change one by one.

    Each segment holds blocks of keys that changed since the one before, and a share of all the
    others, taken in turns. Once everything has had its turn, the segments from before that round
    are needed no more. So an epoch writes what changed and a bounded share, and reading all blocks
    in order, the last value of a key being its value, gives the state: a fuzzy dump beside a log
    (Hagmann 1986, "A crash recovery scheme for a memory-resident database system"). What was
    removed is gone from the segments after a round, which takes at most an epoch for every
    :data:`SHARE` keys.

    ``names`` are the segments that a snapshot named, and ``blocks`` those that it held itself.
    """

    def __init__(
        self, segments: Segments, names: Sequence[int] = (), blocks: Iterable[bytes] = ()
    ) -> None:
        self._segments = segments
        self._names = list(names)
        self._next = self._names[-1] + 1 if self._names else 0
        self._start = self._names[0] if self._names else 0
        self._round: list[str] = []
        self._place = 0
        self._blocks = list(blocks)
        self._changed = 0
        self._settled = False

    def full(self) -> bool:
        """Tell whether to make a segment: enough has changed, or an epoch has passed since."""
        return self._changed >= EVERY or (self._settled and bool(self._names))

    def turn(self, keys: Iterable[str]) -> list[str]:
        """Give the keys whose turn it is; ``keys`` are all that there are."""
        if self._place >= len(self._round):
            self._names = [name for name in self._names if name >= self._start]
            self._round, self._place, self._start = list(keys), 0, self._next
        turn = self._round[self._place : self._place + SHARE]
        self._place += SHARE
        return turn

    def add(self, block: bytes, changed: int) -> None:
        """Take in a block in which so many keys had changed."""
        self._blocks.append(block)
        self._changed += changed

    def write(self) -> None:
        """Begin to write the blocks that were added since the last time."""
        self._segments.write(self._next, msgpack.encode(self._blocks))
        self._names.append(self._next)
        self._next += 1
        self._blocks, self._changed, self._settled = [], 0, False

    def settle(self) -> tuple[list[int], list[bytes]]:
        """Give what a snapshot needs: segments, once they are durable, and blocks."""
        self._segments.settle(self._names)
        self._settled = True
        return list(self._names), list(self._blocks)

    def read(self) -> Iterator[bytes]:
        """Give all blocks, the oldest first."""
        for name in self._names:
            yield from _BLOCKS.decode(self._segments.read(name))
        yield from self._blocks
