"""What the flows report to Prometheus, and the exporter that serves it.

Operators call these functions once per batch. Label values are bounded: topics, reasons and
statuses are fixed sets; slots and actions beyond :data:`MOST_LABELS` are counted as ``other``.
"""

import contextlib
from collections import Counter as Counts
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from threading import Lock
from typing import Any, TypeVar, cast

import numpy as np
from numpy.typing import NDArray
from prometheus_client import Counter, Gauge, start_http_server
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import REGISTRY, Collector

from operators.io.metrics.choices import Choices
from operators.io.metrics.histogram import ArrayHistogram
from schemas.results import ActionSummary
from schemas.settings import SettingsError

MOST_LABELS = 200
"""Slots, or actions of a slot, that get a label of their own."""

OTHER = "other"

_SECONDS = [
    0.001, 0.002, 0.003, 0.005, 0.0075, 0.01, 0.015, 0.02, 0.03, 0.04, 0.05, 0.06, 0.08, 0.1,
    0.15, 0.2, 0.3, 0.5, 0.75, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 300.0,
]  # fmt: skip

EVENTS_IN = Counter("banditflow_events_in", "Records taken in.", ["topic"])
EVENTS_OUT = Counter("banditflow_events_out", "Records written.", ["topic"])
DEAD_LETTERS = Counter("banditflow_dead_letters", "Records that could not be used.", ["reason"])
DUPLICATES = Counter("banditflow_duplicates", "Repeated records that were dropped.", ["kind"])
LATENCY = ArrayHistogram(
    "banditflow_decision_latency_seconds",
    "From the request's arrival at the broker to its decision.",
    "slot",
    _SECONDS,
)
STALENESS = ArrayHistogram(
    "banditflow_policy_staleness_seconds",
    "Decision time minus the newest outcome that its policy had learned from.",
    "slot",
    _SECONDS,
)
VERSION = Gauge("banditflow_policy_version", "The version that decided last.", ["slot"])
CHOICES = Choices()
REWARD = Gauge("banditflow_slot_action_reward", "Posterior mean reward.", ["slot", "action"])
PENDING = Gauge("banditflow_pending_decisions", "Decisions whose window is open.", ["shard"])
ORPHANS = Gauge("banditflow_waiting_events", "Events that wait for their decision.", ["shard"])
PROFILES = Gauge("banditflow_profiles", "Subjects with a profile.", ["shard"])
FACTORS = Gauge("banditflow_factor_subjects", "Subjects whose factors are learned.")
EVICTED = Counter("banditflow_factor_evictions", "Subjects forgotten to make room for factors.")
SETTLED = Counter("banditflow_outcomes_settled", "Outcomes given.", ["slot", "status"])
FEATURES = Counter(
    "banditflow_feature_problems",
    "Values of requests that were not as the slot's features declare them.",
    ["slot", "field", "reason"],
)
IGNORED = Counter(
    "banditflow_lessons_ignored", "Changes that could teach a policy nothing.", ["slot", "reason"]
)
MODEL = Gauge("banditflow_model", "Measures of the click model.", ["slot", "measure"])


class _Labels:
    """Keeps the number of label values bounded."""

    def __init__(self) -> None:
        self._known: dict[str, set[str]] = {}

    def bounded(self, scope: str, name: str) -> str:
        if name == OTHER:
            return OTHER
        known = self._known.setdefault(scope, set())
        if name in known:
            return name
        if len(known) >= MOST_LABELS:
            return OTHER
        known.add(name)
        return name


_Metric = TypeVar("_Metric", Counter, Gauge)
_LABELS = _Labels()
_CHILDREN: dict[tuple[object, ...], Any] = {}
_LOCK = Lock()
_BELIEVED: dict[str, set[str]] = defaultdict(set)


def _child(metric: _Metric, *values: str) -> _Metric:
    """Find a metric's child; the client's own look-up costs several times what counting does."""
    child = _CHILDREN.get((metric, *values))
    if child is None:
        child = _CHILDREN[(metric, *values)] = metric.labels(*values)
    return cast(_Metric, child)


def slot_label(slot_id: str) -> str:
    """Give the slot's label."""
    return _LABELS.bounded("", slot_id)


def action_label(slot_id: str, action_id: str) -> str:
    """Give the action's label within its slot's label."""
    return _LABELS.bounded(slot_label(slot_id), action_id)


def events_in(topics: Iterable[str]) -> None:
    """Count records taken in, by topic."""
    for topic, count in Counts(topics).items():
        _child(EVENTS_IN, topic).inc(count)


def events_out(topic: str, count: int) -> None:
    """Count records written to a topic."""
    _child(EVENTS_OUT, topic).inc(count)


def dead_letters(reasons: Iterable[str]) -> None:
    """Count dead letters by reason."""
    for reason, count in Counts(reasons).items():
        _child(DEAD_LETTERS, reason).inc(count)


def duplicates(kind: str, count: int) -> None:
    """Count dropped repeats."""
    if count:
        _child(DUPLICATES, kind).inc(count)


