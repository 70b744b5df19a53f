"""One Bayesian model over context × action features, for actions that come with the request.

:class:`Shared` keeps the additive statistics, :class:`SharedPosterior` scores candidates. The
statistics are sums by column of the hashed width; their information matrix is known in full where
the width allows, and otherwise as a low rank, read through a fixed sketch, plus a diagonal.
"""

from operators.logic.policies.shared.parameters import SharedParams
from operators.logic.policies.shared.policy import Shared
from operators.logic.policies.shared.posterior import SharedPosterior
from operators.logic.policies.shared.statistics import NO_OWN_INTERCEPT, with_known_ids

__all__ = [
    "NO_OWN_INTERCEPT",
    "Shared",
    "SharedParams",
    "SharedPosterior",
    "with_known_ids",
]
