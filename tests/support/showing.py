"""Catalog records and requests through the steps that decide, and what may be shown for each."""

from bisect import bisect_right, insort
from collections.abc import Container, Iterable, Sequence
from dataclasses import dataclass, field, replace

import msgspec
import numpy as np

from flows.runtime.clock import system_clock
from operators.attach_catalog import AttachLogic
from operators.attach_catalog import _resume as resumed_attach
from operators.decide import admission
from operators.decide.admission import RequestAdmission, RequestGroup, begin_admission
from operators.decide.scoring import Scorer
from operators.decode import reader
from operators.envelope import Batch, CatalogUpdate, Event, Rejected
from operators.gathering import Gathering
from operators.io.metrics.decisions import DecisionMetrics
from operators.io.metrics.records import RecordMetrics
from operators.logic.answer_window import AnswerProgress
from operators.logic.catalog import CatalogedBatch
from operators.logic.catalog_check import read_entry
from operators.logic.features import FeatureMap
from operators.logic.murmur2 import partition_of
from operators.logic.policies import Deltas
from operators.logic.policies.published import PublishedPolicy
from operators.logic.slot_policy import new_policy, policy_dim, policy_family
from schemas.catalog import Action, CatalogEntry, Experiment, Slot
from schemas.clock import NEVER, micros
from schemas.codec import encode
from schemas.events import Decision, DecisionRequest
from schemas.settings import load
from schemas.topics import Topic
from tests.support import records as make

SHARDS = 2
SETTINGS = load({}, secret="sixteen letters!", partitions=SHARDS)
READ = reader(SETTINGS)
SUBJECTS = {partition_of(name.encode(), SHARDS): name for name in map(str, range(9))}
"""A visitor of each shard."""

_METRICS = DecisionMetrics()


@dataclass
class Knowledge:
    """What has been heard of a catalog, and by the words of the documents what it lets show."""

    versions: dict[tuple[type, str], list[CatalogEntry]] = field(default_factory=dict)

    def hear(self, entry: CatalogEntry) -> None:
        """Take in a record."""
        assert not isinstance(entry, Experiment)
        name = entry.slot_id if isinstance(entry, Slot) else entry.action_id
        known = self.versions.setdefault((type(entry), name), [])
        if (entry.time, entry.id) not in [(each.time, each.id) for each in known[-50:]]:
            insort(known, entry, key=lambda each: (each.time, each.id))

    def slot(self, name: str, request: DecisionRequest) -> Slot | None:
        """Give the slot as it is at the request's time."""
        slot = self._held(Slot, name, request)
        assert slot is None or isinstance(slot, Slot)
        return None if slot is None or slot.deleted else slot

    def may_show(self, request: DecisionRequest) -> set[str] | None:
        """Name the actions that may be shown for a request; None where there is no such slot."""
        slot = self.slot(request.slot_id, request)
        if slot is None:
            return None
        known = {name for kind, name in self.versions if kind is Action}
        shown = {name for name in known if self._shows(name, request)}
        if slot.candidates == "request":
            asked = set(request.actions or ())
            return asked - (known - shown) - set(request.excluded)
        if request.actions is not None:
            shown &= set(request.actions)
        return shown - set(request.excluded)

    def _shows(self, name: str, request: DecisionRequest) -> bool:
        action = self._held(Action, name, request)
        assert isinstance(action, Action)
        return action.enabled and not action.deleted and request.slot_id in action.slots

    def _held(self, kind: type, name: str, request: DecisionRequest) -> CatalogEntry | None:
        known = self.versions.get((kind, name))
        if not known:
            return None
        place = bisect_right(known, request.time, key=lambda each: each.time)
        return known[max(place - 1, 0)]


@dataclass
class DecidingShard:
    """The steps of one shard up to scoring, and what each request that they let through may get."""

    number: int
    knowledge: Knowledge = field(default_factory=Knowledge)
    ready: list[tuple[str, RequestGroup]] = field(default_factory=list)
    may_show: dict[str, set[str]] = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)
    asked: list[DecisionRequest] = field(default_factory=list)
    attach: AttachLogic = field(init=False)
    admission: RequestAdmission = field(init=False)

    def __post_init__(self) -> None:
        """Begin with nothing."""
        self.attach, self.admission = _attach(None), _admission(None)

    def hear(self, *entries: CatalogEntry, complete: bool = False) -> None:
        """Take in catalog records; ``complete``: up to the end of their topic."""
        for entry in entries:
            self.knowledge.hear(entry)
        self._pass(CatalogUpdate(entries, complete=complete))

    def ask(self, requests: Iterable[DecisionRequest], watermark: int = NEVER) -> None:
        """Take in one batch of requests, as they lie on their topic."""
        events = []
        for request in requests:
            key, at = request.subject.encode(), micros(request.time)
            payload, offset = encode(request), len(self.asked)
            event = READ(Topic.DECISION_REQUESTS, self.number, key, payload, offset, at)
            assert isinstance(event, Event), event
            events.append(event)
            self.asked.append(request)
        events.sort(key=lambda event: event.at)
        self._pass(Batch(self.number, watermark, events))

    def publish(self, policy: PublishedPolicy) -> None:
        """Take in what a learner published."""
        self._admit(policy)

    def restart(self) -> None:
        """Go on from snapshots; the catalog's topic is not read to its end then."""
        self.attach = _attach(self.attach.snapshot())
        self.admission = _admission(self.admission.snapshot())

    def start_from_store(self, policies: list[str], answered: Container[str]) -> None:
        """Begin without state, as a start from the store does, and read everything again."""
        self.attach, self.admission = _attach(None), _admission(begin_admission(policies))
        heard = [entry for known in self.knowledge.versions.values() for entry in known]
        self._pass(CatalogUpdate(heard))
        self.ask([each for each in self.asked if each.id not in answered])

    def _pass(self, value: Batch | CatalogUpdate) -> None:
        out, _ = self.attach.on_batch([value])
        for batch in out:
            if isinstance(batch, CatalogedBatch):
                self._admit(batch)

    def _admit(self, value: CatalogedBatch | PublishedPolicy) -> None:
        out, _ = self.admission.on_batch([value])
        for item in out:
            if isinstance(item, RequestGroup):
                self.ready.append((str(self.number), item))
                for event in item.events:
                    may = self.knowledge.may_show(event.body)
                    assert may, (event.body, may)
                    assert event.body.id not in self.may_show
                    self.may_show[event.body.id] = may
            else:
                self._note_refused(item)

    def _note_refused(self, refused: Iterable[Rejected]) -> None:
        for each in refused:
            request = self.asked[each.origin.offset]
            may = self.knowledge.may_show(request)
            assert each.reason == ("unknown_slot" if may is None else "no_eligible_action")
            assert not may, (request, may)
            self.refused[request.id] = each.reason


