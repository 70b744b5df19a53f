"""Are the propensities right: against adaptive quadrature, against draws, and at what cost."""

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.integrate import quad_vec
from scipy.special import log_ndtr

from operators.logic.deciding.quadrature import gaussian_probabilities
from ops.benchmarks.bandits.environments import contextual
from ops.benchmarks.bandits.ours import Ours
from ops.benchmarks.bandits.runner import run

Floats = NDArray[np.float64]

ACTIONS = 20
LEAST = 1e-4
"""Relative errors are of actions at least this probable."""


def exact(mean: Floats, deviation: Floats) -> Floats:
    """Compute one row's selection probabilities by adaptive quadrature to 1e-10."""
    low, high = (mean - 9 * deviation).max(), (mean + 9 * deviation).max()

    def mass(y: float) -> Floats:
        z = (y - mean) / deviation
        log_cumulative = log_ndtr(z)
        density = np.exp(-0.5 * z * z - log_cumulative + log_cumulative.sum())
        return np.asarray(density / (deviation * np.sqrt(2 * np.pi)))

    marks = [mean + k * deviation for k in (-3.0, -1.0, 0.0, 1.0, 3.0)]
    points = np.unique(np.clip(np.concatenate(marks), low, high))
    p, _ = quad_vec(mass, low, high, epsabs=1e-12, epsrel=1e-10, points=points, limit=20_000)
    return np.asarray(p)


def posteriors(rng: np.random.Generator, rows: int, ratio: float) -> tuple[Floats, Floats]:
    """Draw rows of posteriors whose widths differ up to ``ratio``, half of them cold starts."""
    deviation = 0.05 * np.exp(rng.uniform(0.0, np.log(ratio), (rows, ACTIONS)))
    deviation[::2] = 0.05
    deviation[::2, :2] = 0.05 * ratio
    spread = deviation.mean(axis=1, keepdims=True) * rng.uniform(0.5, 3.0, (rows, 1))
    return spread * rng.normal(size=(rows, ACTIONS)), deviation


@dataclass(frozen=True, slots=True)
class Accuracy:
    """The errors over posteriors of one width ratio."""

    ratio: float
    p99: float
    largest: float
    sum_error: float


def accuracy(ratio: float, rows: int, seed: int) -> Accuracy:
    """Compare with adaptive quadrature."""
    mean, deviation = posteriors(np.random.default_rng([31, seed, int(ratio)]), rows, ratio)
    p = gaussian_probabilities(mean, deviation)
    truth = np.array([exact(m, s) for m, s in zip(mean, deviation, strict=True)])
    if np.abs(truth.sum(axis=1) - 1.0).max() > 1e-8:
        raise ValueError("the adaptive quadrature does not sum to 1: invalid run, refused")
    seen = truth >= LEAST
    error = np.abs(p[seen] / truth[seen] - 1.0)
    gap = float(np.abs(p.sum(axis=1) - 1.0).max())
    return Accuracy(ratio, float(np.quantile(error, 0.99)), float(error.max()), gap)


def largest_z(rows: int, draws: int, seed: int) -> tuple[float, float]:
    """Compare with draws: the largest |z| over all actions, and the Bonferroni limit at 1e-4."""
    from scipy.stats import norm

    rng = np.random.default_rng([32, seed])
    mean, deviation = posteriors(rng, rows, 6.0)
    p = gaussian_probabilities(mean, deviation)
    worst, tests = 0.0, 0
    for m, s, q in zip(mean, deviation, p, strict=True):
        counts = np.zeros(ACTIONS)
        for _ in range(draws // 100_000):
            drawn = (m + s * rng.standard_normal((100_000, ACTIONS))).argmax(axis=1)
            counts += np.bincount(drawn, minlength=ACTIONS)
        seen = q * draws > 20
        z = (counts[seen] - draws * q[seen]) / np.sqrt(draws * q[seen] * (1 - q[seen]))
        worst, tests = max(worst, float(np.abs(z).max())), tests + int(seen.sum())
    return worst, float(norm.isf(0.5e-4 / tests))


def cost(seed: int, events: int = 20_000) -> tuple[float, float]:
    """Measure scoring and propensities on learned posteriors: microseconds per decision.

    The least processor time of alternating repetitions, so that other work on the machine does not
    count.
    """
    stream = contextual(seed, events)
    learner = Ours("logistic", stream, seed=seed)
    run("logistic", learner, stream, seed)
    posterior = learner.posterior
    x = stream.x[:250]
    eta, width = posterior.score(x)  # type: ignore[attr-defined]
    steps: tuple[Callable[[], object], ...] = (
        lambda: posterior.score(x),  # type: ignore[attr-defined]
        lambda: gaussian_probabilities(eta, 0.5 * width),
    )
    times = [[_timed(step) for step in steps] for _ in range(200)]
    scoring, weighing = np.min(times, axis=0) / len(x) * 1e6
    return float(scoring), float(weighing)


def _timed(step: Callable[[], object]) -> float:
    began = time.process_time()
    step()
    return time.process_time() - began
