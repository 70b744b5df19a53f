"""Learn: one learner per slot takes in every shard's updates and publishes what it knows."""

from collections.abc import Callable
from dataclasses import dataclass

import bytewax.operators as op
from bytewax.dataflow import operator
from bytewax.operators import KeyedStream

from operators.io.metrics.learner import LearnerMetrics
from operators.learner import LearnerLogic, resumed
from operators.logic.models import CanonicalOrder
from operators.logic.policies.published import PublishedPolicy
from operators.logic.policy_versions import first_version
from operators.streams import split
from operators.updates import LearnerUpdate
from schemas.clock import Clock
from schemas.results import PolicyCheckpoint, PolicySnapshot


@dataclass(frozen=True)
class Learned:
    """Policies for the scoring shards; snapshots and checkpoints for the outside; by slot."""

    policies: KeyedStream[PublishedPolicy]
    snapshots: KeyedStream[PolicySnapshot]
    checkpoints: KeyedStream[PolicyCheckpoint]


@operator
def learn(
    step_id: str,
    up: KeyedStream[LearnerUpdate],
    shards: int,
    executions: int,
    clock: Clock,
    metrics: LearnerMetrics,
    published: Callable[[str], int],
) -> Learned:
    """Learn each slot's policy and click model from the updates of every shard.

    ``up`` is keyed by slot. The statistics do not depend on the order of updates. When a policy is
    published, :mod:`operators.logic.publish_rule` says. ``executions`` counts the executions of the
    flow before this one: versions rise with it. ``published`` gives the highest version of a slot
    that readers may have, for a learner that begins without state. A learner is forgotten, and its
    policy withdrawn, once every shard that it has heard of says that the slot departed.
    """

    def shim_builder(resume_state: bytes | None) -> LearnerLogic:
        if resume_state is None:
            return LearnerLogic(
                order=CanonicalOrder(shards),
                clock=clock,
                metrics=metrics,
                version=first_version(executions),
                published=published,
            )
        return resumed(resume_state, clock, metrics, executions)

    learned = op.stateful_batch("slot", up, shim_builder)
    policies, others = split("published", learned, PublishedPolicy)
    snapshots, checkpoints = split("snapshots", others, PolicySnapshot)
    return Learned(policies, snapshots, checkpoints)
