"""Our policies in River's bandit interface, and River's bandits in ours, for evaluation."""

from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np
from river.bandit.base import ContextualPolicy

from operators.logic.deciding.propensity import choose
from operators.logic.policies import Deltas, make_policy
from operators.logic.policies.base import Floats, Indices


class RiverPolicy(ContextualPolicy):
    """One of our policies as a River bandit; a context is a mapping of feature to number.

    Parameters
    ----------
    kind, params
        As of ``make_policy``.
    features
        The names of the context's features, the intercept first; none without context.
    publish_every
        Rewards between two publications.
    seed
        Seeds the draws.

    Examples
    --------
    >>> policy = RiverPolicy("beta", {"prior_failure": 1.0}, seed=1)
    >>> for _ in range(50):
    ...     arm = policy.pull(["a", "b"])
    ...     policy.update(arm, None, float(arm == "b"))
    >>> policy.pull(["a", "b"])
    'b'
    """

    def __init__(
        self,
        kind: str,
        params: dict[str, Any] | None = None,
        features: Sequence[Hashable] = (),
        publish_every: int = 1,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.kind = kind
        self.params = params
        self.features = tuple(features)
        self.publish_every = publish_every
        self.seed = seed
        self._policy = make_policy(kind, params, len(self.features))
        self._posterior = self._policy.publish()
        self._rng = np.random.default_rng(seed)

    def _encode(self, context: dict[Hashable, float] | None) -> Floats:
        given = context or {}
        return np.array([[float(given.get(name, 0.0)) for name in self.features]])

    def _pull(self, arm_ids: list[Any], context: dict[Hashable, float] | None = None) -> Any:
        columns = self._posterior.columns([str(arm) for arm in arm_ids])
        weights = self._posterior.weigh(self._encode(context), columns)
        return arm_ids[int(choose(weights.p, self._rng.random(1))[0])]

    def update(
        self, arm_id: Any, context: dict[Hashable, float] | None, *args: Any, **kwargs: Any
    ) -> None:
        """Learn the reward of an arm, linearised at the posterior that is published now."""
        super().update(arm_id, context, *args, **kwargs)  # type: ignore[no-untyped-call]
        x = self._encode(context)
        weights = self._posterior.weigh(x, self._posterior.columns([str(arm_id)]))
        reward = np.array([float(args[0])])
        one = np.ones(1)
        time = np.array([float(self._n)])
        self._policy.learn(
            Deltas(
                action_ids=[str(arm_id)],
                x=x,
                eta=weights.eta[:, 0],
                time=time,
                count_delta=one,
                reward_delta=reward,
            )
        )
        if self._n % self.publish_every == 0:
            self._posterior = self._policy.publish()


class FromRiver:
    """A River bandit as a learner of batches: it gives actions, but no propensities.

    Parameters
    ----------
    policy
        A River bandit.
    actions
        The number of actions; its arms are 0 to actions - 1.
    """

    def __init__(self, policy: Any, actions: int) -> None:
        self._policy = policy
        self._arms = list(range(actions))
        self._contextual = isinstance(policy, ContextualPolicy)

    def choose(self, x: Floats) -> Indices:
        """Pull an arm for each row."""
        if not self._contextual:
            return np.array([self._policy.pull(self._arms) for _ in range(len(x))], dtype=np.intp)
        rows = (dict(enumerate(row)) for row in x.tolist())
        return np.array([self._policy.pull(self._arms, row) for row in rows], dtype=np.intp)

    def learn(self, x: Floats, actions: Indices, rewards: Floats) -> None:
        """Update the arms that were pulled."""
        for row, action, reward in zip(x.tolist(), actions.tolist(), rewards.tolist(), strict=True):
            if self._contextual:
                self._policy.update(action, dict(enumerate(row)), reward)
            else:
                self._policy.update(action, reward)
