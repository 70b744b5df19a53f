"""The order in which order-dependent models learn, whatever order shards report in."""

from collections.abc import Iterable

from msgspec import Struct

from operators.logic.settlements import Settlements, SettlementsState
from schemas.clock import NEVER
from schemas.state import pack, unpack

_KIND, _VERSION = "canonical-order", 2


class _State(Struct):
    watermarks: list[int]
    released: int
    late: int
    waiting: list[SettlementsState]


class CanonicalOrder:
    """Holds settlements back until every shard has passed them.

    The order is (end of window, key): what :meth:`add` gives is all before what it gives later,
    and :func:`operators.logic.settlements.in_order` sorts what came at once. A shard's watermark
    promises that all of its settlements up to and including it were reported. One that breaks the
    promise is released with the next ones and counted in ``late``. Times are microseconds since
    1970.

    >>> order = CanonicalOrder(shards=2)
    >>> order.add(0, 10, [])
    []
    >>> order.watermark
    -4611686018427387904
    """

    def __init__(self, shards: int) -> None:
        if shards < 1:
            raise ValueError("shards: at least one is needed")
        self._watermarks = [NEVER] * shards
        self._waiting: list[Settlements] = []
        self._released = NEVER
        self.late = 0

    @property
    def watermark(self) -> int:
        """Give the time up to which every shard is complete."""
        return min(self._watermarks)

    @property
    def reported(self) -> set[int]:
        """The shards that have reported how far they are."""
        return {shard for shard, at in enumerate(self._watermarks) if at > NEVER}

    @property
    def released(self) -> int:
        """Give the time up to which settlements were released; what is added before it is late."""
        return self._released

    def __len__(self) -> int:
        """Count the settlements held back."""
        return sum(map(len, self._waiting))

    def add(self, shard: int, watermark: int, blocks: Iterable[Settlements]) -> list[Settlements]:
        """Take in a shard's settlements and watermark; give what is complete."""
        before = self._released, self.late
        for block in blocks:
            self.late += block.until(self._released)
            self._waiting.append(block)
        self._watermarks[shard] = max(self._watermarks[shard], watermark)
        self._released = max(self._released, self.watermark)
        if before == (self._released, self.late):
            return []
        ready, waiting = [], []
        for block in self._waiting:
            count = block.until(self._released)
            if count:
                ready.append(block if count == len(block) else block.cut(0, count))
            if count < len(block):
                waiting.append(block.cut(count, len(block)) if count else block)
        self._waiting = waiting
        return ready

    def lower(self, to: int) -> int:
        """Lower what lies after ``to``, and give the latest time that there was.

        What was released stays so; what is added from now on is in order among itself.
        """
        latest = max(self._watermarks)
        self._watermarks = [min(watermark, to) for watermark in self._watermarks]
        self._released = min(self._released, to)
        return latest

    def dump(self) -> bytes:
        """Write the state compactly."""
        waiting = [block.state() for block in self._waiting]
        return pack(_KIND, _VERSION, _State(self._watermarks, self._released, self.late, waiting))

    def dump_without_waiting(self) -> bytes:
        """Write the state without what waits, for checkpoints: every shard is at the watermark."""
        order = CanonicalOrder(len(self._watermarks))
        order._watermarks = [self.watermark] * len(self._watermarks)
        order._released = self._released
        order.late = self.late
        return order.dump()

    @classmethod
    def load(cls, snapshot: bytes) -> "CanonicalOrder":
        """Read what :meth:`dump` wrote."""
        state = unpack(_KIND, _VERSION, _State, snapshot)
        order = cls(len(state.watermarks))
        order._watermarks = state.watermarks
        order._waiting = [Settlements.of(block) for block in state.waiting]
        order._released = state.released
        order.late = state.late
        return order
