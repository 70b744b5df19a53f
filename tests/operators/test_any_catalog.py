"""Whatever catalog record passes the check, every step can take, keep and write."""

import json
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from threadpoolctl import threadpool_limits

from flows.runtime.clock import system_clock
from operators.attach_catalog import AttachLogic, _resume
from operators.attribute import resumed as resumed_attribution
from operators.decide.admission import RequestGroup
from operators.decide.scoring import Scorer
from operators.decode import reader
from operators.envelope import Batch, CatalogUpdate, Event, Message, Origin
from operators.gathering import Gathering
from operators.io.metrics.attribution import AttributionMetrics
from operators.io.metrics.decisions import DecisionMetrics
from operators.io.metrics.learner import LearnerMetrics
from operators.io.metrics.records import RecordMetrics
from operators.io.store.rows import StoredDecision, row_of
from operators.learner import LearnerLogic, resumed
from operators.logic.catalog import Catalog, CatalogedBatch
from operators.logic.catalog_check import read_entry
from operators.logic.deciding.eligibility import eligible_actions
from operators.logic.models import CanonicalOrder
from operators.logic.policies import KINDS
from operators.logic.policies.published import PublishedPolicy
from operators.logic.policies.snapshot_record import snapshot_record
from operators.updates import PosteriorUpdate
from schemas.catalog import CatalogEntry, Slot
from schemas.clock import micros
from schemas.codec import MAX_VALUE_BYTES, Flaw, RecordDecoder, decode, encode
from schemas.events import Click, DecisionRequest, Impression, Reward
from schemas.results import PolicyCheckpoint, PolicySnapshot
from schemas.settings import EventTimeSettings, StateSettings, load
from schemas.topics import Topic
from tests.support import records as make

READ = reader(load({}, secret="sixteen letters!", partitions=1))
NAMES = ("a", "b", "c", "d")
TIME = "2026-03-01T12:00:00Z"

NUMBERS = st.one_of(
    st.floats(allow_nan=False, allow_infinity=False),
    st.sampled_from(
        [0, 1, -1, 0.5, 20, 1e3, 1e-3, 1e-6, 1e9, 1e10, -1e9, 2**31, 2**63, -(2**63), 10**24]
    ),
    st.integers(-100, 100),
)
JSON = st.recursive(
    st.none() | st.booleans() | NUMBERS | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=8,
)
PARAMS = st.dictionaries(
    st.sampled_from(
        ["alpha", "prior_mean", "prior_variance", "half_life", "iterations", "ridge", "noise",
         "neighbours", "prior_reward", "prior_failure", "sharpen", "epsilon", "rate", "damping",
         "shares", "prior_strength", "curvature_floor", "intercept_variance",
         "action_variance", "optimism"]
    ),
    NUMBERS | st.dictionaries(st.sampled_from(NAMES), NUMBERS),
    max_size=2,
)  # fmt: skip
FEATURES = st.fixed_dictionaries(
    {},
    optional={
        "numeric": st.lists(st.sampled_from(["age", "price"]), max_size=2),
        "vectors": st.dictionaries(st.sampled_from(["v", "w"]), st.integers(0, 4), max_size=2),
        "categories": st.dictionaries(
            st.just("device"), st.lists(st.text(max_size=3), max_size=3), max_size=1
        ),
        "hashed": st.dictionaries(st.just("page"), st.sampled_from([1, 2, 9, 65536]), max_size=1),
        "profile": st.lists(st.sampled_from(["clicks", "click_rate"]), max_size=2),
        "profile_embedding": st.integers(-1, 3),
        "interactions": st.lists(
            st.fixed_dictionaries(
                {
                    "left": st.sampled_from(["age", "v", "page", "device"]),
                    "right": st.sampled_from(["price", "page", "time_of_day", "none"]),
                }
            ),
            max_size=2,
        ),
        "interaction_buckets": st.integers(1, 8),
        "time_of_day": st.booleans(),
        "scale": st.booleans(),
    },
)
AUTO = st.fixed_dictionaries(
    {
        "auto": st.fixed_dictionaries(
            {"bits": st.sampled_from([8, 9, 12])},
            optional={
                "crosses": st.sampled_from([None, [], [["", ""]]]),
                "ignore": st.sampled_from([[], [""]]),
                "context_alone": st.booleans(),
                "most_features": st.sampled_from([1, 1024]),
                "most_crossed": st.sampled_from([0, 3, 4096]),
                "context_products": st.sampled_from([0, 6, 256]),
                "scale": st.booleans(),
            },
        )
    }
)
SLOTS = st.fixed_dictionaries(
    {
        "policy": st.fixed_dictionaries(
            {"kind": st.sampled_from(KINDS)},
            optional={
                "params": PARAMS,
                "publish_rewards": st.sampled_from([1, 2, 10**9, 10**24]),
                "publish_interval": st.sampled_from([1e-300, 0.25, 86_400.0, 1e12]),
            },
        ),
        "features": FEATURES | AUTO,
    },
    optional={
        "candidates": st.sampled_from(["catalog", "request", "both"]),
        "item_features": st.lists(st.sampled_from(["price", "kind", "v", "embedding"])),
        "reward_window": st.sampled_from([1e-3, 0.5, 600, 34_560_000.0, 1e12, 1e-9]),
        "learning_mode": st.sampled_from(["immediate", "wait", "exposure"]),
        "reward_aggregation": st.sampled_from(["first", "sum", "max"]),
        "reward_range": st.tuples(NUMBERS, NUMBERS),
        "default_reward": NUMBERS,
        "click_reward": NUMBERS,
        "needs_impression": st.booleans(),
        "floor": st.sampled_from([0, 0.3, 0.999, 5e-324]),
        "floor_mass": st.sampled_from([0, 0.3, 0.999, 5e-324]),
        "holdout": st.fixed_dictionaries({"share": st.sampled_from([0, 0.5, 1, 5e-324])}),
        "baseline_action_id": st.sampled_from([None, "a", "x" * 256, "x" * 257]),
        "slate_size": st.sampled_from([1, 2, 50]),
    },
)
ACTIONS = st.fixed_dictionaries(
    {},
    optional={
        "features": st.dictionaries(st.sampled_from(["price", "kind", "v"]), JSON),
        "embedding": st.none() | st.lists(NUMBERS, max_size=3),
        "content": JSON,
        "neighbours": st.lists(
            st.fixed_dictionaries(
                {"action_id": st.sampled_from(NAMES), "similarity": st.floats(0, 1)}
            ),
            max_size=2,
        ),
        "enabled": st.booleans(),
        "deleted": st.booleans(),
        "slots": st.lists(st.sampled_from(["home", "side", "a"]), max_size=3),
        "of_a_later_release": JSON,
    },
)
CONTEXTS = st.dictionaries(st.sampled_from(["age", "price", "v", "w", "device", "page"]), JSON)


