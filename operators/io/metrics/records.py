"""What became of the records that a flow read: taken in, dropped as repeats, or rejected."""

from collections import Counter as Counts
from collections.abc import Iterable

from prometheus_client import CollectorRegistry, Counter

from operators.io.metrics.labels import Children
from operators.io.releases import PROCESSING_ERROR


class RecordMetrics:
    """Counts records by what became of them; the steps that read or refuse records share it."""

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        self._taken_in = Children(
            Counter("banditflow_events_in", "Records taken in.", ["topic"], registry=registry)
        )
        self._dead_letters = Children(
            Counter(
                "banditflow_dead_letters",
                "Records that could not be used.",
                ["reason"],
                registry=registry,
            )
        )
        self._dead_letters[PROCESSING_ERROR,].inc(0)  # its alarm rings at the first of them
        self._duplicates = Children(
            Counter(
                "banditflow_duplicates",
                "Repeated records that were dropped.",
                ["kind"],
                registry=registry,
            )
        )

    def taken_in(self, topics: Iterable[str]) -> None:
        """Count records taken in, given each by its topic."""
        for topic, count in Counts(topics).items():
            self._taken_in[topic,].inc(count)

    def dead_letters(self, reasons: Iterable[str]) -> None:
        """Count dead letters, given each by its reason."""
        for reason, count in Counts(reasons).items():
            self._dead_letters[reason,].inc(count)

    def duplicates(self, kind: str, count: int) -> None:
        """Count dropped repeats."""
        if count:
            self._duplicates[kind,].inc(count)
