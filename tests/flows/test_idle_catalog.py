"""What a catalog says in vain is said to be in vain, and nothing else is; a slip is refused."""

import json
from pathlib import Path
from typing import Any

import pytest
from msgspec import Struct

from flows.cli.main import main
from operators.logic.catalog import CatalogHistory
from operators.logic.catalog_effects import without_effect
from operators.logic.catalog_limits import take_in
from operators.logic.subjects.profiles import PROFILE_FEATURES
from schemas.catalog import CatalogEntry
from tests.flows.test_catalog_fields_matter import CONTEXT, FIELDS, at_path, in_catalog
from tests.support import records as make
from tests.support.scripted import ACTIONS, SLOT, Changed, Flow, Record, catalog_of, merged

LOGISTIC: Record = {"policy": {"kind": "logistic"}, "features": CONTEXT}
AT_ONCE: Record = {"needs_impression": False}
STILL: Record = LOGISTIC | {"policy": {"kind": "logistic", "params": {"iterations": 0}}}

IDLE: list[tuple[str, Record, Any]] = [
    ("item_features", {}, ["price"]),
    ("item_features", STILL, ["price"]),
    ("item_features", LOGISTIC, ["no such feature"]),
    ("policy.params.prior_strength", STILL, 3.0),
    ("policy.params.ridge", STILL, 3.0),
    ("policy.params.ridge", LOGISTIC, 3.0),
    ("viewable_only", AT_ONCE, True),
    ("click_without_impression", AT_ONCE, "quarantine"),
    ("holdout.unit", {}, "subject"),
    ("floor", {"policy": {"kind": "uniform"}}, 0.1),
    ("features.scale", {"policy": {"kind": "logistic"}, "features": {"vectors": {"v": 3}}}, True),
    ("features.interaction_buckets", LOGISTIC, 7),
    ("features.auto.most_crossed", {"features": {"auto": {"crosses": []}}}, 7),
    ("features.auto.context_products", {"features": {"auto": {"crosses": []}}}, 7),
    ("subject_limit.decisions", {"subject_limit": {"enabled": False}}, 1),
    ("subject_limit.window", {"subject_limit": {"enabled": False, "decisions": 30}}, 1.0),
    ("robot_rate.decisions", {"robot_rate": {"enabled": False}}, 1),
    ("robot_rate.window", {"robot_rate": {"enabled": False}}, 1.0),
    ("robot_rate.window", {"robot_rate": {"decisions": 1}}, 30.0),
    ("subject_limit.decisions", {"subject_limit": {"enabled": False}}, 1),
    ("robot_rate.window", {"robot_rate": {"enabled": False}}, 1.0),
    ("policy.params.shares", {"policy": {"kind": "split"}}, {"nobody": 1.0}),
]
"""Fields of a slot that change nothing, beside what, and another value."""


@pytest.fixture(scope="module")
def flow() -> Flow:
    return Flow()


def notes(*catalog: Any) -> list[str]:
    """The fields about which something is said."""
    return notes_on(catalog_of(*catalog))


def notes_on(entries: list[CatalogEntry]) -> list[str]:
    history = CatalogHistory()
    take_in(history, entries)
    return [note.split(": ")[1] for note in without_effect(entries, history)]


@pytest.mark.parametrize(("path", "slot", "to"), IDLE)
def test_what_is_said_to_change_nothing_changes_nothing(
    path: str, slot: Record, to: Any, flow: Flow
) -> None:
    change = at_path(path, to)
    assert not flow.differs(Changed(to=to, slot=slot), change, {})
    assert path in notes(merged(slot, change))
    assert path not in notes(slot)


@pytest.mark.parametrize(
    ("record", "path"), [(record, path) for record, walked in FIELDS.items() for path in walked]
)
def test_nothing_is_said_of_a_field_that_changes_something(record: type[Struct], path: str) -> None:
    changed = FIELDS[record][path]
    if path not in ("slot_id", "slots", "deleted"):
        slot, action = in_catalog(record, at_path(path, changed.to))
        said = notes(merged(changed.slot, slot), merged(changed.action, action))
        assert path.partition("[]")[0] not in said


def test_features_that_no_policy_looks_at_are_logged_alone(flow: Flow) -> None:
    change: Record = {"features": CONTEXT}
    assert notes(change) == ["features"]
    plain, logged = (flow.written(slot, {}, ())["decisions"] for slot in ({}, change))
    assert [each["ranking"] for each in plain] == [each["ranking"] for each in logged]
    assert plain != logged


def test_a_feature_that_no_profile_has_is_named(flow: Flow) -> None:
    slot: Record = {"policy": {"kind": "logistic"}, "features": {"profile": ["log_clickz"]}}
    assert notes(slot) == ["features.profile"]
    for name in [*PROFILE_FEATURES, "affinity.sports"]:
        assert notes(merged(slot, {"features": {"profile": [name]}})) == []
    (profile, *_) = flow.written({}, {}, ())["profiles"]
    assert set(profile["features"]) == set(PROFILE_FEATURES)


