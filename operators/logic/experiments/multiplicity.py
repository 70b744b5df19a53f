"""What each of an experiment's comparisons may err: Bonferroni over variations × primary metrics.

The shares are fixed at the start and sum to α at most, so that the probability of any false
discovery among all comparisons is α at most, however they depend on each other (Bonferroni; Dunn
1961). Nothing seen later moves a share: a variation that is pulled leaves its own unused.
Guardrails and the sample ratio have an α each of their own.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass


class MultiplicityError(ValueError):
    """The comparisons or α cannot be shared; the message says why."""


@dataclass(frozen=True, slots=True)
class AlphaShares:
    """The α of each comparison with the baseline, by (variation, metric)."""

    alpha: float
    shares: Mapping[tuple[str, str], float]

    def level(self, variation_id: str, metric: str) -> float:
        """Give the confidence level of a comparison.

        Raises
        ------
        MultiplicityError
            For a comparison that was not declared at the start.
        """
        share = self.shares.get((variation_id, metric))
        if share is None:
            raise MultiplicityError(
                f"variation {variation_id!r} and metric {metric!r} had no share of alpha at the "
                "start: a running experiment takes no further comparison"
            )
        return 1.0 - share


def share_alpha(
    alpha: float,
    variations: Sequence[str],
    metrics: Sequence[str],
    weights: Mapping[tuple[str, str], float] | None = None,
) -> AlphaShares:
    """Share α over all comparisons, evenly or by declared weights.

    Parameters
    ----------
    alpha
        The probability of any false discovery, in (0, 1).
    variations
        The ids of those that are compared with the baseline; it is none of them.
    metrics
        The names of the primary metrics.
    weights
        Positive, one for each comparison; evenly without.

    Raises
    ------
    MultiplicityError
        Without a comparison, with one named twice, or with a weight that is missing or not above 0.

    Examples
    --------
    >>> share_alpha(0.05, ["b", "c"], ["clicks"]).level("b", "clicks")
    0.975
    """
    if not 0.0 < alpha < 1.0:
        raise MultiplicityError(f"alpha must lie in (0, 1), got {alpha}")
    pairs = [(variation, metric) for variation in variations for metric in metrics]
    if not pairs or len(set(pairs)) != len(pairs):
        raise MultiplicityError("variations and metrics must be one or more, each named once")
    if weights is None:
        weights = dict.fromkeys(pairs, 1.0)
    if weights.keys() != set(pairs) or not all(0.0 < w < math.inf for w in weights.values()):
        raise MultiplicityError("weights must be above 0, one for each comparison")
    total = math.fsum(weights.values())
    return AlphaShares(alpha, {pair: alpha * (weights[pair] / total) for pair in pairs})
