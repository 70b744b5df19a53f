"""Events that wait: for their decision to arrive, or for its impression. Bounded."""

from collections.abc import Iterator
from heapq import heappop, heappush

from operators.envelope import Event


class Orphans:
    """Waiting events by decision key; the oldest leave when there are more than ``limit``.

    >>> from operators.envelope import Origin
    >>> from types import SimpleNamespace as Body
    >>> orphans, origin = Orphans(limit=2), Origin("clicks", 0, 0, 0)
    >>> for at in (3, 1, 2):
    ...     _ = orphans.add(Event(at, Body(id=str(at)), "s", key=at, origin=origin))
    >>> [event.at for event in orphans.overflow()], [event.at for event in orphans.before(3)]
    ([1], [2])
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._waiting: dict[int, list[Event]] = {}
        self._order: list[tuple[int, int]] = []
        self._count = 0

    def __len__(self) -> int:
        """Count the waiting events."""
        return self._count

    def __contains__(self, key: int) -> bool:
        """Say whether any event waits for this decision."""
        return key in self._waiting

    def __iter__(self) -> Iterator[Event]:
        """Go through the waiting events."""
        return (event for events in self._waiting.values() for event in events)

    def add(self, event: Event) -> bool:
        """Let an event wait; False when the same record waits already."""
        waiting = self._waiting.setdefault(event.key, [])
        kind, id_ = type(event.body), event.body.id
        if any(other.body.id == id_ and type(other.body) is kind for other in waiting):
            return False
        waiting.append(event)
        heappush(self._order, (event.at, event.key))
        self._count += 1
        return True

    def pop(self, key: int) -> list[Event]:
        """Take out what waits for this decision."""
        events = self._waiting.pop(key, [])
        self._count -= len(events)
        return events

    def overflow(self) -> Iterator[Event]:
        """Take out the oldest events while there are too many."""
        while self._count > self._limit:
            yield from self._oldest()

    def before(self, time: int) -> Iterator[Event]:
        """Take out the events older than ``time``."""
        while self._order and self._order[0][0] < time:
            yield from self._oldest()

    def _oldest(self) -> list[Event]:
        at, key = heappop(self._order)
        events = self._waiting.get(key, [])
        found = next((event for event in events if event.at == at), None)
        if found is None:
            return []
        events.remove(found)
        if not events:
            del self._waiting[key]
        self._count -= 1
        return [found]
