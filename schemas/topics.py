"""Every topic in one table: its partitions, its records, who writes it, whom it names."""

from collections.abc import Iterator
from enum import StrEnum
from types import UnionType
from typing import Any, get_args

from msgspec import Struct

from schemas.catalog import CatalogEntry
from schemas.events import (
    Click,
    Consent,
    Decision,
    DecisionBack,
    DecisionRequest,
    Erasure,
    Impression,
    Reward,
)
from schemas.results import (
    DeadLetter,
    Outcome,
    PolicyCheckpoint,
    PolicySnapshot,
    Profile,
    TestReport,
)


class Topic(StrEnum):
    """Every topic by its logical name; a deployment may prefix them (``Settings.topic_prefix``)."""

    DECISION_REQUESTS = "decision-requests"
    DECISIONS = "decisions"
    IMPRESSIONS = "impressions"
    CLICKS = "clicks"
    REWARDS = "rewards"
    OUTCOMES = "outcomes"
    CONSENTS = "consents"
    CATALOG = "catalog"
    PROFILES = "profiles"
    POLICIES = "policies"
    CHECKPOINTS = "checkpoints"
    DEAD_LETTERS = "dead-letters"
    TEST_REPORTS = "test-reports"
    TRIGGERS = "triggers"
    DELIVERIES = "deliveries"


class Subject(StrEnum):
    """How the records of a topic name the visitor that they are about."""

    RAW = "raw id"
    PSEUDONYM = "pseudonym"
    NOBODY = ""


APPLICATIONS = "applications"
"""Who writes and reads from outside: what shows content to visitors and reports what they do."""


class TopicSpec(Struct, frozen=True, kw_only=True):
    """A topic's partitions, records, writers, and how it names visitors.

    ``key`` says what its records are keyed by; ``shared`` topics have the common partition count,
    others one partition. ``record`` is the type, or the union of types, that is written (None:
    not laid down yet), and ``read_as`` the part of it that our flows decode, where that is less.
    ``subject`` says whom a record names, and how. ``writers`` are flows by name, or applications;
    nobody yet where there are none. Which flows read it is in ``flows/registry.py``;
    ``readers`` are those outside. Partition k of every ``aligned`` topic is one partition of the
    personalize dataflow, released in the order of event time. What is on a ``stored`` topic is
    kept in the durable store. ``fence`` are the fields by which a record that a crashed
    process had written is known again, so that it is not written a second time.
    """

    key: str
    shared: bool = True
    record: Any = None
    read_as: Any = None
    subject: Subject = Subject.NOBODY
    writers: tuple[str, ...] = ()
    readers: tuple[str, ...] = ()
    aligned: bool = False
    stored: bool = False
    fence: tuple[str, ...] = ()

    @property
    def decoded(self) -> Any:
        """The type that a record is decoded to."""
        return self.record if self.read_as is None else self.read_as

    def records(self) -> Iterator[type[Struct]]:
        """Give the types of record that may lie on the topic."""
        if self.record is not None:
            yield from get_args(self.record) if _is_union(self.record) else (self.record,)


def _is_union(record: Any) -> bool:
    return isinstance(record, UnionType) or bool(get_args(record))


TOPICS: dict[Topic, TopicSpec] = {
    Topic.DECISION_REQUESTS: TopicSpec(
        key="subject",
        record=DecisionRequest,
        subject=Subject.RAW,
        writers=(APPLICATIONS,),
        aligned=True,
    ),
    Topic.DECISIONS: TopicSpec(
        key="request partition",
        record=Decision,
        read_as=DecisionBack,
        subject=Subject.PSEUDONYM,
        writers=("personalize",),
        readers=(APPLICATIONS,),
        aligned=True,
        stored=True,
        fence=("key",),
    ),
    Topic.IMPRESSIONS: TopicSpec(
        key="subject",
        record=Impression,
        subject=Subject.RAW,
        writers=(APPLICATIONS,),
        aligned=True,
    ),
    Topic.CLICKS: TopicSpec(
        key="subject",
        record=Click,
        subject=Subject.RAW,
        writers=(APPLICATIONS,),
        aligned=True,
    ),
    Topic.REWARDS: TopicSpec(
        key="subject",
        record=Reward,
        subject=Subject.RAW,
        writers=(APPLICATIONS,),
        aligned=True,
    ),
    Topic.OUTCOMES: TopicSpec(
        key="request partition",
        record=Outcome,
        subject=Subject.PSEUDONYM,
        writers=("personalize",),
        stored=True,
        fence=("key", "status", "revision"),
    ),
    Topic.CONSENTS: TopicSpec(
        key="subject",
        record=Consent | Erasure,
        subject=Subject.RAW,
        writers=(APPLICATIONS,),
        aligned=True,
    ),
    Topic.CATALOG: TopicSpec(
        key="id",
        shared=False,
        record=CatalogEntry,
        writers=(APPLICATIONS,),
        stored=True,
    ),
    Topic.PROFILES: TopicSpec(
        key="request partition",
        record=Profile,
        subject=Subject.PSEUDONYM,
        writers=("personalize",),
        stored=True,
    ),
    Topic.POLICIES: TopicSpec(
        key="slot_id",
        shared=False,
        record=PolicySnapshot,
        writers=("personalize",),
        stored=True,
    ),
    Topic.CHECKPOINTS: TopicSpec(
        key="slot_id",
        shared=False,
        record=PolicyCheckpoint,
        writers=("personalize",),
        stored=True,
    ),
    Topic.DEAD_LETTERS: TopicSpec(
        key="source partition",
        record=DeadLetter,
        writers=("personalize",),
        stored=True,
        fence=("topic", "partition", "offset"),
    ),
    Topic.TEST_REPORTS: TopicSpec(
        key="experiment_id",
        shared=False,
        record=TestReport,
        stored=True,
    ),
    Topic.TRIGGERS: TopicSpec(key="experiment_id", shared=False),
    Topic.DELIVERIES: TopicSpec(key="request partition", subject=Subject.PSEUDONYM),
}
"""The one table of topics; ``docs/reference/topics.md`` is checked against it."""

GROUP = tuple(topic for topic, spec in TOPICS.items() if spec.aligned)
"""The topics whose partition k is one partition of the personalize dataflow."""

STORED = tuple(topic for topic, spec in TOPICS.items() if spec.stored)
"""The topics whose records the durable store keeps."""


def partitions(topic: Topic, shared: int) -> int:
    """Say how many partitions a topic has when event topics have ``shared`` of them.

    >>> partitions(Topic.CLICKS, 4), partitions(Topic.CATALOG, 4)
    (4, 1)
    """
    return shared if TOPICS[topic].shared else 1
