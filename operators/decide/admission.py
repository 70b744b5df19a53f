"""Request admission: each request is let in once, with its eligible actions and its policy."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from zlib import crc32

import bytewax.operators as op
from bytewax.dataflow import operator
from bytewax.operators import KeyedStream, StatefulBatchLogic
from msgspec import Struct
from msgspec.msgpack import Encoder
from msgspec.structs import replace

from operators.envelope import Event, Origin, Rejected
from operators.io.metrics.decisions import DecisionMetrics
from operators.io.segments import ShardFiles, shard_files
from operators.logic.answer_window import AnswerProgress
from operators.logic.catalog import Catalog, CatalogedBatch, CatalogHistory
from operators.logic.deciding.contents import ActionContent, ActionContents, brings_features
from operators.logic.deciding.eligibility import eligible_actions
from operators.logic.deciding.seen_requests import RequestStatus, SeenRequests
from operators.logic.deciding.variations import Scenario
from operators.logic.placement import shard_key
from operators.logic.policies.published import PublishedPolicy
from operators.logic.state.segmented import SegmentedSnapshot
from operators.streams import split
from schemas.catalog import Action, Experiment, Slot
from schemas.clock import NEVER
from schemas.codec import Flaw, decode
from schemas.events import Assignment, DecisionRequest, RankableAction
from schemas.settings import EventTimeSettings
from schemas.state import StateFormat, pack, unpack
from schemas.topics import Topic

ADMISSION_STATE = StateFormat("queue", 3)
_ENCODER = Encoder(order="deterministic")


@dataclass(frozen=True)
class AdmittedRequests:
    """Requests that are ready to be scored, and those that were refused."""

    groups: KeyedStream["RequestGroup"]
    rejected: KeyedStream[list[Rejected]]


class RequestGroup(Struct, kw_only=True, eq=False):
    """Requests to one slot that are to be decided together, with all that scoring needs.

    ``events``, ``eligible``, ``request_hashes`` and ``contents`` have an entry for each request:
    its eligible action ids (None where all ``actions`` are, which the catalog shows in the slot),
    the digest of its content, and the features that it gives to those actions, by id (None where
    it gives none; ``contents`` is empty where no request does). ``contexts`` are their contexts as
    JSON, None for an empty one, where the decisions are to hold them; empty elsewhere. ``policy``
    is None while the slot has learned nothing, ``revision`` that of the catalog. ``dividing`` are
    the experiments that say who gets what; ``assignments`` has each request's, ``scenarios`` what
    each could have chosen from, where one of them could have chosen from several sets of actions.
    """

    slot: Slot
    actions: tuple[Action, ...]
    revision: int
    policy: PublishedPolicy | None
    events: list[Event]
    eligible: list[list[str] | None]
    request_hashes: list[int]
    contents: list[Mapping[str, ActionContent] | None] = []
    contexts: list[bytes | None] = []
    dividing: tuple[Experiment, ...] = ()
    assignments: list[list[Assignment]] = []
    scenarios: list[list[Scenario]] = []


class WaitingRequest(Struct, kw_only=True):
    """A request that waits for its slot's policy after a restart."""

    payload: bytes
    at: int
    subject: str
    key: int
    offset: int
    time: int
    partition: int
    personal: bool
    profile: dict[str, float] | None
    embedding: list[float] | None


class AdmissionState(Struct, kw_only=True):
    """What a snapshot keeps; ``policies`` names the slots whose policy must come back first.

    A shard that no batch has come from has no number yet.
    """

    shard: int | None
    seen: SegmentedSnapshot
    policies: list[str]
    waiting: list[WaitingRequest]
    watermark: int


