"""Decide: score micro-batches of requests and draw an action from each probability vector."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import bytewax.operators as op
import numpy as np
import orjson
from bytewax.dataflow import operator
from bytewax.operators import KeyedStream
from msgspec import Raw
from numpy.typing import NDArray

from operators.batches import NEVER, Batch, Event, Message, PolicyNews, Rejected, micros, moment
from operators.io import metrics
from operators.logic import draws
from operators.logic.features import FeatureMap, action_matrix
from operators.logic.policies import Posterior, make_policy
from operators.logic.propensity import choose, mix
from operators.queue import Ready, queue
from schemas.catalog import Slot
from schemas.codec import encode
from schemas.events import Decision
from schemas.settings import Settings

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Decided:
    """Encoded decisions keyed by their shard, and the requests that were refused."""

    decisions: KeyedStream[list[Message]]
    rejected: KeyedStream[list[Rejected]]


@dataclass(frozen=True, slots=True)
class Votes:
    """The probability vectors of a group of requests over ``action_ids``.

    ``given`` is what each action is drawn from (the hold-out's vector or the policy's); ``logged``
    the probability over all of the randomisation that is logged as propensity.
    """

    action_ids: tuple[str, ...]
    given: Floats
    logged: Floats
    eta: Floats
    held_out: NDArray[np.bool_]


class Scorer:
    """Scores the ready requests of a worker: one matrix per slot and policy version."""

    def __init__(self, secret: bytes) -> None:
        self._secret = secret
        self._maps: dict[str, tuple[Slot, FeatureMap]] = {}
        self._priors: dict[str, tuple[int, PolicyNews]] = {}

    def score(self, items: list[tuple[str, Ready]]) -> Iterable[tuple[str, list[Message]]]:
        """Decide every request of ``items``; messages come back under their shard's key."""
        groups: dict[tuple[str, int, int], list[Ready]] = defaultdict(list)
        for _, ready in items:
            groups[_policy_of(ready)].append(ready)
        messages: dict[str, list[Message]] = defaultdict(list)
        for group in groups.values():
            self._decide(group, messages)
        return messages.items()

    def feature_map(self, slot: Slot) -> FeatureMap:
        """Give the slot's compiled feature mapping."""
        kept = self._maps.get(slot.slot_id)
        if kept is None or kept[0] is not slot:
            kept = self._maps[slot.slot_id] = (slot, FeatureMap(slot.features))
        return kept[1]

    def _decide(self, group: list[Ready], messages: dict[str, list[Message]]) -> None:
        first = group[0]
        slot = first.slot
        events = [event for ready in group for event in ready.events]
        candidates = [names for ready in group for names in ready.candidates]
        contents = [content for ready in group for content in ready.contents]
        mapping = self.feature_map(slot)
        x = mapping.encode(
            [event.body.context for event in events],
            [event.profile for event in events],
            [event.embedding for event in events],
            [event.at for event in events],
        )
        news = first.news or self._prior(first, mapping.dim)
        votes = self._vote(slot, news.posterior, x, events, candidates)
        uniforms = draws.uniforms(
            self._secret,
            slot.slot_id,
            [event.subject for event in events],
            [event.body.decision_id for event in events],
            "action",
        )
        chosen = choose(votes.given, uniforms)
        records = self._records(slot, news, votes, chosen, uniforms, x, mapping, events, contents)
        for event, record in zip(events, records, strict=True):
            messages[str(event.origin.partition)].append(Message(event.key, None, encode(record)))
        _observe(slot, news, votes, chosen, events)

    def _vote(
        self,
        slot: Slot,
        posterior: Posterior,
        x: Floats,
        events: list[Event],
        candidates: Sequence[list[str] | None],
    ) -> Votes:
        raise NotImplementedError
