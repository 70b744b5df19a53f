"""Every metric of a process: each family is made once on a registry, each step gets its object."""

from functools import cached_property

from prometheus_client import CollectorRegistry

from operators.io.metrics.attribution import AttributionMetrics
from operators.io.metrics.decisions import DecisionMetrics
from operators.io.metrics.kafka import KafkaMetrics
from operators.io.metrics.labels import MOST_LABELS, Labels
from operators.io.metrics.learner import LearnerMetrics
from operators.io.metrics.records import RecordMetrics
from operators.io.metrics.redis import RedisMetrics
from operators.io.metrics.store import StoreMetrics
from operators.io.metrics.subjects import FactorMetrics, ProfileMetrics


class Metrics:
    """The metrics of all steps on one registry.

    Steps call them once per batch. Label values are bounded: topics, reasons and statuses are
    fixed sets; slots, and actions of a slot, beyond ``most_labels`` are counted as ``other``.
    """

    def __init__(self, registry: CollectorRegistry, most_labels: int = MOST_LABELS) -> None:
        labels = Labels(most_labels)
        self._registry = registry
        self.records = RecordMetrics(registry)
        self.attribution = AttributionMetrics(registry, labels)
        self.profiles = ProfileMetrics(registry)
        self.learner = LearnerMetrics(registry, labels)
        self.decisions = DecisionMetrics(registry, labels, self.records)
        self.kafka = KafkaMetrics(registry)

    @cached_property
    def factors(self) -> FactorMetrics:
        """Those of factors, exposed only where a flow learns them."""
        return FactorMetrics(self._registry)

    @cached_property
    def redis(self) -> RedisMetrics:
        """Those of Redis, exposed only where a flow writes there."""
        return RedisMetrics(self._registry)

    @cached_property
    def store(self) -> StoreMetrics:
        """Those of the durable store, exposed only where a flow writes there."""
        return StoreMetrics(self._registry)