@dataclass(kw_only=True)
class RequestAdmission(
    StatefulBatchLogic[CatalogedBatch | PublishedPolicy, "RequestGroup | list[Rejected]", bytes]
):
    """One shard's requests: the first with its key is admitted, repetitions are dropped.

    With a ``folder``, most of the keys seen are in segment files there. A request that has waited
    is decided by the catalog of its time, too, as far as that is known by then.
    """

    horizon: int
    folder: Path | None = None
    shard: int | None = None
    seen: SeenRequests = field(default_factory=SeenRequests)
    policies: dict[str, PublishedPolicy] = field(default_factory=dict)
    expected: set[str] = field(default_factory=set)
    waiting: list[Event] = field(default_factory=list)
    watermark: int = NEVER
    history: CatalogHistory | None = None
    answers: AnswerProgress = field(default_factory=AnswerProgress)
    metrics: DecisionMetrics = field(default_factory=DecisionMetrics)
    contents: ActionContents = field(default_factory=ActionContents)

    def on_batch(
        self, values: list[CatalogedBatch | PublishedPolicy]
    ) -> tuple[Iterable["RequestGroup | list[Rejected]"], bool]:
        """Take in policies, then admit the requests of the batches."""
        out: list[RequestGroup | list[Rejected]] = []
        batches: list[CatalogedBatch] = []
        for value in values:
            if isinstance(value, PublishedPolicy):
                self._take_policy(value)
                self.expected.discard(value.slot_id)
            else:
                batches.append(value)
        for batch in batches:
            self._begin(batch.shard)
            self.watermark = max(self.watermark, batch.watermark)
            before = len(out)
            self._admit(batch, out)
            self._note_admitted(batch.watermark, out[before:])
        if batches:
            self.history = batches[-1].history
            self.seen.forget(self.watermark - self.horizon)
        before = len(out)
        self._retry(out)
        self._note_admitted(self.watermark, out[before:])
        return out, StatefulBatchLogic.RETAIN

    def snapshot(self) -> bytes:
        """Keep which requests were seen and which still wait."""
        waiting = [_waiting(event) for event in self.waiting]
        names = sorted(self.expected | set(self.policies))
        state = AdmissionState(
            shard=self.shard,
            seen=self.seen.snapshot(),
            policies=names,
            waiting=waiting,
            watermark=self.watermark,
        )
        return pack(*ADMISSION_STATE, state)

    def _take_policy(self, policy: PublishedPolicy) -> None:
        if policy.withdrawn:
            self.policies.pop(policy.slot_id, None)
            self.metrics.forget(policy.slot_id)
        else:
            self.policies[policy.slot_id] = policy

    def _begin(self, shard: int) -> None:
        if self.shard is None:
            self.shard = shard
            if self.folder is not None:
                self.seen.use(ShardFiles(self.folder, shard))

    def _admit(self, batch: CatalogedBatch, out: list["RequestGroup | list[Rejected]"]) -> None:
        requests = [event for event in batch.events if isinstance(event.body, DecisionRequest)]
        if not requests:
            return
        refused: list[Rejected] = []
        fresh = self._fresh(self._timely(requests, batch.catalog, refused), refused)
        if self.expected:
            self.waiting += [event for event, _ in fresh if event.body.slot_id in self.expected]
            fresh = [each for each in fresh if each[0].body.slot_id not in self.expected]
        self._group([(batch.catalog, *each) for each in fresh], out, refused)
        if refused:
            out.append(refused)

    def _note_admitted(
        self, watermark: int, out: Sequence["RequestGroup | list[Rejected]"]
    ) -> None:
        if self.shard is not None:
            requests = sum(len(each.events) for each in out if isinstance(each, RequestGroup))
            self.answers.admit(shard_key(self.shard), watermark, requests)

    def _retry(self, out: list["RequestGroup | list[Rejected]"]) -> None:
        if not self.waiting or self.history is None:
            return
        unread = [event for event in self.waiting if isinstance(event.body, Flaw)]
        waiting = [event for event in self.waiting if not isinstance(event.body, Flaw)]
        ready = [event for event in waiting if event.body.slot_id not in self.expected]
        if not ready and not unread:
            return
        self.waiting = [event for event in waiting if event.body.slot_id in self.expected]
        refused = [_flawed(event, event.body) for event in unread]
        as_of = self.history.as_of
        hashed = [
            (as_of(event.at), event, request_hash(event.body, self.contents)) for event in ready
        ]
        self._group(hashed, out, refused)
        if refused:
            out.append(refused)

    def _timely(
        self, events: Sequence[Event], catalog: Catalog, refused: list[Rejected]
    ) -> list[Event]:
        oldest = self.watermark - self.horizon
        timely = []
        for event in events:
            if event.body.slot_id not in catalog.slots:
                refused.append(_refusal("unknown_slot", event, "slot_id"))
            elif event.at < oldest:
                refused.append(_refusal("stale_request", event, "time"))
            else:
                timely.append(event)
        return timely

    def _fresh(self, events: list[Event], refused: list[Rejected]) -> list[tuple[Event, int]]:
        """Give the events that were not seen before, each with the digest of its content."""
        if not events:
            return []
        contents = self.contents
        hashes = [request_hash(event.body, contents) for event in events]
        keys = [event.key for event in events]
        verdicts = self.seen.admit(keys, hashes, max([event.at for event in events]))
        fresh = []
        for event, hash_, verdict in zip(events, hashes, verdicts, strict=True):
            if verdict is RequestStatus.FRESH:
                fresh.append((event, hash_))
            elif verdict is RequestStatus.CONFLICT:
                refused.append(_refusal("conflicting_request", event, "decision_id"))
        repeated = len(events) - len(fresh) - verdicts.count(RequestStatus.CONFLICT)
        self.metrics.repeated_requests(repeated)
        return fresh

    def _group(
        self,
        events: list[tuple[Catalog, Event, int]],
        out: list["RequestGroup | list[Rejected]"],
        refused: list[Rejected],
    ) -> None:
        groups: dict[tuple[str, int], RequestGroup] = {}
        for catalog, event, hash_ in events:
            body: DecisionRequest = event.body
            slot = catalog.slots.get(body.slot_id)
            if slot is None:
                refused.append(_refusal("unknown_slot", event, "slot_id"))
                continue
            eligible = eligible_actions(body, catalog)
            if eligible is not None and not eligible:
                refused.append(_refusal("no_eligible_action", event, "actions"))
                continue
            contents = None
            if body.actions is not None and brings_features(body.actions):
                found = self._contents(body, slot, eligible)
                if isinstance(found, Flaw):
                    refused.append(_flawed(event, found))
                    continue
                contents = found or None
            of_group = slot.slot_id, catalog.revision
            group = groups.get(of_group)
            if group is None:
                group = groups[of_group] = RequestGroup(
                    slot=slot,
                    actions=catalog.actions[slot.slot_id],
                    revision=catalog.revision,
                    policy=self.policies.get(slot.slot_id),
                    events=[],
                    eligible=[],
                    request_hashes=[],
                    dividing=catalog.dividing.get(slot.slot_id, ()),
                )
            if contents is not None and not group.contents:
                group.contents = [None] * len(group.events)
            if contents is not None or group.contents:
                group.contents.append(contents)
            group.events.append(event)
            group.eligible.append(eligible)
            group.request_hashes.append(hash_)
        out.extend(groups.values())

    def _contents(
        self, request: DecisionRequest, slot: Slot, eligible: list[str] | None
    ) -> Mapping[str, ActionContent] | Flaw:
        """Read what a request says of its actions; in a slot of the catalog's that is ignored."""
        if slot.candidates == "catalog":
            given = [each for each in request.actions or () if isinstance(each, RankableAction)]
            self.metrics.ignored_features(slot.slot_id, len(given))
            return {}
        return self.contents.of_request(request.actions or (), eligible or ())


