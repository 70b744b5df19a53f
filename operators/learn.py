"""Learn: one learner per slot takes in every shard's lessons and publishes what it knows."""

import base64
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

import bytewax.operators as op
import numpy as np
from bytewax.dataflow import operator
from bytewax.operators import KeyedStream, StatefulBatchLogic
from msgspec import Struct

from operators.io.metrics.learner import LearnerMetrics
from operators.logic.features import FeatureMap, scaled_columns
from operators.logic.models import CanonicalOrder, ClickModel
from operators.logic.policies import Deltas, Policy, load_policy
from operators.logic.policies.published import PublishedPolicy
from operators.logic.policies.settled import Settled
from operators.logic.settlements import Settlements, in_order
from operators.logic.slot_policy import name_actions, new_policy, policy_dim, policy_shape
from operators.streams import of_type
from operators.updates import PosteriorUpdate
from schemas.catalog import Action, Slot
from schemas.clock import ALWAYS, NEVER, Clock, moment
from schemas.results import PolicyCheckpoint, PolicySnapshot
from schemas.state import pack, unpack

_KIND, _VERSION = "learner", 2

SNAPSHOT_INTERVAL = 1_000_000
"""Microseconds of event time between the snapshots that leave the dataflow."""

CHECKPOINT_INTERVAL = 30_000_000
"""Microseconds of event time between the checkpoints of settled decisions."""

_PART = 30_000
"""Characters of a checkpoint in one record: a text of this size is bound like any other."""

GENERATION = 1 << 16
"""Versions jump to a multiple of this when the log shows higher ones than the learner's own."""


@dataclass(frozen=True)
class Learned:
    """Posteriors for the scoring shards; snapshots and checkpoints for the outside; by slot."""

    news: KeyedStream[PublishedPolicy]
    snapshots: KeyedStream[PolicySnapshot]
    checkpoints: KeyedStream[PolicyCheckpoint]


_Out = PublishedPolicy | PolicySnapshot | PolicyCheckpoint


class LearnerState(Struct):
    """What a snapshot keeps."""

    slot: Slot
    actions: list[Action]
    policy: bytes
    model: bytes
    order: bytes
    version: int
    newest: int
    decisions: float
    rewards: float
    fresh: int
    published: int
    exported: int
    settled: bytes
    settled_decisions: float
    settled_rewards: float
    checkpointed: int


