"""Requests bring actions with features: what becomes of each is defined, or refused by field."""

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry

from operators.decide.admission import RequestAdmission, RequestGroup
from operators.envelope import Event
from operators.io.metrics.decisions import DecisionMetrics
from operators.logic.catalog import CatalogedBatch, CatalogHistory
from operators.logic.deciding.contents import ActionContent, ActionContents, read_content
from schemas.bounds import ACTION_FEATURES_BYTES
from schemas.clock import NEVER
from schemas.codec import Flaw, decode
from schemas.events import DecisionRequest
from schemas.topics import Topic
from tests.operators.test_admission import HISTORY, HORIZON, KNOWN, request


def batch_of(history: CatalogHistory, *events: Event) -> CatalogedBatch:
    return CatalogedBatch(1, NEVER, list(events), catalog=history.as_of(0), history=history)


def brought(*actions: Any, **asked: Any) -> Event:
    """A request as it lies on its topic."""
    event = request(1, actions=[], **asked)
    body = msgspec.json.decode(event.payload)
    payload = msgspec.json.encode(body | {"actions": list(actions)})
    event.body, event.payload = decode(Topic.DECISION_REQUESTS, payload), payload
    assert isinstance(event.body, DecisionRequest)
    return event


def one(action_id: str, features: Any = None) -> dict[str, Any]:
    return {"id": action_id, "features": features}


A = {"price": 1, "tags": ["x"]}
B = {"price": 2}


@pytest.mark.parametrize(
    ("actions", "excluded", "eligible", "contents"),
    [
        ([one("x", A), one("y", [A, B])], [], ["x", "y"], {"x": A, "y": [A, B]}),
        (["x", one("y", A)], [], ["x", "y"], {"y": A}),
        ([one("x"), {"id": "y"}], [], ["x", "y"], {}),
        ([one("x", {}), one("y", [])], [], ["x", "y"], {}),
        ([one("x", A), one("x", dict(reversed(A.items())))], [], ["x"], {"x": A}),
        (["x", one("x", A), one("x")], [], ["x"], {"x": A}),
        ([one("x", A), one("y", B)], ["x"], ["y"], {"y": B}),
        ([one("x", A), one("x", B), "y"], ["x"], ["y"], {}),
        ([one("x", 5), "y"], ["x"], ["y"], {}),
        ([one("disabled", A), one("enabled", B)], [], ["enabled"], {"enabled": B}),
    ],
)
def test_actions_come_with_features(
    actions: list[Any], excluded: list[str], eligible: list[str], contents: dict[str, Any]
) -> None:
    logic = RequestAdmission(horizon=HORIZON)
    event = brought(*actions, excluded=excluded)
    out, _ = logic.on_batch([batch_of(KNOWN, event)])
    (group,) = [each for each in out if isinstance(each, RequestGroup)]
    assert group.eligible == [eligible]
    (found,) = group.contents or [None]
    texts = {name: content.text for name, content in (found or {}).items()}
    assert {name: msgspec.json.decode(text) for name, text in texts.items()} == contents


@pytest.mark.parametrize(
    ("actions", "reason", "field"),
    [
        ([], "no_eligible_action", "actions"),
        ([one("disabled", A)], "no_eligible_action", "actions"),
        ([one("x", A), one("y", A), one("x", B)], "conflicting_action", "actions[2].features"),
        (["y", one("x", "red")], "wrong_type", "actions[1].features"),
        ([one("x", [A, 1])], "wrong_type", "actions[0].features"),
        ([one("x", False)], "wrong_type", "actions[0].features"),
        (
            [one("x", {"text": "x" * ACTION_FEATURES_BYTES})],
            "invalid_value",
            "actions[0].features",
        ),
    ],
)
def test_what_cannot_be_used_of_actions_is_refused_by_its_field(
    actions: list[Any], reason: str, field: str
) -> None:
    logic = RequestAdmission(horizon=HORIZON)
    out, _ = logic.on_batch([batch_of(KNOWN, brought(*actions))])
    ((rejected,),) = out
    assert (rejected.reason, rejected.field) == (reason, field)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (b'{"a":"\xff"}', "invalid_utf8"),
        (b'{"a":"\\ud800"}', "not_json"),
        (b'{"a":' + 4000 * b"[" + 4000 * b"]" + b"}", "too_deep"),
    ],
)
def test_features_that_are_no_json_are_refused(text: bytes, reason: str) -> None:
    event = brought(one("x", 0))
    payload = event.payload.replace(b'"features":0', b'"features":' + text)
    event.body, event.payload = decode(Topic.DECISION_REQUESTS, payload), payload
    if isinstance(event.body, Flaw):
        assert event.body.reason in {reason, "too_deep"}
        return
    out, _ = RequestAdmission(horizon=HORIZON).on_batch([batch_of(KNOWN, event)])
    ((rejected,),) = out
    assert (rejected.reason, rejected.field) == (reason, "actions[0].features")


def test_the_catalogs_slot_takes_no_features_of_a_request_and_counts_them() -> None:
    registry = CollectorRegistry()
    logic = RequestAdmission(horizon=HORIZON, metrics=DecisionMetrics(registry))
    event = brought(one("a", A), one("b", "no features"), "c", one("unknown", B))
    out, _ = logic.on_batch([batch_of(HISTORY, event)])
    (group,) = out
    assert isinstance(group, RequestGroup)
    assert (group.eligible, group.contents) == ([["a", "b", "c"]], [])
    name = "banditflow_action_features_ignored_total"
    assert registry.get_sample_value(name, {"slot": "home"}) == 3.0


def test_the_same_features_in_another_order_are_the_same_request() -> None:
    logic = RequestAdmission(horizon=HORIZON)
    batch = [
        brought(one("x", {"a": 1, "b": 2})),
        brought(one("x", {"b": 2, "a": 1})),
        brought(one("x", {"a": 1, "b": 3})),
    ]
    out, _ = logic.on_batch([batch_of(KNOWN, *batch)])
    assert sorted(type(each).__name__ for each in out) == ["RequestGroup", "list"]
    (refused,) = [each for each in out if isinstance(each, list)]
    assert [each.reason for each in refused] == ["conflicting_request"]


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=10,
)


@given(st.dictionaries(st.text(max_size=5), json_values, min_size=1), st.randoms())
def test_any_json_is_read_and_its_key_order_does_not_matter(
    value: dict[str, Any], rng: Any
) -> None:
    def shuffled(each: Any) -> Any:
        if isinstance(each, dict):
            names = list(each)
            rng.shuffle(names)
            return {name: shuffled(each[name]) for name in names}
        return [shuffled(one) for one in each] if isinstance(each, list) else each

    def text(each: Any) -> bytes:
        return json.dumps(each).replace("Infinity", "1e999").encode()

    content = read_content(text(value))
    assert isinstance(content, ActionContent)
    assert content == read_content(text(shuffled(value))) == read_content(content.text)


def test_what_is_remembered_of_features_is_bounded_and_changes_nothing() -> None:
    contents = ActionContents(most=20_000)
    for number in [*range(500), *range(50), 499, 498]:
        raw = b'{"n": %d}' % number
        assert contents.read(raw) == read_content(raw)
        assert len(contents._newer) + len(contents._older) < 160
