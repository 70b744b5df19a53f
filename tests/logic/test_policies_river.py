import numpy as np
import pytest
from river import bandit, proba

from tests.support.river_adapters import FromRiver, RiverPolicy


@pytest.mark.parametrize("kind", ["beta", "greedy"])
def test_rivers_offline_evaluation_runs_our_policies(kind: str) -> None:
    rng = np.random.default_rng(3)
    arms = ["bad", "good"]
    logged = [arms[i] for i in rng.integers(2, size=2000)]
    history = [
        (arms, {}, arm, float(rng.random() < (0.6 if arm == "good" else 0.1))) for arm in logged
    ]
    mean, used = bandit.evaluate_offline(RiverPolicy(kind, publish_every=10), history)
    assert used > 500
    assert mean.get() > 0.5


def test_our_policy_learns_the_context_through_rivers_interface() -> None:
    rng = np.random.default_rng(0)
    policy = RiverPolicy("gaussian", None, ("one", "x"), publish_every=5, seed=2)
    right = 0
    for step in range(600):
        x = float(rng.choice([-1.0, 1.0]))
        context = {"one": 1.0, "x": x}
        arm = policy.pull(["minus", "plus"], context)
        reward = float((arm == "plus") == (x > 0))
        right += reward * (step >= 300)
        policy.update(arm, context, reward)
    assert right > 280


def test_rivers_bandit_runs_in_batches() -> None:
    rng = np.random.default_rng(1)
    learner = FromRiver(bandit.ThompsonSampling(reward_obj=proba.Beta(), seed=1), actions=2)
    x = np.zeros((50, 0))
    for _ in range(20):
        actions = learner.choose(x)
        learner.learn(x, actions, (rng.random(50) < np.where(actions == 1, 0.8, 0.2)) * 1.0)
    assert (learner.choose(x) == 1).mean() > 0.9


def test_rivers_contextual_bandit_runs_in_batches() -> None:
    learner = FromRiver(bandit.LinUCBDisjoint(alpha=0.5, seed=1), actions=2)
    x = np.tile([[1.0, -1.0], [1.0, 1.0]], (10, 1))
    for _ in range(10):
        actions = learner.choose(x)
        learner.learn(x, actions, (actions == (x[:, 1] > 0)) * 1.0)
    assert (learner.choose(x) == (x[:, 1] > 0)).mean() == 1.0
