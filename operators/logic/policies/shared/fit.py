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

from operators.logic.policies.base import Floats
from operators.logic.policies.prior import inverse_factor

_RIDGE = 1e-8
"""Share of B's mean diagonal that is added to it: directions that no row has stay out."""

_LEAST = 1e-9


@dataclass(frozen=True, slots=True, kw_only=True)
class SharedPrior:
    """The prior: of the intercept, of every other column and of an action's own intercept.

    ``iterations`` of empirical Bayes learn the last two variances, ``strength`` is what they weigh.
    """

    mean: float
    intercept: float
    column: float
    action: float
    strength: float
    iterations: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Sums:
    """The statistics as of one time, on the scale of the likelihood.

    ``first`` is the row of the intercept's column, or -1. ``slopes`` and ``targets`` [U], ``cross``
    [U, d], ``sketch`` [d, d], ``whole`` [U, U] where Λ is kept; of A actions ``action_slopes`` and
    ``action_targets`` [A] and ``action_cross`` [A, d].
    """

    first: int
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

    ``root`` [U, U], where Λ is known in full, is lower triangular with covariance
    ``root.T @ root`` of the columns; ``variance`` is then that of each column alone. An action's
    variance is that of its intercept given the columns.
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
    column, action = prior.column, prior.action
    for iteration in range(prior.iterations + 1):
        precision, pull = _prior_terms(sums, prior, column)
        own = 1.0 / (np.maximum(sums.action_slopes, 0.0) + 1.0 / action)
        weighted = sums.action_cross * own[:, None]
        information = sums.cross - weighted.T @ sums.action_cross
        root = inverse_factor((information + np.diag(precision))[None])[0]
        target = sums.targets + pull - weighted.T @ sums.action_targets
        mean = root.T @ (root @ target)
        variance = np.square(root).sum(axis=0)
        action_mean = own * (sums.action_targets - sums.action_cross @ mean)
        if iteration < prior.iterations:
            column = _learned(mean, variance, sums.first, prior.column, prior.strength)
            spread = own + np.square(weighted @ root.T).sum(axis=1)
            action = _learned(action_mean, spread, -1, prior.action, prior.strength)
    return SharedFit(
        mean=mean,
        variance=variance,
        unseen=column,
        action_mean=action_mean,
        action_variance=own,
        unseen_action=action,
        root=root,
    )


def fit_together(sums: Sums, prior: SharedPrior) -> SharedFit:
    """Fit where Λ of the columns is known; what actions share with them is read by the sketch.

    Means are those of all columns together, variances those of each given the others, as in
    :func:`fit_widely`.
    """
    whole = sums.whole
    assert whole is not None
    common, actions = _low_rank(sums)
    column, action = prior.column, prior.action
    for iteration in range(prior.iterations + 1):
        precision, pull = _prior_terms(sums, prior, column)
        own = 1.0 / (np.maximum(sums.action_slopes, 0.0) + 1.0 / action)
        inner = (actions * own[:, None]).T @ actions
        information = whole - common @ inner @ common.T + np.diag(precision)
        root = inverse_factor(information[None])[0]
        target = sums.targets + pull - common @ (actions.T @ (own * sums.action_targets))
        mean = root.T @ (root @ target)
        action_mean = own * (sums.action_targets - actions @ (common.T @ mean))
        if iteration < prior.iterations:
            column = _learned(
                mean, np.square(root).sum(axis=0), sums.first, prior.column, prior.strength
            )
            turned = root @ common
            spread = np.einsum("ad,de,ae->a", actions, turned.T @ turned, actions, optimize=True)
            action = _learned(
                action_mean, own + np.square(own) * spread, -1, prior.action, prior.strength
            )
    return SharedFit(
        mean=mean,
        variance=1.0 / (np.maximum(np.diagonal(whole), 0.0) + precision),
        unseen=column,
        action_mean=action_mean,
        action_variance=own,
        unseen_action=action,
    )


def _low_rank(sums: Sums) -> tuple[Floats, Floats]:
    """Give factors [U, d] and [A, d] of Λ's Nyström approximation: of the columns, of actions."""
    d = len(sums.sketch)
    ridge = _RIDGE * max(float(np.trace(sums.sketch)) / d, 0.0) + 1e-300
    turn = inverse_factor((sums.sketch + ridge * np.eye(d))[None])[0].T
    return sums.cross @ turn, sums.action_cross @ turn


def fit_widely(sums: Sums, prior: SharedPrior) -> SharedFit:
    """Fit where the sketch is narrower than the row: Λ is a low rank plus a diagonal."""
    d = len(sums.sketch)
    common, actions = _low_rank(sums)
    rest = np.maximum(sums.slopes - np.square(common).sum(axis=1), 0.0)
    column, action = prior.column, prior.action
    for iteration in range(prior.iterations + 1):
        precision, pull = _prior_terms(sums, prior, column)
        alone = rest + precision
        own = 1.0 / (np.maximum(sums.action_slopes, 0.0) + 1.0 / action)
        half = _root(np.eye(d) - (actions * own[:, None]).T @ actions)
        scaled = common / alone[:, None]
        inner = np.eye(d) + half @ (scaled.T @ common) @ half
        target = sums.targets + pull - common @ (actions.T @ (own * sums.action_targets))
        shift = half @ np.linalg.solve(inner, half @ (scaled.T @ target))
        mean = target / alone - scaled @ shift
        action_mean = own * (sums.action_targets - actions @ (common.T @ mean))
        if iteration < prior.iterations:
            column = _learned(mean, 1.0 / alone, sums.first, prior.column, prior.strength)
            action = _learned(action_mean, own, -1, prior.action, prior.strength)
    return SharedFit(
        mean=mean,
        variance=1.0 / (np.maximum(sums.slopes, 0.0) + precision),
        unseen=column,
        action_mean=action_mean,
        action_variance=own,
        unseen_action=action,
    )


def _prior_terms(sums: Sums, prior: SharedPrior, column: float) -> tuple[Floats, Floats]:
    """Give the prior's precision and its pull, precision times mean, of each column."""
    precision, pull = np.full(len(sums.slopes), 1.0 / column), np.zeros(len(sums.slopes))
    if sums.first >= 0:
        precision[sums.first] = 1.0 / prior.intercept
        pull[sums.first] = prior.mean / prior.intercept
    return precision, pull


def _learned(mean: Floats, variance: Floats, first: int, start: float, strength: float) -> float:
    """Take one step of empirical Bayes for a variance that coefficients have in common."""
    squares = np.square(mean) + variance
    total, many = float(squares.sum()), len(squares)
    if first >= 0:
        total, many = total - float(squares[first]), many - 1
    return (strength * start + total) / (strength + many)


def _root(matrix: Floats) -> Floats:
    """Give the symmetric root of a matrix that is positive but for rounding."""
    values, vectors = np.linalg.eigh((matrix + matrix.T) / 2.0)
    return np.asarray((vectors * np.sqrt(np.maximum(values, _LEAST))) @ vectors.T)
