"""What a policy would have earned on a log while it learned from that log, row by row."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from operators.logic.deciding.propensity import mix
from operators.logic.experiments.estimators import Estimate, ips, relative_value, snips
from operators.logic.features import FeatureMap, unpack_rows
from operators.logic.policies import Deltas, Posterior
from operators.logic.policies.base import squared
from operators.logic.policies.mean_context import MeanContext
from operators.logic.slot_policy import new_policy
from schemas.catalog import Action, Slot
from schemas.clock import micros
from schemas.results import Outcome

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Progressive:
    """The probability [n] that the learner gave each logged action before it learned the row.

    ``posterior`` is what it ended with, ``context`` the rows' mean features.
    """

    target: Floats
    posterior: Posterior
    context: Floats | None


@dataclass(frozen=True, slots=True)
class PolicyValue:
    """A policy's value on a log, and over that of the logging policy.

    ``relative``, with the ends of its 95 % interval, is the IPS value over the mean reward; None
    where the log has no reward at all.
    """

    policy: str
    ips: Estimate
    snips: Estimate
    relative: float | None
    relative_low: float | None
    relative_high: float | None


def by_decision_time(outcomes: Sequence[Outcome]) -> list[Outcome]:
    """Sort settled outcomes by the times of their decisions."""
    return sorted(outcomes, key=lambda outcome: (outcome.time, outcome.decision_id))


def progressive(
    slot: Slot,
    actions: Sequence[Action],
    outcomes: Sequence[Outcome],
    refresh: int = 10,
    advance: Callable[[int], None] = lambda _: None,
) -> Progressive:
    """Score each outcome's action by the slot's policy, then let the policy learn it.

    The policy is published anew every ``refresh`` rows, so that a row is scored by what was learned
    from the rows before it and never from itself. ``advance`` is given how many rows are done.
    """
    catalog = tuple(sorted(actions, key=lambda action: action.action_id))
    feature_map = FeatureMap(slot.features)
    policy = new_policy(slot, catalog, feature_map.dim)
    ids = [action.action_id for action in catalog]
    column = {name: place for place, name in enumerate(ids)}
    target = np.zeros(len(outcomes))
    context = MeanContext(feature_map.dim)
    for start in range(0, len(outcomes), refresh):
        part = outcomes[start : start + refresh]
        posterior = policy.publish()
        deltas = _deltas(part, feature_map.dim)
        weights = posterior.weigh(deltas.x, posterior.columns(ids))
        p = mix(weights.p, floor=slot.floor)
        rows = np.arange(len(part))
        target[start : start + refresh] = p[rows, [column[o.action_id] for o in part]]
        policy.learn(deltas)
        context.learn(deltas)
        advance(len(part))
    return Progressive(target, policy.publish(), context.mean())


def values(outcomes: Sequence[Outcome], targets: dict[str, Floats]) -> list[PolicyValue]:
    """Estimate the value of the logging policy and of each policy in ``targets``."""
    rewards = np.array([outcome.reward for outcome in outcomes])
    propensities = np.array([outcome.propensity for outcome in outcomes])
    return [
        PolicyValue(
            name,
            ips(rewards, propensities, target),
            snips(rewards, propensities, target),
            *(relative_value(rewards, propensities, target) or (None, None, None)),
        )
        for name, target in {"logged": propensities, **targets}.items()
    ]


def _deltas(outcomes: Sequence[Outcome], dim: int) -> Deltas:
    reward = np.array([outcome.reward for outcome in outcomes])
    return Deltas(
        action_ids=[outcome.action_id for outcome in outcomes],
        x=unpack_rows([outcome.features for outcome in outcomes], dim),
        eta=np.array([outcome.eta for outcome in outcomes]),
        time=np.array([micros(outcome.time) * 1e-6 for outcome in outcomes]),
        count_delta=np.ones(len(outcomes)),
        reward_delta=reward,
        square_delta=squared(reward),
    )
