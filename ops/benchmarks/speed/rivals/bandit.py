"""The learning that both rivals share: River's Thompson sampling, and its click model."""

import random
from collections import deque
from typing import Any

from river import bandit, linear_model, preprocessing, proba


class Learner:
    """Beta-Bernoulli Thompson sampling and an online logistic regression, one update per event.

    A decision that was seen counts as a failure when ``window`` seconds have passed without a
    click. There are no propensities, no contextual policy, no protection against duplicates, and
    a click that comes before its decision is lost.
    """

    def __init__(self, actions: int, window: float) -> None:
        self._arms = list(range(actions))
        self._names = [f"hero-{place:02d}" for place in self._arms]
        self._policy = bandit.ThompsonSampling(dist=proba.Beta(), seed=7)
        self._model = preprocessing.StandardScaler() | linear_model.LogisticRegression()
        self._window = window
        self._open: dict[str, tuple[int, dict[str, float]]] = {}
        self._seen: deque[tuple[float, str]] = deque()
        self.rewards = self.lost = 0
        random.seed(7)

    def decide(self, decision_id: str, context: dict[str, Any]) -> str:
        """Choose an action, and remember the decision."""
        arm = self._policy.pull(self._arms)
        self._open[decision_id] = (arm, numbers(context))
        return self._names[arm]

    def seen(self, decision_id: str, at: float) -> None:
        """Start the decision's window; close those that are over."""
        self._seen.append((at, decision_id))
        while self._seen and self._seen[0][0] < at - self._window:
            self._learn(self._seen.popleft()[1], 0)

    def clicked(self, decision_id: str) -> None:
        """Learn a click."""
        self.rewards += self._learn(decision_id, 1)

    def _learn(self, decision_id: str, reward: int) -> bool:
        found = self._open.pop(decision_id, None)
        if found is None:
            self.lost += reward
            return False
        arm, x = found
        self._policy.update(arm, reward)
        self._model.learn_one(x, bool(reward))
        return True


def numbers(context: dict[str, Any]) -> dict[str, float]:
    """Give a context as River takes it: numbers by name, categories one-hot."""
    x: dict[str, float] = {}
    for name, value in context.items():
        if isinstance(value, str):
            x[f"{name}={value}"] = 1.0
        elif isinstance(value, list):
            x |= {f"{name}{place}": float(v) for place, v in enumerate(value)}
        else:
            x[name] = float(value)
    return x