def begin_admission(policies: list[str]) -> bytes:
    """Write the snapshot of a shard that has seen no request and waits for these policies."""
    state = AdmissionState(
        shard=None,
        seen=SeenRequests().snapshot(),
        policies=policies,
        waiting=[],
        watermark=NEVER,
    )
    return pack(*ADMISSION_STATE, state)


def unpack_admission(snapshot: bytes) -> AdmissionState:
    """Read what a shard's snapshot keeps."""
    return unpack(*ADMISSION_STATE, AdmissionState, snapshot)


def lower_admission(snapshot: bytes, to: int) -> tuple[bytes, int]:
    """Lower the watermark in a shard's snapshot; give what it was, too."""
    state = unpack_admission(snapshot)
    lowered = replace(state, watermark=min(state.watermark, to))
    return pack(*ADMISSION_STATE, lowered), state.watermark


def request_hash(request: DecisionRequest, contents: ActionContents) -> int:
    """Digest what a request asks, so that the same id with another question is noticed.

    Of features their order and spaces do not count.
    """
    actions: Sequence[Any] | None = request.actions
    if actions is not None:
        actions = contents.digests(actions)
    asked: tuple[Any, ...] = (
        request.slot_id,
        request.context,
        actions,
        request.excluded,
        request.deferred,
    )
    if request.robot:  # not among them for others, whose digests are as in earlier releases
        asked = (*asked, True)
    return crc32(_ENCODER.encode(asked))


