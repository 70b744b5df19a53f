"""Every field of a record that applications write changes something, or is said not to."""

import re
from collections.abc import Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from msgspec import Struct

from schemas.settings import load
from schemas.topics import APPLICATIONS, TOPICS, Topic
from tests.support.scripted import VISITORS, Edit, Record, Script, catalog_of

DOCUMENT = (Path(__file__).parents[2] / "docs/reference/topics.md").read_text()

MISSING = object()
"""Stands for a field that a record leaves out."""


class Changed(Struct, frozen=True, kw_only=True):
    """Another value of a field, in the records of one kind by all visitors but the last.

    ``slot`` and ``beside`` are what the slot and the records have with both values.
    """

    to: Any
    slot: Record = {}
    beside: Record = {}


def after_a_while(record: Record) -> str:
    """A time at which another window, another order or another consent holds."""
    return (datetime.fromisoformat(record["time"]) + timedelta(seconds=4.5)).isoformat()


def of_the_visitor(record: Record) -> str:
    """One id for all records of a visitor about a decision."""
    return f"{record['subject']}-{record.get('decision_id')}"


def another(record: Record) -> str:
    """Another id."""
    return f"another-{record['id']}"


NAMES: Record = {
    "time": Changed(to=after_a_while),
    "subject": Changed(to="somebody else"),
}
ABOUT: Record = NAMES | {"decision_id": Changed(to="another"), "slot_id": Changed(to="side")}
LOGISTIC: Record = {"policy": {"kind": "logistic"}, "features": {"numeric": ["age"]}}
SUM: Record = {"reward_aggregation": "sum", "click_reward": 0.25}
SLATE: Record = {"slate_size": 2}

FIELDS: Mapping[str, Mapping[str, Changed]] = {
    "DecisionRequest": NAMES
    | {
        "id": Changed(to=another, beside={"decision_id": MISSING}),
        "slot_id": Changed(to="side"),
        "decision_id": Changed(to=MISSING),
        "context": Changed(to={}, slot=LOGISTIC),
        "actions": Changed(to=["a"]),
        "excluded": Changed(to=["a"]),
        "deferred": Changed(to=True, slot={"needs_impression": False}),
        "robot": Changed(to=True),
    },
    "Impression": ABOUT
    | {
        "action_id": Changed(to="z"),
        "position": Changed(to=1, slot=SLATE),
        "viewable": Changed(to=MISSING, slot={"viewable_only": True}),
    },
    "Click": ABOUT
    | {"id": Changed(to=of_the_visitor, slot=SUM), "position": Changed(to=1, slot=SLATE)},
    "Reward": ABOUT
    | {
        "id": Changed(to=of_the_visitor, slot=SUM),
        "value": Changed(to=0.125),
        "position": Changed(to=1, slot=SLATE),
    },
    "Consent": NAMES | {"purposes": Changed(to=[1])},
    "Erasure": NAMES,
}

KINDS: Mapping[str, tuple[Topic, str | None]] = {
    record.__name__: (topic, record.__struct_config__.tag)
    for topic, spec in TOPICS.items()
    if APPLICATIONS in spec.writers and topic is not Topic.CATALOG
    for record in spec.records()
}


def information(record: str) -> set[str]:
    """Name the fields that the reference says are information."""
    section = re.search(rf"^### {record}\n(.*?)(?=^#|\Z)", DOCUMENT, re.M | re.S)
    assert section is not None
    return set(re.findall(r"^\| `(\w+)` \|[^|]*\| Information", section.group(1), re.M))


def edit_of(record: str, fields: Record) -> Edit:
    """Set fields in the records of a kind that any visitor but the last writes."""
    wanted, tag = KINDS[record]

    def edit(topic: Topic, each: Record) -> None:
        if topic is not wanted or (tag is not None and each["type"] != tag):
            return
        if each["subject"] == f"visitor-{VISITORS - 1}":
            return
        for field, value in fields.items():
            if value is MISSING:
                each.pop(field, None)
            else:
                each[field] = value(each) if callable(value) else value

    return edit


class Flow:
    """The flow, and what it wrote where no field was changed."""

    def __init__(self) -> None:
        self._script = Script(load({}, secret="a secret of the tests", partitions=1, gather=0))
        self._before: dict[str, Any] = {}

    def differs(self, record: str, field: str, changed: Changed) -> bool:
        """Tell whether the flow writes something else for the changed value."""
        catalog, known = catalog_of(changed.slot), repr((changed.slot, changed.beside, record))
        if not changed.beside:
            known = repr(changed.slot)
        if known not in self._before:
            self._before[known] = self._script.play(catalog, edit_of(record, changed.beside))
        edit = edit_of(record, changed.beside | {field: changed.to})
        return bool(self._before[known] != self._script.play(catalog, edit))


@pytest.fixture(scope="module")
def flow() -> Flow:
    return Flow()


def test_every_field_is_walked() -> None:
    assert set(KINDS) == set(FIELDS)
    for topic, spec in TOPICS.items():
        if APPLICATIONS in spec.writers and topic is not Topic.CATALOG:
            for record in spec.records():
                name = record.__name__
                walked = set(FIELDS[name]) | information(name)
                assert set(record.__struct_fields__) == walked, name


@pytest.mark.parametrize(
    ("record", "field"), [(record, field) for record, walked in FIELDS.items() for field in walked]
)
def test_a_field_changes_what_the_flow_does(record: str, field: str, flow: Flow) -> None:
    assert flow.differs(record, field, FIELDS[record][field])


@pytest.mark.parametrize("record", FIELDS)
def test_information_changes_nothing(record: str, flow: Flow) -> None:
    for field in information(record) - {"type"}:
        assert not flow.differs(record, field, Changed(to="x")), field
