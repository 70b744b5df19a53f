"""Experiments in the personalize flow: who is shown what, and what decisions say of it."""

from collections import Counter
from typing import Any

import msgspec
import pytest

from operators.decide import request_groups
from operators.decide.admission import RequestGroup
from operators.decide.divided_requests import SlotExperiments
from operators.envelope import Event, Origin
from operators.logic.catalog import CatalogHistory
from operators.logic.catalog_check import read_entry
from operators.logic.catalog_limits import take_in
from operators.logic.experiments.splits import bandit_split
from schemas.catalog import Experiment
from schemas.clock import micros
from schemas.events import DecisionRequest
from schemas.topics import Topic
from tests.flows.test_catalog_fields_matter import fields_of
from tests.support.scripted import START, Flow, Record, catalog_of

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
    made: list[Record] = written["decisions"]
    for decision in made:
        if decision.get("experiments") == []:  # beside others that name some
            del decision["experiments"]
    return made


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


BRIEF: Record = SPRING | {"unit": "subject"}
FIXED: Record = SPRING | {"state": "decided"}
LAYERED: Record = {"layer_id": "page", "start": 0, "stop": 6000}
LATER = "2026-03-01T12:00:07Z"
PHONES: Record = {"field": "device", "values": ["phone"]}

MATTER: dict[str, tuple[Record, Record]] = {
    "time": (SPRING, {"time": LATER}),
    "deleted": (SPRING, {"deleted": True}),
    "experiment_id": (SPRING, {"experiment_id": "summer"}),
    "slot_id": (SPRING, {"slot_id": "elsewhere"}),
    "state": (SPRING, {"state": "paused"}),
    "mode": (SPRING, {"mode": "apprentice"}),
    "unit": (SPRING, {"unit": "subject"}),
    "variations": (SPRING, {"variations": SPRING["variations"][::-1]}),
    "variations[].id": (SPRING, {"variations": [{"id": "old"}, {"id": "fresh"}]}),
    "variations[].weight": (
        SPRING,
        {"variations": [SPRING["variations"][0], {**SPRING["variations"][1], "weight": 9}]},
    ),
    "variations[].actions": (
        SPRING,
        {"variations": [SPRING["variations"][0], {"id": "new", "actions": ["c"]}]},
    ),
    "variations[].policy.kind": (
        SPRING,
        {"variations": [{"id": "old"}, {"id": "new", "policy": {"kind": "uniform"}}]},
    ),
    "variations[].enabled": (
        SPRING,
        {"variations": [SPRING["variations"][0], {**SPRING["variations"][1], "enabled": False}]},
    ),
    "baseline": (SPRING | {"state": "paused"}, {"baseline": "new"}),
    "layer.layer_id": (BRIEF | {"layer": LAYERED}, {"layer": {**LAYERED, "layer_id": "other"}}),
    "layer.start": (BRIEF | {"layer": LAYERED}, {"layer": {**LAYERED, "start": 5900}}),
    "layer.stop": (BRIEF | {"layer": LAYERED}, {"layer": {**LAYERED, "stop": 100}}),
    "targeting.all_of": (SPRING, {"targeting": {"all_of": [PHONES]}}),
    "targeting.any_of": (SPRING, {"targeting": {"any_of": [PHONES]}}),
    "targeting.all_of[].field": (
        SPRING | {"targeting": {"all_of": [PHONES]}},
        {"targeting": {"all_of": [{**PHONES, "field": "nothing"}]}},
    ),
    "targeting.all_of[].operator": (
        SPRING | {"targeting": {"all_of": [PHONES]}},
        {"targeting": {"all_of": [{**PHONES, "operator": "not_in"}]}},
    ),
    "targeting.all_of[].values": (
        SPRING | {"targeting": {"all_of": [PHONES]}},
        {"targeting": {"all_of": [{**PHONES, "values": ["nothing"]}]}},
    ),
    "starts_at": (SPRING | {"state": "scheduled", "starts_at": TIME}, {"starts_at": LATER}),
    "ends_at": (SPRING, {"ends_at": LATER}),
    "ramp": (SPRING, {"ramp": [{"time": TIME, "share": 0.5}]}),
    "ramp[].time": (
        SPRING | {"ramp": [{"time": TIME, "share": 0.5}]},
        {"ramp": [{"time": LATER, "share": 0.5}]},
    ),
    "ramp[].share": (
        SPRING | {"ramp": [{"time": TIME, "share": 0.5}]},
        {"ramp": [{"time": TIME, "share": 0.1}]},
    ),
    "winner": (FIXED, {"winner": "new"}),
    "enabled": (SPRING, {"enabled": False}),
}
"""The fields that say who gets what: a record, and a change that changes decisions."""

