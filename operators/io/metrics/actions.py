"""What learners saw and believe of actions, given to Prometheus when it asks."""

from collections.abc import Iterable, Iterator
from threading import Lock

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector, CollectorRegistry

from operators.io.metrics.labels import OTHER, Labels
from schemas.results import ActionSummary

_FIGURES = {
    "reward": "Mean reward by the policy's posterior.",
    "reward_deviation": "Standard deviation of the mean reward by the posterior.",
    "observed_reward": "Mean reward of the decisions that count.",
    "observations": "Decisions that count.",
}


class Actions(Collector):
    """The newest summaries of every slot; what is not known of an action has no series."""

    def __init__(self, registry: CollectorRegistry | None, labels: Labels) -> None:
        self._labels = labels
        self._slots: dict[str, list[ActionSummary]] = {}
        self._lock = Lock()
        if registry is not None:
            registry.register(self)

    def report(self, slot_id: str, summaries: Iterable[ActionSummary]) -> None:
        """Take the place of what was reported of a slot; what several slots earn has no meaning."""
        if self._labels.slot(slot_id) != OTHER:
            with self._lock:
                self._slots[slot_id] = list(summaries)

    def forget(self, slot_id: str) -> None:
        """Report nothing more of a slot."""
        with self._lock:
            self._slots.pop(slot_id, None)

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Give each figure of every action that has a label, and what the others add up to."""
        families = self._families()
        with self._lock:
            slots = list(self._slots.items())
        for slot_id, summaries in slots:
            slot = self._labels.slot(slot_id)
            for label, known in self._known(slot_id, summaries).items():
                for name, value in known.items():
                    if value is not None:
                        families[name].add_metric([slot, label], value)
        yield from families.values()

    def describe(self) -> Iterator[GaugeMetricFamily]:
        """Name the metrics without values, so that others of these names are refused."""
        yield from self._families().values()

    def _known(
        self, slot_id: str, summaries: Iterable[ActionSummary]
    ) -> dict[str, dict[str, float | None]]:
        """Give figures by label; actions that share one are observed together, not believed."""
        known: dict[str, dict[str, float | None]] = {}
        count = reward = 0.0
        for summary in summaries:
            label = self._labels.action(slot_id, summary.action_id)
            if label == OTHER:
                count, reward = count + summary.count, reward + summary.reward
                observed = reward / count if count > 0.0 else None
                known[OTHER] = {"observations": count, "observed_reward": observed}
            else:
                known[label] = {
                    "reward": summary.mean,
                    "reward_deviation": summary.deviation,
                    "observed_reward": summary.observed,
                    "observations": summary.count,
                }
        return known

    def _families(self) -> dict[str, GaugeMetricFamily]:
        return {
            name: GaugeMetricFamily(
                f"banditflow_slot_action_{name}", said, labels=["slot", "action"]
            )
            for name, said in _FIGURES.items()
        }
