"""News for readers: articles live a few minutes, grow old, and topics come and go."""

from collections.abc import Iterator

import numpy as np

from ops.benchmarks.bandits.ranking.requests import (
    Block,
    Floats,
    Indices,
    Json,
    Requests,
    drawn_by,
    drawn_without_repeats,
    intercept_for,
    popularity,
    sigmoid,
)

DIMENSIONS = 5
READERS, SEGMENTS, TOPICS, SOURCES = 20_000, 8, 12, 6
DEVICES = ("mobile", "desktop", "tablet")
CANDIDATES, LIVE = 20, 120
RATE = 10
"""Events in a second: an article, which lives 2 to 6 minutes, is offered some 400 times."""

TREND_EVERY, RHO, TREND = 600, 0.97, 0.4
"""Every so many events the topics' trends take a step of an AR(1) process of that deviation."""

MEAN = 0.04


class News:
    """Environment (d).

    logit p = b + z'Me + W_t[topic] + S[segment, topic] + D[device, topic] + Q[source]
    + 0.8 breaking exp(-age / 2) - 0.25 age + 0.4 hidden, age in minutes; the feature ``age`` is
    rounded down, ``hidden`` is the article's own and in no feature.
    """

    name = "news"
    candidates = CANDIDATES
    context_namespaces = ("user", "moment")
    action_namespaces = ("article", "state")

    def __init__(self, seed: int, events: int) -> None:
        self.events, self._seed = events, seed
        rng = np.random.default_rng([36, seed])
        self._z = rng.normal(size=(READERS, DIMENSIONS))
        self._taste = 0.8 * rng.normal(size=(DIMENSIONS, DIMENSIONS)) / DIMENSIONS
        self._by_segment = 0.4 * rng.normal(size=(SEGMENTS, TOPICS))
        self._by_device = 0.2 * rng.normal(size=(len(DEVICES), TOPICS))
        self._by_source = 0.3 * rng.normal(size=SOURCES)
        directions = rng.normal(size=(SEGMENTS, DIMENSIONS))
        directions /= np.linalg.norm(directions, axis=1, keepdims=True)
        self._segment = (self._z @ directions.T).argmax(axis=1)
        self._device = rng.choice(len(DEVICES), size=READERS, p=[0.7, 0.2, 0.1])
        self._activity = popularity(rng, READERS)
        interests = np.round(self._z + 0.3 * rng.normal(size=self._z.shape), 3).tolist()
        self._features = [
            {"interests": interest, "segment": f"s{s}", "device": DEVICES[d]}
            for interest, s, d in zip(
                interests, self._segment.tolist(), self._device.tolist(), strict=True
            )
        ]
        rng = np.random.default_rng([39, seed])
        articles = _Articles(rng, 40_000)
        rows = np.arange(40_000).reshape(2_000, CANDIDATES)
        trend, readers = np.zeros(TOPICS), rng.integers(READERS, size=2_000)
        ages = rng.uniform(0.0, 4.0, size=rows.shape)
        self._b = intercept_for(self._logits(trend, readers, articles, rows, ages), MEAN)

    def blocks(self) -> Iterator[Block]:
        """Give a second's events at a time."""
        rng, trends = (
            np.random.default_rng([37, self._seed]),
            np.random.default_rng([40, self._seed]),
        )
        luck = np.random.default_rng([38, self._seed])
        articles = _Articles(rng, LIVE)
        articles.born -= rng.random(LIVE) * articles.life
        trend = TREND * trends.normal(size=TOPICS)
        for start in range(0, self.events, RATE):
            count = min(RATE, self.events - start)
            if start and start % TREND_EVERY == 0:
                trend = RHO * trend + TREND * np.sqrt(1.0 - RHO**2) * trends.normal(size=TOPICS)
            now = start / RATE
            articles.renew(rng, now)
            readers = drawn_by(rng, self._activity, count)
            rows = drawn_without_repeats(rng, count, CANDIDATES, LIVE)
            hour = {"hour": f"h{int(now // 3_600) % 24}"}
            contexts = [{"user": self._features[i], "moment": hour} for i in readers.tolist()]
            ages = (now - articles.born) / 60.0
            shown = articles.shown(ages)
            actions = [[shown[i] for i in row] for row in rows.tolist()]
            p = sigmoid(self._b + self._logits(trend, readers, articles, rows, ages[rows]))
            times = now + np.arange(count) / RATE
            yield Block(Requests(times, contexts, actions), p, luck.random(count))

    def _logits(
        self, trend: Floats, readers: Indices, articles: "_Articles", rows: Indices, ages: Floats
    ) -> Floats:
        topic = articles.topic[rows]
        return np.asarray(
            np.einsum("br,bkr->bk", self._z[readers] @ self._taste, articles.e[rows])
            + trend[topic]
            + self._by_segment[self._segment[readers][:, None], topic]
            + self._by_device[self._device[readers][:, None], topic]
            + self._by_source[articles.source[rows]]
            + 0.8 * articles.breaking[rows] * np.exp(-ages / 2.0)
            - 0.25 * ages
            + 0.4 * articles.hidden[rows]
        )


class _Articles:
    """Those that live now, each in its place until it is renewed."""

    def __init__(self, rng: np.random.Generator, count: int) -> None:
        self._named = 0
        self.e = np.zeros((count, DIMENSIONS))
        self.topic, self.source = np.zeros(count, dtype=np.intp), np.zeros(count, dtype=np.intp)
        self.breaking, self.hidden = np.zeros(count), np.zeros(count)
        self.born, self.life = np.zeros(count), np.zeros(count)
        self._article: list[Json] = [{} for _ in range(count)]
        self._id = [""] * count
        self._shown: list[Json] = [{} for _ in range(count)]
        self._age = np.full(count, -1)
        self._fill(rng, np.arange(count), 0.0)

    def renew(self, rng: np.random.Generator, now: float) -> None:
        """Let new articles take the places of those whose life is over."""
        self._fill(rng, np.flatnonzero(now - self.born >= self.life), now)

    def shown(self, ages: Floats) -> list[Json]:
        """Give every place's action; a new object whenever its age in whole minutes changes."""
        minutes = ages.astype(int)
        for at in np.flatnonzero(minutes != self._age).tolist():
            features = {"article": self._article[at], "state": {"age": int(minutes[at])}}
            self._shown[at] = {"id": self._id[at], "features": features}
        self._age = minutes
        return self._shown

    def _fill(self, rng: np.random.Generator, places: Indices, now: float) -> None:
        n = len(places)
        self.e[places] = rng.normal(size=(n, DIMENSIONS))
        self.topic[places], self.source[places] = (
            rng.integers(TOPICS, size=n),
            rng.integers(SOURCES, size=n),
        )
        self.breaking[places] = rng.random(n) < 0.1
        self.hidden[places], self.life[places] = rng.normal(size=n), rng.uniform(120.0, 360.0, n)
        self.born[places], self._age[places] = now, -1
        words = np.round(self.e[places] + 0.3 * rng.normal(size=(n, DIMENSIONS)), 3).tolist()
        for at, vector in zip(places.tolist(), words, strict=True):
            self._id[at] = f"n{self._named:07}"
            self._named += 1
            self._article[at] = {
                "topic": f"t{self.topic[at]}",
                "source": f"p{self.source[at]}",
                "words": vector,
                "breaking": bool(self.breaking[at]),
            }
