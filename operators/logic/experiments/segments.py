"""Segments in which an experiment's evidence stands out: the e-BH procedure.

Wang and Ramdas 2022, "False discovery rate control with e-values" (Journal of the Royal
Statistical Society B 84, theorem 2): of m e-values, those of the k* largest are discoveries, with
k* the largest k whose k-th largest e-value is m / (k α) at least. The expected share of false ones
among them is α times the share of segments without an effect at most, however the e-values depend
on each other.
"""

import math
from collections.abc import Mapping


class SegmentError(ValueError):
    """Evidence or level are no such thing; the message says which."""


def discoveries(log_e: Mapping[str, float | None], level: float) -> list[str]:
    """Give the segments whose evidence counts at a false discovery rate, the strongest first.

    Parameters
    ----------
    log_e
        The logarithm of each segment's e-value at one look; None where there is not enough to have
        one, as in a segment that lacks a variation. Such a segment counts among the m all the same.
    level
        The false discovery rate, in (0, 1).

    Raises
    ------
    SegmentError
        For a level outside (0, 1), or evidence that is no number.

    Examples
    --------
    >>> discoveries({"mobile": 5.0, "desktop": 3.8, "tablet": 0.1, "tv": None}, 0.1)
    ['mobile', 'desktop']
    >>> discoveries({"mobile": 3.6, "desktop": 0.0, "tablet": 0.1, "tv": None}, 0.1)
    []
    """
    if not 0.0 < level < 1.0:
        raise SegmentError(f"level must lie in (0, 1), got {level}")
    if any(value is not None and math.isnan(value) for value in log_e.values()):
        raise SegmentError("log_e holds what is no number")
    known = [(value, name) for name, value in log_e.items() if value is not None]
    known.sort(key=lambda pair: (-pair[0], pair[1]))
    needed = math.log(len(log_e) / level) if log_e else 0.0
    best = max(
        (k for k, (value, _) in enumerate(known, start=1) if value >= needed - math.log(k)),
        default=0,
    )
    return [name for _, name in known[:best]]
