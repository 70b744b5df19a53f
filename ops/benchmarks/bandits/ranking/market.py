"""A shop's items for its visitors: stationary, drifting, or without an item that repeats."""

from collections.abc import Iterator
from dataclasses import dataclass

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

DIMENSIONS = 6
USERS, SEGMENTS, HOURS, CATEGORIES = 5_000, 8, 6, 8
DEVICES = ("mobile", "desktop", "tablet")
CANDIDATES, LIVE = 20, 1_000
TURNOVER = 50
"""Events after which one live item, any, makes room for a new one: items live 50,000 on average."""

DRIFT_EVERY, RHO = 1_000, 0.98
"""Every so many events each weight w becomes RHO w + sqrt(1 - RHO^2) w', w' as w was drawn."""

MEAN = 0.05
"""The mean reward probability over users and items before any drift."""


@dataclass(frozen=True, slots=True)
class Users:
    """``z`` [U, R] tastes that nobody sees, what is seen; ``activity``: see ``popularity``."""

    z: Floats
    segment: Indices
    device: Indices
    member: Indices
    activity: Floats
    features: list[Json]


@dataclass(frozen=True, slots=True)
class Items:
    """``v`` [n, R] latent positions and the rest; ``hidden`` [n] is in no feature."""

    v: Floats
    category: Indices
    quality: Floats
    price: Floats
    hidden: Floats
    actions: list[Json]


@dataclass(frozen=True, slots=True)
class Weights:
    """What makes an item attractive to a user; all of it drifts where tastes do."""

    taste: Floats
    device: Floats
    hour: Floats
    segment: Floats
    bend: Floats
    quality: Floats

    @classmethod
    def drawn(cls, rng: np.random.Generator) -> "Weights":
        """Draw all anew."""
        return cls(
            taste=0.8 * rng.normal(size=(DIMENSIONS, DIMENSIONS)) / DIMENSIONS,
            device=0.3 * rng.normal(size=(len(DEVICES), CATEGORIES)),
            hour=0.3 * rng.normal(size=(HOURS, CATEGORIES)),
            segment=0.3 * rng.normal(size=(SEGMENTS, CATEGORIES)),
            bend=0.4 * rng.normal(size=CATEGORIES),
            quality=0.4 * rng.normal(size=1),
        )

    def drifted(self, rng: np.random.Generator) -> "Weights":
        """Take one step of the stationary AR(1) process."""
        fresh, scale = Weights.drawn(rng), np.sqrt(1.0 - RHO**2)
        return Weights(
            taste=RHO * self.taste + scale * fresh.taste,
            device=RHO * self.device + scale * fresh.device,
            hour=RHO * self.hour + scale * fresh.hour,
            segment=RHO * self.segment + scale * fresh.segment,
            bend=RHO * self.bend + scale * fresh.bend,
            quality=RHO * self.quality + scale * fresh.quality,
        )


