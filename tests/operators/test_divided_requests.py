"""Experiments in the personalize flow: who is shown what, and what decisions say of it."""

from collections import Counter
from typing import Any

import pytest

from schemas.topics import Topic
from tests.support.scripted import Flow, Record, catalog_of

TIME = "2026-01-01T00:00:00Z"
SPRING: Record = {
    "type": "experiment",
    "id": "e",
    "time": TIME,
    "experiment_id": "spring",
    "slot_id": "home",
    "state": "running",
    "unit": "decision",
    "baseline": "old",
    "variations": [{"id": "old", "actions": ["a"]}, {"id": "new", "actions": ["b", "c"]}],
}
SHOWN = {"old": {"a"}, "new": {"b", "c"}}


@pytest.fixture(scope="module")
def flow() -> Flow:
    return Flow()


def decisions(
    flow: Flow, *experiments: Record, slot: Record | None = None, request: Record | None = None
) -> list[Record]:
    def edit(topic: Topic, record: Record) -> None:
        if topic is Topic.DECISION_REQUESTS:
            record |= request or {}

    written = flow.script.play(catalog_of(slot, further=list(experiments)), edit)
    assert len(written["decisions"]) > 20
    return list(written["decisions"])


def probabilities(decision: Record) -> dict[str, float]:
    return {each["action_id"]: each["probability"] for each in decision["ranking"]}


@pytest.mark.parametrize("kind", ["beta", "uniform"])
def test_a_decision_says_its_variation_and_shows_one_of_its_actions(flow: Flow, kind: str) -> None:
    made = decisions(flow, SPRING, slot={"policy": {"kind": kind}})
    seen: Counter[str] = Counter()
    for decision in made:
        (named,) = decision["experiments"]
        assert named.pop("variation_id") in SHOWN
        assert named == {"experiment_id": "spring", "probability": 0.5, "unit": "decision"}
    for decision in decisions(flow, SPRING, slot={"policy": {"kind": kind}}):
        (named,) = decision["experiments"]
        seen[named["variation_id"]] += 1
        assert decision["action_id"] in SHOWN[named["variation_id"]]
        logged = probabilities(decision)
        assert logged["a"] == pytest.approx(0.5)
        assert logged["b"] + logged["c"] == pytest.approx(0.5)
        assert decision["propensity"] == logged[decision["action_id"]]
    assert set(seen) == set(SHOWN)


def test_by_subject_the_logged_probability_is_that_given_the_variation(flow: Flow) -> None:
    made = decisions(flow, SPRING | {"unit": "subject"})
    variations: dict[str, set[str]] = {}
    for decision in made:
        logged = probabilities(decision)
        assert sum(logged.values()) == pytest.approx(1.0)
        if decision["subject"] is None:  # no consent: the baseline, and it does not count
            assert "experiments" not in decision or not decision["experiments"]
            assert logged == {"a": 1.0}
            continue
        (named,) = decision["experiments"]
        assert set(logged) == SHOWN[named["variation_id"]]
        variations.setdefault(decision["subject"], set()).add(named["variation_id"])
    assert variations
    assert all(len(of_subject) == 1 for of_subject in variations.values())


def test_two_experiments_are_both_named(flow: Flow) -> None:
    other = SPRING | {
        "id": "f",
        "experiment_id": "autumn",
        "variations": [{"id": "old"}, {"id": "new", "actions": ["a", "b"]}],
    }
    for decision in decisions(flow, SPRING, other):
        named = {each["experiment_id"]: each["variation_id"] for each in decision["experiments"]}
        assert set(named) == {"autumn", "spring"}
        allowed = SHOWN[named["spring"]] & ({"a", "b"} if named["autumn"] == "new" else set("abc"))
        assert decision["action_id"] in allowed
        # autumn old or new, then spring: a 1/2; b 1/4 of new, and its part of (b, c) of old
        logged = probabilities(decision)
        assert logged["a"] == pytest.approx(0.5)
        assert logged["b"] + logged["c"] == pytest.approx(0.5)
        assert logged["b"] > 0.25


