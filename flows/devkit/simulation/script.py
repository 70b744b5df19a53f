"""What happens to each request, decided beforehand: a pure function of seed and request number.

Numbers come in blocks, each from a generator of its own, so that what a request's visitor does
depends neither on timing nor on the order of answers.
"""

from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from flows.devkit.visitors import HOURS, TAG, Floats, Indices, Visitors

BLOCK = 4096

DUPLICATE, DISORDER, LATE, MALFORMED = range(4)
"""What may be injected with a request's records: the second axis of ``chances``."""

REQUEST, IMPRESSION, CLICK = range(3)
"""Which record it may be injected with: the third axis."""


class Fate(NamedTuple):
    """What is decided about n requests.

    Attributes
    ----------
    users, hours : array [n]
    click : array [n]
        The uniform number that is below the click probability when the visitor clicks.
    delay, gap : array [n]
        Exponential numbers of mean 1: the click's delay, and the time since the request before.
    chances : array [n, 4, 3]
        Uniform numbers by injection and by record: request, impression, click.
    """

    users: Indices
    hours: Indices
    click: Floats
    delay: Floats
    gap: Floats
    chances: NDArray[np.float32]

    def take(self, rows: Indices | slice) -> "Fate":
        """Give some of the rows."""
        return Fate._make(column[rows] for column in self)


class Script:
    """The fate of every request of a run.

    >>> script = Script(Visitors(seed=1, users=100), seed=1)
    >>> script.rows(np.array([5000])).users == script.block(1).users[5000 - BLOCK]
    array([ True])
    """

    def __init__(self, visitors: Visitors, seed: int) -> None:
        self._visitors = visitors
        self._seed = seed
        self.block = lru_cache(maxsize=32)(self._draw)

    def rows(self, numbers: Indices) -> Fate:
        """Give the fates of these requests, in their order."""
        first, last = int(numbers.min()) // BLOCK, int(numbers.max()) // BLOCK
        if first == last:
            block = self.block(first)
            return block.take(numbers - first * BLOCK)
        found = [self.block(b) for b in np.unique(numbers // BLOCK).tolist()]
        starts = np.unique(numbers // BLOCK)
        place = np.searchsorted(starts, numbers // BLOCK) * BLOCK + numbers % BLOCK
        return Fate._make(np.concatenate(columns) for columns in zip(*found, strict=True)).take(
            place
        )

    def _draw(self, number: int) -> Fate:
        rng = np.random.default_rng([TAG, self._seed, 1, number])
        return Fate(
            users=self._visitors.users_at(rng.random(BLOCK)),
            hours=rng.integers(HOURS, size=BLOCK),
            click=rng.random(BLOCK),
            delay=rng.standard_exponential(BLOCK),
            gap=rng.standard_exponential(BLOCK),
            chances=rng.random((BLOCK, 4, 3), dtype=np.float32),
        )
