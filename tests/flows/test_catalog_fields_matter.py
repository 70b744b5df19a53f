"""Every field of the catalog and every policy parameter changes something, or is said not to.

A field is walked with two values in the same script of visitors: what the flow writes must differ.
A field that is added without an entry here fails the walk.
"""

import re
from collections.abc import Iterator, Mapping
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules
from typing import Any, get_args, get_origin

import msgspec
import pytest
from msgspec import Struct

from operators.logic import policies
from operators.logic.policies import KINDS
from schemas.catalog import Action, Slot
from tests.support.scripted import ACTIONS, SLOT, Changed, Flow, Record, catalog_of, merged

DOCUMENT = (Path(__file__).parents[2] / "docs/reference/topics.md").read_text()
LATER = "2026-03-01T12:00:07Z"
"""In the middle of the script."""


CONTEXT: Record = {"numeric": ["age", "height"]}
LOGISTIC: Record = {"policy": {"kind": "logistic"}, "features": CONTEXT}
PRICED: Record = {"item_features": ["price"]}
FEATURED: Record = LOGISTIC | PRICED
SHARED: Record = {"policy": {"kind": "shared"}, "features": {"auto": {"bits": 8}}}
PRICE: Record = {"features": {"price": 20.0, "of": {"kind": "x"}}}
TWINS: Record = {"neighbours": [{"action_id": "b", "similarity": 0.9}]}

SLOT_FIELDS: Mapping[str, Changed] = {
    "time": Changed(to=LATER, further=(SLOT | {"id": "0", "floor": 0.3},)),
    "id": Changed(to="2", further=(SLOT | {"id": "1", "floor": 0.3},), slot={"id": "0"}),
    "deleted": Changed(to=True),
    "slot_id": Changed(to="side"),
    "candidates": Changed(to="request"),
    "policy.kind": Changed(to="logistic"),
    "policy.params": Changed(to={"prior_reward": 10.0}),
    "policy.publish_rewards": Changed(to=1000, slot={"policy": {"publish_interval": 60.0}}),
    "policy.publish_interval": Changed(to=60.0, slot={"policy": {"publish_rewards": 1000}}),
    "features.numeric": Changed(to=["age"], slot={"policy": {"kind": "logistic"}}),
    "features.vectors": Changed(to={"v": 3}, slot={"policy": {"kind": "logistic"}}),
    "features.categories": Changed(to={"device": ["phone"]}, slot={"policy": {"kind": "logistic"}}),
    "features.hashed": Changed(to={"page": 7}, slot={"policy": {"kind": "logistic"}}),
    "features.profile": Changed(to=["log_clicks"], slot={"policy": {"kind": "logistic"}}),
    "features.profile_embedding": Changed(to=2, slot={"policy": {"kind": "logistic"}}),
    "features.interactions": Changed(to=[{"left": "age", "right": "height"}], slot=LOGISTIC),
    "features.interactions[].left": Changed(
        to=[{"left": "height", "right": "height"}],
        slot=LOGISTIC
        | {"features": CONTEXT | {"interactions": [{"left": "age", "right": "height"}]}},
    ),
    "features.interactions[].right": Changed(
        to=[{"left": "age", "right": "age"}],
        slot=LOGISTIC
        | {"features": CONTEXT | {"interactions": [{"left": "age", "right": "height"}]}},
    ),
    "features.interaction_buckets": Changed(
        to=3,
        slot={
            "policy": {"kind": "logistic"},
            "features": {
                "hashed": {"page": 7, "device": 5},
                "interactions": [{"left": "page", "right": "device"}],
            },
        },
    ),
    "features.time_of_day": Changed(to=True, slot={"policy": {"kind": "logistic"}}),
    "features.scale": Changed(to=True, slot=LOGISTIC),
    "features.auto.bits": Changed(to=9, slot=SHARED),
    "features.auto.crosses": Changed(to=[["", "of"]], slot=SHARED, action=PRICE),
    "features.auto.ignore": Changed(to=[""], slot=SHARED),
    "features.auto.context_alone": Changed(to=False, slot=SHARED),
    "features.auto.most_features": Changed(to=2, slot=SHARED),
    "features.auto.most_crossed": Changed(to=1, slot=SHARED, action=PRICE),
    "features.auto.context_products": Changed(to=0, slot=SHARED),
    "features.auto.scale": Changed(to=False, slot=SHARED, action=PRICE),
    "item_features": Changed(to=["price"], slot=LOGISTIC, action={"features": {"price": 2.0}}),
    "reward_window": Changed(to=2.0),
    "learning_mode": Changed(to="wait"),
    "reward_aggregation": Changed(to="sum"),
    "default_reward": Changed(to=0.25),
    "click_reward": Changed(to=0.5),
    "reward_range": Changed(to=[0.0, 2.0]),
    "needs_impression": Changed(to=False),
    "viewable_only": Changed(to=True, slot={"click_without_impression": "quarantine"}),
    "click_without_impression": Changed(to="quarantine"),
    "floor": Changed(to=0.3),
    "floor_mass": Changed(to=0.3),
    "holdout.share": Changed(to=0.5),
    "holdout.unit": Changed(to="subject", slot={"holdout": {"share": 0.5}}),
    "baseline_action_id": Changed(to="a"),
    "slate_size": Changed(to=2),
    "subject_limit.enabled": Changed(to=False, slot={"subject_limit": {"decisions": 1}}),
    "subject_limit.decisions": Changed(to=1),
    "subject_limit.window": Changed(to=2.0, slot={"subject_limit": {"decisions": 1}}),
    "robot_rate.enabled": Changed(to=False, slot={"robot_rate": {"decisions": 1}}),
    "robot_rate.decisions": Changed(to=1),
    "robot_rate.window": Changed(to=1.0, slot={"robot_rate": {"decisions": 1}}),
    "log_candidates": Changed(
        to=True,
        slot={"candidates": "request"},
        request={"actions": [{"id": name, "features": {"name": name}} for name in "abc"]},
    ),
}

