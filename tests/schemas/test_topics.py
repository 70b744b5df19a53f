"""The table of topics, and what is said of the same topics elsewhere: no place is missing."""

import msgspec
import pytest

from flows.registry import FLOWS
from operators import persist
from operators.publish import FENCES
from schemas.codec import DECODERS
from schemas.topics import APPLICATIONS, GROUP, STORED, TOPICS, Subject, Topic


def test_every_topic_is_in_the_table() -> None:
    assert list(TOPICS) == list(Topic)


@pytest.mark.parametrize("topic", Topic)
def test_a_flow_writes_what_the_table_says_that_it_writes(topic: Topic) -> None:
    writers = TOPICS[topic].writers
    assert set(writers) <= {APPLICATIONS, *FLOWS}, f"{topic} in schemas/topics.py: no such writer"
    registered = {name for name, flow in FLOWS.items() if topic in flow.writes}
    assert registered == set(writers) - {APPLICATIONS}, f"{topic}: writes in flows/registry.py"


@pytest.mark.parametrize("topic", Topic)
def test_what_is_read_can_be_decoded(topic: Topic) -> None:
    spec, read = TOPICS[topic], any(topic in flow.reads for flow in FLOWS.values())
    assert not read or spec.record is not None, f"{topic} in schemas/topics.py lacks its record"
    assert (topic in DECODERS) == (spec.record is not None), f"{topic} in schemas/codec.py"


@pytest.mark.parametrize("topic", Topic)
def test_what_is_written_is_read(topic: Topic) -> None:
    spec = TOPICS[topic]
    readers = {name for name, flow in FLOWS.items() if topic in flow.reads} | set(spec.readers)
    assert readers or not spec.writers, f"{topic} is written and nobody reads it"


@pytest.mark.parametrize("topic", Topic)
def test_a_stored_topic_is_read_by_persist(topic: Topic) -> None:
    decoded = topic in persist.DECODERS
    assert (topic in STORED) == decoded, f"{topic}: DECODERS in operators/persist.py"


@pytest.mark.parametrize("topic", Topic)
def test_a_fenced_topic_has_a_reader_of_its_fence(topic: Topic) -> None:
    spec = TOPICS[topic]
    assert bool(spec.fence) == (topic in FENCES), f"{topic}: FENCES in operators/publish.py"
    for record in spec.records() if spec.fence else ():
        names = {field.encode_name for field in msgspec.structs.fields(record)}
        assert set(spec.fence) <= names, f"{topic}: its fence names fields that it has not"


@pytest.mark.parametrize("topic", Topic)
def test_only_applications_write_raw_ids(topic: Topic) -> None:
    spec = TOPICS[topic]
    for record in spec.records():
        fields = {field.name for field in msgspec.structs.fields(record)}
        named = spec.subject is not Subject.NOBODY
        if topic is not Topic.CATALOG:  # whose envelope has a subject that is not used
            assert ("subject" in fields) == named, f"{topic}: subject in schemas/topics.py"
    raw = spec.subject is Subject.RAW
    assert not raw or spec.writers == (APPLICATIONS,), f"{topic} carries raw ids"
    assert raw == (topic in GROUP and topic is not Topic.DECISIONS)
