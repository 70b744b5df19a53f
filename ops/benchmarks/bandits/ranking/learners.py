"""What a learner of rankings is, and the one that knows nothing."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from ops.benchmarks.bandits.ranking.requests import Environment, Floats, Indices, Requests


@dataclass(frozen=True, slots=True)
class Decisions:
    """``p`` [B, K] are the probabilities that the chosen candidates [B] were drawn from."""

    p: Floats
    chosen: Indices

    @classmethod
    def drawn(cls, p: Floats, u: Floats) -> "Decisions":
        """Draw by inversion with one uniform number per row.

        >>> Decisions.drawn(np.array([[0.25, 0.75]]), np.array([0.3])).chosen.tolist()
        [1]
        """
        cumulative = np.cumsum(p, axis=1)
        chosen = (cumulative <= (u * cumulative[:, -1])[:, None]).sum(axis=1)
        return cls(p, np.minimum(chosen, p.shape[1] - 1))


class Learner(Protocol):
    """Decides and learns in turn, ``batch`` requests at a time (fewer at the end)."""

    batch: int

    def decide(self, requests: Requests) -> Decisions:
        """Choose a candidate of each request."""
        ...

    def learn(self, requests: Requests, decisions: Decisions, rewards: Floats) -> None:
        """Take in the rewards [B] of the last decisions."""
        ...


class Uniform:
    """Every candidate alike."""

    batch = 1_000

    def __init__(self, environment: Environment, seed: int) -> None:
        self._k = environment.candidates
        self._rng = np.random.default_rng([43, seed])

    def decide(self, requests: Requests) -> Decisions:
        """Draw."""
        p = np.full((len(requests), self._k), 1.0 / self._k)
        return Decisions.drawn(p, self._rng.random(len(requests)))

    def learn(self, requests: Requests, decisions: Decisions, rewards: Floats) -> None:
        """Learn nothing."""
