"""What a process's Kafka clients report: records written, writes suppressed, errors and lags."""

import time
from collections import Counter as Counts
from collections.abc import Callable, Iterator
from typing import Protocol
from weakref import WeakSet

from prometheus_client import CollectorRegistry, Counter
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from operators.io.metrics.labels import Children

_REPEAT = 60.0
"""Seconds until an error of the same name is worth another line in the log."""


class LagReader(Protocol):
    """A source that can say how far it is behind the ends of its topics."""

    def lags(self) -> dict[tuple[str, int], int]:
        """Give the number of offsets between the end of each (topic, partition) and here."""


class KafkaMetrics(Collector):
    """Counts for all of a process's clients; the lags are read when Prometheus asks for them.

    Without a registry nobody sees them.
    """

    def __init__(
        self,
        registry: CollectorRegistry | None = None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._written = Children(
            Counter("banditflow_events_out", "Records written.", ["topic"], registry=registry)
        )
        self._errors: Counts[str] = Counts()
        self._suppressed: Counts[str] = Counts()
        self._unreadable: Counts[str] = Counts()
        self._left_out: Counts[str] = Counts()
        self._readers: WeakSet[LagReader] = WeakSet()
        self._monotonic = monotonic
        self._last_reported: dict[str, float] = {}
        if registry is not None:
            registry.register(self)

    def written(self, topic: str, count: int) -> None:
        """Count records written to a topic."""
        self._written[topic,].inc(count)

    def suppressed(self, topic: str, count: int) -> None:
        """Count writes that the resume fence suppressed."""
        self._suppressed[topic] += count

    def unreadable(self, topic: str, count: int) -> None:
        """Count records that a resume fence met and that are no records of the topic."""
        self._unreadable[topic] += count

    def left_out(self, topic: str, count: int) -> None:
        """Count records that the broker found too large and that were left out."""
        self._left_out[topic] += count

    def error(self, name: str) -> bool:
        """Count a client's error by librdkafka's name; tell whether it is time to log it again."""
        self._errors[name] += 1
        now = self._monotonic()
        if now - self._last_reported.get(name, -_REPEAT) < _REPEAT:
            return False
        self._last_reported[name] = now
        return True

    def watch(self, reader: LagReader) -> None:
        """Report a reader's lags for as long as it lives."""
        self._readers.add(reader)

    def lags(self) -> dict[tuple[str, int], int]:
        """Give how many offsets each (topic, partition) that is read is behind its end.

        Where several read one, the slowest counts.
        """
        lags: dict[tuple[str, int], int] = {}
        for reader in list(self._readers):
            for place, lag in reader.lags().items():
                lags[place] = max(lag, lags.get(place, 0))
        return lags

    def collect(self) -> Iterator[GaugeMetricFamily | CounterMetricFamily]:
        """Report the lags, the errors, the suppressed writes, what could not be read or written."""
        lag, errors, suppressed, unreadable, left_out = self._families()
        for (topic, partition), behind in self.lags().items():
            lag.add_metric([topic, str(partition)], behind)
        for name, count in self._errors.items():
            errors.add_metric([name], count)
        for topic, count in self._suppressed.items():
            suppressed.add_metric([topic], count)
        for topic, count in self._unreadable.items():
            unreadable.add_metric([topic], count)
        for topic, count in self._left_out.items():
            left_out.add_metric([topic], count)
        yield from (lag, errors, suppressed, unreadable, left_out)

    def describe(self) -> Iterator[GaugeMetricFamily | CounterMetricFamily]:
        """Name the metrics without values, so that others of these names are refused."""
        yield from self._families()

    def _families(
        self,
    ) -> tuple[
        GaugeMetricFamily,
        CounterMetricFamily,
        CounterMetricFamily,
        CounterMetricFamily,
        CounterMetricFamily,
    ]:
        return (
            GaugeMetricFamily(
                "banditflow_consumer_lag_records",
                "Offsets between the topic's end and what the flow has released.",
                labels=["topic", "partition"],
            ),
            CounterMetricFamily(
                "banditflow_kafka_errors", "Errors of the Kafka clients by name.", labels=["error"]
            ),
            CounterMetricFamily(
                "banditflow_suppressed",
                "Writes that the resume fence suppressed.",
                labels=["topic"],
            ),
            CounterMetricFamily(
                "banditflow_unreadable",
                "Records that the resume fence met and could not read.",
                labels=["topic"],
            ),
            CounterMetricFamily(
                "banditflow_left_out",
                "Records that were left out because the broker found them too large.",
                labels=["topic"],
            ),
        )
