"""What an action borrows from its neighbours: the actions whose content vectors are like its own.

A prior says of each action what is expected of it; a residual is what an action was found to be
beyond that. A neighbour lends its residual with the weight of its squared similarity and of how
much is known of it, against a fixed weight of lending nothing: a near twin lends most, a
distant neighbour or one that nobody has seen almost nothing (Nadaraya and Watson's kernel
regression, shrunk).
"""

from collections.abc import Mapping, Sequence

import numpy as np

from operators.logic.policies.base import Floats

Neighbours = Mapping[str, Mapping[str, float]]
"""The similarity, above 0 and up to 1, of each action's neighbours."""

_NOTHING = 0.3
"""The weight of lending nothing: that of one well-known neighbour with a similarity of 0.55."""


def similarities(ids: Sequence[str], neighbours: Neighbours) -> Floats | None:
    """Give the matrix [K, K] of the similarities among ``ids``; None if there are none.

    >>> similarities(["a", "b"], {"b": {"a": 0.5, "unheard-of": 0.9}})
    array([[0. , 0. ],
           [0.5, 0. ]])
    """
    place = {action_id: i for i, action_id in enumerate(ids)}
    matrix = np.zeros((len(ids), len(ids)))
    for action_id, near in neighbours.items():
        for other, similarity in near.items():
            if action_id in place and other in place and action_id != other:
                matrix[place[action_id], place[other]] = similarity
    return matrix if matrix.any() else None


def neighbour_shift(similarity: Floats, residual: Floats, evidence: Floats) -> Floats:
    """Give how far neighbours move each action's prior mean, [K, d]; 0 where there are none.

    Parameters
    ----------
    similarity : array [K, K]
    residual : array [K, d]
    evidence : array [K]
        How much is known of each action, from 0 to 1.

    Examples
    --------
    >>> neighbour_shift(
    ...     np.array([[0.0, 1.0], [0.0, 0.0]]), np.array([[0.0], [2.6]]), np.ones(2)
    ... ).round(6)
    array([[2.],
           [0.]])
    """
    weight = similarity * similarity * evidence
    return np.asarray(weight @ residual / (_NOTHING + weight.sum(axis=1, keepdims=True)))