def read(type_: str, name: str, id_: str, fields: Any) -> list[CatalogEntry]:
    """The record, where the check passes it."""
    record = {"type": type_, "id": id_, "time": TIME, f"{type_}_id": name} | fields
    entry = read_entry(json.dumps(record).encode())
    return [] if isinstance(entry, Flaw) else [entry]


def attached(entries: Sequence[CatalogEntry]) -> Catalog:
    """The catalog as it comes out of a shard that was restarted before any batch."""
    logic = attach(None)
    logic.on_batch([CatalogUpdate(entries, [], True)])
    logic = attach(attach(logic.snapshot()).snapshot())
    out, _ = logic.on_batch([CatalogUpdate(complete=True), Batch(0, micros(make.START), [])])
    (batch,) = [item for item in out if isinstance(item, CatalogedBatch)]
    return batch.catalog


def attach(snapshot: bytes | None) -> AttachLogic:
    gathering = Gathering(0.0, system_clock)
    return _resume(READ, gathering, EventTimeSettings(), snapshot, RecordMetrics())


def decided(
    scorer: Scorer, slot: Slot, catalog: Catalog, policy: PublishedPolicy | None, contexts: Any
) -> list[Message]:
    actions, requested = catalog.actions["home"], None
    if slot.candidates == "request":
        requested = [*NAMES, "unknown"]
    elif not actions:
        return []
    events = []
    for number, context in enumerate(contexts):
        time = make.START + timedelta(microseconds=number)
        body = decode(
            Topic.DECISION_REQUESTS,
            json.dumps(
                {"id": f"r{number}", "time": time.isoformat(), "subject": "s", "slot_id": "home",
                 "context": context, "actions": requested}
            ).encode(),
        )  # fmt: skip
        if isinstance(body, Flaw):  # of the request's own
            body = DecisionRequest(id=f"r{number}", time=time, subject="s", slot_id="home")
            body.actions = requested
        body.decision_id = body.id
        origin = Origin(Topic.DECISION_REQUESTS, 0, number, micros(time))
        events.append(Event(micros(time), body, "s", number + 1, origin, personal=True))
    group = RequestGroup(
        slot=slot,
        actions=actions,
        revision=catalog.revision,
        policy=policy,
        events=events,
        eligible=[eligible_actions(event.body, catalog) for event in events],
        request_hashes=[0] * len(events),
    )
    ((_, messages),) = scorer.decide([("0", group)])
    return messages


def stored(topic: Topic, record: msgspec.Struct) -> None:
    """A record of ours is read back by its topic's decoder, and becomes a row."""
    assert not isinstance(decode(topic, encode(record)), Flaw)
    row_of(record)


