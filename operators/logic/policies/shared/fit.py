"""The posterior of a shared model's coefficients, from its additive statistics.

The information matrix Λ of all columns is known through C = Λ Pᵀ and its diagonal, where P is the
sketch. Where P is the identity, that is Λ itself. Otherwise Λ is taken as C B⁻¹ Cᵀ, B = P C, its
Nyström approximation (Halko, Martinsson and Tropp 2011, Finding structure with randomness, section
5.4; Gittens and Mahoney 2016), plus a diagonal that restores its own: what features have in common
is solved for together, what is left of each on its own.

An action's intercept is orthogonal to every other action's, so that they are eliminated exactly.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from operators.logic.policies.base import Floats
from operators.logic.policies.prior import inverse_factor

Singles = NDArray[np.float32]
Variances = float | Floats
LowRank = tuple[Floats, Floats]
"""Factors [U, d] and [A, d] of a matrix's approximation, by :func:`low_rank`."""

_RIDGE = 1e-8
"""Share of B's mean diagonal that is added to it: directions that no row has stay out."""

_LEAST = 1e-9

_PART = 8192
"""Rows that are multiplied at once: fresh memory for all of them would cost more than they do."""

_MOST_COUNTED, _BISECTIONS = np.log(1e5), 30
"""The logarithm of how often the information of a row may be counted, and steps to find it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SharedPrior:
    """The prior: of the intercept, of every other column and of an action's own intercept.

    ``iterations`` of empirical Bayes learn the last two variances, ``strength`` is what they weigh.
    With ``own_variances`` each column's is learned.
    """

    mean: float
    intercept: float
    column: float
    action: float
    strength: float
    iterations: int
    own_variances: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Sums:
    """The statistics as of one time, on the scale of the likelihood.

    ``first`` is the row of the intercept's column, or -1. ``squares`` [U] are the mean squares of
    columns where they are not 0, ``slopes`` and ``targets`` [U], ``cross``
    [U, d], ``sketch`` [d, d], ``whole`` [U, U] where Λ is kept; of A actions ``action_slopes`` and
    ``action_targets`` [A] and ``action_cross`` [A, d].
    """

    first: int
    squares: Floats
    slopes: Floats
    targets: Floats
    cross: Floats
    sketch: Floats
    action_slopes: Floats
    action_targets: Floats
    action_cross: Floats
    whole: Floats | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SharedFit:
    """Means and variances of U columns and of A actions' intercepts; the variances of unseen ones.

    The covariance of the columns is ``root.T @ root`` where Λ is known in full; ``variance`` is
    then that of each column alone. An action's variance is that of its intercept given the columns.
    """

    mean: Floats
    variance: Floats
    unseen: float
    action_mean: Floats
    action_variance: Floats
    unseen_action: float
    root: Floats | None = None


def fit_exactly(sums: Sums, prior: SharedPrior) -> SharedFit:
    """Fit where the sketch is the row itself: ``cross`` [U, U] is Λ."""
    column: Variances = prior.column
    action = prior.action
    for iteration in range(prior.iterations + 1):
        precision, pull = _prior_terms(sums, prior, column)
        own = 1.0 / (np.maximum(sums.action_slopes, 0.0) + 1.0 / action)
        weighted = sums.action_cross * own[:, None]
        information = sums.cross - weighted.T @ sums.action_cross
        root = _inverse_root(information + np.diag(precision), sums.squares)
        target = sums.targets + pull - weighted.T @ sums.action_targets
        mean = root.T @ (root @ target)
        variance = np.square(root).sum(axis=0)
        action_mean = own * (sums.action_targets - sums.action_cross @ mean)
        if iteration < prior.iterations:
            column = _learned(column, mean, variance, sums, prior)
            spread = own + np.square(weighted @ root.T).sum(axis=1)
            action = _mean_square(action_mean, spread, prior.action, prior.strength)
    return SharedFit(
        mean=mean,
        variance=variance,
        unseen=prior.column if prior.own_variances else float(column),
        action_mean=action_mean,
        action_variance=own,
        unseen_action=action,
        root=root,
    )


def fit_together(sums: Sums, prior: SharedPrior, factors: LowRank | None = None) -> SharedFit:
    """Fit where Λ of the columns is known; what actions share with them is read by the sketch.

    Means are those of all columns together, variances those of :func:`independent_variances`.
    """
    whole = sums.whole
    assert whole is not None
    common, actions = factors or low_rank(sums)
    column: Variances = prior.column
    action = prior.action
    for iteration in range(prior.iterations + 1):
        precision, pull = _prior_terms(sums, prior, column)
        own = 1.0 / (np.maximum(sums.action_slopes, 0.0) + 1.0 / action)
        inner = (actions * own[:, None]).T @ actions
        information = whole - common @ inner @ common.T + np.diag(precision)
        root = _inverse_root(information, sums.squares)
        target = sums.targets + pull - common @ (actions.T @ (own * sums.action_targets))
        mean = root.T @ (root @ target)
        action_mean = own * (sums.action_targets - actions @ (common.T @ mean))
        spreads = np.square(root).sum(axis=0)
        if iteration < prior.iterations:
            column = _learned(column, mean, spreads, sums, prior)
            turned = root @ common
            spread = np.einsum("ad,de,ae->a", actions, turned.T @ turned, actions, optimize=True)
            spread = own + np.square(own) * spread
            action = _mean_square(action_mean, spread, prior.action, prior.strength)
    return SharedFit(
        mean=mean,
        variance=independent_variances(
            np.diagonal(whole), precision, len(mean) - float(precision @ spreads)
        ),
        unseen=prior.column if prior.own_variances else float(column),
        action_mean=action_mean,
        action_variance=own,
        unseen_action=action,
    )


def _inverse_root(information: Floats, squares: Floats) -> Floats:
    """Give R with RᵀR the inverse, each column taken in its own unit against rounding."""
    unit = 1.0 / np.sqrt(squares)
    return np.asarray(inverse_factor((unit[:, None] * information * unit)[None])[0] * unit)


def low_rank(sums: Sums) -> LowRank:
    """Give factors [U, d] and [A, d] of Λ's Nyström approximation: of the columns, of actions."""
    d = len(sums.sketch)
    ridge = _RIDGE * max(float(np.trace(sums.sketch)) / d, 0.0) + 1e-300
    turn = inverse_factor((sums.sketch + ridge * np.eye(d))[None])[0].T
    return sums.cross @ turn, sums.action_cross @ turn


