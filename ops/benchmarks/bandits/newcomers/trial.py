"""One newcomer in one world under one of our policies, through the policy's public interface.

A batch is the decisions between two publications. Without features all decisions of a batch have
the same probabilities and the same linear predictors, so what an action gets is multinomial, its
successes are binomial, and one delta with the sums teaches what single ones would.
"""

import numpy as np
from numpy.typing import NDArray

from operators.logic.features import FeatureMap
from operators.logic.policies import Deltas, Policy, Posterior
from operators.logic.slot_policy import name_actions, new_policy, policy_dim
from ops.benchmarks.bandits.newcomers.curves import Trial, summed_up
from ops.benchmarks.bandits.newcomers.worlds import HORIZON, NEWCOMER, World

Floats = NDArray[np.float64]

FIRST = 10
GROWTH = 0.6
"""While the history is learned, a batch is this share of what was decided before it, or ``FIRST``:
a policy that has learned nothing linearises a batch where its prior is."""


class Learner:
    """A policy in a world: decides a batch, learns it, publishes."""

    def __init__(self, world: World, kind: str, rng: np.random.Generator) -> None:
        self._world = world
        self._slot = world.slot(kind)
        self._rng = rng
        self._ids = world.ids
        self._rates = np.full(world.incumbents, world.rate)
        self._dim = policy_dim(self._slot, FeatureMap(self._slot.features))
        self.policy: Policy = new_policy(self._slot, world.actions(self._ids), self._dim)
        self._x = np.ones((1, self._dim))
        self._payoffs = world.payoffs
        self._time = 0.0
        self._published()

    def _published(self) -> None:
        posterior: Posterior = self.policy.publish()
        weights = posterior.weigh(self._x, posterior.columns(self._ids))
        self.p, self._eta = weights.p[0], weights.eta[0]

    def add_newcomer(self) -> None:
        """Put the newcomer into the catalog: it is the last action from now on."""
        self._ids = [*self._ids, NEWCOMER]
        self._rates = np.append(self._rates, self._world.newcomer_rate)
        name_actions(self.policy, self._slot, self._world.actions(self._ids))
        self._published()

    def step(self, decisions: int) -> None:
        """Decide, learn and publish a batch."""
        counts = self._rng.multinomial(decisions, self.p / self.p.sum())
        successes = self._rng.binomial(counts, self._rates)
        self._time += decisions
        self.policy.learn(batch_deltas(
            self._ids, self._dim, self._eta, self._time, counts, successes, self._payoffs
        ))  # fmt: skip
        self._published()


def batch_deltas(
    ids: list[str], dim: int, eta: Floats, time: float,
    counts: NDArray[np.int64], successes: NDArray[np.int64], payoffs: tuple[float, float],
) -> Deltas:  # fmt: skip
    """Sum up a batch's decisions without context in one delta for each action that was shown."""
    failure, success = payoffs
    shown = np.flatnonzero(counts)
    rewards = successes * success + (counts - successes) * failure
    squares = successes * success**2 + (counts - successes) * failure**2
    return Deltas(
        action_ids=[ids[i] for i in shown],
        x=np.ones((len(shown), dim)),
        eta=eta[shown],
        time=np.full(len(shown), time),
        count_delta=counts[shown].astype(float),
        reward_delta=rewards[shown].astype(float),
        square_delta=squares[shown].astype(float),
    )


def trial(world: World, kind: str, seed: int) -> Trial:
    """Let the incumbents be learned, add the newcomer, and follow its probability."""
    learner = Learner(world, kind, np.random.default_rng([97, seed]))
    decided = 0
    while decided < world.history:
        batch = min(max(FIRST, int(GROWTH * decided)), world.history - decided)
        learner.step(batch)
        decided += batch
    learner.add_newcomer()
    horizon = HORIZON * world.sample
    shares = np.empty(horizon)
    for start in range(0, horizon, world.batch):
        stop = min(start + world.batch, horizon)
        shares[start:stop] = learner.p[-1]
        learner.step(stop - start)
    return summed_up(shares)
