"""``banditflow inspect`` on a real store and Valkey that were filled as the flows fill them."""

import json
import time
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import bytewax.operators as op
import msgspec
import numpy as np
import pytest
import redis
from bytewax.dataflow import Dataflow
from bytewax.testing import TestingSource, run_main
from msgspec import Raw
from prometheus_client import CollectorRegistry, Counter

from flows.cli.main import main
from flows.devkit.embedded import Server
from flows.reports import undeclared_features
from flows.reports.inspection import NOT_LEARNED
from flows.runtime.clock import system_clock
from operators.cache import cache_decisions, cache_policies, cache_profiles
from operators.decide.admission import RequestGroup
from operators.decide.scoring import Scorer
from operators.decode import pseudonym_of
from operators.envelope import Batch, Event, Origin
from operators.io.kafka.admin import create_topics
from operators.io.metrics.decisions import DecisionMetrics
from operators.io.metrics.exporter import serve
from operators.io.metrics.labels import Labels
from operators.io.redis import RedisSink, client
from operators.io.store.open import migrate, open_store
from operators.logic.deciding.positions import position_key
from operators.logic.deciding.slates import at_positions
from operators.logic.features import FeatureMap, pack_rows, scaled_columns
from operators.logic.policies import Deltas, make_policy
from operators.logic.policies.micro_batches import with_rows
from operators.logic.slot_policy import learned_rows, new_policy
from operators.persist import rows_of
from schemas.catalog import AutoFeatures, FeatureSpec, Interaction, PolicySettings
from schemas.clock import micros
from schemas.codec import encode
from schemas.events import (
    Decision,
    DecisionBack,
    DecisionRequest,
    LoggedFeatures,
    Placed,
    Ranked,
)
from schemas.results import FeaturesView, PolicySnapshot, Profile, SucceedingView
from schemas.settings import Settings, environment_of, load
from schemas.topics import Topic
from tests.support import records as make
from tests.support.kafka_flow import produce, settings_for

ACTIONS = ["cats", "dogs", "fish"]
SPEC = FeatureSpec(numeric=["age"], categories={"device": ["phone", "tablet"]})
FEATURE_MAP = FeatureMap(SPEC)
VISITOR = "visitor-1"
SECRET = "sixteen letters!"
SUBJECT = pseudonym_of(SECRET.encode(), VISITOR)


@pytest.fixture
def cache(valkey: Server) -> Iterator[redis.Redis]:
    connection = client(f"redis://{valkey.address}/1")
    connection.flushdb()
    yield connection
    connection.close()