def test_names_that_the_catalog_does_not_know_are_named() -> None:
    twins = [{"action_id": "nobody", "similarity": 0.5}]
    action: Record = {"slots": ["home", "sid"], "neighbours": twins}
    entries = catalog_of({"baseline_action_id": "nobody"}, action)
    assert sorted(notes_on(entries)) == ["baseline_action_id", "neighbours", "slots"]
    assert notes_on(catalog_of({"baseline_action_id": "b"})) == []


POINTLESS: list[tuple[str, Record, Record]] = [
    ("slate_size", {"slate_size": 3}, {"slate_size": 4}),
    ("floor", {"floor": 0.33}, {"floor": 0.34}),
    ("holdout.share", {"holdout": {"share": 0.99}}, {"holdout": {"share": 1.0}}),
    (
        "policy.params.epsilon",
        {"policy": {"kind": "greedy", "params": {"epsilon": 0.9}}},
        {"policy": {"kind": "greedy", "params": {"epsilon": 1.0}}},
    ),
    (
        "policy.params.shares",
        {"policy": {"kind": "split", "params": {"shares": {"a": 1, "b": 1, "c": 1}}}},
        {"policy": {"kind": "split", "params": {"shares": {"a": 1, "c": 0}}}},
    ),
]
"""Fields of a slot with three actions: settings that work, and such as cannot."""


@pytest.mark.parametrize(("path", "works", "cannot"), POINTLESS)
def test_what_cannot_work_is_named(path: str, works: Record, cannot: Record) -> None:
    assert path not in notes(works)
    assert path in notes(cannot)


def test_what_cannot_work_comes_to_what_is_said(flow: Flow) -> None:
    def probabilities(slot: Record) -> set[float]:
        decisions = flow.written(slot, {}, ())["decisions"]
        return {round(each["probability"], 6) for made in decisions for each in made["ranking"]}

    for slot in (dict(POINTLESS[n][2]) for n in (1, 2, 3)):
        assert probabilities(slot) == {0.333333}, slot
    too_many = flow.written(POINTLESS[0][2], {}, ())["decisions"]
    assert {len(each["slate"]) for each in too_many} == {3}
    split = flow.written(POINTLESS[4][2], {}, ())["decisions"]
    assert {each["action_id"] for each in split} == {"a"}


def test_an_action_that_nothing_shows_is_named() -> None:
    assert notes({}, {"slots": []}) == ["slots"]
    assert notes({}, {"slots": [], "enabled": False}) == []


def test_a_note_is_given_once() -> None:
    off: Record = {"subject_limit": {"enabled": False, "decisions": 1}}
    assert notes(off) == ["subject_limit.decisions"]
    history, entries = CatalogHistory(), catalog_of(off)
    take_in(history, entries)
    (said,) = without_effect(entries, history)
    assert "more like it" not in said


def test_a_slot_that_shows_nothing_is_named() -> None:
    slot, action = make.slot("home"), make.action("a", embedding=None)
    off = make.action("a", 1, embedding=None, enabled=False)
    takes = make.slot("home", 1, candidates="request", baseline_action_id="never registered")
    assert notes_on([slot]) == notes_on([slot, action, off]) == ["candidates"]
    for shows in (
        [slot, action],
        [takes],
        [slot, takes],
        [slot, make.slot("home", 1, deleted=True)],
    ):
        assert notes_on(shows) == []


WRONG: list[tuple[Record, str]] = [
    ({"flor": 0.1}, "flor: no slot has such a field: did you mean floor?"),
    ({"needs_impresion": False}, "did you mean needs_impression?"),
    ({"click_reward": 5.0}, "click_reward: lies outside reward_range"),
]


@pytest.mark.parametrize(("change", "said"), WRONG)
def test_a_slip_is_refused(change: Record, said: str, tmp_path: Path, capsys: Any) -> None:
    file = tmp_path / "home.jsonl"
    file.write_text("\n".join(map(json.dumps, [merged(SLOT, change), *ACTIONS])))
    for action in ("check", "publish"):
        assert main(["catalog", action, str(file)]) == 2
        refused = capsys.readouterr().err
        assert "home.jsonl:1: " in refused
        assert said in refused


def test_a_field_of_the_authors_own_is_passed_over_and_said(tmp_path: Path, capsys: Any) -> None:
    file = tmp_path / "home.jsonl"
    file.write_text("\n".join(map(json.dumps, [SLOT | {"owner": "shop"}, *ACTIONS])))
    assert main(["catalog", "check", str(file)]) == 0
    assert "home.jsonl:1: owner: no slot has such a field: it is ignored" in capsys.readouterr().err
