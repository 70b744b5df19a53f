"""Decide: score micro-batches of requests and draw an action from each probability vector."""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple, TypeVar

import bytewax.operators as op
import numpy as np
from bytewax.dataflow import operator
from bytewax.operators import KeyedStream
from msgspec import structs

from operators.decide.admission import RequestGroup, admit_requests
from operators.decide.decision_encoder import decision_messages, decision_records
from operators.decide.divided_requests import SlotExperiments, in_scenarios, weights_of
from operators.decide.request_groups import (
    action_ids_of,
    cut,
    in_candidates,
    in_parts,
    joined,
    names_of,
)
from operators.decide.undeclared_features import UndeclaredFeatures
from operators.envelope import Message, Rejected
from operators.io.metrics.decisions import DecisionMetrics
from operators.io.segments import SEEN, segment_folder
from operators.logic.answer_window import AnswerProgress
from operators.logic.catalog import CatalogedBatch
from operators.logic.deciding.joint_selection import (
    JointDecisions,
    score_jointly,
    select_jointly,
)
from operators.logic.deciding.selection import Candidates, Selection, select
from operators.logic.deciding.variations import mixed
from operators.logic.features import FeatureMap
from operators.logic.placement import shard_key
from operators.logic.policies.published import PublishedPolicy
from operators.logic.policies.shared import SharedPosterior
from operators.logic.slot_policy import first_policy, policy_dim, policy_family
from operators.logic.subject_windows import subject_windows
from schemas.catalog import Slot
from schemas.clock import NEVER, Clock
from schemas.codec import MAX_VALUE_BYTES
from schemas.settings import EventTimeSettings, ExperimentSettings, StateSettings


@dataclass(frozen=True)
class Decided:
    """Encoded decisions keyed by their shard, and the requests that were refused."""

    decisions: KeyedStream[list[Message]]
    rejected: KeyedStream[list[Rejected]]


T = TypeVar("T")

MOST_SLOTS = 1000
"""Slots of which a worker remembers what it needs to decide; it is made anew for others."""


class _SlotTools(NamedTuple):
    """What deciding needs of a slot's record: its feature map, and its posteriors' family.

    ``undeclared`` is what features without a declaration need, None where the slot has none.
    """

    slot: Slot
    feature_map: FeatureMap
    family: str
    undeclared: UndeclaredFeatures | None


class Scorer:
    """Decides the admitted requests of a worker: one matrix per slot and policy version."""

    def __init__(
        self,
        secret: bytes,
        clock: Clock,
        metrics: DecisionMetrics,
        max_value_bytes: int = MAX_VALUE_BYTES,
        answers: AnswerProgress | None = None,
        global_holdout: float = 0.0,
    ) -> None:
        self._secret = secret
        self._clock = clock
        self._metrics = metrics
        self._max_value_bytes = max_value_bytes
        self._answers = answers or AnswerProgress()
        self._global_holdout = global_holdout
        self._tools: dict[str, _SlotTools] = {}
        self._firsts: dict[str, tuple[int, PublishedPolicy]] = {}
        self._experiments: dict[str, tuple[int, SlotExperiments]] = {}

    def decide(self, items: list[tuple[str, RequestGroup]]) -> Iterable[tuple[str, list[Message]]]:
        """Decide every request of ``items``; messages come back under their shard's key."""
        alike: dict[tuple[str, int, int], list[RequestGroup]] = defaultdict(list)
        for _, group in items:
            version = group.policy.version if group.policy else -1
            alike[group.slot.slot_id, version, group.revision].append(group)
        messages: dict[str, list[Message]] = defaultdict(list)
        for groups in alike.values():
            group = joined(groups)
            tools = self._tools_of(group.slot)
            policy = group.policy
            if policy is None or policy.family != tools.family:
                policy = self._first_policy(group, policy_dim(group.slot, tools.feature_map))
            if group.dividing:
                group = self._experiments_of(group).divide(group)
            if tools.undeclared is not None:
                group = tools.undeclared.described(group)
            if isinstance(policy.posterior, SharedPosterior):
                self._decide_jointly(group, policy, tools, messages)
            else:
                for part in in_parts(group):
                    self._decide(part, policy, tools, messages)
            if tools.undeclared is not None and (problems := tools.undeclared.take_problems()):
                self._metrics.feature_problems(group.slot.slot_id, problems)
        for shard, group in items:
            self._answers.answer(shard, len(group.events))
        return messages.items()

    def _decide(
        self,
        group: RequestGroup,
        policy: PublishedPolicy,
        tools: _SlotTools,
        messages: dict[str, list[Message]],
    ) -> None:
        feature_map = tools.feature_map
        candidates = _candidates(group, feature_map)
        if feature_map.problems:
            self._metrics.feature_problems(group.slot.slot_id, feature_map.problems)
            feature_map.problems.clear()
        if group.scenarios:
            selections = [
                select(
                    group.slot,
                    policy.posterior,
                    structs.replace(candidates, eligible=each.eligible),
                    self._secret,
                )
                for each in in_scenarios(group)
            ]
            selection = mixed(selections, weights_of(group))
        else:
            selection = select(group.slot, policy.posterior, candidates, self._secret)
        self._write(group, policy, feature_map, candidates, selection, messages)

    def _decide_jointly(
        self,
        group: RequestGroup,
        policy: PublishedPolicy,
        tools: _SlotTools,
        messages: dict[str, list[Message]],
    ) -> None:
        """Score the candidates of many requests at once; select in parts, as of other policies."""
        for several in in_candidates(group):
            # A request in each of its scenarios has fewer candidates than are counted here.
            scored = [
                (each, self._score_jointly(each, policy, tools))
                for each in (in_scenarios(several) if several.scenarios else (several,))
            ]
            start = 0
            for part in in_parts(several):
                stop = start + len(part.events)
                selections = [
                    select_jointly(
                        part.slot,
                        decisions.cut(start, stop),
                        _who_asks(cut(each, start, stop)),
                        self._secret,
                    )
                    for each, decisions in scored
                ]
                selection = mixed(selections, weights_of(part)) if part.scenarios else selections[0]
                self._write(part, policy, tools.feature_map, _who_asks(part), selection, messages)
                start = stop

    def _score_jointly(
        self, group: RequestGroup, policy: PublishedPolicy, tools: _SlotTools
    ) -> JointDecisions:
        assert tools.undeclared is not None
        assert isinstance(policy.posterior, SharedPosterior)
        return score_jointly(
            group.slot,
            policy.posterior,
            tools.undeclared.operands_of(group, policy.view),
            names_of(group),
            _who_asks(group),
            tools.undeclared.rows_of(policy.view).position_columns,
            self._secret,
        )

    def _write(
        self,
        group: RequestGroup,
        policy: PublishedPolicy,
        feature_map: FeatureMap,
        candidates: Candidates,
        selection: Selection,
        messages: dict[str, list[Message]],
    ) -> None:
        now = self._clock()
        times = [event.at for event in group.events]
        personal = [event.personal for event in group.events]
        visitors = subject_windows(self._secret, group.slot, candidates.subjects, times, personal)
        records = decision_records(
            group, policy, feature_map, candidates, selection, now, self._max_value_bytes, visitors
        )
        for event, message in zip(
            group.events, decision_messages(group.events, records), strict=True
        ):
            messages[shard_key(event.origin.partition)].append(message)
        _observe(self._metrics, group, policy, selection, now)

    def _tools_of(self, slot: Slot) -> _SlotTools:
        tools = self._tools.get(slot.slot_id)
        if tools is None or tools.slot != slot:
            undeclared = None if slot.features.auto is None else UndeclaredFeatures(slot)
            tools = _SlotTools(slot, FeatureMap(slot.features), policy_family(slot), undeclared)
            _put(self._tools, slot.slot_id, tools)
        return tools

    def _experiments_of(self, group: RequestGroup) -> SlotExperiments:
        """Give what assigns a slot's requests, as the catalog says it for this group."""
        cached = self._experiments.get(group.slot.slot_id)
        if cached is None or cached[0] != group.revision:
            made = SlotExperiments(
                group.dividing, group.slot.slot_id, self._secret, self._global_holdout
            )
            cached = (group.revision, made)
            _put(self._experiments, group.slot.slot_id, cached)
        return cached[1]

    def _first_policy(self, group: RequestGroup, dim: int) -> PublishedPolicy:
        """Give the prior of a slot that has learned nothing yet under its present settings."""
        cached = self._firsts.get(group.slot.slot_id)
        if cached is None or cached[0] != group.revision:
            policy = first_policy(group.slot, group.actions, dim)
            cached = (group.revision, policy)
            _put(self._firsts, group.slot.slot_id, cached)
        return cached[1]


