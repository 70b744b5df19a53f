"""The environments of the learning benchmark as streams of contexts and true click rates."""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from flows.devkit.visitors import Visitors

Floats = NDArray[np.float64]

ABRUPT_EVERY = 50_000
DRIFT_EVERY = 1_000


@dataclass(frozen=True, slots=True)
class Stream:
    """n events, one per second, over K actions.

    ``p`` [n, K] are the true reward probabilities (for classification 0 or 1), ``x`` [n, d] the
    contexts (d is 0 without), ``u`` [n] the numbers that decide clicks, ``item_features`` [K, m].
    """

    name: str
    x: Floats
    p: Floats
    u: Floats
    item_features: Floats | None = None

    @property
    def actions(self) -> int:
        """The number of actions."""
        return int(self.p.shape[1])

    @property
    def oracle(self) -> Floats:
        """The true reward of the best action at each event."""
        return np.asarray(self.p.max(axis=1))


def contextual(seed: int, events: int, actions: int = 20, change: str = "none") -> Stream:
    """Environment (b), or (c) when tastes ``change``: none, abrupt or drift."""
    world = Visitors(seed, actions)
    rng = np.random.default_rng([23, seed])
    block = {"none": events, "abrupt": ABRUPT_EVERY, "drift": DRIFT_EVERY}[change]
    xs, ps = [], []
    for start in range(0, events, block):
        if start and change == "abrupt":
            world.change(world.redrawn(0.4, rng))
        elif start:
            world.change(world.drifted(0.99, rng))
        users, hours = world.arrivals(min(block, events - start), rng)
        xs.append(world.x(users, hours))
        ps.append(world.p(users, hours))
    u = np.random.default_rng([24, seed]).random(events)
    return Stream(f"contextual-{change}", np.vstack(xs), np.vstack(ps), u, world.items.features)


def plain(seed: int, events: int, actions: int, change: str = "none") -> Stream:
    """Environment (a): click rates between 1 and 10 %, without context."""
    rng = np.random.default_rng([11, seed])
    log_low, log_high = np.log(0.01), np.log(0.10)
    log_p = rng.uniform(log_low, log_high, actions)
    block = {"none": events, "abrupt": ABRUPT_EVERY, "drift": DRIFT_EVERY}[change]
    rows = []
    for start in range(0, events, block):
        if start and change == "abrupt":
            log_p = rng.permutation(log_p)
        elif start:
            log_p = log_p + 0.05 * rng.normal(size=actions)
            log_p = np.where(log_p > log_high, 2 * log_high - log_p, log_p)
            log_p = np.where(log_p < log_low, 2 * log_low - log_p, log_p)
        rows.append(np.broadcast_to(np.exp(log_p), (min(block, events - start), actions)))
    u = np.random.default_rng([77, seed]).random(events)
    return Stream(f"plain-{change}", np.zeros((events, 0)), np.vstack(rows), u)


def classification(
    seed: int, x: Floats, labels: NDArray[np.intp], name: str, passes: int
) -> Stream:
    """Environment (e): the reward is 1 for naming the right class."""
    rng = np.random.default_rng([55, seed])
    order = np.concatenate([rng.permutation(len(x)) for _ in range(passes)])
    deviation = x.std(axis=0)
    scaled = np.clip((x - x.mean(axis=0)) / np.where(deviation > 0, deviation, 1.0), -5.0, 5.0)
    scaled *= 2.0 / np.sqrt(x.shape[1])
    context = np.hstack([np.ones((len(x), 1)), scaled])
    p = (labels[:, None] == np.arange(labels.max() + 1)).astype(float)
    return Stream(name, context[order], p[order], rng.random(len(order)))


def delays(seed: int, events: int, mean: float, heavy: bool = False) -> Floats:
    """Give each event's click delay in seconds for environment (d).

    Exponential, or, when ``heavy``, log-normal with the same median and sigma 1.5.
    """
    rng = np.random.default_rng([88, seed])
    if heavy:
        return np.asarray(mean * np.log(2.0) * np.exp(1.5 * rng.normal(size=events)))
    return rng.exponential(mean, events)


@lru_cache(maxsize=2)
def stream_of(name: str, seed: int, events: int) -> Stream:
    """Make the stream of an environment by name, the same one for every learner.

    ``contextual-<change>-<actions>``, ``plain-<change>-<actions>``, ``delayed-<mean>``,
    ``heavy-<mean>`` (the contextual one; delays apart), ``digits`` or ``segments``.
    """
    kind, _, rest = name.partition("-")
    if kind in ("delayed", "heavy"):
        return contextual(seed, events)
    if kind in ("contextual", "plain"):
        change, actions = rest.split("-")
        make = contextual if kind == "contextual" else plain
        return make(seed, events, int(actions), change)
    x, labels, passes = _labelled(name)
    return classification(seed, x, labels, name, passes)


def _labelled(name: str) -> tuple[Floats, NDArray[np.intp], int]:
    if name == "segments":
        from river.datasets import ImageSegments

        rows = list(ImageSegments())
        classes = sorted({label for _, label in rows})
        x = np.array([list(features.values()) for features, _ in rows], dtype=float)
        return x, np.array([classes.index(label) for _, label in rows]), 2
    from sklearn.datasets import load_digits

    data, target = load_digits(return_X_y=True)
    return data, target, 3
