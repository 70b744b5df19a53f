"""Why a decision came out as it did, from the numbers that made it."""

from collections.abc import Sequence
from math import sqrt

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray
from scipy.special import ndtr

Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]


class Contribution(Struct):
    """How far one feature moved the chosen action's score against the runner-up's."""

    feature: str
    value: float
    weight: float
    moved: float


class ActionView(Struct):
    """An action as the policy saw it: score, posterior width, probability of being chosen."""

    action_id: str
    score: float
    width: float | None
    probability: float


class Explanation(Struct, kw_only=True):
    """A decision explained.

    ``runner_up`` is the best-scored eligible action other than the chosen one, ``greedy`` the
    best-scored of all, so ``explored`` (the chosen is not the greedy one) makes the two equal.
    ``difference`` is the chosen score minus the runner-up's: negative when explored, and exactly
    the sum of what the ``contributions`` moved. ``better`` is the posterior probability that the
    chosen action is the better of the two.
    """

    chosen: ActionView
    runner_up: ActionView | None
    greedy: str
    explored: bool
    propensity: float
    difference: float
    better: float | None
    contributions: list[Contribution]


def explain(
    names: Sequence[str],
    x: Floats,
    action_ids: Sequence[str],
    means: Floats,
    probabilities: Floats,
    chosen: str,
    widths: Floats | None = None,
    eligible: Mask | None = None,
) -> Explanation:
    """Explain the choice of a policy whose scores are linear in the features.

    Score a is Σ_j x_j m_aj, so feature j moved the choice of a over b by x_j (m_aj − m_bj). A
    policy without context is the case of one feature, the intercept.

    Parameters
    ----------
    names : d names
    x : array [d]
    action_ids : K ids
    means : array [K, d]
        The posterior mean weights of each action.
    probabilities : array [K]
        The logged vector; its entry for the chosen action is the propensity.
    chosen : str
    widths : array [K], optional
        The posterior deviation of each score.
    eligible : array [K], optional
        By default every action is.

    Raises
    ------
    ValueError
        If ``chosen`` is not an eligible action, or a shape does not fit.

    Examples
    --------
    >>> why = explain(
    ...     ["1", "young"],
    ...     np.array([1.0, 1.0]),
    ...     ["cats", "dogs"],
    ...     np.array([[0.5, 1.0], [1.0, 0.0]]),
    ...     np.array([0.8, 0.2]),
    ...     "cats",
    ... )
    >>> [(c.feature, c.moved) for c in why.contributions], why.difference, why.greedy
    ([('young', 1.0), ('1', -0.5)], 0.5, 'cats')
    """
    if means.shape != (len(action_ids), len(names)) or x.shape != (len(names),):
        raise ValueError(f"means {means.shape} and x {x.shape} do not fit the names")
    allowed = np.ones(len(action_ids), bool) if eligible is None else eligible
    if chosen not in action_ids or not allowed[list(action_ids).index(chosen)]:
        raise ValueError(f"chosen: {chosen!r} is not an eligible action")
    scores = means @ x
    views = [
        ActionView(name, float(score), None if widths is None else float(widths[a]), float(p))
        for a, (name, score, p) in enumerate(zip(action_ids, scores, probabilities, strict=True))
    ]
    picked = list(action_ids).index(chosen)
    ranked = sorted(np.flatnonzero(allowed).tolist(), key=lambda a: (-scores[a], action_ids[a]))
    others = [a for a in ranked if a != picked]
    second = others[0] if others else None
    moves = means[picked] - (means[second] if second is not None else 0.0)
    contributions = [
        Contribution(name, float(value), float(weight), float(value * weight))
        for name, value, weight in zip(names, x, moves, strict=True)
        if value * weight
    ]
    contributions.sort(key=lambda c: (-abs(c.moved), c.feature))
    return Explanation(
        chosen=views[picked],
        runner_up=None if second is None else views[second],
        greedy=action_ids[ranked[0]],
        explored=ranked[0] != picked,
        propensity=views[picked].probability,
        difference=sum(c.moved for c in contributions),
        better=None if second is None else _better(views[picked], views[second]),
        contributions=contributions,
    )


def _better(one: ActionView, other: ActionView) -> float | None:
    """Give the probability that one score exceeds another, both normal and independent."""
    if one.width is None or other.width is None:
        return None
    width = sqrt(one.width**2 + other.width**2)
    difference = one.score - other.score
    return float(ndtr(difference / width)) if width else float(difference > 0)
