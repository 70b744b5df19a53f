"""Simulated visitors with latent tastes: what they are like, what they see, how they click.

A visitor has latent factors z, a segment, a device, a region and a bias; a content variant has
factors v, a category and its own effects by region, segment, device and hour. The click
probability is logistic in all of them plus one interaction that no linear model holds, and its
intercept is set so that the mean over visitors, hours and variants is 3 %.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Indices = NDArray[np.intp]

TAG = 22
"""Seeds ``default_rng([TAG, seed])``."""

FACTORS = 6
OBSERVED = 4
SEGMENTS = 8
DEVICES = 3
REGIONS = 10
HOURS = 6
CATEGORIES = 5
MEAN_CLICK = 0.03


@dataclass(frozen=True, slots=True)
class Users:
    """What the visitors are like.

    Attributes
    ----------
    z : array [U, 6]
        Latent factors.
    observed : array [U, 4]
        The first four factors, seen through noise: what the context says of them.
    segment, device, region : array [U]
    bias : array [U]
        How willing each is to click anything.
    activity : array [U]
        The probability that the next request is this visitor's; it sums to 1.
    """

    z: Floats
    observed: Floats
    segment: Indices
    device: Indices
    region: Indices
    bias: Floats
    activity: Floats

    def __len__(self) -> int:
        """Count the visitors."""
        return len(self.z)


@dataclass(frozen=True, slots=True)
class Items:
    """What the K content variants are like.

    Attributes
    ----------
    v : array [K, 6]
    bias, nonlinear : array [K]
    by_region : array [10, K]
    by_segment : array [8, K]
    features : array [K, 11]
        What the catalog says of a variant: its factors seen through noise, its category one-hot.
    """

    v: Floats
    bias: Floats
    nonlinear: Floats
    by_region: Floats
    by_segment: Floats
    features: Floats

    def __len__(self) -> int:
        """Count the variants."""
        return len(self.v)

    @property
    def category(self) -> Indices:
        """Give the category of each variant."""
        return np.arange(len(self.v)) % CATEGORIES


class Visitors:
    """A population, a set of content variants, and the probability of every click.

    Parameters
    ----------
    seed
        The same seed gives the same visitors and tastes.
    actions
        K, the number of variants.
    users
        U, the number of visitors.

    Attributes
    ----------
    click : array [U, 6, K]
        The probability that a visitor clicks a variant in an hour bucket.

    Examples
    --------
    >>> world = Visitors(seed=0, users=500)
    >>> world.click.shape, round(float(world.click.mean()), 4)
    ((500, 6, 20), 0.03)
    >>> users, hours = world.arrivals(3, np.random.default_rng(0))
    >>> world.x(users, hours).shape
    (3, 32)
    """

    def __init__(self, seed: int, actions: int = 20, users: int = 5000) -> None:
        rng = np.random.default_rng([TAG, seed])
        self.users = _users(rng, users)
        self.items = _items(rng, actions)
        self.by_device = 0.3 * rng.standard_normal((DEVICES, CATEGORIES))
        self.by_hour = 0.3 * rng.standard_normal((HOURS, CATEGORIES))
        self.intercept = _bisect(self._logits())
        self.click = _sigmoid(self.intercept + self._logits())

    def arrivals(self, count: int, rng: np.random.Generator) -> tuple[Indices, Indices]:
        """Draw the visitor and the hour bucket of ``count`` requests."""
        return self.users_at(rng.random(count)), rng.integers(HOURS, size=count)

    def users_at(self, uniform: Floats) -> Indices:
        """Pick visitors by activity, one for each uniform number."""
        cumulative = np.cumsum(self.users.activity)
        place = np.searchsorted(cumulative, uniform * cumulative[-1], side="right")
        found: Indices = np.minimum(place, len(self.users) - 1)
        return found

    def p(self, users: Indices, hours: Indices) -> Floats:
        """Give the click probability of every variant, [n, K]."""
        found: Floats = self.click[users, hours]
        return found

    def x(self, users: Indices, hours: Indices) -> Floats:
        """Give the observed context as vectors [n, 32].

        An intercept, the four observed factors, and device, region, hour and segment one-hot.
        """
        who = self.users
        return np.hstack(
            [
                np.ones((len(users), 1)),
                who.observed[users],
                np.eye(DEVICES)[who.device[users]],
                np.eye(REGIONS)[who.region[users]],
                np.eye(HOURS)[hours],
                np.eye(SEGMENTS)[who.segment[users]],
            ]
        )

    def context(self, user: int, hour: int) -> dict[str, Any]:
        """Give the same context as a request carries it."""
        who = self.users
        return {
            "o": [round(float(value), 4) for value in who.observed[user]],
            "device": f"d{who.device[user]}",
            "geo": f"g{who.region[user]}",
            "hour": f"h{hour}",
            "segment": f"s{who.segment[user]}",
        }

    def best(self) -> Floats:
        """Give the highest click probability of each visitor and hour, [U, 6]."""
        found: Floats = self.click.max(axis=2)
        return found

    def change(self, items: Items) -> None:
        """Put other tastes in force; the intercept stays."""
        self.items = items
        self.click = _sigmoid(self.intercept + self._logits())

    def redrawn(self, share: float, rng: np.random.Generator) -> Items:
        """Draw the tastes of a share of the variants anew; what the catalog says of them stays."""
        old, new = self.items, _items(rng, len(self.items))
        changed = rng.permutation(len(old))[: round(share * len(old))]
        keep = np.ones(len(old), dtype=bool)
        keep[changed] = False
        return Items(
            v=np.where(keep[:, None], old.v, new.v),
            bias=np.where(keep, old.bias, new.bias),
            nonlinear=np.where(keep, old.nonlinear, new.nonlinear),
            by_region=np.where(keep, old.by_region, new.by_region),
            by_segment=np.where(keep, old.by_segment, new.by_segment),
            features=old.features,
        )

    def drifted(self, rho: float, rng: np.random.Generator) -> Items:
        """Take one AR(1) step of the tastes that keeps their spread."""
        old, new = self.items, _items(rng, len(self.items))
        step = np.sqrt(1.0 - rho * rho)
        return Items(
            v=rho * old.v + step * new.v,
            bias=rho * old.bias + step * new.bias,
            nonlinear=old.nonlinear,
            by_region=rho * old.by_region + step * new.by_region,
            by_segment=rho * old.by_segment + step * new.by_segment,
            features=old.features,
        )

    def _logits(self) -> Floats:
        """Give the log-odds without the intercept, [U, 6, K]."""
        who, what = self.users, self.items
        category = what.category
        by_visitor = (
            what.bias
            + 0.6 * who.z @ what.v.T
            + self.by_device[who.device][:, category]
            + what.by_region[who.region]
            + what.by_segment[who.segment]
            + who.bias[:, None]
            + np.tanh(who.z[:, :1] * who.z[:, 1:2]) * what.nonlinear
        )
        logits: Floats = by_visitor[:, None, :] + self.by_hour[:, category]
        return logits


def one_hot_names(prefix: str, count: int) -> Sequence[str]:
    """Name the values of a categorical context field, such as ``d0`` and ``d1``."""
    return [f"{prefix}{i}" for i in range(count)]


def _users(rng: np.random.Generator, count: int) -> Users:
    z = rng.standard_normal((count, FACTORS))
    directions = rng.standard_normal((SEGMENTS, FACTORS))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    weight = 1.0 / np.arange(1, REGIONS + 1)
    activity = rng.permutation(np.arange(1, count + 1) ** -0.6)
    return Users(
        z=z,
        observed=z[:, :OBSERVED] + 0.3 * rng.standard_normal((count, OBSERVED)),
        segment=np.argmax(z @ directions.T, axis=1),
        device=rng.choice(DEVICES, size=count, p=[0.6, 0.3, 0.1]),
        region=rng.choice(REGIONS, size=count, p=weight / weight.sum()),
        bias=0.5 * rng.standard_normal(count),
        activity=activity / activity.sum(),
    )


def _items(rng: np.random.Generator, count: int) -> Items:
    v = rng.standard_normal((count, FACTORS)) / np.sqrt(FACTORS)
    seen = np.sqrt(FACTORS) * v + 0.3 * rng.standard_normal((count, FACTORS))
    return Items(
        v=v,
        bias=0.35 * rng.standard_normal(count),
        nonlinear=0.3 * rng.standard_normal(count),
        by_region=0.2 * rng.standard_normal((REGIONS, count)),
        by_segment=0.3 * rng.standard_normal((SEGMENTS, count)),
        features=np.hstack([seen, np.eye(CATEGORIES)[np.arange(count) % CATEGORIES]]),
    )


def _sigmoid(logits: Floats) -> Floats:
    found: Floats = 1.0 / (1.0 + np.exp(-logits))
    return found


def _bisect(logits: Floats) -> float:
    """Find the intercept at which the mean click probability is ``MEAN_CLICK``."""
    low, high = -20.0, 10.0
    for _ in range(40):
        middle = 0.5 * (low + high)
        if _sigmoid(middle + logits).mean() < MEAN_CLICK:
            low = middle
        else:
            high = middle
    return 0.5 * (low + high)