@dataclass
class LearnerLogic(StatefulBatchLogic[PosteriorUpdate, _Out, bytes]):
    """One slot's learner.

    It publishes after ``publish_rewards`` rewards or ``publish_interval`` seconds of event time,
    and, where no further lesson comes, when that interval has passed on the clock.
    """

    order: CanonicalOrder
    clock: Clock
    slot: Slot | None = None
    actions: tuple[Action, ...] = ()
    policy: Policy | None = None
    model: ClickModel | None = None
    version: int = 0
    newest: int = NEVER
    decisions: float = 0.0
    rewards: float = 0.0
    fresh: int = 0
    published: int = NEVER
    exported: int = NEVER
    settled: Settled | None = None
    checkpointed: int = NEVER
    dirty: bool = False
    wake: datetime | None = None
    metrics: LearnerMetrics = field(default_factory=LearnerMetrics)
    _fingerprint: str | None = None

    @property
    def fingerprint(self) -> str:
        """Name the features that the policy learns from."""
        if self._fingerprint is None:
            assert self.slot is not None
            self._fingerprint = FeatureMap(self.slot.features).logged_fingerprint
        return self._fingerprint

    def on_batch(self, values: list[PosteriorUpdate]) -> tuple[Iterable[_Out], bool]:
        """Add the lessons to the statistics and publish when it is time."""
        self._configure(values[-1].slot, values[-1].actions)
        self._learn(values)
        for lesson in values:
            self.fresh += lesson.rewards
            self.newest = max(self.newest, lesson.newest)
            self.version = continued(self.version, lesson.version)
        self._model(values)
        return [*self._publish_if_due(), *self._checkpoint_if_due()], StatefulBatchLogic.RETAIN

    def on_notify(self) -> tuple[Iterable[_Out], bool]:
        """Publish what no further lesson came to publish, and the state after a restart."""
        over = self.wake is not None and self.wake <= self.clock()  # it may be an earlier call
        return self._publish(export=True) if over else (), StatefulBatchLogic.RETAIN

    def notify_at(self) -> datetime | None:
        """Ask to be woken when something learned is not published yet."""
        if self.dirty and self.wake is None and self.slot is not None:
            wait = timedelta(seconds=self.slot.policy.publish_interval)
            self.wake = self.clock() + wait
        return self.wake

    def snapshot(self) -> bytes:
        """Keep the statistics, the click model and the publication counters."""
        assert self.slot is not None
        assert self.policy is not None
        assert self.model is not None
        assert self.settled is not None
        state = LearnerState(
            self.slot,
            list(self.actions),
            self.policy.dump(),
            self.model.dump(),
            self.order.dump(),
            self.version,
            self.newest,
            self.decisions,
            self.rewards,
            self.fresh,
            self.published,
            self.exported,
            self.settled.policy.dump(),
            self.settled.decisions,
            self.settled.rewards,
            self.checkpointed,
        )
        return pack(_KIND, _VERSION, state)

    def _configure(self, slot: Slot, actions: tuple[Action, ...]) -> None:
        """Follow the catalog; another kind of policy, its parameters or features start anew."""
        if slot == self.slot and actions == self.actions:  # each shard has its own tuple of them
            return
        dim = policy_dim(slot, FeatureMap(slot.features))
        if self.policy is None or self.model is None or _differs(self.slot, slot):
            self.policy = new_policy(slot, actions, dim)
            self.settled = Settled(new_policy(slot, actions, dim))
            self.model = ClickModel(dim, scaled=scaled_columns(slot.features))
            self.decisions = self.rewards = 0.0
        else:
            name_actions(self.policy, slot, actions)
        self.slot, self.actions, self.dirty, self._fingerprint = slot, actions, True, None

    def _learn(self, lessons: Iterable[PosteriorUpdate]) -> None:
        """Learn what has the policy's features; decisions of an earlier feature spec have not."""
        assert self.policy is not None
        assert self.slot is not None
        parts = []
        for lesson in lessons:
            if lesson.deltas is None:
                continue
            fitted = with_features(lesson.deltas, self.policy.dim)
            if lesson.fingerprint not in (self.fingerprint, ""):
                self.metrics.ignored(self.slot.slot_id, "other_features", len(lesson.deltas))
            elif fitted is None:
                self.metrics.ignored(self.slot.slot_id, "other_width", len(lesson.deltas))
            else:
                parts.append(fitted)
        if not parts:
            return
        deltas = parts[0] if len(parts) == 1 else joined(parts)
        self.policy.learn(deltas)
        self.decisions += float(deltas.count_delta.sum())
        self.rewards += float(deltas.reward_delta.sum())
        self.dirty = True

    def _model(self, lessons: Iterable[PosteriorUpdate]) -> None:
        assert self.model is not None
        assert self.slot is not None
        assert self.settled is not None
        blocks: list[Settlements] = []
        for lesson in lessons:  # complete before its watermark: up to and including the last moment
            blocks += self.order.add(lesson.shard, lesson.watermark - 1, lesson.settled)
        known = (block for block in blocks if block.fingerprint in (self.fingerprint, ""))
        fitted = (block.fitted(self.model.dim) for block in known)
        ready = in_order(block for block in fitted if block is not None)
        if ready is None:
            return
        self.settled.learn(ready)
        if self.model.learn(ready):
            self.metrics.model(self.slot.slot_id, self.model.report())

    def _checkpoint_if_due(self) -> list[PolicyCheckpoint]:
        """Give what settled decisions have taught, now and then; nothing of pending ones."""
        reached = self.order.watermark
        if not self.checkpointed + CHECKPOINT_INTERVAL <= reached < ALWAYS - 1:
            return []
        self.checkpointed = reached
        return self._checkpoint(reached)

    def _checkpoint(self, reached: int) -> list[PolicyCheckpoint]:
        assert self.slot is not None
        assert self.model is not None
        assert self.settled is not None
        settled = self.settled
        policy = settled.policy.dump()
        state = LearnerState(
            self.slot,
            list(self.actions),
            policy,
            self.model.dump(),
            self.order.passed(),
            self.version,
            min(self.newest, reached),
            settled.decisions,
            settled.rewards,
            0,
            NEVER,
            NEVER,
            policy,
            settled.decisions,
            settled.rewards,
            reached,
        )
        text = base64.b64encode(pack(_KIND, _VERSION, state)).decode()
        parts = [text[start : start + _PART] for start in range(0, len(text), _PART)]
        return [
            PolicyCheckpoint(
                slot_id=self.slot.slot_id,
                time=moment(reached),
                version=self.version,
                generation=reached // CHECKPOINT_INTERVAL % 2,
                part=number,
                parts=len(parts),
                decisions=settled.decisions,
                rewards=settled.rewards,
                state=part,
            )
            for number, part in enumerate(parts)
        ]

    def _publish_if_due(self) -> list[PublishedPolicy | PolicySnapshot]:
        assert self.slot is not None
        settings = self.slot.policy
        waited = self.newest - self.published >= settings.publish_interval * 1e6
        due = self.dirty and (self.fresh >= settings.publish_rewards or waited)
        return self._publish(export=False) if due else []

    def _publish(self, *, export: bool) -> list[PublishedPolicy | PolicySnapshot]:
        assert self.slot is not None
        assert self.policy is not None
        self.version += 1
        self.fresh, self.published, self.dirty, self.wake = 0, self.newest, False, None
        posterior = self.policy.publish()
        kind = self.slot.policy.kind
        news = PublishedPolicy(
            slot_id=self.slot.slot_id,
            kind=kind,
            version=self.version,
            newest=self.newest,
            posterior=posterior,
            shape=policy_shape(self.slot),
        )
        if not export and self.newest - self.exported < SNAPSHOT_INTERVAL:
            return [news]
        self.exported = self.newest
        return [news, self._describe(news)]

    def _describe(self, news: PublishedPolicy) -> PolicySnapshot:
        assert self.model is not None
        actions = news.posterior.summary()
        self.metrics.actions(news.slot_id, actions)
        return PolicySnapshot(
            slot_id=news.slot_id,
            policy=news.kind,
            version=news.version,
            time=moment(max(news.newest, 0)),
            decisions=self.decisions,
            rewards=self.rewards,
            actions=actions,
            posterior=base64.b64encode(news.posterior.dump()).decode(),
            published_at=self.clock(),
            models=self.model.report(),
        )


