"""A policy learned from settled decisions alone, which says exactly which decisions it holds.

A learner's own statistics hold parts of pending decisions, which depend on the moment. Those of
settled decisions hold the whole of every decision whose reward window had closed by one time, and
nothing of the others: a start from them needs no more than that time.
"""

from collections.abc import Sequence

import numpy as np

from operators.logic.features.auto_rows import AutoRows
from operators.logic.policies import Deltas, Policy
from operators.logic.policies.base import squared
from operators.logic.policies.mean_context import MeanContext
from operators.logic.policies.micro_batches import with_rows
from operators.logic.settlements import Settlements


class SettledPolicy:
    """A slot's policy learned from its settled decisions alone, with their totals."""

    def __init__(
        self,
        policy: Policy,
        decisions: float = 0.0,
        rewards: float = 0.0,
        context: Sequence[float] = (),
    ) -> None:
        self.policy = policy
        self.context = MeanContext(policy.dim, context)
        self.decisions = decisions
        self.rewards = rewards

    def learn(self, settled: Settlements, rows: AutoRows | None = None) -> None:
        """Take in settlements, each once, with as many features as the policy has.

        ``rows`` make those of features without a declaration, where it learns from them.
        """
        deltas = deltas_of(settled)
        for part in with_rows(deltas, rows):
            self.policy.learn(part)
        self.context.learn(deltas)
        self.decisions += len(deltas)
        self.rewards += float(deltas.reward_delta.sum())


def deltas_of(settled: Settlements) -> Deltas:
    """Turn settlements into deltas: each decision counts once, with its final reward."""
    return Deltas(
        action_ids=settled.actions,
        x=settled.x.astype(np.float64),
        eta=settled.eta,
        time=settled.at / 1e6,
        count_delta=np.ones(len(settled)),
        reward_delta=settled.reward,
        square_delta=squared(settled.reward),
        contents=settled.contents or None,
        contexts=settled.contexts or None,
    )