@pytest.mark.parametrize("state", ["paused", "stopped", "decided"])
def test_what_is_over_shows_the_baseline_or_the_winner_and_is_not_named(
    flow: Flow, state: str
) -> None:
    changes: Any = {"state": state} | ({"winner": "new"} if state == "decided" else {})
    for decision in decisions(flow, SPRING | changes):
        assert "experiments" not in decision
        assert set(probabilities(decision)) == SHOWN["new" if state == "decided" else "old"]


@pytest.mark.parametrize(
    "policy",
    [
        {"policy": {"kind": "beta"}},
        {"policy": {"kind": "shared"}, "features": {"auto": {"bits": 8}}},
    ],
)
@pytest.mark.parametrize("unit", ["decision", "subject"])
def test_requests_that_bring_their_candidates_are_narrowed_too(
    flow: Flow, policy: Record, unit: str
) -> None:
    slot = {"candidates": "request"} | policy
    for brought, counts in ((["a", "b", "x"], True), (["a", "x"], False), (["x", "y"], False)):
        request: Record = {"actions": [{"id": name, "features": {"n": name}} for name in brought]}
        for decision in decisions(flow, SPRING | {"unit": unit}, slot=slot, request=request):
            logged = probabilities(decision)
            assert sum(logged.values()) == pytest.approx(1.0)
            assert decision["propensity"] == logged[decision["action_id"]]
            if unit == "subject" and decision["subject"] is None:
                assert set(logged) == {"a"} & set(brought) or set(logged) == {"x", "y"}
                continue
            (named,) = decision["experiments"]
            if not counts:
                assert named["not_counted"] == "not_eligible"
                assert set(logged) == {"a"} & set(brought) or set(logged) == {"x", "y"}
            elif unit == "subject":
                assert set(logged) == SHOWN[named["variation_id"]] & set(brought)
            else:
                assert logged == pytest.approx({"a": 0.5, "b": 0.5})
                assert decision["action_id"] in SHOWN[named["variation_id"]]


@pytest.mark.parametrize("unit", ["decision", "subject"])
def test_a_shared_model_decides_within_the_variation(flow: Flow, unit: str) -> None:
    slot = {"policy": {"kind": "shared"}, "features": {"auto": {"bits": 8}}, "log_candidates": True}
    for decision in decisions(flow, SPRING | {"unit": unit}, slot=slot):
        logged = probabilities(decision)
        assert decision["propensity"] == logged[decision["action_id"]]
        for named in decision.get("experiments") or ():
            assert decision["action_id"] in SHOWN[named["variation_id"]]
        if unit == "decision":
            assert logged["a"] == pytest.approx(0.5)
            assert logged["b"] + logged["c"] == pytest.approx(0.5)


def test_a_slate_is_drawn_within_the_variation(flow: Flow) -> None:
    for unit in ("decision", "subject"):
        for decision in decisions(flow, SPRING | {"unit": unit}, slot={"slate_size": 2}):
            shown = {each["action_id"] for each in decision["slate"]}
            named = decision.get("experiments") or [{"variation_id": "old"}]
            assert shown == SHOWN[named[0]["variation_id"]]


@pytest.mark.parametrize(
    "changes",
    [
        {"state": "draft"},
        {"state": "scheduled", "starts_at": "2027-01-01T00:00:00Z"},
        {"variations": {"old": 0.5, "new": 0.5}, "state": "draft"},
        {"deleted": True},
        {"slot_id": "elsewhere"},
        {"variations": [{"id": "old"}, {"id": "new", "policy": {"kind": "uniform"}}]},
        {"targeting": {"all_of": [{"field": "nothing", "operator": "exists"}]}},
    ],
)
def test_what_divides_nothing_changes_nothing(flow: Flow, changes: Record) -> None:
    assert decisions(flow, SPRING | changes) == decisions(flow)