ACTION_FIELDS: Mapping[str, Changed] = {
    "time": Changed(to=LATER, further=(ACTIONS[0] | {"id": "0", "enabled": False},)),
    "id": Changed(
        to="2", further=(ACTIONS[0] | {"id": "1", "enabled": False},), action={"id": "0"}
    ),
    "deleted": Changed(to=True),
    "action_id": Changed(to="z"),
    "slots": Changed(to=["side"]),
    "features": Changed(to={"price": 2.0}, slot=FEATURED),
    "embedding": Changed(to=[2.0, 1.0], slot=LOGISTIC | {"item_features": ["embedding"]}),
    "neighbours": Changed(to=TWINS["neighbours"], slot={"policy": {"params": {"neighbours": 1.0}}}),
    "neighbours[].action_id": Changed(
        to=[{"action_id": "c", "similarity": 0.9}],
        slot={"policy": {"params": {"neighbours": 1.0}}},
        action=TWINS,
    ),
    "neighbours[].similarity": Changed(
        to=[{"action_id": "b", "similarity": 0.1}],
        slot={"policy": {"params": {"neighbours": 1.0}}},
        action=TWINS,
    ),
    "enabled": Changed(to=False),
}

FIELDS: Mapping[type[Struct], Mapping[str, Changed]] = {Slot: SLOT_FIELDS, Action: ACTION_FIELDS}

INFORMATION = {
    Slot: {"source", "subject"},
    Action: {"source", "subject", "content"},
}
"""Fields that no decision, no outcome and no count depends on, as the documents say."""


EAGER: Record = {"policy": {"params": {"action_variance": 1000.0}}}
"""A few decisions make an action known, where actions may differ that much."""

PARAMS: Mapping[str, Mapping[str, Changed]] = {
    "beta": {
        "prior_reward": Changed(to=10.0),
        "prior_failure": Changed(to=2.0),
        "half_life": Changed(to=5.0),
        "sharpen": Changed(to=4.0),
        "action_variance": Changed(to=1000.0),
        "optimism": Changed(to=0.0, slot=EAGER),
        "neighbours": Changed(to=1.0, action=TWINS),
    },
    "logistic": {
        "alpha": Changed(to=2.0),
        "prior_mean": Changed(to=0.0),
        "prior_variance": Changed(to=1.0),
        "intercept_variance": Changed(to=2.0),
        "action_variance": Changed(to=1000.0),
        "optimism": Changed(to=0.0, slot=EAGER),
        "curvature_floor": Changed(to=0.2),
        "half_life": Changed(to=5.0),
        "iterations": Changed(to=0),
        "prior_strength": Changed(to=1.0),
        "ridge": Changed(to=0.1, slot=PRICED, action={"features": {"price": 2.0}}),
        "neighbours": Changed(to=1.0, action=TWINS),
    },
    "gaussian": {
        "alpha": Changed(to=2.0),
        "prior_mean": Changed(to=1.0),
        "prior_variance": Changed(to=4.0),
        "intercept_variance": Changed(to=4.0),
        "action_variance": Changed(to=1000.0),
        "optimism": Changed(to=0.0, slot=EAGER),
        "noise": Changed(to=2.0),
        "half_life": Changed(to=5.0),
        "iterations": Changed(to=2),
        "prior_strength": Changed(to=1.0, slot={"policy": {"params": {"iterations": 2}}}),
        "ridge": Changed(
            to=0.1,
            slot=PRICED | {"policy": {"params": {"iterations": 2}}},
            action={"features": {"price": 2.0}},
        ),
        "neighbours": Changed(to=1.0, slot={"policy": {"params": {"iterations": 2}}}, action=TWINS),
    },
    "diagonal": {
        "alpha": Changed(to=2.0),
        "prior_mean": Changed(to=0.0),
        "prior_variance": Changed(to=1.0),
        "intercept_variance": Changed(to=2.0),
        "action_variance": Changed(to=1000.0),
        "optimism": Changed(to=0.0, slot=EAGER),
        "rate": Changed(to=2.0),
        "damping": Changed(to=9.0),
        "half_life": Changed(to=5.0),
    },
    "shared": {
        "link": Changed(to="gaussian"),
        "alpha": Changed(to=2.0),
        "prior_mean": Changed(to=1.0),
        "intercept_variance": Changed(to=4.0),
        "signal": Changed(to=4.0),
        "action_variance": Changed(to=4.0),
        "noise": Changed(to=2.0, slot={"policy": {"params": {"link": "gaussian"}}}),
        "half_life": Changed(to=5.0),
        "drift_half_life": Changed(to=5.0),
        "iterations": Changed(to=3),
        "prior_strength": Changed(to=1.0),
        "rank": Changed(to=32, slot={"policy": {"params": {"whole": 0}}}),
        "whole": Changed(to=0),
        "buckets": Changed(to=64),
        "ids": Changed(to=1),
    },
    "greedy": {"epsilon": Changed(to=0.5), "half_life": Changed(to=5.0)},
    "split": {"shares": Changed(to={"a": 1.0, "b": 3.0})},
    "uniform": {},
}


