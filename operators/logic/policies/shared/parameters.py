"""The parameters of ``shared``."""

from typing import Annotated, Literal

from msgspec import Meta, Struct

from operators.logic.policies.parameters import (
    Alpha,
    HalfLife,
    Iterations,
    Mean,
    Noise,
    Variance,
    Weight,
)

Rank = Literal[32, 64, 128, 256, 512]
Buckets = Annotated[int, Meta(ge=2, le=2**20)]
Whole = Annotated[int, Meta(ge=0, le=4096)]
Ids = Annotated[int, Meta(ge=0, le=100_000)]


class SharedParams(Struct, frozen=True, forbid_unknown_fields=True):
    """Parameters of ``shared``.

    ``link`` says what a score is: log-odds, or with ``gaussian`` the reward itself. ``alpha``
    scales the posterior width when drawing. Before anything is known a score has the mean
    ``prior_mean`` (of the intercept, whose variance is ``intercept_variance``), and what features
    add to it has the variance ``signal`` in rows of average length, alike for every feature;
    ``iterations`` of empirical Bayes learn the variance, with this one counting as
    ``prior_strength`` features. ``action_variance`` is that of an action's own intercept, learned
    alike from all actions. Up to ``whole`` columns are solved for together, more than that through
    a sketch of width ``rank``. ``buckets`` is how many of the hashed columns are told apart,
    ``ids`` how many actions have an intercept of their own (0: none).
    ``noise`` is that of ``gaussian``. ``half_life`` is in seconds of decision time, and so is
    ``drift_half_life``: what coefficients have changed by is learned from decisions that forget
    this fast (None: nothing changes).
    """

    link: Literal["logistic", "gaussian"] = "logistic"
    alpha: Alpha = 0.3
    prior_mean: Mean | None = None
    intercept_variance: Variance | None = None
    signal: Variance | None = None
    action_variance: Variance | None = None
    noise: Noise | None = None
    half_life: HalfLife | None = None
    drift_half_life: HalfLife | None = 3600.0
    iterations: Iterations = 1
    prior_strength: Weight = 50.0
    rank: Rank = 128
    whole: Whole = 1024
    buckets: Buckets = 2**16
    ids: Ids = 2_000
