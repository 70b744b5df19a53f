"""What each request for articles brings, and what becomes of it: by seed and number alone."""

from functools import lru_cache
from typing import NamedTuple

import numpy as np

from flows.devkit.articles import MOST_ALIVE, Articles
from flows.devkit.visitors import HOURS, TAG, Floats, Indices, Visitors

OFFERED = 10
"""Candidates of a request."""

_BLOCK = 256


class ArticleRequest(NamedTuple):
    """One request: who asks at which hour, which articles it brings, what decides on a click.

    The visitor clicks where ``click``, uniform, is below the click probability, ``delay`` (of mean
    1) later.
    """

    user: int
    hour: int
    offered: Indices
    click: float
    delay: float


class _Block(NamedTuple):
    users: Indices
    hours: Indices
    click: Floats
    delay: Floats
    order: Floats


class ArticleScript:
    """The requests of a run, ``rate`` a second at even distances.

    Each brings ten of the articles that live when it is due.

    >>> visitors = Visitors(seed=1, users=100)
    >>> script = ArticleScript(visitors, Articles(visitors, seed=1), seed=1, rate=50.0)
    >>> script.due(999), len(set(script.request(999).offered.tolist()))
    (20.0, 10)
    """

    def __init__(self, visitors: Visitors, articles: Articles, seed: int, rate: float) -> None:
        self._visitors = visitors
        self._articles = articles
        self._seed = seed
        self._rate = rate
        self._block = lru_cache(maxsize=32)(self._draw)

    def due(self, number: int) -> float:
        """Give the seconds from the run's start to a request."""
        return (number + 1) / self._rate

    def count(self, elapsed: float) -> int:
        """Count the requests that are due after so many seconds."""
        return int(elapsed * self._rate)

    def request(self, number: int) -> ArticleRequest:
        """Give a request."""
        block, row = self._block(number // _BLOCK), number % _BLOCK
        alive = self._articles.alive(self.due(number))
        order = np.argsort(block.order[row, : len(alive)])
        return ArticleRequest(
            user=int(block.users[row]),
            hour=int(block.hours[row]),
            offered=alive[order[:OFFERED]],
            click=float(block.click[row]),
            delay=float(block.delay[row]),
        )

    def _draw(self, number: int) -> _Block:
        rng = np.random.default_rng([TAG, self._seed, 7, number])
        return _Block(
            users=self._visitors.users_at(rng.random(_BLOCK)),
            hours=rng.integers(HOURS, size=_BLOCK),
            click=rng.random(_BLOCK),
            delay=rng.standard_exponential(_BLOCK),
            order=rng.random((_BLOCK, MOST_ALIVE)),
        )