def continued(version: int, seen: int) -> int:
    """Give the version to go on from when the log shows decisions of version ``seen``.

    A higher one than the learner's own comes from a life that its state does not remember (a lost
    recovery store, or the end of an epoch that a crash undid): versions then go on above whatever
    that life may have published, so that they rise for every reader, for ever.

    >>> continued(7, 7), continued(7, 9), continued(70_000, 200_000)
    (7, 65536, 262144)
    """
    return version if seen <= version else (seen // GENERATION + 1) * GENERATION


def _differs(old: Slot | None, new: Slot) -> bool:
    return old is None or policy_shape(old) != policy_shape(new)


def pack_learner(state: LearnerState) -> bytes:
    """Write a learner's snapshot."""
    return pack(_KIND, _VERSION, state)


def unpack_learner(snapshot: bytes) -> LearnerState:
    """Read what a learner's snapshot keeps."""
    return unpack(_KIND, _VERSION, LearnerState, snapshot)


def _resume(snapshot: bytes, clock: Clock, metrics: LearnerMetrics) -> LearnerLogic:
    state = unpack_learner(snapshot)
    return LearnerLogic(
        CanonicalOrder.load(state.order),
        clock,
        state.slot,
        tuple(state.actions),
        load_policy(state.policy),
        ClickModel.load(state.model),
        state.version,
        state.newest,
        state.decisions,
        state.rewards,
        state.fresh,
        state.published,
        state.exported,
        Settled(load_policy(state.settled), state.settled_decisions, state.settled_rewards),
        state.checkpointed,
        dirty=True,
        wake=clock(),
        metrics=metrics,
    )


def with_features(deltas: Deltas, dim: int) -> Deltas | None:
    """Give deltas with ``dim`` features: without any logged, the intercept alone; else None."""
    given = deltas.x.shape[1]
    if given == dim:
        return deltas
    if given:
        return None
    x = np.zeros((len(deltas), dim))
    x[:, :1] = 1.0
    return replace(deltas, x=x)


def joined(parts: Sequence[Deltas]) -> Deltas:
    """Join micro-batches of one slot into one."""
    return Deltas(
        action_ids=[name for part in parts for name in part.action_ids],
        x=np.concatenate([part.x for part in parts]),
        eta=np.concatenate([part.eta for part in parts]),
        time=np.concatenate([part.time for part in parts]),
        count_delta=np.concatenate([part.count_delta for part in parts]),
        reward_delta=np.concatenate([part.reward_delta for part in parts]),
    )


@operator
def learn(
    step_id: str,
    up: KeyedStream[PosteriorUpdate],
    shards: int,
    clock: Clock,
    metrics: LearnerMetrics,
) -> Learned:
    """Learn each slot's policy and click model from the lessons of every shard.

    The statistics do not depend on the order of lessons. After a restart a learner publishes at
    once what it knew, since the scoring shards wait for it.
    """

    def shim_builder(resume_state: bytes | None) -> LearnerLogic:
        if resume_state is None:
            return LearnerLogic(CanonicalOrder(shards), clock, metrics=metrics)
        return _resume(resume_state, clock, metrics)

    learned = op.stateful_batch("slot", up, shim_builder)
    return Learned(
        of_type("news", learned, PublishedPolicy),
        of_type("snapshots", learned, PolicySnapshot),
        of_type("checkpoints", learned, PolicyCheckpoint),
    )