def _put(cache: dict[str, T], slot_id: str, value: T) -> None:
    """Put a slot's value into a cache; the one put the longest time ago makes room."""
    cache.pop(slot_id, None)
    cache[slot_id] = value
    if len(cache) > MOST_SLOTS:
        del cache[next(iter(cache))]


def _candidates(group: RequestGroup, feature_map: FeatureMap) -> Candidates:
    events = group.events
    x = feature_map.encode(
        [event.body.context for event in events],
        [event.profile for event in events],
        [event.embedding for event in events],
        [event.at for event in events],
    )
    return Candidates(
        x,
        action_ids_of(group),
        group.eligible,
        [event.subject for event in events],
        [event.body.decision_id for event in events],
    )


def _who_asks(group: RequestGroup) -> Candidates:
    """Give the candidates of requests whose features are not declared."""
    return Candidates(
        np.ones((len(group.events), 1)),
        action_ids_of(group),
        group.eligible,
        [event.subject for event in group.events],
        [event.body.decision_id for event in group.events],
    )


def _observe(
    metrics: DecisionMetrics,
    group: RequestGroup,
    policy: PublishedPolicy,
    selection: Selection,
    now: datetime,
) -> None:
    at = now.timestamp() * 1e6
    slot = group.slot.slot_id
    latencies = [(at - event.origin.time) * 1e-6 for event in group.events]
    known = policy.newest > NEVER
    staleness = [(event.at - policy.newest) * 1e-6 for event in group.events] if known else []
    metrics.decisions(slot, latencies, staleness, policy.version)
    metrics.choices(slot, selection.action_ids, selection.chosen, selection.logged)


@operator
def decide(
    step_id: str,
    up: KeyedStream[CatalogedBatch],
    policies: KeyedStream[PublishedPolicy],
    secret: bytes,
    time: EventTimeSettings,
    state: StateSettings,
    experiments: ExperimentSettings,
    max_value_bytes: int,
    answers: AnswerProgress,
    clock: Clock,
    metrics: DecisionMetrics,
) -> Decided:
    """Answer each decision request of the batches once, by its slot's newest policy.

    The action is drawn from the computed probability vector, so the logged propensity is exact;
    ``policies`` must reach every shard. ``experiments`` is what holds for all that divide requests.
    A decision is at most ``max_value_bytes`` long.
    ``answers`` is told what is answered. Refusals are those of
    :func:`~operators.decide.admission.admit_requests`.
    """
    scorer = Scorer(secret, clock, metrics, max_value_bytes, answers, experiments.global_holdout)
    folder = segment_folder(state.recovery, SEEN)
    admitted = admit_requests("queue", up, policies, time, folder, answers, metrics)
    return Decided(op.flat_map_batch("score", admitted.groups, scorer.decide), admitted.rejected)
