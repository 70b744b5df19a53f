"""How sure a mean over pairs is: the ends of its one-sided 95 % interval (Student's t)."""

import math
import statistics
from collections.abc import Sequence

from scipy.stats import t

CONFIDENCE = 0.95


def upper(values: Sequence[float]) -> float:
    """Give the upper bound of the mean of at least two values.

    >>> upper([1.0, 1.0, 1.0])
    1.0
    """
    error = statistics.stdev(values) / math.sqrt(len(values))
    return statistics.fmean(values) + float(t.ppf(CONFIDENCE, len(values) - 1)) * error


def lower(values: Sequence[float]) -> float:
    """Give the lower bound of the mean of at least two values."""
    return -upper([-value for value in values])
