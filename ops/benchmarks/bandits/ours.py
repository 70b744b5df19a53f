"""Our policies as learners of the benchmark, with rewards at once or late."""

import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from operators.logic.deciding.propensity import choose
from operators.logic.policies import Deltas, make_policy
from ops.benchmarks.bandits.delays import exposure_count
from ops.benchmarks.bandits.environments import Stream
from ops.benchmarks.bandits.runner import Run

Floats = NDArray[np.float64]
Indices = NDArray[np.intp]


class Ours:
    """One of our policies: propensities computed, actions drawn from them, published per batch."""

    def __init__(
        self,
        kind: str,
        stream: Stream,
        params: Mapping[str, Any] | None = None,
        batch: int = 250,
        seed: int = 0,
    ) -> None:
        self.batch = batch
        self.policy = make_policy(kind, params, stream.x.shape[1])
        self.names = [f"a{i:03}" for i in range(stream.actions)]
        self.policy.set_actions(self.names, stream.item_features)
        self.posterior = self.policy.publish()
        self._rng = np.random.default_rng([66, seed])
        self._now = 0.0
        self.eta = np.zeros(0)

    def choose(self, x: Floats) -> Indices:
        """Weigh, then draw."""
        weights = self.posterior.weigh(x)
        actions = choose(weights.p, self._rng.random(len(x)))
        self.eta = weights.eta[np.arange(len(x)), actions]
        return actions

    def learn(self, x: Floats, actions: Indices, rewards: Floats) -> None:
        """Learn one decision per second, and publish."""
        n = len(x)
        when = self._now + np.arange(n, dtype=float)
        self._now += n
        self.teach(x, actions, self.eta, when, np.ones(n), rewards)
        self.posterior = self.policy.publish()

    def teach(
        self, x: Floats, actions: Sequence[int] | Indices, eta: Floats, when: Floats,
        count_delta: Floats, reward_delta: Floats,
    ) -> None:  # fmt: skip
        """Learn contribution changes."""
        ids = [self.names[action] for action in actions]
        self.policy.learn(
            Deltas(
                action_ids=ids,
                x=x,
                eta=eta,
                time=when,
                count_delta=count_delta,
                reward_delta=reward_delta,
            )
        )


class Sampled(Ours):
    """One of our contextual policies without propensities: plain Thompson draws."""

    def choose(self, x: Floats) -> Indices:
        """Score, draw and take the best."""
        eta, width = self.posterior.score(x)  # type: ignore[attr-defined]
        alpha = 0.5
        drawn = eta + alpha * width * self._rng.standard_normal(eta.shape)
        actions: Indices = drawn.argmax(axis=1)
        self.eta = eta[np.arange(len(x)), actions]
        return actions


def run_delayed(
    learner: Ours, stream: Stream, delay: Floats, mode: str, seed: int, window: float
) -> Run:
    """Run one of our policies where clicks come late, and after ``window`` seconds never.

    ``mode`` is the slot's learning mode: a decision counts at once, when its click or the window's
    end comes, or by the share of clicks that would have come by now.
    """
    n, batch = len(stream.x), learner.batch
    worth = np.empty(n)
    actions = np.empty(n, dtype=np.intp)
    eta = np.empty(n)
    clicked = np.zeros(n, dtype=bool)
    counted = np.zeros(n)
    due: list[list[Indices]] = [[] for _ in range(n // batch + 2)]
    began = time.process_time()
    for index, start in enumerate(range(0, n, batch)):
        rows = np.arange(start, min(start + batch, n))
        x = stream.x[rows]
        actions[rows] = learner.choose(x)
        eta[rows] = learner.eta
        true = stream.p[rows, actions[rows]]
        worth[rows] = true
        clicks = rows[(stream.u[rows] < true) & (delay[rows] <= window)]
        clicked[clicks] = True
        arrival = (clicks + delay[clicks]) // batch
        for slot in np.unique(arrival).astype(int):
            if slot < len(due):
                due[slot].append(clicks[arrival == slot])
        arrived = np.concatenate([*due[index], np.zeros(0, dtype=np.intp)])
        now = float(start + len(rows))
        touched, count_delta, reward_delta = _changes(
            mode, now, window, rows, arrived, counted, clicked, delay
        )
        learner.teach(
            stream.x[touched],
            actions[touched],
            eta[touched],
            touched.astype(float),
            count_delta,
            reward_delta,
        )
        counted[touched] += count_delta
        learner.posterior = learner.policy.publish()
    seconds = time.process_time() - began
    return Run(f"{learner.policy.kind}, {mode}", stream.name, seed, worth, stream.oracle, seconds)


def _changes(
    mode: str,
    now: float,
    window: float,
    new: Indices,
    arrived: Indices,
    counted: Floats,
    clicked: NDArray[np.bool_],
    delay: Floats,
) -> tuple[Indices, Floats, Floats]:
    """Give the decisions whose contribution changes at ``now``, and by how much."""
    if mode == "immediate":
        rows = np.concatenate([new, arrived])
        count_delta = np.concatenate([np.ones(len(new)), np.zeros(len(arrived))])
        reward_delta = np.concatenate([np.zeros(len(new)), np.ones(len(arrived))])
        return rows, count_delta, reward_delta
    first = max(0, int(now - window) - 2 * len(new))
    open_rows = np.arange(first, int(now))
    answered = clicked[open_rows] & (open_rows + delay[open_rows] < now)
    age = np.asarray(now - open_rows, dtype=float)
    known = exposure_count(mode, age, answered, window, float(window / 3.0))
    count_delta = known - counted[open_rows]
    rewarded = (
        (count_delta > 0) & clicked[open_rows] if mode == "wait" else np.isin(open_rows, arrived)
    )
    touched = (np.abs(count_delta) > 1e-12) | rewarded
    return open_rows[touched], count_delta[touched], rewarded[touched].astype(float)
