"""The mean features of the decisions that a policy has learned from."""

from collections.abc import Sequence

import numpy as np

from operators.logic.policies.base import Deltas, Floats


class MeanContext:
    """Sums of the features [d] of decisions, the first of which is 1 for each; additive.

    >>> zero, one = np.zeros(1), np.ones(1)
    >>> columns = {"eta": zero, "time": zero, "count_delta": one, "reward_delta": zero}
    >>> decision = Deltas(action_ids=["a"], x=np.array([[1.0, 3.0]]), **columns)
    >>> context = MeanContext(2)
    >>> context.mean() is None
    True
    >>> context.learn(decision)
    >>> context.mean()
    array([1., 3.])
    """

    def __init__(self, dim: int, sums: Sequence[float] = ()) -> None:
        self._sums = np.array(sums, dtype=float) if len(sums) == dim else np.zeros(dim)

    def learn(self, deltas: Deltas) -> None:
        """Count the decisions that begin to count, and take back those that cease to."""
        self._sums += deltas.count_delta @ deltas.x

    def mean(self) -> Floats | None:
        """Give the mean features; None before the first decision, and where there are none."""
        if not len(self._sums) or self._sums[0] < 0.5:
            return None
        return np.asarray(self._sums / self._sums[0])

    def sums(self) -> list[float]:
        """Give what a snapshot keeps."""
        sums: list[float] = self._sums.tolist()
        return sums
