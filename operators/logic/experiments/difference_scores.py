"""Scores whose mean is what a challenger earns for a unit more than the baseline.

x = m_B - m_A + w_B (r - m_B) - w_A (r - m_A) with w = 1{drawn} / its logged probability. Its mean
given the past is that of r under the challenger B less that under the baseline A, whatever the
predictions m are, if they are fixed before the draw: by a model fitted on what had closed before,
by one centre for both, or 0, which gives w_B r - w_A r (Robins, Rotnitzky and Zhao 1994; Dudík,
Langford and Li 2011, section 2).

With r and m in [0, cap] and both probabilities >= floor, x lies in [-cap/floor, cap/floor]: where A
is drawn, x = m_B - m_A + (m_A - r) / p_A, at least m_B + m_A (1/p_A - 1) - cap / p_A >= -cap / p_A
and at most m_B + m_A (1/p_A - 1) <= cap / p_A; for B by symmetry; where neither is, |x| <= cap.
"""

import numpy as np

from operators.logic.experiments.confidence_sequence import ConfidenceSequence, SequenceError
from operators.logic.experiments.score_columns import Floats


def difference_sequence(floor: float, cap: float = 1.0) -> ConfidenceSequence:
    """Give the empty sequence for the differences of two variations.

    Parameters
    ----------
    floor
        Declared before the start: neither logged probability is ever below it; in (0, 1].
    cap
        The greatest reward or capped total of a unit.
    """
    if not 0.0 < floor <= 1.0 or not 0.0 < cap < np.inf:
        raise SequenceError(f"floor must lie in (0, 1] and cap be above 0: {floor}, {cap}")
    return ConfidenceSequence(-cap / floor, cap / floor)


def difference_scores(
    baseline: Floats,
    challenger: Floats,
    rewards: Floats,
    predicted_baseline: Floats | float = 0.0,
    predicted_challenger: Floats | float = 0.0,
) -> Floats:
    """Give each unit's score.

    Parameters
    ----------
    baseline, challenger : array [n]
        The weights: 1 over the logged probability of the variation that was drawn, 0 for the other.
    rewards : array [n]
        In [0, cap].
    predicted_baseline, predicted_challenger : array [n] or one number
        What was expected of the unit under each before the draw, in [0, cap].

    Examples
    --------
    >>> difference_scores(np.array([2.0, 0.0]), np.array([0.0, 2.0]), np.array([1.0, 1.0]))
    array([-2.,  2.])
    """
    scores: Floats = (
        predicted_challenger
        - predicted_baseline
        + challenger * (rewards - predicted_challenger)
        - baseline * (rewards - predicted_baseline)
    )
    return scores