def read_back(slot: Slot, message: Message, round_: int, number: int) -> list[Event]:
    """A decision as attribution reads it, with what its visitor did."""
    decision = READ(Topic.DECISIONS, 0, None, message.value, number, micros(make.START))
    assert isinstance(decision, Event), decision
    row_of(STORED_DECISIONS.read(message.value))
    decision.key = 100 * round_ + number + 1
    common: dict[str, Any] = {
        "time": decision.body.time + timedelta(microseconds=1),
        "subject": "s",
        "slot_id": "home",
        "decision_id": decision.body.decision_id,
    }
    bodies = [
        Impression(id=f"i{round_}{number}", **common),
        Click(id=f"c{round_}{number}", **common),
        *(Reward(id=f"w{round_}{number}{n}", value=slot.reward_range[1], **common) for n in "abc"),
    ]
    at, origin = decision.at + 1, Origin(Topic.CLICKS, 0, number, decision.at)
    return [decision, *(Event(at, body, "s", decision.key, origin) for body in bodies)]


STORED_DECISIONS = RecordDecoder(StoredDecision)


def put_through(slot_fields: Any, action_fields: list[Any], contexts: list[Any]) -> bool:
    """Put what the check passes through every step; tell whether a policy was learned."""
    entries = read("slot", "home", "slot-home", slot_fields)
    entries += [
        entry
        for name, fields in zip(NAMES, action_fields, strict=True)
        for entry in read("action", name, f"action-{name}", {"slots": ["home"]} | fields)
    ]
    for entry in entries:
        stored(Topic.CATALOG, entry)
    catalog = attached(entries)
    slot = catalog.slots.get("home")
    if slot is None:
        return False
    scorer = Scorer(b"secret", system_clock, DecisionMetrics())
    attribution = resumed_attribution(
        EventTimeSettings(), StateSettings(), None, None, AttributionMetrics()
    )
    learner = LearnerLogic(order=CanonicalOrder(1), clock=system_clock, metrics=LearnerMetrics())
    policy: PublishedPolicy | None = None
    for round_ in range(2):
        messages = decided(scorer, slot, catalog, policy, contexts)
        events = [each for at, m in enumerate(messages) for each in read_back(slot, m, round_, at)]
        events.sort(key=lambda each: each.at)
        batch = CatalogedBatch(0, micros(make.START) + 10, events, catalog=catalog)
        out = list(attribution.on_batch([batch])[0])
        attribution = resumed_attribution(
            EventTimeSettings(), StateSettings(), None, attribution.snapshot(), AttributionMetrics()
        )
        if round_:
            end = micros(make.START) + round(slot.reward_window * 1e6) + 10**9
            out += attribution.on_batch([CatalogedBatch(0, end, [], catalog=catalog)])[0]
        updates = [item for item in out if isinstance(item, PosteriorUpdate)]
        if not updates:
            continue
        made = list(learner.on_batch(updates)[0])
        learner = resumed(learner.snapshot(), system_clock, LearnerMetrics())
        for item in made + list(learner.on_notify()[0]):
            if isinstance(item, PolicySnapshot):
                written = snapshot_record(item, MAX_VALUE_BYTES)
                stored(Topic.POLICIES, msgspec.json.decode(written, type=PolicySnapshot))
            elif isinstance(item, PolicyCheckpoint):
                stored(Topic.CHECKPOINTS, item)
            else:
                policy = item
    shows_some = slot.candidates == "request" or bool(catalog.actions["home"])
    assert bool(decided(scorer, slot, catalog, policy, contexts)) == shows_some
    return policy is not None


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(SLOTS, st.lists(ACTIONS, min_size=4, max_size=4), st.lists(CONTEXTS, min_size=3, max_size=3))
def test_what_passes_the_check_passes_every_step(
    slot_fields: Any, action_fields: list[Any], contexts: list[Any]
) -> None:
    put_through(slot_fields, action_fields, contexts)


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_policy_gets_through(kind: str) -> None:
    features: Any = {"auto": {}} if kind == "shared" else {"numeric": ["age"]}
    fields = {"policy": {"kind": kind, "publish_rewards": 1}, "features": features}
    assert put_through(fields, [{}] * 4, [{"age": 1}] * 3)


@pytest.mark.parametrize(("kind", "columns"), [("diagonal", 8192), ("beta", 8192), ("greedy", 200)])
def test_the_widest_features_get_through(kind: str, columns: int) -> None:
    features = {"hashed": {"page": columns - 1}}
    fields = {"policy": {"kind": kind, "publish_rewards": 1}, "features": features}
    with threadpool_limits(1, user_api="blas"):  # as a flow runs
        assert put_through(fields, [{}] * 4, [{"page": name} for name in "xyz"])
