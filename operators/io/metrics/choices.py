"""What is drawn, counted by batch and given to Prometheus when it asks."""

from collections.abc import Iterator, Sequence
from operator import add
from threading import Lock

import numpy as np
from numpy.typing import NDArray
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector, CollectorRegistry

from operators.io.metrics.labels import OTHER
from operators.logic.deciding.audit import Audit, audit

FORGET = 0.999
"""Recent shares forget by this factor per decision."""

CELLS = 20_000
"""Probabilities that are audited together: an audit costs the same for one batch as for many."""

_TINY = 1e-100

Floats = NDArray[np.float64]
Indices = NDArray[np.intp]

_Families = tuple[
    CounterMetricFamily,
    GaugeMetricFamily,
    GaugeMetricFamily,
    CounterMetricFamily,
    CounterMetricFamily,
    CounterMetricFamily,
]


class _Drawn:
    """One slot's draws. Shares are kept as multiples of ``_scale``, which alone forgets."""

    def __init__(self) -> None:
        self.counts: dict[str, int] = {}
        self._audit = Audit()
        self._unaudited: list[tuple[Floats, Indices]] = []
        self._cells = 0
        self._shares: dict[str, float] = {}
        self._scale = 1.0
        self._whole = 0.0
        """What the shares add up to: less than 1 while there is little to forget."""

    def add(self, labels: Sequence[str], counts: Sequence[int]) -> None:
        number = sum(counts)
        decay = FORGET**number
        self._scale *= decay
        self._whole = self._whole * decay + (1.0 - decay)
        if self._scale < _TINY:
            self._shares = {label: share * self._scale for label, share in self._shares.items()}
            self._scale = 1.0
        unit = (1.0 - decay) / number / self._scale
        for label, count in zip(labels, counts, strict=True):
            self.counts[label] = self.counts.get(label, 0) + count
            self._shares[label] = self._shares.get(label, 0.0) + unit * count

    def audit_later(self, p: Floats, chosen: Indices) -> None:
        if self._unaudited and self._unaudited[0][0].shape[1] != p.shape[1]:
            self.audited()
        self._unaudited.append((p, chosen))
        self._cells += p.size
        if self._cells >= CELLS:
            self.audited()

    def audited(self) -> Audit:
        if self._unaudited:
            rows, chosen = (np.concatenate(parts) for parts in zip(*self._unaudited, strict=True))
            found = audit(rows, chosen)
            self._audit = Audit(*map(add, self._audit, found))
            self._unaudited, self._cells = [], 0
        return self._audit

    def shares(self) -> dict[str, float]:
        whole = self._whole
        return {label: share * self._scale / whole for label, share in self._shares.items()}

    def forget_shares(self) -> None:
        self._shares, self._scale, self._whole = {}, 1.0, 0.0


class Choices(Collector):
    """Which actions a process draws: how often, how often of late, and whether as often as logged.

    Only what was drawn is touched, so a batch costs what it draws, however many actions there are.

    >>> choices = Choices(CollectorRegistry())
    >>> choices.add("home", ["b"], [1], np.array([[0.5, 0.5]]), np.array([1]))
    >>> for family in choices.collect():
    ...     print([(sample.labels, round(sample.value, 3)) for sample in family.samples])
    [({'slot': 'home', 'action': 'b'}, 1)]
    [({'slot': 'home', 'action': 'b'}, 1.0)]
    [({'slot': 'home'}, 1.0)]
    [({'slot': 'home'}, 1.0)]
    [({'slot': 'home'}, 1.0)]
    [({'slot': 'home'}, 0.0)]
    """

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        self._slots: dict[str, _Drawn] = {}
        self._lock = Lock()
        if registry is not None:
            registry.register(self)

    def add(
        self, slot: str, labels: Sequence[str], counts: Sequence[int], p: Floats, chosen: Indices
    ) -> None:
        """Count draws of one slot by label, which may repeat.

        ``chosen`` [n] are the columns drawn from the logged probabilities ``p`` [n, K], which are
        kept for a while.
        """
        with self._lock:
            drawn = self._slots.setdefault(slot, _Drawn())
            drawn.add(labels, counts)
            drawn.audit_later(p, chosen)

    def forget(self, slot: str) -> None:
        """Report no recent shares of a slot that is no more; what was counted stays."""
        with self._lock:
            drawn = self._slots.get(slot)
            if drawn is not None:
                drawn.forget_shares()

    def collect(self) -> Iterator[CounterMetricFamily | GaugeMetricFamily]:
        """Give the counts, the recent shares and the audit of every slot."""
        families = self._families()
        decisions, shares, ratio, observed, expected, variance = families
        with self._lock:
            for slot, drawn in self._slots.items():
                for label, count in drawn.counts.items():
                    decisions.add_metric([slot, label], count)
                if slot != OTHER:  # a share of what several slots show is none of any
                    for label, share in drawn.shares().items():
                        shares.add_metric([slot, label], share)
                audited = drawn.audited()
                ratio.add_metric([slot], audited.observed / audited.expected)
                observed.add_metric([slot], audited.observed)
                expected.add_metric([slot], audited.expected)
                variance.add_metric([slot], audited.variance)
        yield from families

    def describe(self) -> Iterator[CounterMetricFamily | GaugeMetricFamily]:
        """Name the metrics without values, so that others of these names are refused."""
        yield from self._families()

    def _families(self) -> _Families:
        by_action = ["slot", "action"]
        audited = (
            ("observed", "1/probability of the drawn actions over the number of eligible ones."),
            ("expected", "What the observed sum is on average by the logged probabilities."),
            ("variance", "The variance of the observed sum by the logged probabilities."),
        )
        observed, expected, variance = (
            CounterMetricFamily(f"banditflow_propensity_audit_{name}", said, labels=["slot"])
            for name, said in audited
        )
        return (
            CounterMetricFamily("banditflow_decisions", "Decisions by action.", labels=by_action),
            GaugeMetricFamily(
                "banditflow_slot_action_share", "Recent share of the traffic.", labels=by_action
            ),
            GaugeMetricFamily(
                "banditflow_propensity_audit_ratio",
                "Observed over expected: 1 but for chance when the logged probabilities are exact.",
                labels=["slot"],
            ),
            observed,
            expected,
            variance,
        )
