"""The hierarchical prior: what the actions have in common, learned from their statistics.

Empirical Bayes by a fixed number of iterations from the base prior, so that the result is a pure
function of the statistics. One iteration computes each action's posterior under the current prior,
then centres the prior on a ridge regression of the posterior means on the item features, and sets
its covariance to that of the means around it plus the posterior covariances, shrunk towards the
base (Gelman et al., Bayesian Data Analysis, section 5.4, by moments).
"""

from dataclasses import dataclass

import numpy as np
from scipy.linalg.lapack import dtrtri

from operators.logic.policies.base import Floats
from operators.logic.policies.neighbours import neighbour_shift

JITTER = 1e-10
"""Share of a matrix's mean diagonal that is added to it, which bounds its condition number."""

_UNKNOWN, _KNOWN = 0.5, 0.8
"""Mean evidence up to which other actions count as new, and from which on as known."""

VAGUE = 100.0
"""How many times its base variance the level of the common mean is free to lie off the base."""

_WELL_CONDITIONED = 1e10
"""Item features so many times the ridge are regressed by eigenvalues, which no rounding upsets."""


@dataclass(frozen=True, slots=True)
class BasePrior:
    """The prior before anything is learned, and how fast it gives way.

    ``variance`` is that of an action of which nothing is known and no other either, ``spread`` that
    of actions around their common mean as far as the data does not say. ``strength`` is the
    spread's weight in actions, ``ridge`` the penalty of the item features' regression,
    ``iterations`` the number of empirical Bayes iterations (0: the base), ``neighbours`` the share
    of what neighbours lend that is taken (0: nothing). ``optimism`` is how far above the common
    mean an action's level is expected while other actions are known better.
    """

    mean: Floats
    variance: Floats
    spread: Floats
    strength: float
    ridge: float
    iterations: int
    neighbours: float = 0.0
    optimism: float = 0.0


@dataclass(frozen=True, slots=True)
class FittedPosteriors:
    """Posteriors of K actions, and the prior of an action that is not among them.

    ``mean`` [K + 1, d]; ``factor`` [K + 1, d, d] are lower triangular with covariance
    ``factor.T @ factor``; the last row is the prior.
    """

    mean: Floats
    factor: Floats


def fit(
    information: Floats,
    h: Floats,
    features: Floats | None,
    base: BasePrior,
    similarity: Floats | None = None,
) -> FittedPosteriors:
    """Compute the posteriors N(A⁻¹ (h + A0 μ0), A⁻¹), A = Λ + A0, under the fitted prior.

    Parameters
    ----------
    information, h : arrays [K, d, d] and [K, d]
    features : array [K, m] or None
        The item features.
    similarity : array [K, K] or None
        A row of neighbours' similarities per action, of zeros where an action has none.
    """
    k, d = h.shape
    centre = base.mean
    prior_mean = np.broadcast_to(centre, (k, d))
    if not (base.iterations and k):
        covariance = np.diag(base.variance)
        factor, precision = _factors(information, covariance)
        mean = _solve(factor, h + prior_mean @ precision)
        root = inverse_factor(precision[None])
        return FittedPosteriors(np.vstack([mean, centre]), np.concatenate([factor, root]))
    covariance = np.diag(base.spread)
    offset = np.zeros((k, d))
    hat = hat_matrix(features, base.ridge)
    known = 0.0
    for iteration in range(base.iterations):
        factor, precision = _factors(information, covariance)
        if iteration == 0:
            known = known_share(_evidence_of_level(information, factor, covariance))
        stacked = factor.reshape(-1, d)
        left = stacked.T @ stacked
        centre, unsure = _centre(factor, precision, left, h, offset, base)
        mean = _solve(factor, h + (centre + offset) @ precision)
        if hat is not None:
            offset = hat @ (mean - centre)
        if similarity is not None and base.neighbours > 0.0:
            evidence = _evidence(factor, covariance)
            shift = neighbour_shift(similarity, mean - centre - offset, evidence)
            offset = offset + base.neighbours * shift
        residual = mean - centre - offset
        spread = residual.T @ residual + left
        covariance = (base.strength * np.diag(base.spread) + spread) / (k + base.strength)
    covariance[0, 0] = min(
        covariance[0, 0] + unsure, max(float(base.variance[0]), covariance[0, 0])
    )
    start = centre.copy()
    start[0] += base.optimism * known
    factor, precision = _factors(information, covariance)
    mean = _solve(factor, h + (start + offset) @ precision)
    root = inverse_factor(precision[None])
    return FittedPosteriors(np.vstack([mean, start]), np.concatenate([factor, root]))


