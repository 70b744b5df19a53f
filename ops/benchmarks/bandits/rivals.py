"""Other libraries as learners on the same streams; each is optional."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ops.benchmarks.bandits.environments import Stream

Floats = NDArray[np.float64]
Indices = NDArray[np.intp]


class VowpalWabbit:
    """``cb_explore_adf`` through the Python interface, one event at a time.

    The context is namespace C and the action's identity namespace A, crossed; ``items`` adds the
    item features as namespace I, crossed with C too. The rate is logged with the label, as VW's
    own examples do. An event's examples are parsed once, predicted, labelled and learned: the same
    choices as with text each time, and up to 1.5 times as fast. With ``twice`` the text is parsed
    again to learn it, as where the reward comes later and the examples are not kept.
    """

    batch = 1

    def __init__(
        self, stream: Stream, options: str, seed: int, items: bool = False, twice: bool = False
    ) -> None:
        from vowpalwabbit import Workspace

        crossed = "-q CA" + (" -q CI" if items else "")
        self._vw = Workspace(f"--cb_explore_adf {options} {crossed} --quiet --random_seed {seed}")
        self._rng = np.random.default_rng([44, seed])
        self._actions = [f"|A a{i}" for i in range(stream.actions)]
        if items and stream.item_features is not None:
            self._actions = [
                f"{line} |I " + " ".join(f"f{j}:{value:.5g}" for j, value in enumerate(row))
                for line, row in zip(self._actions, stream.item_features, strict=True)
            ]
        self._twice = twice
        self._context = ""
        self._examples: Any = None
        self._p: list[float] = []

    def choose(self, x: Floats) -> Indices:
        """Predict the distribution and draw from it."""
        row = x[0]
        used = np.flatnonzero(row)
        self._context = "shared |C " + " ".join(f"x{j}:{row[j]:.5g}" for j in used)
        lines = [self._context, *self._actions]
        self._examples = lines if self._twice else self._vw.parse(lines)
        self._p = self._vw.predict(self._examples)
        cumulative = np.cumsum(self._p)
        drawn = np.searchsorted(cumulative, self._rng.random() * cumulative[-1], side="right")
        return np.array([min(int(drawn), len(self._p) - 1)])

    def learn(self, x: Floats, actions: Indices, rewards: Floats) -> None:  # noqa: ARG002
        """Learn the cost of what was shown."""
        action = int(actions[0])
        label = f"0:{-rewards[0]:g}:{max(self._p[action], 1e-6):.6g}"
        if self._twice:
            lines = self._actions.copy()
            lines[action] = f"{label} {lines[action]}"
            self._vw.learn([self._context, *lines])
            return
        self._examples[action + 1].set_label_string(label)
        self._vw.learn(self._examples)
        self._vw.finish_example(self._examples)


class MabWiser:
    """mabwiser's linear Thompson sampling or UCB (Beta Thompson sampling without context)."""

    batch = 1000

    def __init__(self, stream: Stream, policy: str, alpha: float, seed: int) -> None:
        from mabwiser.mab import MAB, LearningPolicy

        policies = {
            "LinTS": lambda: LearningPolicy.LinTS(alpha),
            "LinUCB": lambda: LearningPolicy.LinUCB(alpha),
            "Thompson": lambda: LearningPolicy.ThompsonSampling(),
        }
        chosen = policies[policy]()
        self._mab = MAB(list(range(stream.actions)), chosen, seed=seed)
        self._rng = np.random.default_rng([45, seed])
        self._fitted = False
        self._n = stream.actions

    def choose(self, x: Floats) -> Indices:
        """Predict; at random before anything was fitted."""
        if not self._fitted:
            return self._rng.integers(self._n, size=len(x))
        if not x.shape[1]:
            return np.array([self._mab.predict() for _ in range(len(x))], dtype=np.intp)
        chosen = self._mab.predict(x)
        return np.atleast_1d(np.asarray(chosen, dtype=np.intp))

    def learn(self, x: Floats, actions: Indices, rewards: Floats) -> None:
        """Fit the batch."""
        fit = self._mab.partial_fit if self._fitted else self._mab.fit
        fit(decisions=actions, rewards=rewards, contexts=x if x.shape[1] else None)
        self._fitted = True


class BayesianBandits:
    """bayesianbandits' generalised linear model per arm with Thompson sampling."""

    batch = 250

    def __init__(self, stream: Stream, seed: int) -> None:
        from bayesianbandits import Arm, BayesianGLM, ContextualAgent, ThompsonSampling

        arms = [
            Arm(i, learner=BayesianGLM(alpha=1.0, link="logit", random_state=seed + i))
            for i in range(stream.actions)
        ]
        self._agent: Any = ContextualAgent(arms, ThompsonSampling(), random_seed=seed)

    def choose(self, x: Floats) -> Indices:
        """Draw for the batch."""
        return np.array(self._agent.pull(x), dtype=np.intp)

    def learn(self, x: Floats, actions: Indices, rewards: Floats) -> None:
        """Update each arm that was shown."""
        for action in np.unique(actions):
            shown = actions == action
            self._agent.select_for_update(int(action)).update(x[shown], rewards[shown])


class River:
    """A bandit of River, one event at a time."""

    batch = 1

    def __init__(self, stream: Stream, make: Callable[[], Any]) -> None:
        self._policy = make()
        self._arms = list(range(stream.actions))
        self._contextual = stream.x.shape[1] > 0 and hasattr(self._policy, "_bayes_lin_regs")

    def choose(self, x: Floats) -> Indices:
        """Pull."""
        if self._contextual:
            return np.array([self._policy.pull(self._arms, dict(enumerate(x[0].tolist())))])
        return np.array([self._policy.pull(self._arms)])

    def learn(self, x: Floats, actions: Indices, rewards: Floats) -> None:
        """Update."""
        if self._contextual:
            context = dict(enumerate(x[0].tolist()))
            self._policy.update(int(actions[0]), context, float(rewards[0]))
        else:
            self._policy.update(int(actions[0]), bool(rewards[0]))


def river(stream: Stream, seed: int) -> River:
    """Make River's Thompson sampling, or its LinUCB where there is context."""
    from river import bandit, proba

    if stream.x.shape[1]:
        return River(stream, lambda: bandit.LinUCBDisjoint(alpha=0.3, seed=seed))
    return River(stream, lambda: bandit.ThompsonSampling(proba.Beta(1, 20), seed=seed))
