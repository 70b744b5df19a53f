"""The learning that the rivals share: River's bandits and its online logistic regression."""

import random
from collections import deque
from typing import Any, Protocol

from river import bandit, linear_model, preprocessing, proba

EXPLORE = 0.1

Context = dict[str, float]


class Policy(Protocol):
    """What chooses an arm and learns its reward."""

    def choose(self, x: Context) -> int:
        """Choose an arm."""

    def learn(self, arm: int, x: Context, reward: int) -> None:
        """Learn what a choice earned."""


class Plain:
    """Beta-Bernoulli Thompson sampling without context, and one click model beside it."""

    def __init__(self, actions: int) -> None:
        self._arms = list(range(actions))
        self._policy = bandit.ThompsonSampling(reward_obj=proba.Beta(), seed=7)
        self._model = _model()

    def choose(self, x: Context) -> int:  # noqa: ARG002 - it has no use for the context
        """Draw from each arm's posterior."""
        return int(self._policy.pull(self._arms))

    def learn(self, arm: int, x: Context, reward: int) -> None:
        """Update the arm and the click model."""
        self._policy.update(arm, reward)
        self._model.learn_one(x, bool(reward))


class Contextual:
    """A logistic regression per arm; the best one is chosen, now and then another."""

    def __init__(self, actions: int) -> None:
        self._models = [_model() for _ in range(actions)]
        self._random = random.Random(7)

    def choose(self, x: Context) -> int:
        """Choose the arm with the largest predicted click rate, or explore."""
        if self._random.random() < EXPLORE:
            return self._random.randrange(len(self._models))
        chances = [model.predict_proba_one(x).get(True, 0.5) for model in self._models]
        return chances.index(max(chances))

    def learn(self, arm: int, x: Context, reward: int) -> None:
        """Update the arm's model."""
        self._models[arm].learn_one(x, bool(reward))


def _model() -> Any:
    return preprocessing.StandardScaler() | linear_model.LogisticRegression()


class Learner:
    """Decisions, clicks and a policy, one update per decision.

    A decision that was seen counts as a failure when ``window`` seconds have passed without a
    click. There are no propensities, no protection against duplicates and no state that survives a
    crash, and a click that comes before its decision is lost.
    """

    def __init__(self, actions: int, window: float, contextual: bool = False) -> None:
        self._names = [f"hero-{place:02d}" for place in range(actions)]
        self._policy: Policy = Contextual(actions) if contextual else Plain(actions)
        self._window = window
        self._open: dict[str, tuple[int, dict[str, float]]] = {}
        self._seen: deque[tuple[float, str]] = deque()
        self.rewards = self.lost = self.learned = 0

    def decide(self, decision_id: str, context: dict[str, Any]) -> str:
        """Choose an action, and remember the decision."""
        x = numbers(context)
        arm = self._policy.choose(x)
        self._open[decision_id] = (arm, x)
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
        self._policy.learn(arm, x, reward)
        self.learned += 1
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
