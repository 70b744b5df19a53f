"""What the steps that remember subjects report: profiles and factors."""

import math

from prometheus_client import CollectorRegistry, Counter, Gauge

from operators.io.metrics.labels import Children


class ProfileMetrics:
    """How many subjects have a profile."""

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        self._profiles = Children(
            Gauge("banditflow_profiles", "Subjects with a profile.", ["shard"], registry=registry)
        )

    def profiles(self, shard: int, count: int) -> None:
        """Report how many subjects a shard remembers."""
        self._profiles[str(shard),].set(count)


class FactorMetrics:
    """How many subjects have factors, and how many made room for others."""

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        self._subjects = Gauge(
            "banditflow_factor_subjects", "Subjects whose factors are learned.", registry=registry
        )
        self._subjects.set(math.nan)  # until a flow that resumes has looked
        self._evicted = Counter(
            "banditflow_factor_evictions",
            "Subjects forgotten to make room for factors.",
            registry=registry,
        )

    def factors(self, subjects: int, evicted: int) -> None:
        """Report how many subjects have factors, and count those that made room."""
        self._subjects.set(subjects)
        self._evicted.inc(evicted)