def products(
    sums: Sums, mean: Floats, action_mean: Floats, factors: LowRank | None = None
) -> tuple[Floats, Floats]:
    """Give Λ times coefficients [U] and intercepts [A], by column and by action.

    Where Λ of the columns is not kept it is what :func:`fit_widely` takes it to be.
    """
    if sums.cross is sums.sketch:  # the sketch is the row itself
        of_actions = sums.action_slopes * action_mean + sums.action_cross @ mean
        return sums.cross @ mean + sums.action_cross.T @ action_mean, of_actions
    common, actions = factors or low_rank(sums)
    met = common.T @ mean
    if sums.whole is not None and len(sums.whole):
        shared = sums.whole @ mean
    else:
        rest = np.maximum(sums.slopes - np.einsum("ud,ud->u", common, common), 0.0)
        shared = rest * mean + common @ met
    of_columns = shared + common @ (actions.T @ action_mean)
    return of_columns, sums.action_slopes * action_mean + actions @ met


def fit_widely(sums: Sums, prior: SharedPrior, factors: LowRank | None = None) -> SharedFit:
    """Fit where the sketch is narrower than the row: Λ is a low rank plus a diagonal.

    What has a number for each column and place of the sketch is in single precision.
    """
    exact, actions = factors or low_rank(sums)
    common = exact.astype(np.float32)
    rest = np.maximum(sums.slopes - np.einsum("ud,ud->u", common, common, dtype=np.float64), 0.0)
    column: Variances = prior.column
    action = prior.action
    for iteration in range(prior.iterations + 1):
        precision, pull = _prior_terms(sums, prior, column)
        alone = rest + precision
        own = 1.0 / (np.maximum(sums.action_slopes, 0.0) + 1.0 / action)
        half = _root(np.eye(common.shape[1]) - (actions * own[:, None]).T @ actions)
        inner = np.eye(len(half)) + half @ _gram(common, 1.0 / alone) @ half
        target = sums.targets + pull - _times(common, actions.T @ (own * sums.action_targets))
        shift = half @ np.linalg.solve(inner, half @ _times(common.T, target / alone))
        mean = (target - _times(common, shift)) / alone
        action_mean = own * (sums.action_targets - actions @ _times(common.T, mean))
        if iteration < prior.iterations:
            column = _learned(column, mean, 1.0 / alone, sums, prior)
            action = _mean_square(action_mean, own, prior.action, prior.strength)
    shared = half @ _gram(common, precision / np.square(alone)) @ half
    prior_share = float((precision / alone).sum() - np.linalg.solve(inner, shared).trace())
    return SharedFit(
        mean=mean,
        variance=independent_variances(sums.slopes, precision, len(mean) - prior_share),
        unseen=prior.column if prior.own_variances else float(column),
        action_mean=action_mean,
        action_variance=own,
        unseen_action=action,
    )


def _times(matrix: Singles, vector: Floats) -> Floats:
    """Multiply without a copy of the matrix in double precision."""
    return np.asarray(matrix @ vector.astype(np.float32), dtype=np.float64)


