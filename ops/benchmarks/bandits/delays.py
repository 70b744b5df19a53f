"""How much a decision counts while its reward may still come: the three learning modes."""

import numpy as np
from numpy.typing import NDArray

from operators.logic.policies.base import Floats, PolicyError


def exposure_count(
    mode: str, age: Floats, answered: NDArray[np.bool_], window: float, mean_delay: float
) -> Floats:
    """Give the count that decisions contribute at an age; a change of it is a ``count_delta``.

    ``immediate`` counts a decision from its start and ``wait`` once its window has closed, its
    reward with it: to count the answered ones earlier would show the policy only successes.
    ``exposure`` counts an unanswered decision by the share of delays that would have ended by now,
    for exponential delays cut at the window. All agree once the window has closed.

    Parameters
    ----------
    mode
        ``immediate``, ``wait`` or ``exposure``.
    age : array [n]
        Seconds since the decision started to wait.
    answered : array [n] of bool
        Whether its reward has come.
    window, mean_delay
        Seconds.

    Examples
    --------
    >>> age, answered = np.array([10.0, 10.0, 90.0]), np.array([False, True, False])
    >>> exposure_count("wait", age, answered, 60.0, 20.0)
    array([0., 0., 1.])
    >>> exposure_count("exposure", age, answered, 60.0, 20.0).round(3)
    array([0.414, 1.   , 1.   ])
    """
    if mode == "immediate":
        return np.ones(len(age))
    closed = age >= window
    if mode == "wait":
        return closed.astype(float)
    if mode != "exposure":
        raise PolicyError(f"learning_mode must be 'immediate', 'wait' or 'exposure', got {mode!r}")
    if not (window > 0.0 and mean_delay > 0.0):
        raise PolicyError("window and mean_delay must be > 0 seconds")
    share = np.expm1(-np.clip(age, 0.0, window) / mean_delay) / np.expm1(-window / mean_delay)
    return np.where(answered | closed, 1.0, share)
