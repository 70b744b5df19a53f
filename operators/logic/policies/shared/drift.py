"""What the coefficients of a shared model have changed by of late.

A coefficient is what all decisions say of it, m, plus a deviation d with a prior of mean 0. Beside
the sums of all decisions there are those under a short half-life, Λ' and h': d is the regression of
what they say beyond m, of h' - Λ' m. How much each coefficient varies is learned from them, too
(:func:`operators.logic.policies.shared.fit.fit_widely` with variances of each own), so that where
nothing changes d comes to 0, and where tastes move it follows. This is one step of a state-space
model, West and Harrison 1997, Bayesian forecasting and dynamic models, section 6.3, discount
factors; the level stays that of all decisions, so that what does not move is not forgotten.

Both sums are read in the same way, so that what is lost in a sketch is lost in both: beyond m there
is then nothing of it.
"""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from operators.logic.policies.base import Floats
from operators.logic.policies.shared.fit import (
    LowRank,
    SharedFit,
    SharedPrior,
    Sums,
    fit_exactly,
    fit_together,
    fit_widely,
    low_rank,
    products,
)

_SHARE = 0.05
"""Prior variance of a deviation, as a share of the coefficient's own."""

_STRENGTH, _ITERATIONS = 20.0, 2
"""How many columns that share counts for, and steps of empirical Bayes."""


def drifted(
    fitted: SharedFit,
    columns: NDArray[np.int64],
    recent: Sums,
    recent_columns: NDArray[np.int64],
    prior: SharedPrior,
) -> SharedFit:
    """Give the fit with what ``recent`` says beyond it; variances add up.

    ``columns`` [U] and ``recent_columns``, which are some of them, are those of the two.
    """
    at = np.searchsorted(columns, recent_columns)
    factors = low_rank(recent) if fitted.root is None else None
    of_columns, of_actions = products(recent, fitted.mean[at], fitted.action_mean, factors)
    beyond = replace(
        recent,
        targets=recent.targets - of_columns,
        action_targets=recent.action_targets - of_actions,
    )
    deviation = _fit(beyond, _prior_of_deviations(prior), factors)
    mean, variance = fitted.mean.copy(), fitted.variance.copy()
    mean[at] += deviation.mean
    variance[at] += deviation.variance
    return replace(
        fitted,
        mean=mean,
        variance=variance,
        action_mean=fitted.action_mean + deviation.action_mean,
        action_variance=fitted.action_variance + deviation.action_variance,
        root=_root_of_sum(fitted.root, deviation.root),
    )


def _fit(beyond: Sums, prior: SharedPrior, factors: LowRank | None) -> SharedFit:
    """Solve for the columns themselves where they are no more than the sketch is wide."""
    if factors is None:
        return fit_exactly(beyond, prior)
    is_narrow = beyond.whole is not None and len(beyond.whole) <= len(beyond.sketch)
    return (fit_together if is_narrow else fit_widely)(beyond, prior, factors)


def _prior_of_deviations(prior: SharedPrior) -> SharedPrior:
    return SharedPrior(
        mean=0.0,
        intercept=_SHARE * prior.intercept,
        column=_SHARE * prior.column,
        action=_SHARE * prior.action,
        strength=_STRENGTH,
        iterations=_ITERATIONS,
        own_variances=True,
    )


def _root_of_sum(one: Floats | None, other: Floats | None) -> Floats | None:
    """Give R with RᵀR the sum of the two covariances, where these are known."""
    if one is None or other is None:
        return None
    return np.asarray(np.linalg.cholesky(one.T @ one + other.T @ other).T)
