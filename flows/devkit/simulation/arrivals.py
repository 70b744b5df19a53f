"""When visitors ask: a Poisson or an even stream of requests at a set rate."""

from collections.abc import Iterator

import numpy as np

from flows.devkit.simulation.script import BLOCK, Fate, Script
from flows.devkit.visitors import Floats


class Arrivals:
    """Requests in the order of their numbers, each due at a time that the seed decides.

    ``seconds`` None means that they go on until :meth:`end`.
    """

    def __init__(
        self, script: Script, rate: float, seconds: float | None, *, even: bool = False
    ) -> None:
        if not rate > 0.0:
            raise ValueError(f"rate must be above 0 requests per second, not {rate}")
        self._script = script
        self._rate = rate
        self._seconds = np.inf if seconds is None else seconds
        self._even = even
        self._block = -1
        self._place = BLOCK
        self._times: Floats = np.zeros(BLOCK)
        self.over = False

    def end(self) -> None:
        """Let no further request come."""
        self.over = True

    def due(self, elapsed: float) -> Iterator[tuple[int, Fate]]:
        """Give the requests due by now as (number of the first, their fates)."""
        until = min(elapsed, self._seconds)
        while not self.over:
            if self._place == BLOCK:
                self._next_block()
            stop = int(np.searchsorted(self._times, until, side="right"))
            if stop > self._place:
                first = self._block * BLOCK + self._place
                yield first, self._script.block(self._block).take(slice(self._place, stop))
                self._place = stop
            if stop < BLOCK:
                self.over = self.over or self._times[stop] > self._seconds
                return

    def _next_block(self) -> None:
        last = self._times[-1]
        self._block += 1
        self._place = 0
        gaps = np.ones(BLOCK) if self._even else self._script.block(self._block).gap
        self._times = last + np.cumsum(gaps) / self._rate
