"""Run learners over a stream: who chose what, what it was truly worth, what it cost."""

import time
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from ops.benchmarks.bandits.environments import Stream

Floats = NDArray[np.float64]
Indices = NDArray[np.intp]

CHECKPOINTS = (10_000, 50_000, 100_000, 200_000)
POINTS = 100
"""Points of a curve."""


class Learner(Protocol):
    """Chooses and learns in batches of ``batch`` events."""

    batch: int

    def choose(self, x: Floats) -> Indices:
        """Choose an action of each row."""
        ...

    def learn(self, x: Floats, actions: Indices, rewards: Floats) -> None:
        """Take in the rewards of the last choices."""
        ...


@dataclass(frozen=True, slots=True)
class Run:
    """One learner on one stream.

    ``worth`` [n] is the true reward probability of each chosen action; ``seconds`` of processor
    time went into choosing and learning.
    """

    name: str
    stream: str
    seed: int
    worth: Floats
    oracle: Floats
    seconds: float

    def fraction(self, events: int) -> float:
        """Give the click rate over the first events as a fraction of the oracle's."""
        return float(self.worth[:events].sum() / self.oracle[:events].sum())

    @property
    def speed(self) -> float:
        """Give events per second and core."""
        return len(self.worth) / self.seconds


def run(name: str, learner: Learner, stream: Stream, seed: int, limit: int | None = None) -> Run:
    """Run a learner over the stream's first ``limit`` events."""
    n = min(limit or len(stream.x), len(stream.x))
    worth = np.empty(n)
    rows = np.arange(learner.batch)
    seconds = 0.0
    for start in range(0, n, learner.batch):
        stop = min(start + learner.batch, n)
        x, p = stream.x[start:stop], stream.p[start:stop]
        began = time.process_time()
        actions = learner.choose(x)
        seconds += time.process_time() - began
        true = p[rows[: stop - start], actions]
        worth[start:stop] = true
        rewards = (stream.u[start:stop] < true).astype(float)
        began = time.process_time()
        learner.learn(x, actions, rewards)
        seconds += time.process_time() - began
    return Run(name, stream.name, seed, worth, stream.oracle[:n], seconds)


@dataclass(frozen=True, slots=True)
class Row:
    """What a run comes to: fractions of the oracle at checkpoints and along a curve."""

    environment: str
    learner: str
    seed: int
    events: int
    fractions: dict[int, float]
    curve: list[tuple[int, float]]


def row_of(environment: str, result: Run) -> Row:
    """Sum a run up; one whose figures cannot be right raises."""
    n = len(result.worth)
    if not np.isfinite(result.worth).all() or (result.worth > result.oracle + 1e-12).any():
        raise ValueError(f"{result.name} on {environment}: invalid run, refused")
    points = np.unique(np.linspace(0, n, POINTS + 1).astype(int))[1:]
    curve = [(int(k), result.fraction(int(k))) for k in points]
    marks = {k: result.fraction(k) for k in (*CHECKPOINTS, n) if k <= n}
    return Row(environment, result.name, result.seed, n, marks, curve)
