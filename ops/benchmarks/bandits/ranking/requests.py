"""Requests whose candidates come with them, as every environment gives and every learner takes."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Indices = NDArray[np.intp]
Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Requests:
    """B requests of K candidates each.

    ``times`` [B] are seconds since the start and never decrease; ``contexts`` B JSON objects;
    ``actions`` B lists of K objects ``{"id": str, "features": object}``. Objects of candidates that
    repeat unchanged may be the same ones: nobody may change them.
    """

    times: Floats
    contexts: Sequence[Json]
    actions: Sequence[Sequence[Json]]

    def __len__(self) -> int:
        """Give B."""
        return len(self.contexts)

    def part(self, start: int, stop: int) -> "Requests":
        """Give the requests from ``start`` to before ``stop``."""
        rows = slice(start, stop)
        return Requests(self.times[rows], self.contexts[rows], self.actions[rows])


@dataclass(frozen=True, slots=True)
class Block:
    """Requests and what learners are not shown.

    ``p`` [B, K] are the candidates' true reward probabilities; ``u`` [B] decides every reward: 1
    where u < p of the chosen candidate, so that learners share their luck.
    """

    requests: Requests
    p: Floats
    u: Floats


class Environment(Protocol):
    """A seeded stream: the same blocks at every call of ``blocks``."""

    name: str
    candidates: int
    """K, of every request."""
    events: int
    """Requests in all."""
    context_namespaces: tuple[str, ...]
    action_namespaces: tuple[str, ...]
    """The keys of contexts and of features; no two begin with the same letter."""

    def blocks(self) -> Iterator[Block]:
        """Give all events in order."""
        ...


def drawn_without_repeats(
    rng: np.random.Generator, rows: int, count: int, among: int
) -> NDArray[np.intp]:
    """Draw ``count`` different numbers below ``among`` for each row, all subsets equally likely.

    >>> drawn = drawn_without_repeats(np.random.default_rng(0), 1000, 3, 4)
    >>> all(len(set(row)) == 3 for row in drawn.tolist())
    True
    """
    drawn = rng.integers(among, size=(rows, count))
    while True:
        ordered = np.sort(drawn, axis=1)
        repeated = (ordered[:, 1:] == ordered[:, :-1]).any(axis=1)
        if not repeated.any():
            return np.asarray(drawn, dtype=np.intp)
        drawn[repeated] = rng.integers(among, size=(int(repeated.sum()), count))


def drawn_by(rng: np.random.Generator, cumulative: Floats, count: int) -> Indices:
    """Draw numbers by their shares, given as the shares' running sums up to 1.

    >>> drawn_by(np.random.default_rng(0), np.array([0.0, 1.0]), 3).tolist()
    [1, 1, 1]
    """
    drawn = np.searchsorted(cumulative, rng.random(count), side="right")
    return np.minimum(drawn, len(cumulative) - 1)


def popularity(rng: np.random.Generator, count: int) -> Floats:
    """Give the running sums of shares that fall as rank^-0.6, ranks in random order."""
    activity = rng.permutation(np.arange(1.0, count + 1.0) ** -0.6)
    return np.asarray(np.cumsum(activity) / activity.sum())


def intercept_for(logits: Floats, mean: float) -> float:
    """Give b such that the mean of sigmoid(b + logits) is ``mean``, by bisection.

    >>> round(intercept_for(np.zeros(1), 0.5), 6)
    0.0
    """
    low, high = -30.0, 30.0
    for _ in range(60):
        middle = (low + high) / 2.0
        low, high = (middle, high) if sigmoid(middle + logits).mean() < mean else (low, middle)
    return (low + high) / 2.0


def sigmoid(logits: Floats) -> Floats:
    """Give 1 / (1 + exp(-logits)).

    >>> float(sigmoid(np.zeros(1))[0])
    0.5
    """
    return np.asarray(1.0 / (1.0 + np.exp(-logits)))
