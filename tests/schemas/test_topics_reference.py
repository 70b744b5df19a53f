"""The reference of topics and records says what the schemas say."""

import re
from pathlib import Path
from typing import Any

import msgspec
import pytest

from operators.decide.decision_encoder import LEFT_AT_DEFAULT, decision_messages
from operators.envelope import Event, Origin
from operators.io.releases import PROCESSING_ERROR
from operators.logic.attribution.outcomes import encode_outcome
from operators.logic.attribution.reasons import REJECTIONS
from operators.publish import REPEATS, dead_letter_message
from schemas import results
from schemas.codec import decode
from schemas.topics import TOPICS, Topic
from tests.schemas.test_codec import REASONS
from tests.support import records as make

DOCUMENT = (Path(__file__).parents[2] / "docs" / "reference" / "topics.md").read_text()
RECORDS = [record for spec in TOPICS.values() for record in spec.records()]
WITHOUT_TOPIC = [results.OptimizedContent, results.Delivery, results.ErasureReceipt]
FLOW_REASONS = {
    "time_in_future",
    "misrouted",
    "unknown_slot",
    "no_eligible_action",
    "stale_request",
    "conflicting_request",
    "conflicting_action",
    "conflicting_version",
    "stale_version",
    "refused_by_store",
}
EVENT_TOPICS = {
    "DecisionRequest": Topic.DECISION_REQUESTS,
    "Impression": Topic.IMPRESSIONS,
    "Click": Topic.CLICKS,
}


def rows(section: str) -> list[list[str]]:
    lines = re.findall(r"^\|(.*)\|$", section, re.M)
    return [[cell.strip() for cell in line.split("|")] for line in lines]


def section(heading: str) -> str:
    found = re.search(rf"^#+ {heading}\n(.*?)(?=^#|\Z)", DOCUMENT, re.M | re.S)
    assert found, heading
    return found.group(1)


def test_every_topic_is_listed_with_what_its_table_says() -> None:
    listed = {row[0].strip("`"): row[1:] for row in rows(DOCUMENT.split("## ")[0])[2:]}
    assert listed == {
        topic.value: [
            spec.key,
            "shared" if spec.shared else "1",
            ", ".join(record.__name__ for record in spec.records()),
            spec.subject.value,
            ", ".join(spec.writers) or "not yet",
        ]
        for topic, spec in TOPICS.items()
    }


@pytest.mark.parametrize("record", RECORDS + WITHOUT_TOPIC, ids=lambda record: record.__name__)
def test_every_field_is_listed_with_its_default(record: Any) -> None:
    listed = {row[0].strip("`"): row[1].strip("`") for row in rows(section(record.__name__))[2:]}
    if record.__struct_config__.tag:
        assert listed.pop("type") == "required"
    expected = {field.encode_name: _default(field) for field in msgspec.structs.fields(record)}
    wrong = [
        f"{record.__name__}.{name}: docs/reference/topics.md says {listed.get(name, 'nothing')!r} "
        f"of its default, the record {expected.get(name, 'no such field')!r}"
        for name in sorted(listed.keys() | expected.keys())
        if listed.get(name) != expected.get(name)
    ]
    assert not wrong, "\n".join(wrong)
    assert listed == expected


def _default(field: Any) -> str:
    if field.required:
        return "required"
    has_value = field.default is not msgspec.NODEFAULT
    value = field.default if has_value else field.default_factory()
    if value in (None, "", [], {}) or isinstance(value, msgspec.Struct):
        return ""
    return msgspec.json.encode(value).decode()


def test_what_is_said_of_kafka_keys_is_what_is_written() -> None:
    said = {
        topic.strip("`"): cells[1]
        for cells in rows(section("Records that Banditflow writes"))[2:]
        for topic in cells[0].split(", ")
    }
    written = {topic for topic, spec in TOPICS.items() if "personalize" in spec.writers}
    assert said.keys() == written
    event = Event(0, None, "", 7, Origin("decision-requests", 0, 0, 0))
    (decision,) = decision_messages([event], [b"{}"])
    keys = {
        Topic.DECISIONS: decision.key,
        Topic.DEAD_LETTERS: dead_letter_message(make.dead_letter(1)).key,
        Topic.OUTCOMES: encode_outcome(7, make.outcome(7)).key,
    }
    for topic, key in keys.items():
        assert said[topic].startswith("null") == (key is None), topic
    assert keys[Topic.OUTCOMES] == make.outcome(7).key.encode()


def test_what_banditflow_writes_leaves_out_its_defaults() -> None:
    for topic, spec in TOPICS.items():
        for record in spec.records():
            if "personalize" in spec.writers:
                assert record.__struct_config__.omit_defaults, topic
    for field in LEFT_AT_DEFAULT:
        assert f"`{field}`" in section("Records that Banditflow writes"), field


def test_every_reason_of_a_dead_letter_is_explained() -> None:
    listed = [row[0].strip("`") for row in rows(section("Dead letters"))[2:]]
    assert len(listed) == len(set(listed))
    assert set(listed) == REASONS | FLOW_REASONS | REJECTIONS | {PROCESSING_ERROR}
    assert set(listed) >= REPEATS


def test_the_examples_are_records() -> None:
    fences = re.findall(r"^```json\n(.*?)^```", DOCUMENT, re.M | re.S)
    lines = [line for fence in fences for line in fence.splitlines()]
    kinds = [
        type(decode(topic, line.encode())).__name__
        for topic, line in zip(EVENT_TOPICS.values(), lines, strict=True)
    ]
    assert kinds == list(EVENT_TOPICS)
