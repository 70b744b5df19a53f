"""Selection probabilities of Thompson sampling: the chance that each action's draw is the largest.

With densities f_a and distributions F_a, p_a = ∫ f_a ∏_{b≠a} F_b = ∫ (f_a / F_a) ∏_b F_b. Below
L = max_a (an extreme lower quantile of a) the product is nothing, and above L every F_a is bounded
away from 0, so the second form needs no logarithms. An action that matters at a distance y - L has
a width of at least about (y - L) / 9.5, so nodes spaced as y = L + c sinh(t) resolve narrow and
wide posteriors alike; the rule is the midpoint rule in t. It is checked by |Σp - 1| before
normalising, and the nodes are doubled where that fails.
"""

from collections.abc import Iterator
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from scipy.special import betainc, betaincinv, betaln, digamma, expit, polygamma

Floats = NDArray[np.float64]
Singles = NDArray[np.float32]

_BELOW, _ABOVE = 4.3, 4.7
"""The window in standard deviations, below and above the means."""

_GRADE = 4.0
"""Narrowest widths from L after which the spacing of the nodes grows in proportion."""

_STEP = 0.11
"""Target of the spacing in t."""

_NODES = np.array([10, 12, 14, 16, 20, 24, 28, 32, 40, 48, 56, 64, 80, 96, 128, 192, 256])
_MOST_NODES = 2048
_TOLERANCE = 2e-4
_CHUNK = 64_000
"""Array elements worked on at once, so that they stay in the cache."""

_MASKED = -1e30
_SATURATED = 13.0
_MILLS_SCALE = 0.275
_MILLS = (
    0.3878420414401985,
    -0.2552585731159971,
    0.3033549638105732,
    0.05881750842290112,
    0.005237149897032573,
)
"""Φ(-a) / exp(-a²/2) as a polynomial in 1 / (1 + 0.275 a), least squares on the relative error:
at most 2.8e-5 for a in [0, 6.5]."""


def gaussian_probabilities(
    mean: Floats, deviation: Floats, mask: NDArray[np.bool_] | None = None
) -> Floats:
    """Give the probability that each action's draw N(mean, deviation²) is its row's largest.

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
    n, k = mean.shape
    if not (np.isfinite(mean).all() and np.isfinite(deviation).all()):
        raise ValueError("a posterior mean or deviation is not finite")
    spread = np.maximum(deviation, 1e-9 * (1.0 + np.abs(mean)))
    p = np.zeros((n, k))
    if mask is not None:
        mean = np.where(mask, mean, _MASKED)
        rows = np.flatnonzero(mask.sum(axis=1) > 1)
        single = mask.sum(axis=1) == 1
        p[single] = mask[single]
    else:
        rows = np.arange(n)
    if k == 1:
        return np.ones((n, 1)) if mask is None else p
    if len(rows) == 0:
        return p
    if len(rows) < n:
        mean, spread = mean[rows], spread[rows]
    low = (mean - _BELOW * spread).max(axis=1)
    top = mean + _ABOVE * spread
    high = top.max(axis=1)
    relevant = np.where(top >= low[:, None], spread, np.inf)
    unit = _GRADE * relevant.min(axis=1)
    extent = np.arcsinh((high - low) / unit)
    nodes = _NODES[np.searchsorted(_NODES[:-1], extent / _STEP)]
    share = np.empty_like(mean)
    scale = 1.0 / spread
    offset = (mean - low[:, None]) * scale
    pending = np.argsort(nodes, kind="stable")
    while len(pending):
        error = np.empty(len(pending))
        for start, stop in _chunks(nodes[pending], k):
            chosen = pending[start:stop]
            count = int(nodes[chosen[-1]])
            raw = _midpoint(offset[chosen], scale[chosen], unit[chosen], extent[chosen], count)
            total = raw.sum(axis=1)
            error[start:stop] = np.abs(total - 1.0)
            share[chosen] = raw / total[:, None]
        failed = pending[(error > _TOLERANCE) & (nodes[pending] < _MOST_NODES)]
        nodes[failed] *= 2
        pending = failed
    if mask is not None:
        share[~mask[rows]] = 0.0
    share /= share.sum(axis=1, keepdims=True)
    p[rows] = share
    return p


def _chunks(nodes: NDArray[np.intp], k: int) -> Iterator[tuple[int, int]]:
    """Cut rows of rising numbers of nodes into runs of about ``_CHUNK`` elements at most.

    A run is worked on with the nodes of its last row; no row gets more than twice its own.
    """
    start = 0
    while start < len(nodes):
        stop = int(np.searchsorted(nodes, 2 * nodes[start], side="right"))
        rows = stop - start
        parts = min(rows, -(-rows * int(nodes[stop - 1]) * k // _CHUNK))
        edges = start + rows * np.arange(parts + 1) // parts
        yield from pairwise(edges.tolist())
        start = stop


def _midpoint(offset: Floats, scale: Floats, unit: Floats, extent: Floats, count: int) -> Floats:
    """Apply the rule to some rows; arrays are [K, count, rows] so that products run over K."""
    t = (np.arange(count) + 0.5)[:, None] * (extent / count)
    growth = np.exp(t)
    y = (0.5 * unit) * (growth - 1.0 / growth)
    dy = (0.5 * unit * extent / count) * (growth + 1.0 / growth)
    slope = np.ascontiguousarray(scale.T * _MILLS_SCALE, dtype=np.float32)
    shift = np.ascontiguousarray(offset.T * _MILLS_SCALE, dtype=np.float32)
    z = y.astype(np.float32) * slope[:, None, :]
    z -= shift[:, None, :]
    np.minimum(z, np.float32(_SATURATED * _MILLS_SCALE), out=z)
    density, cumulative = _normal(z)
    product = np.multiply.reduce(cumulative, axis=0)
    density /= cumulative
    density *= product * dy.astype(np.float32)
    mass: Floats = density.sum(axis=1, dtype=np.float32).T * (scale * 0.3989422804014327)
    return mass


def _normal(z: Singles) -> tuple[Singles, Singles]:
    """Give exp(-x²/2) and Φ(x) of x = z / ``_MILLS_SCALE``; ``z`` is overwritten."""
    density = z * z
    density *= np.float32(-0.5 / _MILLS_SCALE**2)
    np.exp(density, out=density)
    positive = (z > 0).astype(np.float32)
    t = np.abs(z, out=z)
    t += np.float32(1.0)
    np.reciprocal(t, out=t)
    tail = t * np.float32(_MILLS[0])
    for coefficient in _MILLS[1:-1]:
        tail += np.float32(coefficient)
        tail *= t
    tail += np.float32(_MILLS[-1])
    tail *= density
    np.subtract(positive, tail, out=tail)
    return density, np.abs(tail, out=tail)


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
