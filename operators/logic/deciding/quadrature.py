"""Selection probabilities of Thompson sampling: the chance that each action's draw is the largest.

Both rules are trapezoidal or midpoint in a variable that spaces nodes as sinh does, and are checked
by |Σp - 1|. That of normals is compiled, :mod:`operators.logic.kernels.gaussian_maximum`: every
request pays for it. That of Betas, once for each eligible set and policy version, is not.
"""

from collections.abc import Callable
from functools import cache

import numpy as np
from numpy.typing import NDArray
from scipy.special import betainc, betaincinv, betaln, digamma, expit, polygamma

Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]

_EVERYTHING = np.empty((1, 0), dtype=bool)
_MOST_NODES = 2048


def gaussian_probabilities(mean: Floats, deviation: Floats, mask: Mask | None = None) -> Floats:
    """Give the probability that each action's draw N(mean, deviation²) is its row's largest.

    A row's result depends on that row's eligible actions alone, to the last bit.

    Parameters
    ----------
    mean, deviation : arrays [n, K]
    mask : array [n, K], optional
        The eligible actions of each row; the others get exactly 0.

    Returns
    -------
    array [n, K]
        Rows sum to 1; a row without eligible action is all zeros.

    Examples
    --------
    >>> gaussian_probabilities(np.zeros((1, 2)), np.ones((1, 2))).round(6)
    array([[0.5, 0.5]])
    """
    p = np.empty(mean.shape)
    if not _kernel()(mean, deviation, _EVERYTHING if mask is None else mask, p):
        raise ValueError("a posterior mean or deviation is not finite, or too large")
    return p


@cache
def _kernel() -> Callable[[Floats, Floats, Mask, Floats], bool]:
    from operators.logic.kernels.gaussian_maximum import gaussian_maximum

    return gaussian_maximum


def beta_probabilities(a: Floats, b: Floats) -> Floats:
    """Give the probability that each action's draw from Beta(a, b) is the largest.

    Parameters
    ----------
    a, b : arrays [K], > 0

    Examples
    --------
    >>> beta_probabilities(np.array([2.0, 1.0]), np.array([1.0, 1.0])).round(6)
    array([0.666667, 0.333333])
    """
    if len(a) < 2:
        return np.ones(len(a))
    with np.errstate(all="ignore"):
        p = _by_quantiles(a, b)
    if p is not None:
        return p
    mean, variance = digamma(a) - digamma(b), polygamma(1, a) + polygamma(1, b)
    return np.asarray(gaussian_probabilities(mean[None], np.sqrt(variance)[None])[0])


def _by_quantiles(a: Floats, b: Floats) -> Floats | None:
    """Apply the rule; None where quantiles are not found, as of parameters such as 1e9 and 1e3.

    Such a Beta is so narrow, or so much at an end, that the normal of its log-odds does instead.
    """
    least = 1e-10
    low = _logit(betaincinv(a, b, least), betaincinv(b, a, 1.0 - least)).max()
    upper = _logit(betaincinv(a, b, 1.0 - least), betaincinv(b, a, least))
    width = np.sqrt(polygamma(1, a) + polygamma(1, b))
    relevant = upper >= low
    if not relevant.any():
        return None
    unit = 4.0 * width[relevant].min()
    extent = np.arcsinh((upper.max() - low) / unit)
    count = 64
    while True:
        t = (np.arange(count) + 0.5)[:, None] * (extent / count)
        y = low + unit * np.sinh(t)
        theta = expit(y)
        cumulative = np.maximum(betainc(a, b, theta), 1e-300)
        log_odds = np.log1p(np.exp(-np.abs(y)))
        log_density = a * (np.minimum(y, 0.0) - log_odds) - b * (np.maximum(y, 0.0) + log_odds)
        density = np.exp(log_density - betaln(a, b))
        weight = unit * np.cosh(t) * (extent / count) * cumulative.prod(axis=1, keepdims=True)
        p = (density / cumulative * weight).sum(axis=0)
        total = p.sum()
        if not (np.isfinite(total) and total > 0.0):
            return None
        if abs(total - 1.0) < 1e-8 or count >= _MOST_NODES:
            return np.asarray(p / total, dtype=np.float64)
        count *= 2


def _logit(theta: Floats, complement: Floats) -> Floats:
    return np.asarray(np.log(np.maximum(theta, 1e-300)) - np.log(np.maximum(complement, 1e-300)))
