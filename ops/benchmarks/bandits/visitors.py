"""The contextual environment (b): visitors with latent tastes, items, click probabilities."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

LATENT = 6
PROFILE = 4
DEVICES, GEOS, HOURS, SEGMENTS, CATEGORIES = 3, 10, 6, 8, 5
DIM = 1 + PROFILE + DEVICES + GEOS + HOURS + SEGMENTS
"""Context features: intercept, noisy profile, one-hot device, geo, hour and segment."""


def _sigmoid(z: Floats) -> Floats:
    return 1.0 / (1.0 + np.exp(-z))


@dataclass(slots=True)
class Items:
    """What K actions are like; tastes may change."""

    vectors: Floats
    bias: Floats
    geo: Floats
    segment: Floats
    nonlinear: Floats
    device: Floats
    hour: Floats
    category: NDArray[np.intp]


class World:
    """U visitors and K items; mean click probability over both is 3 %."""

    def __init__(self, rng: np.random.Generator, actions: int, users: int = 5000) -> None:
        self.rng = rng
        self.actions = actions
        self.z = rng.normal(size=(users, LATENT))
        centres = rng.normal(size=(SEGMENTS, LATENT))
        centres /= np.linalg.norm(centres, axis=1, keepdims=True)
        self.segment = (self.z @ centres.T).argmax(axis=1)
        self.device = rng.choice(DEVICES, size=users, p=[0.6, 0.3, 0.1])
        geo_share = 1.0 / np.arange(1, GEOS + 1)
        self.geo = rng.choice(GEOS, size=users, p=geo_share / geo_share.sum())
        activity = rng.permutation(np.arange(1, users + 1) ** -0.6)
        self.activity = activity / activity.sum()
        self.user_bias = 0.5 * rng.normal(size=users)
        self.profile = self.z[:, :PROFILE] + 0.3 * rng.normal(size=(users, PROFILE))
        category = np.arange(actions) % CATEGORIES
        self.items = Items(
            vectors=rng.normal(size=(actions, LATENT)) / np.sqrt(LATENT),
            bias=0.35 * rng.normal(size=actions),
            geo=0.2 * rng.normal(size=(GEOS, actions)),
            segment=0.3 * rng.normal(size=(SEGMENTS, actions)),
            nonlinear=0.3 * rng.normal(size=actions),
            device=0.3 * rng.normal(size=(DEVICES, CATEGORIES)),
            hour=0.3 * rng.normal(size=(HOURS, CATEGORIES)),
            category=category,
        )
        noisy = np.sqrt(LATENT) * self.items.vectors + 0.3 * rng.normal(size=(actions, LATENT))
        self.item_features = np.hstack([noisy, np.eye(CATEGORIES)[category]])
        self.intercept = 0.0
        everyone = np.arange(users)
        hours = rng.integers(HOURS, size=users)
        low, high = -12.0, 4.0
        for _ in range(60):
            self.intercept = (low + high) / 2.0
            if self.click_probability(everyone, hours).mean() > 0.03:
                high = self.intercept
            else:
                low = self.intercept

    def visit(self, n: int) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        """Draw n visits: users by activity, and the hour bucket of each."""
        users = self.rng.choice(len(self.z), size=n, p=self.activity)
        return users, self.rng.integers(HOURS, size=n)

    def features(self, users: NDArray[np.intp], hours: NDArray[np.intp]) -> Floats:
        """Give what a policy may see of the visits, [n, 32]."""
        return np.hstack(
            [
                np.ones((len(users), 1)),
                self.profile[users],
                np.eye(DEVICES)[self.device[users]],
                np.eye(GEOS)[self.geo[users]],
                np.eye(HOURS)[hours],
                np.eye(SEGMENTS)[self.segment[users]],
            ]
        )

    def click_probability(self, users: NDArray[np.intp], hours: NDArray[np.intp]) -> Floats:
        """Give the true click probability of each item, [n, K]."""
        items, z = self.items, self.z[users]
        logit = self.intercept + items.bias + 0.6 * z @ items.vectors.T
        logit += items.device[self.device[users]][:, items.category]
        logit += items.hour[hours][:, items.category]
        logit += items.geo[self.geo[users]] + items.segment[self.segment[users]]
        logit += self.user_bias[users][:, None]
        logit += np.tanh(z[:, 0] * z[:, 1])[:, None] * items.nonlinear
        return _sigmoid(logit)

    def redraw(self, chosen: NDArray[np.intp]) -> None:
        """Give some items new tastes; their item features become stale."""
        n, rng, items = len(chosen), self.rng, self.items
        items.vectors[chosen] = rng.normal(size=(n, LATENT)) / np.sqrt(LATENT)
        items.bias[chosen] = 0.35 * rng.normal(size=n)
        items.geo[:, chosen] = 0.2 * rng.normal(size=(GEOS, n))
        items.segment[:, chosen] = 0.3 * rng.normal(size=(SEGMENTS, n))
        items.nonlinear[chosen] = 0.3 * rng.normal(size=n)

    def drift(self, rho: float) -> None:
        """Move all tastes one step of a stationary AR(1)."""
        items, noise = self.items, np.sqrt(1.0 - rho**2)
        for array, scale in (
            (items.vectors, 1.0 / np.sqrt(LATENT)),
            (items.bias, 0.35),
            (items.geo, 0.2),
            (items.segment, 0.3),
        ):
            array *= rho
            array += noise * scale * self.rng.normal(size=array.shape)
