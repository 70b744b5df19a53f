"""Our automatic mode as a learner of rankings, untuned: whatever JSON comes, by the defaults."""

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from operators.logic.deciding.draws import point_keys
from operators.logic.deciding.joint_propensity import joint_probabilities
from operators.logic.deciding.propensity import choose, mix
from operators.logic.features.auto import ActionEncodings, AutoEncoder
from operators.logic.features.crossing import Crossing, Workspace, crossed
from operators.logic.policies import Deltas
from operators.logic.policies.shared import Shared
from ops.benchmarks.bandits.ranking.learners import Decisions
from ops.benchmarks.bandits.ranking.requests import Environment, Floats, Requests
from schemas.catalog import AutoFeatures, PolicySettings

BATCH = 50
"""Requests of a turn at most."""

PUBLISH_SHARE, PUBLISH_DECISIONS = 0.05, 500
"""Of the decisions learned from, how many must be new for the next publication, and how many do."""

PUBLISH_COLUMNS = 32
"""And how many columns may have been seen for each: the flow rests after long publications."""

ENCODED_BYTES = 64_000_000
"""What remembered encodings of actions may take."""

_SECRET = b"ranking"


class SharedRanking:
    """Encodes, crosses, scores, computes the probabilities that it draws from, and learns.

    As the flow does it, the policy is published after ``publish_rewards`` decisions' rewards or
    ``publish_interval`` seconds of event time, whichever is less; for the sake of the benchmark's
    own time after no fewer than ``PUBLISH_SHARE`` of all or ``PUBLISH_DECISIONS``, and no fewer
    than one for ``PUBLISH_COLUMNS`` columns: what a publication costs grows with these, what it
    adds shrinks.
    Requests between two publications are decided together, up to ``BATCH``.
    """

    def __init__(
        self, environment: Environment, seed: int, params: Mapping[str, Any] | None = None
    ) -> None:
        settings = AutoFeatures()
        self._k = environment.candidates
        self._encoder = AutoEncoder(settings)
        self._encodings = ActionEncodings(self._encoder, ENCODED_BYTES)
        self._crossing = Crossing(settings)
        self._workspace = Workspace()
        self._policy = Shared(params, self._crossing.width)
        self._posterior = self._policy.publish()
        settings_of_policy = PolicySettings()
        self._publish_rewards = settings_of_policy.publish_rewards
        self._publish_interval = settings_of_policy.publish_interval
        self._published_at = -np.inf
        self._rng = np.random.default_rng([47, seed])
        self._decided = self._unpublished = 0
        self._chosen = self._crossing.operands([], [])
        self._eta = np.zeros(0)

    @property
    def batch(self) -> int:
        """How many requests are decided together: no more than the next publication waits for."""
        return max(1, min(BATCH, math.ceil(self._least()) - self._unpublished))

    def decide(self, requests: Requests) -> Decisions:
        """Weigh each request's candidates, then draw."""
        n = len(requests)
        contexts = [self._encoder.encode(context) for context in requests.contexts]
        encode = self._encodings.encode
        candidates = [[encode(a["features"]) for a in actions] for actions in requests.actions]
        operands = self._crossing.operands(contexts, candidates)
        scores = self._posterior.joint(
            operands, [a["id"] for actions in requests.actions for a in actions]
        )
        ids = [str(self._decided + i) for i in range(n)]
        self._decided += n
        keys = point_keys(_SECRET, "ranking", ids, ids)
        p = joint_probabilities(replace(scores, keys=keys))
        mixed = mix(p.reshape(n, self._k))
        chosen = choose(mixed, self._rng.random(n))
        taken = [[some[i]] for some, i in zip(candidates, chosen.tolist(), strict=True)]
        self._chosen = self._crossing.operands(contexts, taken)
        self._eta = scores.mean[np.arange(n) * self._k + chosen]
        return Decisions(mixed, chosen)

    def learn(self, requests: Requests, decisions: Decisions, rewards: Floats) -> None:
        """Learn a turn's rewards; publish where enough have come."""
        n = len(requests)
        chosen = zip(requests.actions, decisions.chosen.tolist(), strict=True)
        self._policy.learn(
            Deltas(
                action_ids=[actions[i]["id"] for actions, i in chosen],
                x=np.zeros((n, 0)),
                eta=self._eta,
                time=requests.times,
                count_delta=np.ones(n),
                reward_delta=rewards,
                rows=crossed(self._chosen, self._workspace),
            )
        )
        self._unpublished += n
        now = float(requests.times[-1])
        is_due = (
            self._unpublished >= self._publish_rewards
            or now - self._published_at >= self._publish_interval
        )
        if is_due and self._unpublished >= self._least():
            self._posterior, self._unpublished = self._policy.publish(), 0
            self._published_at = now

    def _least(self) -> float:
        """Give how many decisions a publication must add."""
        return max(
            min(PUBLISH_SHARE * self._decided, PUBLISH_DECISIONS),
            len(self._policy.moments.columns) / PUBLISH_COLUMNS,
        )
