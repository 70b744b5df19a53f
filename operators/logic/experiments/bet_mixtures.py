"""Mixtures of fixed bets on a running mean, whatever the order and the drift of what comes.

For a score x with conditional mean μ_i given the past, and a bet λ with 1 + λ x > 0 always,
(1 + λ x_i) / (1 + λ μ_i) is positive and has the mean 1 given the past, so that its product over i
is a non-negative martingale. As log(1 + λ μ) is concave in μ,
Σ log(1 + λ μ_i) <= n log(1 + λ μ̄_n), μ̄_n the running mean of the μ_i. So for fixed bets λ_k of one
sign, K of them, and S_k = Σ log(1 + λ_k x_i),

    E_n(m) = (1/K) Σ_k exp(S_k - n log(1 + λ_k m))

lies at m = μ̄_n below a mixture of those martingales, and exceeds 1/α at any n with a probability of
α at most (Ville 1939). With λ > 0 E_n falls in m: the means that it refutes lie below a bound; with
λ < 0 they lie above one. Nothing is asked of how the μ_i move. The scores may differ between bets,
as long as all have the same conditional means.

Betting: Waudby-Smith and Ramdas 2023, Estimating means of bounded random variables by betting; on
weighted rewards: Karampatziakis, Mineiro and Ramdas 2021, Off-policy confidence sequences; the
mixture of fixed bets: Robbins 1970. The concavity step for a moving mean is our own.
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

SIZES: Final = 2.0 ** np.arange(-14, 7)
"""Sizes of bets in units of 1 / (the width of the range). Between two of them one grows at 8/9 of
the best rate at least, as λ δ - λ² V / 2 is equal for λ and 2 λ at λ = 2/3 δ/V."""

_HALVINGS: Final = 50


def bets_above(low: float, high: float) -> Floats:
    """Give positive bets, ascending, with 1 + λ x > 0 for all x in [low, high].

    They are those of the size b on x - low >= 0, written as bets on x: λ = b / (1 - b low).

    Parameters
    ----------
    low, high
        The range, low <= 0 <= high, of a width above 0.

    Examples
    --------
    >>> bets = bets_above(-2.0, 2.0)
    >>> bool(bets[0] > 0.0), bool(bets[-1] < 0.5)
    (True, True)
    """
    sizes = SIZES / (high - low)
    bets: Floats = sizes / (1.0 - sizes * low)
    return bets


def log_evidence(totals: Floats, counts: Floats, bets: Floats, mean: Floats) -> Floats:
    """Give the logarithm of the evidence against a running mean, of many sequences at once.

    Parameters
    ----------
    totals : array [..., bets]
        Σ log(1 + λ x).
    counts : array [...]
        How many scores.
    bets : array [bets]
        Of one sign.
    mean : array [...]
        With 1 + λ mean > 0 for every bet.

    Returns
    -------
    array [...]; 0 without any score.

    Examples
    --------
    >>> bets = np.array([0.5])
    >>> float(log_evidence(np.log1p(bets), np.array(1.0), bets, np.array(0.0)))  # one score of 1
    0.4054651081081644
    """
    exponents = totals - counts[..., None] * np.log1p(mean[..., None] * bets)
    most = exponents.max(axis=-1)
    evidence: Floats = most + np.log(np.exp(exponents - most[..., None]).mean(axis=-1))
    return evidence


def refuted_up_to(
    totals: Floats, counts: Floats, bets: Floats, ends: tuple[float, float], alpha: float
) -> Floats:
    """Give the end of the means that are refuted at the rate ``alpha``, of many sequences at once.

    Parameters
    ----------
    totals, counts, bets
        As of :func:`log_evidence`.
    ends
        The mean that the bets refute first, and the last one that there can be: the lowest and the
        highest for bets above 0, the other way round for those below.
    alpha
        The probability that a mean is ever refuted that is true.

    Returns
    -------
    array [...]: every mean from the first end to before the returned one is refuted; it is the
    first end where none is.
    """
    most = -np.log(alpha)
    first = np.full(counts.shape, ends[0])
    last = np.full(counts.shape, ends[1])
    refuted = log_evidence(totals, counts, bets, last) >= most
    first = np.where(refuted, last, first)
    for _ in range(_HALVINGS):
        middle = 0.5 * (first + last)
        refuted = log_evidence(totals, counts, bets, middle) >= most
        first = np.where(refuted, middle, first)
        last = np.where(refuted, last, middle)
    return first
