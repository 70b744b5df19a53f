"""What the store's writers report."""

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from time import perf_counter

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from operators.io.metrics.labels import Children

_SECONDS = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0)


class StoreMetrics:
    """Rows committed and refused; whether the store answers, and how fast."""

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        self._rows = Children(
            Counter(
                "banditflow_store_rows",
                "Rows committed to the store.",
                ["table"],
                registry=registry,
            )
        )
        self._refused = Children(
            Counter(
                "banditflow_store_refused",
                "Rows that the store refused.",
                ["code"],
                registry=registry,
            )
        )
        self._failures = Children(
            Counter(
                "banditflow_store_failures",
                "Attempts that found no store.",
                ["code"],
                registry=registry,
            )
        )
        self._up = Gauge(
            "banditflow_store_up", "1 while the last attempt reached the store.", registry=registry
        )
        self._up.set(math.nan)  # 0 would ring the alarm of a flow that has no use for a store
        self._commit = Histogram(
            "banditflow_store_commit_seconds",
            "Seconds per transaction, its commit included.",
            buckets=_SECONDS,
            registry=registry,
        )
        self._statement = Children(
            Histogram(
                "banditflow_store_statement_seconds",
                "Seconds per statement, all of its rows together.",
                ["statement"],
                buckets=_SECONDS,
                registry=registry,
            )
        )

    def unavailable(self, code: str) -> None:
        """Count an attempt that the store did not answer."""
        self._up.set(0)
        self._failures[code,].inc()

    def committed(
        self, rows: Mapping[str, int], refused: Mapping[str, int], seconds: float
    ) -> None:
        """Count a committed transaction's rows by table, and those refused by the error's code."""
        self._up.set(1)
        self._commit.observe(seconds)
        for table, count in rows.items():
            self._rows[table,].inc(count)
        for code, count in refused.items():
            self._refused[code,].inc(count)

    @contextmanager
    def statement(self, name: str) -> Iterator[None]:
        """Time one statement, by the name of its table."""
        started = perf_counter()
        try:
            yield
        finally:
            self._statement[name,].observe(perf_counter() - started)
