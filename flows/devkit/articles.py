"""Articles that live for about a minute and that no catalog names, and who clicks which of them.

One comes every second. What it says of itself are a topic, a format and how long it takes to read;
beside that it has an appeal of its own that nothing says. The click probability is logistic:

    intercept + by_segment[segment, topic] + by_format[device, format]
    + by_length[device] (minutes - 5) / 3 + appeal

The effects of a topic, a format and the length are 0 in the mean of segments and of devices: what
some like more, others like less, so that only context and features together say who clicks what.
The intercept is set so that the mean is 8 %.
"""

from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from scipy.optimize import brentq
from scipy.special import expit

from flows.devkit.visitors import DEVICES, SEGMENTS, TAG, Floats, Indices, Visitors

TOPICS = ("business", "culture", "politics", "science", "sport", "travel")
FORMATS = ("gallery", "text", "video")
LONGEST = 10
"""Minutes to read."""

EVERY = 1.0
"""Seconds from one article to the next."""

LIVES = (45.0, 75.0)
"""Seconds that an article may live, the shortest and the longest."""

MEAN_CLICK = 0.08

MOST_ALIVE = int(LIVES[1] / EVERY) + 1
"""So many articles may live at once; so many came before the run began."""

_BLOCK = 1024


class Stock(NamedTuple):
    """Articles as arrays [n]: indices of topics and formats, minutes, appeal, seconds of life."""

    topic: Indices
    form: Indices
    minutes: Indices
    appeal: Floats
    life: Floats

    def take(self, rows: Indices) -> "Stock":
        """Give some of the rows."""
        return Stock._make(column[rows] for column in self)


class Articles:
    """The articles of a seed, by number and in the order in which they come.

    Examples
    --------
    >>> articles = Articles(Visitors(seed=1, users=100), seed=1)
    >>> articles.alive(0.0)[[0, -1]], articles.alive(3600.0)[[0, -1]]
    (array([ 8, 76]), array([3603, 3676]))
    >>> sorted(articles.features(60))
    ['media', 'topic']
    """

    def __init__(self, visitors: Visitors, seed: int) -> None:
        self._visitors = visitors
        self._seed = seed
        rng = np.random.default_rng([TAG, seed, 4])
        self.by_segment = 1.5 * _centred(rng.standard_normal((SEGMENTS, len(TOPICS))))
        self.by_format = 0.8 * _centred(rng.standard_normal((DEVICES, len(FORMATS))))
        self.by_length = 0.5 * _centred(rng.standard_normal(DEVICES))
        self._block = lru_cache(maxsize=8)(self._draw)
        self.intercept = _intercept(self._logits(*self._sample(20_000)))

    def alive(self, at: float) -> Indices:
        """Give the numbers of the articles that live ``at`` seconds after the run's start."""
        newest = MOST_ALIVE + int(at // EVERY)
        numbers = np.arange(newest - MOST_ALIVE + 1, newest + 1)
        age = at - EVERY * (numbers - MOST_ALIVE)
        found: Indices = numbers[age < self.stock(numbers).life]
        return found

    def stock(self, numbers: Indices) -> Stock:
        """Give what these articles are, in their order."""
        blocks = np.unique(numbers // _BLOCK)
        found = [self._block(block) for block in blocks.tolist()]
        place = np.searchsorted(blocks, numbers // _BLOCK) * _BLOCK + numbers % _BLOCK
        joined = (np.concatenate(columns) for columns in zip(*found, strict=True))
        return Stock._make(joined).take(place)

    def action_id(self, number: int) -> str:
        """Name an article; other seeds have other ones."""
        return f"article-{self._seed}-{number:05d}"

    def features(self, number: int) -> dict[str, Any]:
        """Give what a request says of an article."""
        one = self.stock(np.array([number]))
        return {
            "topic": TOPICS[one.topic[0]],
            "media": {"format": FORMATS[one.form[0]], "minutes": int(one.minutes[0])},
        }

    def context(self, user: int, hour: int) -> dict[str, Any]:
        """Give what a request says of its visitor and its page."""
        who = self._visitors.users
        return {
            "visitor": {
                "segment": f"s{who.segment[user]}",
                "device": f"d{who.device[user]}",
                "region": f"g{who.region[user]}",
            },
            "page": {"hour": f"h{hour}"},
        }

    def p(self, users: Indices, numbers: Indices) -> Floats:
        """Give the click probability of each of these visitors for the article beside."""
        found: Floats = expit(self.intercept + self._logits(users, numbers))
        return found

    def _logits(self, users: Indices, numbers: Indices) -> Floats:
        """Give the log-odds without the intercept."""
        who, what = self._visitors.users, self.stock(numbers)
        segment, device = who.segment[users], who.device[users]
        logits: Floats = (
            self.by_segment[segment, what.topic]
            + self.by_format[device, what.form]
            + self.by_length[device] * (what.minutes - 5) / 3
            + what.appeal
        )
        return logits

    def _draw(self, block: int) -> Stock:
        rng = np.random.default_rng([TAG, self._seed, 5, block])
        return Stock(
            topic=rng.integers(len(TOPICS), size=_BLOCK),
            form=rng.integers(len(FORMATS), size=_BLOCK),
            minutes=rng.integers(1, LONGEST + 1, size=_BLOCK),
            appeal=0.3 * rng.standard_normal(_BLOCK),
            life=rng.uniform(*LIVES, size=_BLOCK),
        )

    def _sample(self, size: int) -> tuple[Indices, Indices]:
        """Draw visitors by activity, and articles."""
        rng = np.random.default_rng([TAG, self._seed, 6])
        return self._visitors.users_at(rng.random(size)), rng.integers(_BLOCK, size=size)


def _centred(effects: Floats) -> Floats:
    """Take from each column its mean: what some like more, others like less."""
    found: Floats = effects - effects.mean(axis=0)
    return found


def _intercept(logits: Floats) -> float:
    """Find the intercept at which the mean click probability is ``MEAN_CLICK``."""
    return float(brentq(lambda start: expit(start + logits).mean() - MEAN_CLICK, -20.0, 20.0))
