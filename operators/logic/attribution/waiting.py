"""What waits for decisions on their way: their impressions, clicks, rewards, and withdrawals."""

from bisect import bisect_left
from collections import deque
from collections.abc import Callable, Hashable, Iterator
from heapq import heapify, heappop, heappush
from typing import Final

from msgspec import Struct
from msgspec.structs import astuple

from operators.envelope import Event, Origin
from schemas.events import Click, Impression, Reward

_FEW: Final = 64
"""So many places in the order of events that wait no more are not worth making it anew."""


MOST_WITHDRAWALS: Final = 10_000
"""So many withdrawals are remembered beyond the allowed lateness."""


def content_of(event: Event) -> Hashable:
    """Tell an event from all others but its exact repeats: by its type and all of its fields."""
    return type(event.body), astuple(event.body)


class WaitingEvents:
    """Events that wait for their decision or its impression, by the decision's key.

    Of the events of a decision with one ``identity`` a single one waits. The oldest leave when
    there are more than ``limit``.

    >>> from operators.envelope import Origin
    >>> from types import SimpleNamespace as Body
    >>> orphans = WaitingEvents(limit=2, identity=lambda event: event.body.id)
    >>> for at in (3, 1, 2):
    ...     event = Event(at, Body(id=at), "s", key=at, origin=Origin("clicks", 0, 0, 0))
    ...     _ = orphans.add(event)
    >>> [event.at for event in orphans.overflow()], [event.at for event in orphans.before(3)]
    ([1], [2])
    """

    def __init__(self, limit: int, identity: Callable[[Event], Hashable]) -> None:
        self._limit = limit
        self._identity = identity
        self._waiting: dict[int, dict[Hashable, Event]] = {}
        """By the decision's key, then by the event's identity."""
        self._order: list[tuple[int, int, int, Event]] = []
        """A heap by time, key and arrival; it may hold events that wait no more."""
        self._count = 0
        self._arrived = 0

    def __len__(self) -> int:
        """Count the waiting events."""
        return self._count

    def __contains__(self, key: int) -> bool:
        """Say whether any event waits for this decision."""
        return key in self._waiting

    def __iter__(self) -> Iterator[Event]:
        """Go through the waiting events."""
        return (event for events in self._waiting.values() for event in events.values())

    def get(self, key: int, identity: Hashable) -> Event | None:
        """Find the event with this identity that waits for this decision."""
        events = self._waiting.get(key)
        return None if events is None else events.get(identity)

    def add(self, event: Event) -> bool:
        """Let an event wait; False when one with its identity waits already."""
        waiting = self._waiting.setdefault(event.key, {})
        identity = self._identity(event)
        if identity in waiting:
            return False
        waiting[identity] = event
        heappush(self._order, (event.at, event.key, self._arrived, event))
        self._count += 1
        self._arrived += 1
        return True

    def pop(self, key: int) -> list[Event]:
        """Take out what waits for this decision."""
        events = self._waiting.pop(key, {})
        self._count -= len(events)
        self._tidy()
        return list(events.values())

    def discard(self, event: Event) -> None:
        """Take out an event that waits."""
        self._remove(event)
        self._tidy()

    def overflow(self) -> Iterator[Event]:
        """Take out the oldest events while there are too many."""
        while self._count > self._limit:
            yield from self._oldest()

    def before(self, time: int) -> Iterator[Event]:
        """Take out the events older than ``time``."""
        while self._order and self._order[0][0] < time:
            yield from self._oldest()

    def _oldest(self) -> list[Event]:
        oldest = heappop(self._order)[-1]
        if not self._waits(oldest):
            return []
        self._remove(oldest)
        return [oldest]

    def _remove(self, event: Event) -> None:
        events = self._waiting[event.key]
        del events[self._identity(event)]
        if not events:
            del self._waiting[event.key]
        self._count -= 1

    def _tidy(self) -> None:
        if len(self._order) > 2 * self._count + _FEW:
            self._order = [each for each in self._order if self._waits(each[-1])]
            heapify(self._order)

    def _waits(self, event: Event) -> bool:
        return self.get(event.key, self._identity(event)) is event