def fields_of(record: type[Struct], prefix: str = "") -> Iterator[str]:
    """Name every field of a record, and of what is nested in it; a nested record by its fields."""
    for field in msgspec.structs.fields(record):
        name = f"{prefix}{field.encode_name}"
        inner = _struct_in(field.type)
        if inner is None or inner[1]:
            yield name
        if inner is not None:
            yield from fields_of(inner[0], f"{name}[]." if inner[1] else f"{name}.")


def _struct_in(type_: Any) -> tuple[type[Struct], bool] | None:
    """Find the record that a field holds, and whether it holds a list of them."""
    if isinstance(type_, type) and issubclass(type_, Struct):
        return type_, False
    for argument in get_args(type_):
        inner = _struct_in(argument)
        if inner is not None:
            return inner[0], inner[1] or get_origin(type_) is list
    return None


def at_path(path: str, value: Any) -> Record:
    """Make the record that holds a value at a path; a path into a list is that of the list."""
    *outer, last = path.partition("[]")[0].split(".")
    result: Record = {last: value}
    for name in reversed(outer):
        result = {name: result}
    return result


def walks() -> Iterator[Any]:
    """Give every walk: the record, the path in it, and the change; a parameter is a slot's."""
    for record, walked in FIELDS.items():
        for path, changed in walked.items():
            yield pytest.param(record, path, changed, id=f"{record.__name__} {path}")
    for kind, walked in PARAMS.items():
        base: Record = {"policy": {"kind": kind}}
        if kind == "shared":
            base = SHARED
        elif kind not in ("beta", "split"):
            base |= {"features": CONTEXT}
        for name, changed in walked.items():
            beside = msgspec.structs.replace(changed, slot=merged(base, changed.slot))
            yield pytest.param(Slot, f"policy.params.{name}", beside, id=f"{kind} {name}")


def in_catalog(record: type[Struct], change: Record) -> tuple[Record, Record]:
    """Give the changes of the slot and of the action where one of the two is changed."""
    return (change, {}) if record is Slot else ({}, change)


@pytest.fixture(scope="module")
def flow() -> Flow:
    return Flow()


def test_the_same_catalog_makes_the_flow_write_the_same(flow: Flow) -> None:
    first, *others = [flow.script.play(catalog_of(FEATURED)) for _ in range(3)]
    assert others == [first, first]


@pytest.mark.parametrize("record", [Slot, Action])
def test_every_field_is_walked(record: type[Struct]) -> None:
    known: set[str] = set(INFORMATION[record])
    known |= set(FIELDS.get(record, {}))
    assert set(fields_of(record)) == known


@pytest.mark.parametrize(("record", "path", "changed"), list(walks()))
def test_what_is_walked_changes_what_the_flow_does(
    record: type[Struct], path: str, changed: Changed, flow: Flow
) -> None:
    assert flow.differs(changed, *in_catalog(record, at_path(path, changed.to)))


@pytest.mark.parametrize("record", [Slot, Action])
def test_what_is_information_changes_nothing_and_is_documented(
    record: type[Struct], flow: Flow
) -> None:
    rows = re.search(rf"^### {record.__name__}\n(.*?)(?=^#|\Z)", DOCUMENT, re.M | re.S)
    assert rows is not None
    said = re.findall(r"^\| `(\w+)` \|[^|]*\| Information", rows.group(1), re.M)
    assert set(said) == INFORMATION[record]
    for name in INFORMATION[record]:
        assert not flow.differs(Changed(to="x"), *in_catalog(record, {name: "x"})), name


def parameters() -> dict[str, set[str]]:
    """Name the parameters of every kind of policy: of its ``…Params``."""
    found: dict[str, set[str]] = {}
    for module in iter_modules(policies.__path__):
        for name, value in vars(import_module(f"{policies.__name__}.{module.name}")).items():
            if name.endswith("Params") and isinstance(value, type) and issubclass(value, Struct):
                found[name.removesuffix("Params").lower()] = set(value.__struct_fields__)
    return found


def test_every_parameter_is_walked() -> None:
    assert set(parameters()) == set(KINDS)
    assert parameters() == {kind: set(walked) for kind, walked in PARAMS.items()}
