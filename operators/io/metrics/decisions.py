"""What deciding reports: latency, staleness, what was drawn, and unusable feature values."""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from prometheus_client import CollectorRegistry, Counter, Gauge

from operators.io.metrics.choices import Choices
from operators.io.metrics.histogram import ArrayHistogram
from operators.io.metrics.labels import OTHER, Children, Labels
from operators.io.metrics.records import RecordMetrics

_SECONDS = [
    0.001, 0.002, 0.003, 0.005, 0.0075, 0.01, 0.015, 0.02, 0.03, 0.04, 0.05, 0.06, 0.08, 0.1,
    0.15, 0.2, 0.3, 0.5, 0.75, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 300.0,
]  # fmt: skip

_AGES = [*_SECONDS, 900.0, 3600.0, 14_400.0, 86_400.0]
"""How old knowledge may be: rewards may be hours apart."""


class DecisionMetrics:
    """Decisions by slot and action; repeated requests are counted among ``records``."""

    def __init__(
        self,
        registry: CollectorRegistry | None = None,
        labels: Labels | None = None,
        records: RecordMetrics | None = None,
    ) -> None:
        self._labels = labels or Labels()
        self._records = records or RecordMetrics()
        self._latency = ArrayHistogram(
            "banditflow_decision_latency_seconds",
            "From the request's arrival at the broker to its decision.",
            "slot",
            _SECONDS,
            registry,
        )
        self._staleness = ArrayHistogram(
            "banditflow_policy_staleness_seconds",
            "Decision time minus the newest reward that its policy had learned from.",
            "slot",
            _AGES,
            registry,
        )
        self._version = Children(
            Gauge(
                "banditflow_policy_version",
                "The version that decided last.",
                ["slot"],
                registry=registry,
            )
        )
        self._choices = Choices(registry)
        self._problems = Children(
            Counter(
                "banditflow_feature_problems",
                "Values of requests that were not as the slot's features declare them.",
                ["slot", "field", "reason"],
                registry=registry,
            )
        )

        self._ignored = Children(
            Counter(
                "banditflow_action_features_ignored",
                "Actions whose features a request gave to a slot that takes the catalog's.",
                ["slot"],
                registry=registry,
            )
        )

    def decisions(
        self, slot_id: str, latencies: Sequence[float], staleness: Sequence[float], version: int
    ) -> None:
        """Report a group of decisions of one slot; staleness may be empty before any reward."""
        slot = self._labels.slot(slot_id)
        self._latency.observe(slot, latencies)
        if len(staleness):
            self._staleness.observe(slot, staleness)
        if slot != OTHER:
            self._version[slot,].set(version)

    def forget(self, slot_id: str) -> None:
        """Report no more what is so of a slot now: it is no more."""
        slot = self._labels.slot(slot_id)
        if (slot,) in self._version:
            self._version.remove((slot,))
        if slot != OTHER:
            self._choices.forget(slot)

    def choices(
        self,
        slot_id: str,
        action_ids: Sequence[str],
        chosen: NDArray[np.intp],
        probabilities: NDArray[np.float64],
    ) -> None:
        """Report which actions [n] were drawn, and from which logged probabilities [n, K].

        In a slate ``chosen`` is the first action, whose probabilities are not the slate's.
        """
        counts = np.bincount(chosen)
        drawn = np.flatnonzero(counts)
        slot = self._labels.slot(slot_id)
        labels = [self._labels.bounded(slot, action_ids[k]) for k in drawn.tolist()]
        self._choices.add(slot, labels, counts[drawn].tolist(), probabilities, chosen)

    def feature_problems(self, slot_id: str, problems: Mapping[tuple[str, str], int]) -> None:
        """Count values that were not as declared, given by (field, reason)."""
        slot = self._labels.slot(slot_id)
        for (field, reason), count in problems.items():
            name = self._labels.bounded(f"{slot}\0features", field)
            self._problems[slot, name, reason].inc(count)

    def ignored_features(self, slot_id: str, count: int) -> None:
        """Count actions whose features a request gave to a slot that takes the catalog's."""
        if count:
            self._ignored[self._labels.slot(slot_id),].inc(count)

    def repeated_requests(self, count: int) -> None:
        """Count requests that were answered before."""
        self._records.duplicates("request", count)