@dataclass
class Deciding:
    """Shards of one worker, and the scoring that they share: it checks all that is shown."""

    shards: list[DecidingShard] = field(
        default_factory=lambda: [DecidingShard(number) for number in range(SHARDS)]
    )
    scorer: Scorer = field(default_factory=lambda: Scorer(b"secret", system_clock, _METRICS))
    shown: dict[str, list[str]] = field(default_factory=dict)

    def hear(self, *entries: CatalogEntry, complete: bool = False) -> None:
        """Let every shard take in catalog records; ``complete``: up to the end of their topic."""
        assert [read_entry(encode(entry)) for entry in entries] == [*entries]
        for shard in self.shards:
            shard.hear(*entries, complete=complete)

    def publish(self, policy: PublishedPolicy) -> None:
        """Let every shard take in what a learner published."""
        for shard in self.shards:
            shard.publish(policy)

    def restart(self) -> None:
        """Go on from snapshots; what was let through is not decided before."""
        self.decide()
        for shard in self.shards:
            shard.restart()

    def start_from_store(self) -> None:
        """Begin with the policies of all slots that the store has."""
        self.decide()
        for shard in self.shards:
            slots = [name for kind, name in shard.knowledge.versions if kind is Slot]
            shard.start_from_store(slots, self.shown.keys() | shard.refused.keys())

    def decide(self) -> None:
        """Decide what the shards let through; nothing else is shown than may be."""
        groups = [group for shard in self.shards for group in shard.ready]
        may_show = {name: may for shard in self.shards for name, may in shard.may_show.items()}
        for shard in self.shards:
            shard.ready, shard.may_show = [], {}
        for _, messages in self.scorer.decide(groups):
            for message in messages:
                decision = msgspec.json.decode(message.value, type=Decision)
                may = may_show.pop(decision.decision_id)
                shown = check_shown(decision, may)
                assert decision.decision_id not in self.shown
                self.shown[decision.decision_id] = shown
        assert not may_show

    def finish(self) -> None:
        """Let go what waits; every request was answered or refused, once."""
        self.hear(complete=True)
        for shard in self.shards:
            for slot_id in sorted(shard.admission.expected):
                shard.publish(withdrawn(slot_id))
            shard.ask(())
        self.decide()
        refused = {name: reason for shard in self.shards for name, reason in shard.refused.items()}
        asked = {request.id for shard in self.shards for request in shard.asked}
        assert sorted(asked) == sorted([*self.shown, *refused])


def check_shown(decision: Decision, may_show: set[str]) -> list[str]:
    """Fail where a decision shows or ranks what may not be shown; give what it shows."""
    shown = [placed.action_id for placed in decision.slate or ()] or [decision.action_id]
    assert shown[0] == decision.action_id
    assert set(shown) <= may_show, (decision, may_show)
    assert len(set(shown)) == len(shown)
    assert {ranked.action_id for ranked in decision.ranking} == may_show
    return shown


def learned(slot: Slot, names: Sequence[str], best: str, version: int) -> PublishedPolicy:
    """A policy over some actions that is sure that one of them is the best."""
    dim = policy_dim(slot, FeatureMap(slot.features))
    policy = new_policy(slot, tuple(make.action(name) for name in sorted(names)), dim)
    taught = list(names) * 40
    n = len(taught)
    policy.learn(
        Deltas(
            action_ids=taught,
            x=np.zeros((n, dim)),
            eta=np.zeros(n),
            time=np.ones(n),
            count_delta=np.ones(n),
            reward_delta=np.array([float(name == best) for name in taught]),
        )
    )
    return PublishedPolicy(
        slot_id=slot.slot_id,
        kind=slot.policy.kind,
        version=version,
        newest=1,
        posterior=policy.publish(),
        family=policy_family(slot),
    )


def withdrawn(slot_id: str) -> PublishedPolicy:
    """What a learner says of a slot that it forgets."""
    slot = make.slot(slot_id)
    return replace(learned(slot, ["a"], "a", 1), withdrawn=True)


def _attach(snapshot: bytes | None) -> AttachLogic:
    gathering = Gathering(0.0, system_clock)
    return resumed_attach(READ, gathering, SETTINGS.time, snapshot, RecordMetrics())


def _admission(snapshot: bytes | None) -> RequestAdmission:
    return admission.resumed(SETTINGS.time, None, snapshot, AnswerProgress(), _METRICS)
