"""What the store's writers report to Prometheus."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from time import perf_counter

from prometheus_client import Counter, Gauge, Histogram

from operators.io.store.protocol import Applied

_ROWS = Counter("banditflow_store_rows", "Rows committed to the store.", ["table"])
_REFUSED = Counter("banditflow_store_refused", "Rows that the store refused.", ["code"])
_FAILURES = Counter("banditflow_store_failures", "Attempts that found no store.", ["code"])
_UP = Gauge("banditflow_store_up", "1 while the last attempt reached the store.")
_UP.set(math.nan)  # 0 would ring the alarm of a flow that has no use for a store
_COMMIT = Histogram(
    "banditflow_store_commit_seconds",
    "Seconds per transaction, its commit included.",
    buckets=(0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0),
)
_STATEMENT = Histogram(
    "banditflow_store_statement_seconds",
    "Seconds per statement, all of its rows together.",
    ["statement"],
    buckets=(0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0),
)


def unavailable(code: str) -> None:
    """Count an attempt that the store did not answer."""
    _UP.set(0)
    _FAILURES.labels(code).inc()


def committed(applied: Applied, seconds: float) -> None:
    """Count a committed transaction."""
    _UP.set(1)
    _COMMIT.observe(seconds)
    for table, rows in applied.rows.items():
        _ROWS.labels(table).inc(rows)
    for code, rows in applied.refused.items():
        _REFUSED.labels(code).inc(rows)


@contextmanager
def statement(name: str) -> Iterator[None]:
    """Time one statement, by the name of its table."""
    started = perf_counter()
    try:
        yield
    finally:
        _STATEMENT.labels(name).observe(perf_counter() - started)
