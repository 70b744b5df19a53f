"""Who withdrew consent or asked for erasure lately: it voids decisions that arrive after it."""

from collections import deque

from msgspec import Struct


class Withdrawal(Struct, array_like=True, frozen=True):
    """At which event time, and as which reason a void outcome states it."""

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
        if withdrawal in known:
            return False
        known.append(withdrawal)
        known.sort(key=lambda each: (each.at, each.reason))
        self._arrived.append(withdrawal)
        return True

    def voids(self, subject: str, made: int, expires: int) -> str | None:
        """Give the reason why a decision is void, by the earliest withdrawal within its window."""
        for withdrawal in self._by_subject.get(subject, ()):
            if made <= withdrawal.at <= expires:
                return withdrawal.reason
        return None

    def forget(self, before: int) -> None:
        """Drop withdrawals so old that no decision made before them can still arrive."""
        while self._arrived and self._arrived[0].at < before:
            withdrawal = self._arrived.popleft()
            known = self._by_subject[withdrawal.subject]
            known.remove(withdrawal)
            if not known:
                del self._by_subject[withdrawal.subject]

    def state(self) -> list[Withdrawal]:
        """Give what a snapshot keeps."""
        return list(self._arrived)
