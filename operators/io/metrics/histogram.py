"""A Prometheus histogram that takes arrays: one update per batch instead of one per value."""

from collections.abc import Iterable, Sequence
from threading import Lock

import numpy as np
from numpy.typing import NDArray
from prometheus_client.core import HistogramMetricFamily
from prometheus_client.registry import Collector, CollectorRegistry


class ArrayHistogram(Collector):
    """Counts values by bucket for each label value; ``bounds`` are upper limits, rising.

    A negative duration lies between two clocks and counts as 0: a sum that falls looks like a
    restart.

    >>> sizes = ArrayHistogram("sizes_bytes", "Sizes.", "topic", [10.0, 100.0], CollectorRegistry())
    >>> sizes.observe("clicks", [5.0, 50.0, 500.0])
    >>> [s.value for s in next(iter(sizes.collect())).samples if s.name.endswith("_bucket")]
    [1.0, 2.0, 3.0]
    """

    def __init__(
        self,
        name: str,
        documentation: str,
        label: str,
        bounds: Sequence[float],
        registry: CollectorRegistry | None = None,
    ) -> None:
        self.name = name
        self.documentation = documentation
        self.label = label
        self._bounds = np.asarray(bounds, dtype=float)
        self._counts: dict[str, NDArray[np.int64]] = {}
        self._sums: dict[str, float] = {}
        self._lock = Lock()
        if registry is not None:
            registry.register(self)

    def observe(self, label: str, values: Sequence[float] | NDArray[np.float64]) -> None:
        """Add values under a label value."""
        array = np.maximum(np.asarray(values, dtype=float), 0.0)
        places = np.searchsorted(self._bounds, array, side="left")
        counts = np.bincount(places, minlength=len(self._bounds) + 1)
        with self._lock:
            if label in self._counts:
                self._counts[label] += counts
                self._sums[label] += float(array.sum())
            else:
                self._counts[label] = counts.astype(np.int64)
                self._sums[label] = float(array.sum())

    def collect(self) -> Iterable[HistogramMetricFamily]:
        """Give the cumulative counts, as Prometheus asks for them."""
        family = HistogramMetricFamily(self.name, self.documentation, labels=[self.label])
        names = [*(f"{bound:g}" for bound in self._bounds), "+Inf"]
        with self._lock:
            for label, counts in self._counts.items():
                totals = np.cumsum(counts).tolist()
                family.add_metric(
                    [label],
                    buckets=list(zip(names, map(float, totals), strict=True)),
                    sum_value=self._sums[label],
                )
        yield family

    def describe(self) -> Iterable[HistogramMetricFamily]:
        """Name the metric without values, so that a second one of that name is refused."""
        yield HistogramMetricFamily(self.name, self.documentation, labels=[self.label])
