"""How long rewards take in a slot: the share that has come by a given age of a decision."""

from typing import Final

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

BINS: Final = 24
WHOLE: Final = 128
"""A contribution is weighted in steps of 1/128, which binary arithmetic adds exactly."""

_PRIOR: Final = 1.0 / BINS


class Delays(Struct):
    """A histogram of reward delays as shares of the window, finer where they are short.

    Bin k covers the shares from (k/BINS)³ to ((k+1)/BINS)³. It is learned from settled decisions
    only, whose delays are complete, so that short delays are not over-represented.
    """

    counts: list[float]

    def learn(self, shares: NDArray[np.float64]) -> None:
        """Count delays, given as shares of their windows."""
        bins = np.minimum((np.cbrt(shares) * BINS).astype(np.int64), BINS - 1)
        self.counts = (np.array(self.counts) + np.bincount(bins, minlength=BINS)).tolist()

    def weights(self, shares: NDArray[np.float64]) -> NDArray[np.uint8]:
        """Give how much an unanswered decision of each age counts, in steps of 1/WHOLE.

        >>> delays = unknown()
        >>> delays.learn(np.full(1000, 0.01))
        >>> delays.weights(np.array([0.0, 0.5, 1.0])).tolist()
        [0, 127, 128]
        """
        come = np.concatenate([[0.0], np.cumsum(self.counts)])
        position = np.cbrt(np.clip(shares, 0.0, 1.0)) * BINS
        share = np.interp(position, np.arange(BINS + 1), come / come[-1])
        weights: NDArray[np.uint8] = np.floor(share * WHOLE).astype(np.uint8)
        return weights


def unknown() -> Delays:
    """Start with the weight of one observation, spread over the bins."""
    return Delays([_PRIOR] * BINS)
