"""Policies: what to choose with which probability, and how to learn it.

A policy keeps additive sufficient statistics; its posterior is a pure function of them and weighs
actions. ``make_policy`` makes one by kind.
"""

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from operators.logic.features.scaling import Scaled
from operators.logic.policies.base import Deltas, Policy, PolicyError, Posterior, Weights
from operators.logic.policies.beta import Beta, BetaPosterior
from operators.logic.policies.diagonal import Diagonal
from operators.logic.policies.greedy import Greedy
from operators.logic.policies.linear import Linear
from operators.logic.policies.linear_posterior import LinearPosterior
from operators.logic.policies.shared import Shared, SharedPosterior
from operators.logic.policies.simple import Split, SplitPosterior

__all__ = [
    "KINDS",
    "Deltas",
    "Policy",
    "PolicyError",
    "Posterior",
    "Weights",
    "load_policy",
    "load_posterior",
    "make_policy",
]

T = TypeVar("T")

_Params = Mapping[str, Any] | None

_MAKERS: dict[str, Callable[[str, _Params, int, Scaled | None, int], Policy]] = {
    "beta": lambda _, params, dim, *__: Beta(params, dim),
    "logistic": lambda kind, params, dim, scaled, _: Linear(kind, params, dim, scaled),
    "gaussian": lambda kind, params, dim, scaled, _: Linear(kind, params, dim, scaled),
    "diagonal": lambda _, params, dim, scaled, __: Diagonal(params, dim, scaled),
    "greedy": lambda _, params, dim, scaled, __: Greedy(params, dim, scaled),
    "shared": lambda _, params, dim, __, width: Shared(params, width, dim),
    "uniform": lambda kind, params, dim, *_: Split(kind, params, dim),
    "split": lambda kind, params, dim, *_: Split(kind, params, dim),
}
_POLICIES: dict[bytes, Callable[[bytes], Policy]] = {
    b"policy-beta": Beta.load,
    b"policy-diagonal": Diagonal.load,
    b"policy-greedy": Greedy.load,
    b"policy-linear": Linear.load,
    b"policy-shared": Shared.load,
    b"policy-split": Split.load,
}
_POSTERIORS: dict[bytes, Callable[[bytes], Posterior]] = {
    b"posterior-beta": BetaPosterior.load,
    b"posterior-linear": LinearPosterior.load,
    b"posterior-shared": SharedPosterior.load,
    b"posterior-split": SplitPosterior.load,
}

KINDS = tuple(_MAKERS)
"""The kinds that :func:`make_policy` knows."""


def make_policy(
    kind: str,
    params: Mapping[str, Any] | None = None,
    dim: int = 0,
    scaled: Scaled | None = None,
    width: int = 0,
) -> Policy:
    """Make a policy that has learned nothing.

    Parameters
    ----------
    kind
        One of ``KINDS``.
    params
        The policy's own parameters; an error names the parameter.
    dim
        The number of features of a decision.
    scaled
        Which of them are scaled by what is learned; policies that see no features ignore it.
    width
        That of the rows of features without a declaration, 0 where there are none.

    Examples
    --------
    >>> make_policy("beta", {"half_life": 3600.0}).publish().action_ids
    ()
    """
    if kind not in _MAKERS:
        raise PolicyError(f"policy.kind must be one of {', '.join(KINDS)}, got {kind!r}")
    if dim < 0:
        raise PolicyError(f"policy.dim must be >= 0, got {dim}")
    return _MAKERS[kind](kind, params, dim, scaled, width)


def load_policy(snapshot: bytes) -> Policy:
    """Read what a policy's ``dump`` wrote."""
    return _reader(_POLICIES, snapshot)(snapshot)


def load_posterior(snapshot: bytes) -> Posterior:
    """Read what a posterior's ``dump`` wrote."""
    return _reader(_POSTERIORS, snapshot)(snapshot)


def _reader(readers: Mapping[bytes, Callable[[bytes], T]], snapshot: bytes) -> Callable[[bytes], T]:
    name = snapshot.partition(b"/")[0]
    if name not in readers:
        known = ", ".join(reader.decode() for reader in readers)
        raise PolicyError(f"the snapshot begins with {name[:40]!r}, expected one of {known}")
    return readers[name]