class Market:
    """Environments (a), (b) and (e): ``market-stationary``, ``-drifting``, ``-unrepeated``.

    logit p = b + z'Mv + D[device, cat] + H[hour, cat] + S[segment, cat] + tanh(z0 z1) T[cat]
    + w quality - 0.6 (1 - 0.8 member) price + 0.3 hidden; an item that never repeats has no hidden
    part. One event a second. (a) and (b) have the same users, items and candidates by seed.
    """

    candidates = CANDIDATES
    context_namespaces = ("user", "moment")
    action_namespaces = ("item",)

    def __init__(self, kind: str, seed: int, events: int) -> None:
        if kind not in ("stationary", "drifting", "unrepeated"):
            raise ValueError(f"no market is {kind!r}")
        self.name, self.events = f"market-{kind}", events
        self._kind, self._seed = kind, seed
        self._hidden = 0.0 if kind == "unrepeated" else 1.0
        rng = np.random.default_rng([31, seed])
        self._first = Weights.drawn(rng)
        self._centres = rng.normal(size=(CATEGORIES, DIMENSIONS))
        self._users = _users(rng)
        rng = np.random.default_rng([34, seed])
        chosen, hours = rng.integers(USERS, size=2_000), rng.integers(HOURS, size=2_000)
        items = self._items(rng, 0, 2_000 * CANDIDATES)
        rows = np.arange(2_000 * CANDIDATES).reshape(2_000, CANDIDATES)
        self._b = intercept_for(self._logits(self._first, chosen, hours, items, rows), MEAN)

    def blocks(self) -> Iterator[Block]:
        """Give ``TURNOVER`` events at a time."""
        rng, drift = (
            np.random.default_rng([32, self._seed]),
            np.random.default_rng([35, self._seed]),
        )
        luck = np.random.default_rng([33, self._seed])
        repeats = self._kind != "unrepeated"
        weights, named = self._first, 0
        items = self._items(rng, 0, LIVE)
        for start in range(0, self.events, TURNOVER):
            count = min(TURNOVER, self.events - start)
            if self._kind == "drifting" and start and start % DRIFT_EVERY == 0:
                weights = weights.drifted(drift)
            if repeats and start:
                named += 1
                _replace(items, int(rng.integers(LIVE)), self._items(rng, LIVE + named - 1, 1))
            elif start:
                items = self._items(rng, start * CANDIDATES, TURNOVER * CANDIDATES)
            users = drawn_by(rng, self._users.activity, count)
            hours, weekends = rng.integers(HOURS, size=count), rng.random(count) < 2 / 7
            rows = (
                drawn_without_repeats(rng, count, CANDIDATES, LIVE)
                if repeats
                else np.arange(count * CANDIDATES).reshape(count, CANDIDATES)
            )
            contexts = [
                {"user": self._users.features[i], "moment": {"hour": f"h{h}", "weekend": weekend}}
                for i, h, weekend in zip(
                    users.tolist(), hours.tolist(), weekends.tolist(), strict=True
                )
            ]
            actions = [[items.actions[i] for i in row] for row in rows.tolist()]
            times = np.arange(start, start + count, dtype=float)
            p = sigmoid(self._b + self._logits(weights, users, hours, items, rows))
            yield Block(Requests(times, contexts, actions), p, luck.random(count))

    def _items(self, rng: np.random.Generator, first: int, count: int) -> Items:
        category = rng.integers(CATEGORIES, size=count)
        v = 0.7 * self._centres[category] + 0.7 * rng.normal(size=(count, DIMENSIONS))
        style = np.round(v + 0.3 * rng.normal(size=v.shape), 3).tolist()
        quality, price = np.round(rng.normal(size=count), 3), np.round(rng.random(count), 3)
        hidden = self._hidden * rng.normal(size=count)
        seen = zip(category.tolist(), style, quality.tolist(), price.tolist(), strict=True)
        actions = [
            {
                "id": f"i{first + i:07}",
                "features": {
                    "item": {"category": f"c{cat}", "style": style, "quality": q, "price": price}
                },
            }
            for i, (cat, style, q, price) in enumerate(seen)
        ]
        return Items(
            v=v, category=category, quality=quality, price=price, hidden=hidden, actions=actions
        )

    def _logits(
        self, weights: Weights, users: Indices, hours: Indices, items: Items, rows: Indices
    ) -> Floats:
        """Give those of the items ``rows`` [B, K] to ``users`` [B], without the intercept."""
        who, z = self._users, self._users.z[users]
        category = items.category[rows]
        discount = 1.0 - 0.8 * who.member[users]
        return np.asarray(
            np.einsum("br,bkr->bk", z @ weights.taste, items.v[rows])
            + weights.device[who.device[users][:, None], category]
            + weights.hour[hours[:, None], category]
            + weights.segment[who.segment[users][:, None], category]
            + np.tanh(z[:, 0] * z[:, 1])[:, None] * weights.bend[category]
            + weights.quality * items.quality[rows]
            - 0.6 * discount[:, None] * items.price[rows]
            + 0.3 * items.hidden[rows]
        )


def _users(rng: np.random.Generator) -> Users:
    z = rng.normal(size=(USERS, DIMENSIONS))
    directions = rng.normal(size=(SEGMENTS, DIMENSIONS))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    segment = (z @ directions.T).argmax(axis=1)
    device = rng.choice(len(DEVICES), size=USERS, p=[0.6, 0.3, 0.1])
    member = (rng.random(USERS) < 0.2).astype(np.intp)
    activity = popularity(rng, USERS)
    taste = np.round(z[:, :4] + 0.3 * rng.normal(size=(USERS, 4)), 3).tolist()
    seen = zip(taste, segment.tolist(), device.tolist(), member.tolist(), strict=True)
    features = [
        {"taste": t, "segment": f"s{s}", "device": DEVICES[d], "member": bool(m)}
        for t, s, d, m in seen
    ]
    return Users(
        z=z,
        segment=segment,
        device=device,
        member=member,
        activity=activity,
        features=features,
    )


def _replace(items: Items, at: int, new: Items) -> None:
    """Put the one new item in the place of an old one."""
    items.v[at], items.category[at], items.hidden[at] = new.v[0], new.category[0], new.hidden[0]
    items.quality[at], items.price[at] = new.quality[0], new.price[0]
    items.actions[at] = new.actions[0]
