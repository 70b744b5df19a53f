"""What attribution reports: decisions whose window is open, and outcomes."""

from collections.abc import Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge

from operators.io.metrics.labels import Children, Labels


class AttributionMetrics:
    """What waits in each shard, and how many outcomes of each status every slot was given."""

    def __init__(
        self, registry: CollectorRegistry | None = None, labels: Labels | None = None
    ) -> None:
        self._labels = labels or Labels()
        self._pending = Children(
            Gauge(
                "banditflow_pending_decisions",
                "Decisions whose window is open.",
                ["shard"],
                registry=registry,
            )
        )
        self._waiting = Children(
            Gauge(
                "banditflow_waiting_events",
                "Events that wait for their decision.",
                ["shard"],
                registry=registry,
            )
        )
        self._outcomes = Children(
            Counter(
                "banditflow_outcomes",
                "Reports of what became of decisions.",
                ["slot", "status"],
                registry=registry,
            )
        )
        self._not_learned = Children(
            Counter(
                "banditflow_decisions_not_learned",
                "Decisions that teach nothing, by the first reason that was found.",
                ["slot", "reason"],
                registry=registry,
            )
        )

        self._conflicts = Counter(
            "banditflow_reward_conflicts",
            "Clicks and rewards with the id of another of their decision, but other content.",
            registry=registry,
        )

    def held(self, shard: int, pending: int, waiting: int) -> None:
        """Report what a shard holds: pending decisions, and events that wait for theirs."""
        self._pending[str(shard),].set(pending)
        self._waiting[str(shard),].set(waiting)

    def not_learned(self, counts: Mapping[tuple[str, str], int]) -> None:
        """Count decisions that teach nothing from now on, given by (slot, reason)."""
        for (slot_id, reason), count in counts.items():
            self._not_learned[self._labels.slot(slot_id), reason].inc(count)

    def outcomes(self, counts: Mapping[tuple[str, str], int]) -> None:
        """Count outcomes, given by (slot, status)."""
        for (slot_id, status), count in counts.items():
            self._outcomes[self._labels.slot(slot_id), status].inc(count)

    def conflicts(self, count: int) -> None:
        """Count clicks and rewards that had the id of another, but other content."""
        self._conflicts.inc(count)