INFORMATION = {
    "id", "source", "subject", "floor", "evaluation_share", "version",
    "gates", "metrics", "automatic", "change", "proposal", "variations[].policy",
}  # fmt: skip
"""Fields, and what is nested in them, that no decision depends on."""


@pytest.mark.parametrize("path", MATTER)
def test_a_field_that_says_who_gets_what_changes_decisions(flow: Flow, path: str) -> None:
    record, change = MATTER[path]
    assert decisions(flow, record) != decisions(flow, record | change)


def test_every_field_of_an_experiment_matters_or_is_information() -> None:
    twice = {f"targeting.any_of[].{name}" for name in ("field", "operator", "values")}
    for name in set(fields_of(Experiment)) - set(MATTER) - twice:
        parts = name.replace("[].", ".[].").split(".[].")
        assert parts[0].split(".")[0] in INFORMATION or name.startswith("variations[].policy."), (
            name
        )
    assert set(MATTER) <= set(fields_of(Experiment))


def test_what_is_information_changes_no_decision(flow: Flow) -> None:
    changes: Record = {
        "source": "x",
        "subject": "x",
        "floor": 0.2,
        "evaluation_share": 0.5,
        "version": 7,
        "gates": {"days": 1},
        "metrics": [{"metric_id": "m", "cap": 1.0}],
        "automatic": {"winner": "auto"},
        "change": {"step": "edit", "author": "ann", "reason": "x"},
        "proposal": {"step": "stop", "author": "ann", "reason": "x"},
    }
    assert decisions(flow, SPRING | changes) == decisions(flow, SPRING)


@pytest.mark.parametrize("kind", ["uniform", "shared"])
@pytest.mark.parametrize("unit", ["decision", "subject"])
def test_requests_that_are_scored_in_parts_keep_their_assignments(
    flow: Flow, kind: str, unit: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    slot: Record = {"policy": {"kind": kind}}
    if kind == "shared":
        slot["features"] = {"auto": {"bits": 8}}
    whole = decisions(flow, SPRING | {"unit": unit}, slot=slot)
    monkeypatch.setattr(request_groups, "MOST_CELLS", 7)
    monkeypatch.setattr(request_groups, "MOST_JOINT_CANDIDATES", 14)
    assert decisions(flow, SPRING | {"unit": unit}, slot=slot) == whole


def test_the_present_split_of_a_bandit_divides_and_is_mixed() -> None:
    """Pearson's test at 1e-4, ids fixed; a split of another slot's experiment is passed over."""
    bandit = read_entry(msgspec.json.encode(SPRING | {"mode": "bandit"}))
    history = CatalogHistory()
    take_in(history, [*catalog_of(), bandit])
    catalog = history.as_of(micros(START))
    events = [
        Event(
            micros(START),
            DecisionRequest(
                id=f"d-{n}", time=START, subject="raw", slot_id="home", decision_id=f"d-{n}"
            ),
            "ann",
            n,
            Origin("decision-requests", 0, n, micros(START)),
        )
        for n in range(4000)
    ]
    group = RequestGroup(
        slot=catalog.slots["home"],
        actions=catalog.actions["home"],
        revision=catalog.revision,
        policy=None,
        events=events,
        eligible=[None] * len(events),
        request_hashes=[0] * len(events),
    )
    split = bandit_split(["old", "new"], [1.0, 0.0], 0.1)
    experiments = SlotExperiments(catalog.dividing["home"], "home", b"an example of a key")
    divided = experiments.divide(group, {"spring": split, "elsewhere": split})
    seen = Counter(each.variation_id for (each,) in divided.assignments)
    assert (seen["new"] - 400) ** 2 / 400 + (seen["old"] - 3600) ** 2 / 3600 < 15.14
    for (got,), scenarios in zip(divided.assignments, divided.scenarios, strict=True):
        assert got.probability == pytest.approx({"old": 0.9, "new": 0.1}[got.variation_id])
        assert set(scenarios[0].names) == SHOWN[got.variation_id]
        chances = {frozenset(each.names): each.probability for each in scenarios}
        assert chances == pytest.approx({frozenset("a"): 0.9, frozenset("bc"): 0.1})