class WaitingEventState(Struct, array_like=True, kw_only=True):
    """What a snapshot keeps of a waiting event; its body is in the field of its type."""

    at: int
    subject: str
    key: int
    origin: Origin
    payload: bytes
    impression: Impression | None = None
    click: Click | None = None
    reward: Reward | None = None

    def event(self) -> Event:
        """Give the event again."""
        return Event(
            at=self.at,
            body=self.impression or self.click or self.reward,
            subject=self.subject,
            key=self.key,
            origin=self.origin,
            payload=self.payload,
        )


def waiting_state(event: Event) -> WaitingEventState:
    """Give what a snapshot keeps of a waiting event."""
    body = event.body
    return WaitingEventState(
        at=event.at,
        subject=event.subject,
        key=event.key,
        origin=event.origin,
        payload=event.payload,
        impression=body if isinstance(body, Impression) else None,
        click=body if isinstance(body, Click) else None,
        reward=body if isinstance(body, Reward) else None,
    )


class Withdrawal(Struct, array_like=True, frozen=True):
    """A subject withdrew consent or asked for erasure at this event time.

    ``reason`` is what a void outcome says of it.
    """

    at: int
    subject: str
    reason: str


class Withdrawals:
    """The withdrawals that can still concern a decision on its way.

    A withdrawal voids the subject's decisions made before it whose windows end after it.

    >>> withdrawals = Withdrawals()
    >>> withdrawals.add(Withdrawal(20, "s", "erased"))
    True
    >>> [withdrawals.voids("s", made, expires) for made, expires in ((10, 30), (10, 19), (21, 30))]
    ['erased', None, None]
    """

    def __init__(self) -> None:
        self._by_subject: dict[str, list[Withdrawal]] = {}
        self._arrived: deque[Withdrawal] = deque()

    def __bool__(self) -> bool:
        """Say whether any is remembered."""
        return bool(self._by_subject)

    def add(self, withdrawal: Withdrawal) -> bool:
        """Remember a withdrawal; False when it is known."""
        known = self._by_subject.setdefault(withdrawal.subject, [])
        place = bisect_left(known, _order(withdrawal), key=_order)
        if known[place : place + 1] == [withdrawal]:
            return False
        known.insert(place, withdrawal)
        self._arrived.append(withdrawal)
        return True

    def voids(self, subject: str, made: int, expires: int) -> str | None:
        """Give the reason why a decision is void, by the earliest withdrawal within its window."""
        known = self._by_subject.get(subject, [])
        place = bisect_left(known, (made, ""), key=_order)
        within = place < len(known) and known[place].at <= expires
        return known[place].reason if within else None

    def __contains__(self, subject: str | None) -> bool:
        """Say whether any withdrawal of this subject is remembered."""
        return subject in self._by_subject

    def forget(self, before: int, late: int) -> None:
        """Drop withdrawals so old that no decision made before them can still arrive.

        Those before ``before`` go; of those before ``late``, which concern decisions that come
        later than is allowed, the first that arrived go while there are too many.
        """
        while self._arrived and (
            self._arrived[0].at < before
            or (self._arrived[0].at < late and len(self._arrived) > MOST_WITHDRAWALS)
        ):
            withdrawal = self._arrived.popleft()
            known = self._by_subject[withdrawal.subject]
            del known[bisect_left(known, _order(withdrawal), key=_order)]
            if not known:
                del self._by_subject[withdrawal.subject]

    def state(self) -> list[Withdrawal]:
        """Give what a snapshot keeps."""
        return list(self._arrived)


def _order(withdrawal: Withdrawal) -> tuple[int, str]:
    return withdrawal.at, withdrawal.reason