@pytest.fixture
def settings(
    valkey: Server, cache: redis.Redis, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Settings:
    settings = load(
        {},
        secret=SECRET,
        redis_url=f"redis://{valkey.address}/1",
        store=f"sqlite:{tmp_path / 'store.db'}",
    )
    for name, value in environment_of(settings).items():
        monkeypatch.setenv(name, value)
    migrate(settings.store, system_clock())
    return settings


def stored(settings: Settings, *records: Any) -> None:
    store = open_store(settings.store)
    store.apply(rows_of(0, make.events(*records)))
    store.close()


def cached(settings: Settings, cache: redis.Redis, *records: Any) -> None:
    """Send records the way of the flow, and wait for their arrival."""
    flow = Dataflow("hot")
    policies = [("0", record) for record in records if isinstance(record, PolicySnapshot)]
    profiles = [("0", [record]) for record in records if isinstance(record, Profile)]
    decisions = [("0", read_back(record)) for record in records if isinstance(record, Decision)]
    sink = RedisSink(settings.redis.url)
    for name, operator, items in (
        ("a", cache_policies, policies),
        ("b", cache_profiles, profiles),
        ("c", cache_decisions, decisions),
    ):
        up = op.input(f"in_{name}", flow, TestingSource(items))
        op.output(f"out_{name}", operator(f"hot_{name}", up, settings.redis.ttl), sink)
    run_main(flow)
    deadline = time.monotonic() + 10
    while cache.dbsize() < len(records):  # type: ignore[operator]
        assert time.monotonic() < deadline
        time.sleep(0.01)


def read_back(record: Decision) -> Batch:
    """The batch that brings a decision back from its topic."""
    at, payload = micros(record.time), encode(record)
    body = msgspec.json.decode(payload, type=DecisionBack)
    origin = Origin("decisions", 0, 0, at)
    return Batch(0, at, [Event(at, body, record.subject or "", 1, origin, payload)])


def learned(kind: str, version: int, slate_size: int = 1) -> PolicySnapshot:
    """A policy that was taught that cats please phones, and dogs all others."""
    contexts = [{"age": float(age), "device": d} for age in range(20) for d in ("phone", "pc")]
    x = FEATURE_MAP.encode(contexts, [None] * 40, [None] * 40, [0] * 40)
    x = at_positions(x, np.zeros(40, dtype=np.intp), slate_size)
    policy = make_policy(kind, None, 0 if kind == "beta" else x.shape[1])
    policy.set_actions(ACTIONS, None)
    for action in ACTIONS:
        liked = np.array([(action == "cats") == (c["device"] == "phone") for c in contexts])
        rewards = (liked & (action != "fish")).astype(float)
        ones, zeros = np.ones(40), np.zeros(40)
        policy.learn(
            Deltas(
                action_ids=[action] * 40,
                x=x,
                eta=zeros,
                time=zeros,
                count_delta=ones,
                reward_delta=rewards,
            )
        )
    posterior = policy.publish()
    text: str = msgspec.to_builtins(posterior.dump())
    return make.policy("home", version, policy=kind, actions=posterior.summary(), posterior=text)


def decided(action: str, device: str, **changes: Any) -> Any:
    x = FEATURE_MAP.encode([{"age": 3.0, "device": device}], [None], [None], [0])
    fields: dict[str, Any] = {
        "action_id": action,
        "ranking": [Ranked(a, p) for a, p in zip(ACTIONS, (0.7, 0.2, 0.1), strict=True)],
        "propensity": dict(zip(ACTIONS, (0.7, 0.2, 0.1), strict=True))[action],
        "policy": "logistic",
        "policy_version": 41,
        "features": pack_rows(x)[0],
    }
    return make.decision(1, **(fields | changes))


def slot(kind: str = "logistic", **changes: Any) -> Any:
    return make.slot("home", features=SPEC, policy=PolicySettings(kind=kind), **changes)


def inspect(capsys: pytest.CaptureFixture[str], *arguments: str) -> Any:
    assert main(["inspect", *arguments]) == 0
    return json.loads(capsys.readouterr().out)


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert main(["inspect", *arguments]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    return captured.err


def test_a_decision_is_explained_by_the_newest_policy(settings: Settings, capsys: Any) -> None:
    stored(settings, slot(), learned("logistic", 57), decided("cats", "phone"), make.outcome(1))
    (found,) = inspect(capsys, "decision", "d1")["decisions"]
    assert found["outcome"]["status"] == "pending"
    assert found["features"].keys() == {"1", "age", "device=phone"}
    why = found["why"]
    assert (why["of_policy"], why["of_policy_version"]) == ("logistic", 57)
    assert why["decided_by_version"] == 41
    assert why["chosen"]["action_id"] == why["greedy_action"] == "cats"
    assert why["chosen"]["probability"] == found["propensity"] == 0.7
    assert why["explored"] is why["held_out"] is False
    assert why["moved_by"][0]["feature"] == "device=phone"
    assert why["probability_that_chosen_is_better"] > 0.9
    moved = sum(feature["moved"] for feature in why["moved_by"])
    assert why["score_difference"] == pytest.approx(moved)
    assert why["score_difference"] == pytest.approx(
        why["chosen"]["score"] - why["runner_up"]["score"]
    )


def test_a_decision_shows_the_features_that_came_with_its_request(
    settings: Settings, capsys: Any
) -> None:
    contents = [LoggedFeatures("cats", Raw(b'{"age":3,"fur":"long"}'))]
    stored(settings, slot(), learned("logistic", 57), decided("cats", "phone", contents=contents))
    (found,) = inspect(capsys, "decision", "d1")["decisions"]
    assert found["action_features"] == {"cats": {"age": 3, "fur": "long"}}
    assert found["why"]["chosen"]["action_id"] == "cats"
    assert "contents" not in found


@pytest.mark.parametrize("changed", [False, True])
def test_a_decision_of_a_shared_model_is_explained_among_what_it_holds_of_candidates(
    settings: Settings, capsys: Any, *, changed: bool
) -> None:
    """By name of what the columns stand for: what moved it adds up to the difference of scores.

    Where the slot's settings have ``changed``, by the view of the posterior, not the slot's.
    """
    auto = make.slot(
        "home",
        features=FeatureSpec(auto=AutoFeatures(bits=12)),
        policy=PolicySettings(kind="shared"),
        candidates="request",
    )
    write = msgspec.json.encode
    policy, n = new_policy(auto, (), 1), 200
    liked = [("phone", "cats"), ("tablet", "dogs")]
    shown = [(["phone", "tablet"][k % 2], ["cats", "dogs"][k // 2 % 2]) for k in range(n)]
    deltas = Deltas(
        action_ids=[f"a{k}" for k in range(n)],
        x=np.ones((n, 1)),
        eta=np.zeros(n),
        time=np.arange(float(n)),
        count_delta=np.ones(n),
        reward_delta=np.array([float(pair in liked) for pair in shown]),
        contexts=[write({"device": device}) for device, _ in shown],
        contents=[write({"of": {"pet": pet}}) for _, pet in shown],
    )
    for part in with_rows(deltas, learned_rows(auto)):
        policy.learn(part)
    posterior = policy.publish()
    text: str = msgspec.to_builtins(posterior.dump())
    assert auto.features.auto is not None
    view = FeaturesView(auto=auto.features.auto)
    if changed:
        auto.features = FeatureSpec(auto=AutoFeatures(bits=9, crosses=[]))
        view.successor = SucceedingView(since=auto.time, decisions=70.0, needed=200.0)
    published = make.policy(
        "home", 57, policy="shared", actions=[], posterior=text, features_view=view
    )
    decision = decided(
        "cats",
        "phone",
        features=None,
        policy="shared",
        context={"device": msgspec.Raw(b'"phone"')},
        contents=[
            LoggedFeatures(name, msgspec.Raw(write({"of": {"pet": name}})))
            for name in ("cats", "dogs")
        ],
    )
    stored(settings, auto, published, decision, make.outcome(1))
    (found,) = inspect(capsys, "decision", "d1")["decisions"]
    assert found["context"] == {"device": "phone"}
    why = found["why"]
    assert why["chosen"]["action_id"] == why["greedy_action"] == "cats"
    assert why["runner_up"]["action_id"] == "dogs"
    assert why["actions_not_compared"] == 1
    assert why["explored"] is False
    assert why["probability_that_chosen_is_better"] > 0.9
    phone = "context |device=phone"
    assert {each["feature"] for each in why["moved_by"][:4]} == {
        f"{of_context} × action of|pet={pet}"
        for of_context in (phone, f"{phone} * |device=phone")
        for pet in ("cats", "dogs")
    }
    moved = sum(feature["moved"] for feature in why["moved_by"])
    assert why["score_difference"] == pytest.approx(moved)
    assert why["score_difference"] == pytest.approx(
        why["chosen"]["score"] - why["runner_up"]["score"], abs=1e-6
    )
    shown = inspect(capsys, "slot", "home")["features_view"]
    assert shown["auto"]["bits"] == 12
    assert ("successor" in shown) is changed
    if changed:
        assert (shown["successor"]["decisions"], shown["successor"]["needed"]) == (70.0, 200.0)


def test_an_explored_decision_says_what_greedy_would_have_chosen(
    settings: Settings, capsys: Any
) -> None:
    held_out = decided("fish", "pc", variation_id="holdout")
    stored(settings, slot(), learned("logistic", 57), held_out)
    why = inspect(capsys, "decision", "d1")["decisions"][0]["why"]
    assert why["explored"] is why["held_out"] is True
    assert why["greedy_action"] == why["runner_up"]["action_id"] == "dogs"
    assert why["score_difference"] < 0.0


def test_a_slate_is_explained_by_its_first_position(settings: Settings, capsys: Any) -> None:
    shown = slot(slate_size=3)
    stored(settings, shown, learned("logistic", 57, slate_size=3), decided("cats", "phone"))
    why = inspect(capsys, "decision", "d1")["decisions"][0]["why"]
    assert why["greedy_action"] == "cats"
    assert not [name for name in why["moved_by"] if name["feature"].startswith("position")]


def test_every_position_of_a_slate_is_shown_with_its_own_outcome(
    settings: Settings, capsys: Any
) -> None:
    placed = [Placed(name, p, 0.1) for name, p in (("cats", 0.7), ("dogs", 0.5), ("fish", 1.0))]
    shown = decided("cats", "phone", slate=placed)
    rewarded = make.outcome(
        1, key=f"{position_key(1, 1):016x}", action_id="dogs", reward=1.0, status="settled"
    )
    stored(settings, slot(slate_size=3), learned("logistic", 57, slate_size=3))
    stored(settings, shown, make.outcome(1, status="void", reward=0.0), rewarded)
    (found,) = inspect(capsys, "decision", "d1")["decisions"]
    assert "outcome" not in found
    positions = found["positions"]
    assert [each["position"] for each in positions] == [0, 1, 2]
    assert [each["action_id"] for each in positions] == ["cats", "dogs", "fish"]
    assert [each["probability"] for each in positions] == [0.7, 0.5, 1.0]
    assert [each["outcome"] and each["outcome"]["status"] for each in positions] == [
        "void",
        "settled",
        None,
    ]
    assert found["why"]["of_position"] == 0


@pytest.mark.parametrize("slate_size", [1, 3])
def test_scaled_numbers_and_embeddings_are_explained_exactly(
    settings: Settings, capsys: Any, slate_size: int
) -> None:
    spec = FeatureSpec(
        numeric=["price"],
        profile_embedding=2,
        scale=True,
        interactions=[Interaction(left="price", right="profile.embedding")],
    )
    feature_map, rng = FeatureMap(spec), np.random.default_rng(4)
    taste = rng.normal(size=(300, 2))
    x = feature_map.encode([{"price": p} for p in 2e5 + 3e4 * taste[:, 0]], None, taste.tolist())
    wide = at_positions(x, rng.integers(slate_size, size=300).astype(np.intp), slate_size)
    policy = make_policy("logistic", None, wide.shape[1], scaled_columns(spec))
    policy.set_actions(ACTIONS, None)
    for place, action in enumerate(ACTIONS):
        rewards = (taste @ [1.0, place - 1.0] > 0.0).astype(float)
        ones, zeros = np.ones(300), np.zeros(300)
        policy.learn(
            Deltas(
                action_ids=[action] * 300,
                x=wide,
                eta=zeros,
                time=zeros,
                count_delta=ones,
                reward_delta=rewards,
            )
        )
    posterior = policy.publish()
    shown = decided("cats", "pc", features=pack_rows(x[:1])[0])
    stored(
        settings,
        make.slot("home", features=spec, slate_size=slate_size),
        make.policy("home", 57, policy="logistic", posterior=msgspec.to_builtins(posterior.dump())),
        shown,
    )
    why = inspect(capsys, "decision", "d1")["decisions"][0]["why"]
    first = at_positions(x[:1], np.zeros(1, dtype=np.intp), slate_size)
    scores = dict(zip(ACTIONS, posterior.weigh(first).eta[0].tolist(), strict=True))
    best = max("dogs", "fish", key=lambda name: scores[name])
    assert why["runner_up"]["action_id"] == best
    assert why["chosen"]["score"] == pytest.approx(scores["cats"], abs=1e-6)
    assert why["score_difference"] == pytest.approx(scores["cats"] - scores[best], abs=1e-6)
    moved = {feature["feature"]: feature for feature in why["moved_by"]}
    assert moved.keys() <= set(feature_map.names), "the first position moves nothing"
    assert {"price", "profile.embedding[0]", "price*profile.embedding[1]"} <= moved.keys()
    assert moved["price"]["value"] == pytest.approx(
        (x[0, 1] - x[:, 1].mean()) / x[:, 1].std(), abs=1e-3
    )


def test_a_policy_without_context_is_explained_by_its_means(
    settings: Settings, capsys: Any
) -> None:
    stored(settings, slot("beta"), learned("beta", 9), decided("fish", "pc", features=None))
    why = inspect(capsys, "decision", "d1")["decisions"][0]["why"]
    assert why["explored"] is True
    assert [moved["feature"] for moved in why["moved_by"]] == ["1"]


@pytest.mark.parametrize(
    ("records", "said"),
    [
        ([slot(), decided("cats", "pc")], "no posterior"),
        ([slot("uniform"), learned("uniform", 2), decided("cats", "pc")], "fixed shares"),
        ([decided("cats", "pc")], "not in the store's catalog"),
        ([slot(), learned("logistic", 2), decided("cats", "pc", ranking=[])], "no probabilities"),
        (
            [
                slot(),
                learned("logistic", 2),
                decided("cats", "pc", features=make.context_vector(1, 9)),
            ],
            "features have changed",
        ),
        ([slot(), make.policy("home", 2), decided("cats", "pc")], "snapshot begins with"),
    ],
)
def test_a_decision_that_cannot_be_explained_is_shown_with_the_reason(
    settings: Settings, capsys: Any, records: list[Any], said: str
) -> None:
    stored(settings, *records)
    (found,) = inspect(capsys, "decision", "d1")["decisions"]
    assert found["action_id"] == "cats"
    assert found["why"] is None
    assert said in found["why_not"]


def test_a_slot_shows_the_newest_policy_of_redis_and_store(
    settings: Settings, cache: redis.Redis, capsys: Any
) -> None:
    stored(settings, slot(), make.policy("home", 5))
    assert inspect(capsys, "slot", "home")["source"] == "store"
    cached(settings, cache, make.policy("home", 6))
    found = inspect(capsys, "slot", "home")
    assert (found["source"], found["version"]) == ("redis", 6)
    assert found["actions"][0]["mean"] == 0.2
    assert "posterior" not in found
    stored(settings, make.policy("home", 7))
    assert inspect(capsys, "slot", "home")["version"] == 7


def test_a_slot_that_is_deleted_is_said_to_be_and_since_when(
    settings: Settings, capsys: Any
) -> None:
    stored(settings, slot(), make.policy("home", 5), decided("cats", "pc"))
    assert inspect(capsys, "slot", "home")["deleted_at"] is None
    stored(settings, make.slot("home", 60, deleted=True), make.slot("gone", 60, deleted=True))
    since = (make.START + timedelta(seconds=60)).isoformat()
    deleted_at = datetime.fromisoformat(inspect(capsys, "slot", "home")["deleted_at"])
    assert deleted_at == make.START + timedelta(seconds=60)
    said = f"is deleted from {since} on"
    assert said in inspect(capsys, "decision", "d1")["decisions"][0]["why_not"]
    for asked in (("features", "home"), ("slot", "gone")):
        assert said in refused(capsys, *asked)


def test_a_subject_is_found_by_raw_id_and_by_pseudonym(
    settings: Settings, cache: redis.Redis, capsys: Any
) -> None:
    cached(settings, cache, make.profile(SUBJECT, 3))
    stored(settings, make.profile(SUBJECT, 2))
    found = inspect(capsys, "subject", VISITOR)
    assert found["subject"] == SUBJECT
    embedding = {"embedding[0]": 1.0, "embedding[1]": 3.0, "embedding[2]": 0.25}
    assert found["hot_features"] == {"visits": 3.0, "rate": 0.1} | embedding
    assert found["profile"]["features"] == {"visits": 2, "rate": 0.1}
    assert inspect(capsys, "subject", SUBJECT, "--pseudonym") == found


def test_a_subject_shows_its_latest_decision_in_each_slot(
    settings: Settings, cache: redis.Redis, capsys: Any
) -> None:
    stored(settings, slot(), make.slot("footer"))
    older = decided("dogs", "pc", subject=SUBJECT, decision_id="d0")
    newer = decided("cats", "pc", subject=SUBJECT, time=older.time + timedelta(seconds=1))
    cached(settings, cache, newer)
    cached(settings, cache, older, make.profile(SUBJECT, 3))
    found = inspect(capsys, "subject", VISITOR)
    assert found["hot_decisions"].keys() == {"home"}
    assert found["hot_decisions"]["home"]["decision_id"] == newer.decision_id
    assert found["hot_decisions"]["home"]["action_id"] == "cats"
    assert found["hot_decisions"]["home"]["propensity"] == newer.propensity


def test_the_latest_decision_of_a_slate_names_all_that_it_shows(
    settings: Settings, cache: redis.Redis, capsys: Any
) -> None:
    stored(settings, slot(slate_size=2))
    placed = [Placed("cats", 0.7, 0.0), Placed("dogs", 0.5, 0.0)]
    cached(settings, cache, decided("cats", "pc", subject=SUBJECT, slate=placed))
    (found,) = inspect(capsys, "subject", VISITOR)["hot_decisions"].values()
    assert found["slate"] == ["cats", "dogs"]


def test_without_redis_the_store_answers(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.setenv("BANDITFLOW_REDIS_URL", "redis://127.0.0.1:1/0")
    stored(settings, slot(), make.policy("home", 5), make.profile(SUBJECT, 2))
    assert inspect(capsys, "slot", "home")["source"] == "store"
    assert inspect(capsys, "subject", VISITOR)["hot_features"] is None


def test_where_nothing_is_known_the_reason_is_said(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    assert "banditflow catalog publish" in refused(capsys, "slot", "home")
    stored(settings, slot())
    said = refused(capsys, "slot", "home")
    assert "it has learned nothing yet" in said
    assert "Redis" not in said
    monkeypatch.setenv("BANDITFLOW_REDIS_URL", "redis://:a-password@127.0.0.1:1/0")
    for asked in (("slot", "home"), ("subject", VISITOR)):
        said = refused(capsys, *asked)
        assert "Redis" in said
        assert "127.0.0.1:1 (BANDITFLOW_REDIS_URL)" in said
        assert "a-password" not in said


def test_the_features_of_a_slot_are_listed(settings: Settings, capsys: Any) -> None:
    stored(settings, slot())
    columns = inspect(capsys, "features", "home")["columns"]
    assert [column["name"] for column in columns] == [c.name for c in FEATURE_MAP.describe()]


def test_features_without_a_declaration_are_surveyed_in_the_newest_requests(
    settings: Settings, broker: Server, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    kafka = settings_for(broker.address, f"inspect{time.time_ns()}.", partitions=2)
    for name in ("BOOTSTRAP_SERVERS", "TOPIC_PREFIX", "PARTITIONS"):
        monkeypatch.setenv(f"BANDITFLOW_{name}", environment_of(kafka)[f"BANDITFLOW_{name}"])
    create_topics(kafka.kafka)
    spec = FeatureSpec(auto=AutoFeatures(bits=12))
    home = make.slot("home", features=spec, policy=PolicySettings(kind="uniform"))
    stored(settings, home, make.action("a", features={"topic": "x"}), make.action("b", slots=["c"]))
    assert inspect(capsys, "features", "home")["contexts"] == 0
    asked = [
        DecisionRequest(id="r", time=make.START, subject="s", slot_id=slot_id, context=context)
        for slot_id, context in [
            ("home", {"age": 3, "geo": "US"}),
            ("home", {"age": "three", "geo": "US", "far": 1e10}),
            ("side", {"age": 4}),
        ]
    ]
    payloads = [encode(request) for request in asked]
    produce(kafka, Topic.DECISION_REQUESTS, {0: payloads[:1], 1: [*payloads[1:], b"no JSON"]})
    found = inspect(capsys, "features", "home")
    assert (found["buckets"], found["contexts"], found["actions"]) == (4096, 2, 1)
    assert found["drift"] == [
        {"field": "|age", "side": "context", "kinds": {"category": 1, "number": 1}}
    ]
    assert "context |geo=US" in found["constant"]
    assert {each["name"] for each in found["features"] if each["side"] == "action"} == {"|topic=x"}
    names = {tuple(each["names"]) for each in found["context_products"]}
    assert len(names) == 5
    assert ("|geo=US", "|geo=US") in names
    assert found["products"] == 3 + 5
    assert found["problems"] == {"context": {"too_large": 1}, "action": {}}


@pytest.mark.parametrize(
    ("candidates", "most_waiting"), [("request", 2**20), ("request", 0), ("catalog", 2**20)]
)
def test_features_that_requests_bring_are_surveyed_where_the_slot_takes_them(
    settings: Settings,
    broker: Server,
    monkeypatch: pytest.MonkeyPatch,
    capsys: Any,
    candidates: Any,
    most_waiting: int,
) -> None:
    monkeypatch.setattr(undeclared_features, "MOST_WAITING", most_waiting)
    kafka = settings_for(broker.address, f"inspect{time.time_ns()}.", partitions=1)
    for name in ("BOOTSTRAP_SERVERS", "TOPIC_PREFIX", "PARTITIONS"):
        monkeypatch.setenv(f"BANDITFLOW_{name}", environment_of(kafka)[f"BANDITFLOW_{name}"])
    create_topics(kafka.kafka)
    spec = FeatureSpec(auto=AutoFeatures(bits=12))
    shared = PolicySettings(kind="shared")
    home = make.slot("home", features=spec, policy=shared, candidates=candidates)
    stored(settings, home, make.action("known", features={"topic": "x"}))
    brought = [
        (["known", {"id": "new", "features": {"price": 3}}, {"id": "bare"}], {"age": 3}),
        ([{"id": "new", "features": [{"price": 4}, {"topic": "x"}]}] * 2, {"age": 4}),
        ([{"id": "new", "features": {"price": 5}}], {"text": "x" * 40_000}),
        ([{"id": "another", "features": {"price": 3}}], {"age": 5}),
        ([{"id": "refused", "features": [1]}], {"age": 5}),
        ([{"id": "out", "features": {"price": 6}}, "known"], {"age": 6}),
    ]
    requests = [
        {"id": f"r{n}", "time": make.START, "subject": "s", "slot_id": "home"}
        | {"actions": actions, "context": context, "excluded": ["out"]}
        for n, (actions, context) in enumerate(brought)
    ]
    payloads = [msgspec.json.encode(request) for request in requests]
    produce(kafka, Topic.DECISION_REQUESTS, {0: payloads})
    found = inspect(capsys, "features", "home")
    taken = candidates == "request"
    assert (found["contexts"], found["actions"]) == ((5, 5) if taken else (6, 1))
    actions = {
        each["name"]: pytest.approx((each["share"], each["least"], each["greatest"]))
        for each in found["features"]
        if each["side"] == "action"
    }
    prices = tuple(1.0 + np.log(price) for price in (3, 5))
    expected = {"|topic=x": (0.4, 1, 1), "|price": (0.8, *prices)}
    assert actions == (expected if taken else {"|topic=x": (1, 1, 1)})
    assert found["problems"] == {"context": {"too_long": 1}, "action": {}}


def test_values_that_are_not_as_declared_are_counted(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    spec = FeatureSpec(numeric=["age"], categories={"device": ["phone"]})
    asked = make.slot("problems", features=spec)
    stored(settings, asked)
    bodies = [
        DecisionRequest(id="r", time=make.START, subject="s", slot_id="problems", context=context)
        for context in ({"age": "old"}, {"age": 3, "device": "watch"}, {"device": "phone"})
    ]
    events = [Event(0, body, "s", 1, Origin("decision-requests", 0, 0, 0)) for body in bodies]
    for body in bodies:
        body.decision_id = "d"
    ready = RequestGroup(
        slot=asked,
        actions=(make.action("x"),),
        revision=1,
        policy=None,
        events=events,
        eligible=[None] * 3,
        request_hashes=[0] * 3,
    )
    registry = CollectorRegistry()
    metrics = DecisionMetrics(registry)
    for _ in range(2):
        list(Scorer(b"secret", system_clock, metrics).decide([("0", ready)]))
    port = serve(registry, "127.0.0.1", 0).split(":")[2].partition("/")[0]
    monkeypatch.setenv("BANDITFLOW_METRICS_PORT", port)
    found = inspect(capsys, "features", "problems")
    assert found["problems"] == {
        "age": {"wrong_type": 2, "missing": 2},
        "device": {"missing": 2, "other": 2},
    }
    assert found["among_decisions"] == 6
    monkeypatch.setenv("BANDITFLOW_METRICS_PORT", "1")
    assert "METRICS_PORT" in inspect(capsys, "features", "problems")["why_not"]


def test_the_decisions_that_a_slot_did_not_learn_are_counted_by_reason(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    stored(
        settings, *(row for name in ("a", "b") for row in (make.slot(name), make.policy(name, 5)))
    )
    registry = CollectorRegistry()
    counter = Counter(NOT_LEARNED, "", ["slot", "reason"], registry=registry)
    counter.labels("a", "subject_limit").inc(70)
    counter.labels("a", "robot").inc(3)
    port = serve(registry, "127.0.0.1", 0).split(":")[2].partition("/")[0]
    monkeypatch.setenv("BANDITFLOW_METRICS_PORT", port)
    assert inspect(capsys, "slot", "a")["not_learned"] == {"subject_limit": 70, "robot": 3}
    assert inspect(capsys, "slot", "b")["not_learned"] == {}
    counter.labels("other", "robot").inc(3)
    found = inspect(capsys, "slot", "b")
    assert found["not_learned"] is None
    assert "among 'other'" in found["why_not"]
    monkeypatch.setenv("BANDITFLOW_METRICS_PORT", "1")
    assert "METRICS_PORT" in inspect(capsys, "slot", "a")["why_not"]


def test_a_slot_that_is_counted_among_others_is_not_said_to_have_no_problems(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    stored(settings, make.slot("beyond"), make.slot("first"))
    registry = CollectorRegistry()
    metrics = DecisionMetrics(registry, Labels(most=1))
    for slot_id in ("first", "beyond"):
        metrics.choices(slot_id, ["a"], np.array([0]), np.ones((1, 1)))
        metrics.feature_problems(slot_id, {("age", "missing"): 1})
    port = serve(registry, "127.0.0.1", 0).split(":")[2].partition("/")[0]
    monkeypatch.setenv("BANDITFLOW_METRICS_PORT", port)
    assert inspect(capsys, "features", "first")["problems"] == {"age": {"missing": 1}}
    found = inspect(capsys, "features", "beyond")
    assert found["problems"] is None
    assert "among 'other'" in found["why_not"]


def test_what_is_not_found_says_what_to_check(settings: Settings, capsys: Any) -> None:
    stored(settings, slot())
    assert "it knows: home" in refused(capsys, "slot", "hom")
    assert "it knows: home" in refused(capsys, "features", "hom")
    assert "run persist" in refused(capsys, "decision", "d404")
    missing = refused(capsys, "subject", "visitor-404")
    assert "BANDITFLOW_SECRET" in missing
    assert "visitor-404" not in missing


def test_a_store_that_is_not_there_is_not_made(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: Any
) -> None:
    elsewhere = tmp_path / "elsewhere.db"
    monkeypatch.setenv("BANDITFLOW_STORE", f"sqlite:{elsewhere}")
    assert "BANDITFLOW_STORE" in refused(capsys, "slot", "home")
    assert not elsewhere.exists()
