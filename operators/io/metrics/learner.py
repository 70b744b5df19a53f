"""What learners report: what they saw and believe of actions, the click model, ignored updates."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from threading import Lock

from prometheus_client import CollectorRegistry, Counter, Gauge

from operators.io.metrics.actions import Actions
from operators.io.metrics.labels import OTHER, Children, Labels
from schemas.results import ActionSummary


class LearnerMetrics:
    """What the learners of all slots believe, and how well their click models fit."""

    def __init__(
        self, registry: CollectorRegistry | None = None, labels: Labels | None = None
    ) -> None:
        self._labels = labels or Labels()
        self._actions = Actions(registry, self._labels)
        self._measured: dict[str, set[str]] = defaultdict(set)
        self._lock = Lock()
        self._ignored = Children(
            Counter(
                "banditflow_lessons_ignored",
                "Changes that could teach a policy nothing.",
                ["slot", "reason"],
                registry=registry,
            )
        )
        self._disbelieved = Children(
            Counter(
                "banditflow_versions_disbelieved",
                "Updates with decisions of versions that cannot have been published.",
                ["slot"],
                registry=registry,
            )
        )
        self._model = Children(
            Gauge(
                "banditflow_model",
                "Measures of the click model.",
                ["slot", "measure"],
                registry=registry,
            )
        )

    def actions(self, slot_id: str, summaries: Iterable[ActionSummary]) -> None:
        """Report a slot's actions, on the scale of its rewards."""
        self._actions.report(slot_id, summaries)

    def forget(self, slot_id: str) -> None:
        """Report no more what a slot's learner believes: it is forgotten."""
        slot = self._labels.slot(slot_id)
        if slot != OTHER:
            self._actions.forget(slot_id)
            self.model(slot_id, {})

    def ignored(self, slot_id: str, reason: str, count: int) -> None:
        """Count changes to decisions' contributions that were not learned."""
        self._ignored[self._labels.slot(slot_id), reason].inc(count)

    def disbelieved(self, slot_id: str) -> None:
        """Count an update with decisions of a version that this learner cannot have published."""
        self._disbelieved[self._labels.slot(slot_id),].inc()

    def model(self, slot_id: str, measures: Mapping[str, float]) -> None:
        """Report the click model's measures; one that is not given has no series any more."""
        slot = self._labels.slot(slot_id)
        if slot == OTHER:
            return  # those of several models have no common meaning
        with self._lock:
            for name, value in measures.items():
                self._model[slot, name].set(value)
            for name in self._measured[slot] - measures.keys():
                self._model.remove((slot, name))
            self._measured[slot] = set(measures)
