"""The order in which order-dependent models learn, whatever order shards report in."""

from bisect import bisect_right
from collections.abc import Iterable
from datetime import UTC, datetime
from operator import itemgetter

from msgspec import Struct

from schemas.results import Outcome
from schemas.state import pack, unpack

_NEVER = -(2**62)
_PLACE, _TIME = itemgetter(0, 1), itemgetter(0)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class _State(Struct):
    watermarks: list[int]
    released: int
    late: int
    waiting: list[Outcome]


class CanonicalOrder:
    """Holds settled outcomes back until every shard has passed them, then gives them in order.

    The order is (settlement time, key). A shard's watermark promises that all of its outcomes
    settled up to and including it were reported. An outcome that breaks the promise is released
    with the next ones and counted in ``late``. Times are microseconds since 1970.

    >>> order = CanonicalOrder(shards=2)
    >>> order.add(0, 10, [])
    []
    >>> order.watermark
    -4611686018427387904
    """

    def __init__(self, shards: int) -> None:
        if shards < 1:
            raise ValueError("shards: at least one is needed")
        self._watermarks = [_NEVER] * shards
        self._waiting: list[tuple[int, str, Outcome]] = []
        self._released = _NEVER
        self.late = 0

    @property
    def watermark(self) -> int:
        """Give the time up to which every shard is complete."""
        return min(self._watermarks)

    @property
    def released(self) -> int:
        """Give the time up to which outcomes have been given: what comes for it is late."""
        return self._released

    def __len__(self) -> int:
        """Count the outcomes held back."""
        return len(self._waiting)

    def add(self, shard: int, watermark: int, outcomes: Iterable[Outcome]) -> list[Outcome]:
        """Take in a shard's settled outcomes and watermark; give what is complete, in order."""
        before = self._released, self.late
        for outcome in outcomes:
            self._hold(outcome)
        self._watermarks[shard] = max(self._watermarks[shard], watermark)
        self._released = max(self._released, self.watermark)
        if before == (self._released, self.late):
            return []
        # Shards give theirs in order, so that sorting only merges a few runs.
        self._waiting.sort(key=_PLACE)
        count = bisect_right(self._waiting, self._released, key=_TIME)
        ready = [item[-1] for item in self._waiting[:count]]
        del self._waiting[:count]
        return ready

    def dump(self) -> bytes:
        """Write the state compactly."""
        waiting = [item[-1] for item in sorted(self._waiting, key=_PLACE)]
        state = _State(self._watermarks, self._released, self.late, waiting)
        return pack("canonical-order", 1, state)

    def passed(self) -> bytes:
        """Write a state that has given all that is complete by now, and holds nothing back."""
        order = CanonicalOrder(len(self._watermarks))
        order._watermarks = [self.watermark] * len(self._watermarks)
        order._released = self._released
        order.late = self.late
        return order.dump()

    @classmethod
    def load(cls, snapshot: bytes) -> "CanonicalOrder":
        """Read what :meth:`dump` wrote."""
        state = unpack("canonical-order", 1, _State, snapshot)
        order = cls(len(state.watermarks))
        order._watermarks = state.watermarks
        for outcome in state.waiting:
            order._hold(outcome)
        order._released = state.released
        order.late = state.late
        return order

    def _hold(self, outcome: Outcome) -> None:
        at = settled_us(outcome)
        self.late += at <= self._released
        self._waiting.append((at, outcome.key, outcome))


def settled_us(outcome: Outcome) -> int:
    """Give an outcome's settlement time in microseconds (its decision time if it has none)."""
    delta = (outcome.settled_at or outcome.time) - _EPOCH
    return (delta.days * 86_400 + delta.seconds) * 1_000_000 + delta.microseconds