def _refusal(reason: str, event: Event, name: str) -> Rejected:
    return Rejected(reason, event.origin, event.payload, name)


def _flawed(event: Event, flaw: Flaw) -> Rejected:
    return Rejected(flaw.reason, event.origin, event.payload, flaw.field, flaw.detail)


def _waiting(event: Event) -> WaitingRequest:
    origin = event.origin
    return WaitingRequest(
        payload=event.payload,
        at=event.at,
        subject=event.subject,
        key=event.key,
        offset=origin.offset,
        time=origin.time,
        partition=origin.partition,
        personal=event.personal,
        profile=dict(event.profile) if event.profile is not None else None,
        embedding=list(event.embedding) if event.embedding is not None else None,
    )


def _event(waiting: WaitingRequest) -> Event:
    """Read a request again; its body is a flaw where this release refuses what another let in."""
    body = decode(Topic.DECISION_REQUESTS, waiting.payload, len(waiting.payload))
    if isinstance(body, DecisionRequest):
        body.decision_id = body.decision_id or body.id
    origin = Origin(Topic.DECISION_REQUESTS, waiting.partition, waiting.offset, waiting.time)
    return Event(
        at=waiting.at,
        body=body,
        subject=waiting.subject,
        key=waiting.key,
        origin=origin,
        payload=waiting.payload,
        personal=waiting.personal,
        profile=waiting.profile,
        embedding=waiting.embedding,
    )


def resumed(
    time: EventTimeSettings,
    folder: Path | None,
    snapshot: bytes | None,
    answers: AnswerProgress,
    metrics: DecisionMetrics,
) -> RequestAdmission:
    """Go on from a snapshot, or begin where there is none."""
    horizon = round(time.dedup_horizon * 1e6)
    if snapshot is None:
        return RequestAdmission(horizon=horizon, folder=folder, answers=answers, metrics=metrics)
    state = unpack_admission(snapshot)
    segments = shard_files(folder, state.shard)
    return RequestAdmission(
        horizon=horizon,
        folder=folder,
        shard=state.shard,
        seen=SeenRequests.load(state.seen, segments),
        expected=set(state.policies),
        waiting=[_event(waiting) for waiting in state.waiting],
        watermark=state.watermark,
        answers=answers,
        metrics=metrics,
    )


@operator
def admit_requests(
    step_id: str,
    up: KeyedStream[CatalogedBatch],
    policies: KeyedStream[PublishedPolicy],
    time: EventTimeSettings,
    folder: Path | None,
    answers: AnswerProgress,
    metrics: DecisionMetrics,
) -> AdmittedRequests:
    """Admit each decision request once and join it with its slot's policy.

    ``policies`` must reach every shard. Refusals: ``unknown_slot``, ``stale_request`` (older than
    the dedup horizon), ``conflicting_request`` (the same id with other content),
    ``no_eligible_action``, ``conflicting_action`` (an id with two features), and what features are
    refused for. A repeated request is counted and gets no second answer. With a
    ``folder``, what was seen is kept in segment files there. ``answers`` is told what is admitted.
    """

    def shim_builder(resume_state: bytes | None) -> RequestAdmission:
        return resumed(time, folder, resume_state, answers, metrics)

    merged: KeyedStream[CatalogedBatch | PublishedPolicy] = op.merge("merge", up, policies)
    admitted = op.stateful_batch("admit", merged, shim_builder)
    groups, rejected = split("ready", admitted, RequestGroup)
    return AdmittedRequests(groups, rejected)
