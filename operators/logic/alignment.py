"""Releases the events of a partition group in event-time order, with the group's watermark.

A group is partition k of several topics; each topic is a *lane*. Within a lane, events keep their
offset order. The rules:

- The *key* of an event is the largest alignment time of its lane up to it, so keys never fall
  within a lane however disordered its times are.
- The *frontier* of a lane is its newest key. A lane that has been read to its end holds nobody
  back; the *bound* is the smallest frontier of the other lanes (there is none when all lanes are at
  their end). An event goes when its key does not pass the bound: every lane that has more to come
  has then come at least as far.
- The *watermark* is the smallest of: the first key that waits in each lane, and the frontier of
  each lane that is empty and not at its end. When there is neither, it is the newest frontier. It
  never falls. Every event read so far with a smaller key has been released.
- An item without a time of its own (``NEVER``: what could not be read) has the key of the one
  before it in its lane, so that it goes neither before nor after its neighbours.
- When all lanes have been at their end, with nothing released, for ``idle_after``, the watermark
  goes on with the clock from its value at the last release: the log's own time goes on, whether
  the log is live or historical, but not beyond the present. A watermark that lies beyond it already
  (somebody's clock was ahead, before a restart) stands still until then.
"""

from bisect import bisect_right
from collections.abc import Callable, Sequence
from itertools import accumulate
from operator import itemgetter
from typing import Generic, TypeVar

from schemas.clock import ALWAYS, NEVER

E = TypeVar("E")

_TIME = itemgetter(0)


class Lane(Generic[E]):
    """One topic of the group: what waits, in offset order, and how far it was read."""

    __slots__ = ("at_end", "events", "frontier", "keys", "times")

    def __init__(self) -> None:
        self.events: list[E] = []
        self.keys: list[int] = []
        self.times: list[int] = []
        self.frontier = NEVER
        self.at_end = False

    def __len__(self) -> int:
        return len(self.events)

    def extend(self, events: Sequence[E], times: Sequence[int], limits: Sequence[int]) -> None:
        """Add events with their times; no key passes the event's ``limit``.

        The limit (the latest time that the record may honestly bear) keeps one visitor's fast clock
        from holding back all that lies behind its event, and from moving the watermark ahead.
        """
        self.events.extend(events)
        self.times.extend(times)
        keys = list(accumulate(map(min, times, limits), max, initial=self.frontier))
        self.keys.extend(keys[1:])
        self.frontier = keys[-1]

    def take(self, count: int) -> list[tuple[int, E]]:
        """Remove the first ``count`` events and give them with their times."""
        taken = list(zip(self.times[:count], self.events[:count], strict=True))
        del self.events[:count], self.keys[:count], self.times[:count]
        return taken


class Alignment(Generic[E]):
    """The lanes of one partition group; times are whole microseconds.

    A group that has never released what has a time is ``silent``.

    >>> group = Alignment[str](lanes=2, idle_after=1_000_000)
    >>> group.lanes[0].extend(["a1", "a5"], [1, 5], [9, 9])
    >>> group.release(limit=10, now=0), group.watermark == NEVER
    ([], True)
    >>> group.lanes[1].extend(["b3"], [3], [9])
    >>> group.release(limit=10, now=0), group.watermark
    (['a1', 'b3'], 3)
    >>> group.lanes[1].at_end = True
    >>> group.release(limit=10, now=0), group.watermark
    (['a5'], 5)
    """

    def __init__(self, lanes: int, idle_after: int, watermark: int = NEVER) -> None:
        self.lanes: list[Lane[E]] = [Lane() for _ in range(lanes)]
        self.idle_after = idle_after
        self.watermark = watermark
        self.silent = watermark == NEVER
        self._idle: tuple[int, int] | None = None

    @property
    def at_end(self) -> bool:
        """Whether every lane was read to its end and nothing waits."""
        return all(lane.at_end and not lane.events for lane in self.lanes)

    def release(self, limit: int, now: int, present: int = ALWAYS, until: int = ALWAYS) -> list[E]:
        """Remove and return at most ``limit`` events that may go, by time (more where keys tie).

        Events of equal time come in the order of lanes, then offsets. ``now`` is any steady clock;
        only its differences are used. ``present`` is the time of day, beyond which an idle group
        does not go. No key passes ``until``, nor does the watermark.
        """
        bound = min(self._bound(), until)
        counts = [bisect_right(lane.keys, bound) for lane in self.lanes]
        if sum(counts) > limit:
            cut = self._cut(counts, limit)
            counts = [bisect_right(lane.keys, cut) for lane in self.lanes]
        timed: list[tuple[int, E]] = []
        for lane, count in zip(self.lanes, counts, strict=True):
            if count:
                timed += lane.take(count)
        timed.sort(key=_TIME)
        self._hear(timed)
        self._advance(bool(timed), now, present, until)
        return [event for _, event in timed]

    def release_in_order(
        self,
        limit: int,
        now: int,
        present: int,
        alone: Callable[[E], bool],
        until: int = ALWAYS,
    ) -> list[E]:
        """Remove and return at most ``limit`` events as :meth:`release` does, one by one.

        Each lane's come in the order of their offsets, whatever their times are, and ties do not
        come together: what remains of each lane is what lies behind what was given. One that is to
        be ``alone`` comes alone.
        """
        bound = min(self._bound(), until)
        timed: list[tuple[int, E]] = []
        while len(timed) < limit:
            ready = [lane for lane in self.lanes if lane.keys and lane.keys[0] <= bound]
            if not ready:
                break
            earliest = min(ready, key=lambda lane: lane.keys[0])
            is_alone = alone(earliest.events[0])
            if is_alone and timed:
                break
            timed += earliest.take(1)
            if is_alone:
                break
        self._hear(timed)
        self._advance(bool(timed), now, present, until)
        return [event for _, event in timed]

    def follow(self, watermark: int, present: int = ALWAYS) -> None:
        """Raise the watermark of a group that has never had an event to that of its neighbours."""
        if self.silent and self.at_end:
            self.watermark = max(self.watermark, min(watermark, present))

    def _hear(self, timed: Sequence[tuple[int, E]]) -> None:
        self.silent = self.silent and all(at == NEVER for at, _ in timed)

    def _bound(self) -> int:
        return min((lane.frontier for lane in self.lanes if not lane.at_end), default=ALWAYS)

    def _cut(self, counts: list[int], limit: int) -> int:
        """Give the key of the ``limit``-th event that may go."""
        keys: list[int] = []
        for lane, count in zip(self.lanes, counts, strict=True):
            keys += lane.keys[: min(count, limit)]
        keys.sort()
        return keys[limit - 1]

    def _advance(self, released: bool, now: int, present: int, until: int) -> None:
        waiting = [lane.keys[0] if lane.keys else lane.frontier
                   for lane in self.lanes if lane.keys or not lane.at_end]  # fmt: skip
        reached = min(waiting) if waiting else max(lane.frontier for lane in self.lanes)
        self.watermark = max(self.watermark, min(reached, until))
        if waiting:
            self._idle = None
        elif released or self._idle is None:
            self._idle = (now, self.watermark)
        elif now - self._idle[0] >= self.idle_after and self._idle[1] != NEVER:
            reached = min(self._idle[1] + now - self._idle[0], present)
            self.watermark = max(self.watermark, reached)