def decisions(
    slot_id: str, latencies: Sequence[float], staleness: Sequence[float], version: int
) -> None:
    """Report a group of decisions of one slot; staleness may be empty before any outcome."""
    slot = slot_label(slot_id)
    LATENCY.observe(slot, latencies)
    if len(staleness):
        STALENESS.observe(slot, staleness)
    _child(VERSION, slot).set(version)


def choices(
    slot_id: str,
    action_ids: Sequence[str],
    chosen: NDArray[np.intp],
    probability: NDArray[np.float64],
    eligible: float,
) -> None:
    """Report which actions were drawn, with which probabilities, from ``eligible`` on average.

    In a slate ``chosen`` is the first action and ``probability`` its own, not the slate's.
    """
    counts = np.bincount(chosen)
    drawn = np.flatnonzero(counts)
    slot = slot_label(slot_id)
    labels = [_LABELS.bounded(slot, action_ids[k]) for k in drawn.tolist()]
    inverse = float((1.0 / probability).sum()) / max(eligible, 1.0)
    CHOICES.add(slot, labels, counts[drawn].tolist(), inverse)


def actions(slot_id: str, summaries: Iterable[ActionSummary]) -> None:
    """Report the posterior means of a slot's actions; those of one label are averaged."""
    slot = slot_label(slot_id)
    if slot == OTHER:
        return  # what other slots earn has no common meaning
    means: dict[str, list[float]] = defaultdict(list)
    for summary in summaries:
        means[action_label(slot_id, summary.action_id)].append(summary.mean)
    with _LOCK:
        for label, values in means.items():
            REWARD.labels(slot, label).set(sum(values) / len(values))
        for label in _BELIEVED[slot] - means.keys():
            REWARD.remove(slot, label)
        _BELIEVED[slot] = set(means)


def model(slot_id: str, measures: Mapping[str, float]) -> None:
    """Report the click model's measures: log-loss, AUC, calibration error, drifts."""
    for name, value in measures.items():
        _child(MODEL, slot_label(slot_id), name).set(value)


def attribution(shard: int, pending: int, waiting: int) -> None:
    """Report what a shard's attribution holds."""
    _child(PENDING, str(shard)).set(pending)
    _child(ORPHANS, str(shard)).set(waiting)


def outcomes(given: Mapping[tuple[str, str], int]) -> None:
    """Count outcomes, given by (slot, status)."""
    for (slot_id, status), count in given.items():
        _child(SETTLED, slot_label(slot_id), status).inc(count)


def profiles(shard: int, count: int) -> None:
    """Report how many subjects a shard remembers."""
    _child(PROFILES, str(shard)).set(count)


def features(slot_id: str, problems: Mapping[tuple[str, str], int]) -> None:
    """Count values that were not as declared, given by (field, reason)."""
    slot = slot_label(slot_id)
    for (field, reason), count in problems.items():
        name = _LABELS.bounded(f"{slot}\0features", field)
        _child(FEATURES, slot, name, reason).inc(count)


def ignored(slot_id: str, reason: str, count: int) -> None:
    """Count changes to decisions' contributions that were not learned."""
    _child(IGNORED, slot_label(slot_id), reason).inc(count)


def factors(subjects: int, evicted: int) -> None:
    """Report how many subjects have factors, and count those that made room."""
    FACTORS.set(subjects)
    EVICTED.inc(evicted)


class _Kafka(Collector):
    """Reads the lags and the client's counters when it is scraped."""

    def collect(self) -> Iterator[GaugeMetricFamily | CounterMetricFamily]:
        from operators.io.kafka import ERRORS, SUPPRESSED, lags

        lag = GaugeMetricFamily(
            "banditflow_consumer_lag_records",
            "Offsets between the topic's end and what the flow has released.",
            labels=["topic", "partition"],
        )
        for (topic, partition), behind in lags().items():
            lag.add_metric([topic, str(partition)], behind)
        yield lag
        errors = CounterMetricFamily(
            "banditflow_kafka_errors", "Errors of the Kafka clients by name.", labels=["error"]
        )
        for name, count in ERRORS.items():
            errors.add_metric([name], count)
        yield errors
        suppressed = CounterMetricFamily(
            "banditflow_suppressed", "Writes that the resume fence suppressed.", labels=["topic"]
        )
        for topic, count in SUPPRESSED.items():
            suppressed.add_metric([topic], count)
        yield suppressed


_KAFKA = _Kafka()


def serve(host: str, port: int) -> str:
    """Serve the metrics on ``host:port`` (port 0: a free one) and give the address."""
    with contextlib.suppress(ValueError):  # it is registered where this process served before
        REGISTRY.register(_KAFKA)
    try:
        server, _ = start_http_server(port, addr=host)
    except OSError as error:
        raise SettingsError(
            f"BANDITFLOW_METRICS_PORT: cannot serve on {host}:{port}: {error.strerror or error}; "
            "each flow on a machine needs a port of its own, and 0 picks a free one"
        ) from error
    return f"http://{host}:{server.server_port}/metrics"