def _gram(common: Singles, weights: Floats) -> Floats:
    """Give Σ w_j f_j f_jᵀ over the rows f_j of ``common``."""
    total = np.zeros((common.shape[1], common.shape[1]))
    scaled = np.empty((min(len(common), _PART), common.shape[1]), np.float32)
    for start in range(0, len(common), _PART):
        part = common[start : start + _PART]
        share = weights[start : start + _PART].astype(np.float32)[:, None]
        total += np.multiply(part, share, out=scaled[: len(part)]).T @ part
    return total


def independent_variances(slopes: Floats, precision: Floats, effective: float) -> Floats:
    """Give variances of independent coefficients that vary as much as the joint posterior does.

    What a row tells of its score is counted once for each of its columns, where only the diagonal
    of Λ is looked at: 1 / Λ_jj says too much of how little is known. Over the rows that were
    learned from, the variances of scores add up, times their curvature, to the effective number of
    parameters, tr((Λ - P) Λ⁻¹), P the prior's precision (MacKay 1992, Bayesian interpolation,
    equation 4.9). So slopes count m times, with the m that makes them do so: columns without
    data keep the prior's variance.

    >>> once = independent_variances(np.full(4, 8.0), np.full(4, 1e-9), 1.0)
    >>> (once * 8.0).round(6).tolist()
    [0.25, 0.25, 0.25, 0.25]
    """
    slopes = np.maximum(slopes, 0.0)
    low, high = 0.0, _MOST_COUNTED
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2.0
        counted = float((slopes / (np.exp(middle) * slopes + precision)).sum())
        low, high = (middle, high) if counted > effective else (low, middle)
    return np.asarray(1.0 / (np.exp((low + high) / 2.0) * slopes + precision))


def mean_squares(slopes: Floats, weights: Floats) -> Floats:
    """Give the mean squares of columns where they are not 0; 1 of those that no row has.

    A coefficient's prior variance is divided by it, so that a number has the same prior in any
    unit.

    >>> mean_squares(np.array([8.0, 0.0]), np.array([2.0, 0.0])).tolist()
    [4.0, 1.0]
    """
    known = (weights > _LEAST) & (slopes > _LEAST)
    return np.where(known, slopes / np.where(known, weights, 1.0), 1.0)


def _prior_terms(sums: Sums, prior: SharedPrior, column: Variances) -> tuple[Floats, Floats]:
    """Give the prior's precision and its pull, precision times mean, of each column."""
    precision, pull = sums.squares / column, np.zeros(len(sums.slopes))
    if sums.first >= 0:
        precision[sums.first] = 1.0 / prior.intercept
        pull[sums.first] = prior.mean / prior.intercept
    return precision, pull


def _learned(
    column: Variances, mean: Floats, variance: Floats, sums: Sums, prior: SharedPrior
) -> Variances:
    """Learn the variances that coefficients of columns of mean square 1 have, but the intercept.

    One for all, or of each its own; ``column`` is what they were taken to be.
    """
    scale = np.sqrt(sums.squares)
    mean, variance = scale * mean, sums.squares * variance
    if prior.own_variances:
        return _relevances(column, mean, variance, sums.first, prior)
    if sums.first >= 0:
        mean, variance = np.delete(mean, sums.first), np.delete(variance, sums.first)
    return _mean_square(mean, variance, prior.column, prior.strength)


def _relevances(
    column: Variances, mean: Floats, variance: Floats, first: int, prior: SharedPrior
) -> Floats:
    """Learn how much each coefficient varies: m² / γ, γ the share of it that the data determines.

    MacKay 1992, Bayesian interpolation, equation 4.10, for each coefficient (Tipping 2001, sparse
    Bayesian learning, equation 16). Each counts as one beside what all have in common, learned
    alike, so that what the data says nothing of varies as the others do.
    """
    squares = np.square(mean)
    determined = np.clip(1.0 - variance / column, 0.0, 1.0)
    others = np.arange(len(mean)) != first
    common = (prior.strength * prior.column + squares[others].sum()) / (
        prior.strength + determined[others].sum()
    )
    return np.asarray(np.maximum((common + squares) / (1.0 + determined), _LEAST))


def _mean_square(mean: Floats, variance: Floats, start: float, strength: float) -> float:
    """Take one step of empirical Bayes for a variance that coefficients have in common."""
    total = float((np.square(mean) + variance).sum())
    return (strength * start + total) / (strength + len(mean))


def _root(matrix: Floats) -> Floats:
    """Give the symmetric root of a matrix that is positive but for rounding."""
    values, vectors = np.linalg.eigh((matrix + matrix.T) / 2.0)
    return np.asarray((vectors * np.sqrt(np.maximum(values, _LEAST))) @ vectors.T)
