"""Topic names, keys and partition counts: the only place that knows them."""

from enum import StrEnum

from msgspec import Struct


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


class Layout(Struct, frozen=True):
    """How a topic is keyed and cut: ``shared`` topics have the common partition count."""

    key: str
    shared: bool = True


LAYOUT: dict[Topic, Layout] = {
    Topic.DECISION_REQUESTS: Layout(key="subject"),
    Topic.DECISIONS: Layout(key="request partition"),
    Topic.IMPRESSIONS: Layout(key="subject"),
    Topic.CLICKS: Layout(key="subject"),
    Topic.REWARDS: Layout(key="subject"),
    Topic.OUTCOMES: Layout(key="request partition"),
    Topic.CONSENTS: Layout(key="subject"),
    Topic.CATALOG: Layout(key="id", shared=False),
    Topic.PROFILES: Layout(key="request partition"),
    Topic.POLICIES: Layout(key="slot_id", shared=False),
    Topic.CHECKPOINTS: Layout(key="slot_id", shared=False),
    Topic.DEAD_LETTERS: Layout(key="source partition"),
    Topic.TEST_REPORTS: Layout(key="experiment_id", shared=False),
    Topic.TRIGGERS: Layout(key="experiment_id", shared=False),
    Topic.DELIVERIES: Layout(key="request partition"),
}

GROUP = (
    Topic.DECISION_REQUESTS,
    Topic.DECISIONS,
    Topic.IMPRESSIONS,
    Topic.CLICKS,
    Topic.REWARDS,
    Topic.CONSENTS,
)
"""The topics whose partition k is one partition of the personalize dataflow."""


def partitions(topic: Topic, shared: int) -> int:
    """Say how many partitions a topic has when event topics have ``shared`` of them.

    >>> partitions(Topic.CLICKS, 4), partitions(Topic.CATALOG, 4)
    (4, 1)
    """
    return shared if LAYOUT[topic].shared else 1
