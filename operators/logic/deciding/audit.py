"""The audit of propensities: whether actions are drawn as often as their logged probabilities say.

Each decision has a score, 1/p of the action drawn over the number of actions that could be drawn,
cut at :data:`CLIP`. What it is on average, and its variance, follow from the decision's own
probability vector; so observed minus expected scores, summed, is a martingale with steps of at most
CLIP and known conditional variances, whatever the policy learns meanwhile. Uncut, the few decisions
with p near 0 would carry nearly all of the variance.

At a given sum V of the variances, |observed - expected| reaches z sqrt(V) with a probability of at
most 2 exp(-(z²/2) / (1 + CLIP z / (3 sqrt(V)))): Freedman, On tail probabilities for martingales
(1975), Theorem 1.6.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

CLIP = 10.0
"""The largest score: one of about 1 is what is expected."""


class Audit(NamedTuple):
    """Sums over decisions: their scores, those expected of them, and their variances."""

    observed: float = 0.0
    expected: float = 0.0
    variance: float = 0.0


def audit(p: Floats, chosen: NDArray[np.intp]) -> Audit:
    """Audit n decisions.

    Parameters
    ----------
    p : array [n, K]
        The logged probability of each action; 0 where it could not be drawn.
    chosen : array [n]
        The column that was drawn.

    Examples
    --------
    >>> [round(figure, 2) for figure in audit(np.array([[0.8, 0.2, 0.0]]), np.array([0]))]
    [0.62, 1.0, 0.56]
    """
    eligible = np.count_nonzero(p, axis=1).astype(np.float64)
    scores = p * eligible[:, None]
    with np.errstate(divide="ignore", over="ignore"):
        np.divide(1.0, scores, out=scores)
    np.minimum(scores, CLIP, out=scores)
    observed = float(scores[np.arange(len(chosen)), chosen].sum())
    expected = np.einsum("ij,ij->i", p, scores)
    scores -= expected[:, None]
    variance = float(np.einsum("ij,ij,ij->", p, scores, scores))
    return Audit(observed, float(expected.sum()), variance)