def _centre(
    factor: Floats, precision: Floats, left: Floats, h: Floats, offset: Floats, base: BasePrior
) -> tuple[Floats, float]:
    """Estimate the common mean by generalised least squares, and the variance of its level."""
    k = len(h)
    weight = k * precision - precision @ left @ precision
    free = base.variance.copy()
    free[0] *= VAGUE
    own = _solve(factor, h) - offset + _solve(factor, offset @ precision)
    target = precision @ own.sum(axis=0) + base.mean / free
    root = inverse_factor((weight + np.diag(1.0 / free))[None])[0]
    return root.T @ (root @ target), float(root[:, 0] @ root[:, 0])


def _evidence_of_level(information: Floats, factor: Floats, covariance: Floats) -> Floats:
    """Give the share of the prior's variance that is gone where decisions were made on average."""
    context = np.zeros(len(covariance))
    context[0] = 1.0
    total = information[:, 0].sum(axis=0)
    if total[0] > 0.0:
        context = total / total[0]
    left = np.square(factor @ context).sum(axis=1)
    return np.asarray(np.clip(1.0 - left / (context @ covariance @ context), 0.0, 1.0))


def known_share(evidence: Floats) -> float:
    """Say how far a new action meets well-known ones, from 0 to 1.

    ``evidence`` [K] is the share of the prior's variance that each action's data has removed. It is
    averaged with itself as weight, so that new actions do not count.

    >>> known_share(np.array([1.0, 0.0])), known_share(np.full(20, 0.4))
    (1.0, 0.0)
    """
    total = float(evidence.sum())
    mean = float(evidence @ evidence) / total if total > 0.0 else 0.0
    return min(max((mean - _UNKNOWN) / (_KNOWN - _UNKNOWN), 0.0), 1.0)


def _evidence(factor: Floats, covariance: Floats) -> Floats:
    """Give the share of the prior's variance that each action's data has removed, from 0 to 1."""
    left = (factor * factor).sum(axis=1) / np.diagonal(covariance)
    return np.asarray(np.clip(1.0 - left.mean(axis=1), 0.0, 1.0))


def _factors(information: Floats, covariance: Floats) -> tuple[Floats, Floats]:
    root = inverse_factor(covariance[None])[0]
    precision = root.T @ root
    return inverse_factor(information + precision), precision


def _solve(factor: Floats, target: Floats) -> Floats:
    half = np.matmul(factor, target[:, :, None])
    return np.asarray(np.matmul(factor.transpose(0, 2, 1), half)[:, :, 0])


def inverse_factor(matrices: Floats) -> Floats:
    """Give lower triangular R with RᵀR = M⁻¹ for each symmetric matrix M.

    A matrix that rounding or a wrong subtraction left indefinite gets its eigenvalues raised to
    1e-10 of the mean of their sizes.
    """
    d = matrices.shape[-1]
    size = np.abs(np.trace(matrices, axis1=1, axis2=2)) / d
    jittered = np.array(matrices, dtype=float, order="C")
    jittered.reshape(len(matrices), d * d)[:, :: d + 1] += (JITTER * size + 1e-300)[:, None]
    try:
        lower = np.linalg.cholesky(jittered)
    except np.linalg.LinAlgError:
        lower = np.linalg.cholesky(np.array([_raised(matrix) for matrix in jittered]))
    for root in lower:
        dtrtri(root.T, lower=0, overwrite_c=1)  # its transpose is what LAPACK inverts in place
    return np.asarray(lower)


def _raised(matrix: Floats) -> Floats:
    values, vectors = np.linalg.eigh((matrix + matrix.T) / 2.0)
    least = JITTER * float(np.abs(values).mean()) + 1e-300
    if values.min() >= least:
        return matrix
    return np.asarray((vectors * np.maximum(values, least)) @ vectors.T)


def hat_matrix(features: Floats | None, ridge: float) -> Floats | None:
    """Give the K x K matrix of ridge regression on the centred features [K, m]; None without."""
    if features is None or not features.size:
        return None
    centred = features - features.mean(axis=0)
    gram = centred @ centred.T
    if np.trace(gram) <= _WELL_CONDITIONED * ridge:
        return np.asarray(np.linalg.solve(gram + ridge * np.eye(len(gram)), gram))
    values, vectors = np.linalg.eigh(gram)
    values = np.maximum(values, 0.0)
    return np.asarray((vectors * (values / (values + ridge))) @ vectors.T)
