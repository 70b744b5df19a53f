"""What learners report: posterior means, the click model's measures, and ignored updates."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from threading import Lock

from prometheus_client import CollectorRegistry, Counter, Gauge

from operators.io.metrics.labels import OTHER, Children, Labels
from schemas.results import ActionSummary


class LearnerMetrics:
    """What the learners of all slots believe, and how well their click models fit."""

    def __init__(
        self, registry: CollectorRegistry | None = None, labels: Labels | None = None
    ) -> None:
        self._labels = labels or Labels()
        self._reward = Gauge(
            "banditflow_slot_action_reward",
            "Posterior mean reward.",
            ["slot", "action"],
            registry=registry,
        )
        self._shown: dict[str, set[str]] = defaultdict(set)
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
        """Report the posterior means of a slot's actions; those of one label are averaged."""
        slot = self._labels.slot(slot_id)
        if slot == OTHER:
            return  # what other slots earn has no common meaning
        means: dict[str, list[float]] = defaultdict(list)
        for summary in summaries:
            means[self._labels.action(slot_id, summary.action_id)].append(summary.mean)
        with self._lock:
            for label, values in means.items():
                self._reward.labels(slot, label).set(sum(values) / len(values))
            for label in self._shown[slot] - means.keys():
                self._reward.remove(slot, label)
            self._shown[slot] = set(means)

    def forget(self, slot_id: str) -> None:
        """Report no more what a slot's learner believes: it is forgotten."""
        slot = self._labels.slot(slot_id)
        if slot != OTHER:
            self.actions(slot_id, [])
            for labels in [labels for labels in self._model if labels[0] == slot]:
                self._model.remove(labels)

    def ignored(self, slot_id: str, reason: str, count: int) -> None:
        """Count changes to decisions' contributions that were not learned."""
        self._ignored[self._labels.slot(slot_id), reason].inc(count)

    def disbelieved(self, slot_id: str) -> None:
        """Count an update with decisions of a version that this learner cannot have published."""
        self._disbelieved[self._labels.slot(slot_id),].inc()

    def model(self, slot_id: str, measures: Mapping[str, float]) -> None:
        """Report the click model's measures: log-loss, AUC, calibration error, drifts."""
        slot = self._labels.slot(slot_id)
        for name, value in measures.items():
            self._model[slot, name].set(value)
