"""Waiting between attempts: exponential, bounded, with jitter, and never a busy loop."""

from collections.abc import Callable
from random import Random


class Backoff:
    """The waits after failures in a row: each is drawn between half of its bound and its bound.

    The bound doubles from ``first`` seconds to ``longest``. ``uniform`` gives numbers in [0, 1);
    by default from a generator of its own: a thread that waits leaves the process's random
    numbers as they are.

    >>> backoff = Backoff(0.1, 1.0, lambda: 0.0)
    >>> [backoff.next() for _ in range(6)]
    [0.05, 0.1, 0.2, 0.4, 0.5, 0.5]
    """

    def __init__(
        self, first: float, longest: float, uniform: Callable[[], float] | None = None
    ) -> None:
        self._first = first
        self._longest = longest
        self._uniform = uniform or Random().random
        self.failures = 0

    def next(self) -> float:
        """Count a failure and give the seconds to wait."""
        bound = min(self._first * 2.0 ** min(self.failures, 60), self._longest)
        self.failures += 1
        return bound * (0.5 + 0.5 * self._uniform())

    def reset(self) -> None:
        """Forget the failures: it worked."""
        self.failures = 0
