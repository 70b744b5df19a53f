"""Decide: score micro-batches of requests and draw an action from each probability vector."""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime

import bytewax.operators as op
import numpy as np
from bytewax.dataflow import operator
from bytewax.operators import KeyedStream

from operators.decide.admission import Ready, queue
from operators.decide.decision_encoder import decision_records
from operators.envelope import Message, Rejected
from operators.io.metrics.decisions import DecisionMetrics
from operators.logic.catalog import CatalogedBatch
from operators.logic.deciding.selection import Candidates, Selection, select
from operators.logic.features import FeatureMap
from operators.logic.placement import shard_key
from operators.logic.policies.published import PublishedPolicy
from operators.logic.slot_policy import first_policy, policy_dim, policy_shape
from schemas.catalog import Slot
from schemas.clock import NEVER
from schemas.settings import Settings


@dataclass(frozen=True)
class Decided:
    """Encoded decisions keyed by their shard, and the requests that were refused."""

    decisions: KeyedStream[list[Message]]
    rejected: KeyedStream[list[Rejected]]


class Scorer:
    """Scores the ready requests of a worker: one matrix per slot and policy version."""

    def __init__(self, secret: bytes, metrics: DecisionMetrics) -> None:
        self._secret = secret
        self._metrics = metrics
        self._maps: dict[str, tuple[Slot, FeatureMap]] = {}
        self._firsts: dict[str, tuple[int, PublishedPolicy]] = {}
        self._shapes: dict[str, tuple[Slot, str]] = {}

    def decide(self, items: list[tuple[str, Ready]]) -> Iterable[tuple[str, list[Message]]]:
        """Decide every request of ``items``; messages come back under their shard's key."""
        groups: dict[tuple[str, int, int], list[Ready]] = defaultdict(list)
        for _, ready in items:
            version = ready.news.version if ready.news else -1
            groups[ready.slot.slot_id, version, ready.revision].append(ready)
        messages: dict[str, list[Message]] = defaultdict(list)
        for group in groups.values():
            self._decide(group, messages)
        return messages.items()

    def _decide(self, group: list[Ready], messages: dict[str, list[Message]]) -> None:
        ready = _joined(group)
        mapping = self._feature_map(ready.slot)
        news = ready.news
        if news is None or news.shape != self._shape(ready.slot):
            news = self._first_policy(ready, policy_dim(ready.slot, mapping))
        ballot = _candidates(ready, mapping)
        if mapping.problems:
            self._metrics.feature_problems(ready.slot.slot_id, mapping.problems)
            mapping.problems.clear()
        votes = select(ready.slot, news.posterior, ballot, self._secret)
        now = datetime.now(UTC)
        records = decision_records(ready, news, mapping, ballot, votes, now)
        for event, record in zip(ready.events, records, strict=True):
            messages[shard_key(event.origin.partition)].append(Message(event.key, None, record))
        _observe(self._metrics, ready, news, votes, now)

    def _feature_map(self, slot: Slot) -> FeatureMap:
        kept = self._maps.get(slot.slot_id)
        if kept is None or kept[0] != slot:
            kept = self._maps[slot.slot_id] = (slot, FeatureMap(slot.features))
        return kept[1]

    def _shape(self, slot: Slot) -> str:
        """Name what a posterior for this slot must have been learned under."""
        kept = self._shapes.get(slot.slot_id)
        if kept is None or kept[0] != slot:
            kept = self._shapes[slot.slot_id] = (slot, policy_shape(slot))
        return kept[1]

    def _first_policy(self, ready: Ready, dim: int) -> PublishedPolicy:
        """Give the prior of a slot that has learned nothing yet under its present settings."""
        kept = self._firsts.get(ready.slot.slot_id)
        if kept is None or kept[0] != ready.revision:
            news = first_policy(ready.slot, ready.actions, dim)
            kept = self._firsts[ready.slot.slot_id] = (ready.revision, news)
        return kept[1]


def _joined(group: list[Ready]) -> Ready:
    first = group[0]
    if len(group) == 1:
        return first
    return Ready(
        first.slot,
        first.actions,
        first.revision,
        first.news,
        [event for ready in group for event in ready.events],
        [names for ready in group for names in ready.candidates],
        [content for ready in group for content in ready.contents],
    )


def _candidates(ready: Ready, mapping: FeatureMap) -> Candidates:
    events = ready.events
    x = mapping.encode(
        [event.body.context for event in events],
        [event.profile for event in events],
        [event.embedding for event in events],
        [event.at for event in events],
    )
    return Candidates(
        x,
        _universe(ready),
        ready.candidates,
        [event.subject for event in events],
        [event.body.decision_id for event in events],
    )


def _universe(ready: Ready) -> tuple[str, ...]:
    """Give every action that some request of the group may get."""
    if ready.actions:
        return tuple(action.action_id for action in ready.actions)
    return tuple(sorted({name for names in ready.candidates for name in names or ()}))


def _observe(
    metrics: DecisionMetrics,
    ready: Ready,
    news: PublishedPolicy,
    votes: Selection,
    now: datetime,
) -> None:
    at = now.timestamp() * 1e6
    slot = ready.slot.slot_id
    latencies = [(at - event.origin.time) * 1e-6 for event in ready.events]
    known = news.newest > NEVER
    staleness = [(event.at - news.newest) * 1e-6 for event in ready.events] if known else []
    metrics.decisions(slot, latencies, staleness, news.version)
    eligible = float((votes.logged > 0.0).sum(axis=1).mean())
    first = votes.logged[np.arange(len(votes.chosen)), votes.chosen]
    metrics.choices(slot, votes.action_ids, votes.chosen, first, eligible)


@operator
def decide(
    step_id: str,
    up: KeyedStream[CatalogedBatch],
    policies: KeyedStream[PublishedPolicy],
    settings: Settings,
    metrics: DecisionMetrics,
) -> Decided:
    """Answer each decision request of the batches once, by its slot's newest policy.

    The action is drawn from the computed probability vector, so the logged propensity is exact;
    ``policies`` must reach every shard. For the refusals see :func:`admission.queue`.
    """
    scorer = Scorer(settings.secret.encode(), metrics)
    queued = queue("queue", up, policies, settings, metrics)
    return Decided(op.flat_map_batch("score", queued.ready, scorer.decide), queued.rejected)
