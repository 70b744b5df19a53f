"""What settled decisions alone have taught: statistics that say exactly which decisions they hold.

A learner's own statistics hold parts of pending decisions, which depend on the moment. Those of
settled decisions hold the whole of every decision whose reward window had closed by one time, and
nothing of the others: a start from them needs no more than that time.
"""

from collections.abc import Sequence

import numpy as np

from operators.logic.features import packed_length, unpack_rows
from operators.logic.policies import Deltas, Policy
from schemas.clock import micros
from schemas.results import Outcome


class Settled:
    """A slot's policy as its settled decisions alone would have taught it, with their totals."""

    def __init__(self, policy: Policy, decisions: float = 0.0, rewards: float = 0.0) -> None:
        self.policy = policy
        self.decisions = decisions
        self.rewards = rewards

    def learn(self, outcomes: Sequence[Outcome]) -> None:
        """Take in outcomes, each once; those that do not count teach nothing."""
        deltas = deltas_of(outcomes, self.policy.dim)
        if not len(deltas):
            return
        self.policy.learn(deltas)
        self.decisions += len(deltas)
        self.rewards += float(deltas.dr.sum())


def deltas_of(outcomes: Sequence[Outcome], dim: int) -> Deltas:
    """Give the whole contributions of settled outcomes whose features are ``dim`` numbers.

    >>> len(deltas_of([], 2))
    0
    """
    taken = [each for each in outcomes if each.status == "settled" and _fits(each, dim)]
    rows = [each.features for each in taken]
    return Deltas(
        [each.action_id for each in taken],
        unpack_rows(rows, dim) if dim else np.zeros((len(taken), 0)),
        np.array([each.eta for each in taken]),
        np.array([micros(each.time) / 1e6 for each in taken]),
        np.ones(len(taken)),
        np.array([each.reward for each in taken]),
    )


def _fits(outcome: Outcome, dim: int) -> bool:
    return outcome.features is None or len(outcome.features) == packed_length(dim)
