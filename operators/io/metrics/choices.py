"""What is drawn, counted by batch and given to Prometheus when it asks."""

from collections.abc import Iterator, Sequence
from threading import Lock

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector, CollectorRegistry

FORGET = 0.999
"""Recent shares forget by this factor per decision."""

_TINY = 1e-100


class _Drawn:
    """One slot's draws. Shares are kept as multiples of ``_scale``, which alone forgets."""

    def __init__(self) -> None:
        self.counts: dict[str, int] = {}
        self.total = 0
        self.inverse = 0.0
        self._shares: dict[str, float] = {}
        self._scale = 1.0

    def add(self, labels: Sequence[str], counts: Sequence[int], inverse: float) -> None:
        number = sum(counts)
        self.total += number
        self.inverse += inverse
        decay = FORGET**number
        self._scale *= decay
        if self._scale < _TINY:
            self._shares = {label: self.share(label) for label in self._shares}
            self._scale = 1.0
        unit = (1.0 - decay) / number / self._scale
        for label, count in zip(labels, counts, strict=True):
            self.counts[label] = self.counts.get(label, 0) + count
            self._shares[label] = self._shares.get(label, 0.0) + unit * count

    def share(self, label: str) -> float:
        return self._shares[label] * self._scale


class Choices(Collector):
    """Which actions a process draws: how often, how often of late, and whether as often as logged.

    Only what was drawn is touched, so a batch costs what it draws, however many actions there are.

    >>> choices = Choices(CollectorRegistry())
    >>> choices.add("home", ["b"], [3], 3.0)
    >>> for family in choices.collect():
    ...     print([(sample.labels, round(sample.value, 3)) for sample in family.samples])
    [({'slot': 'home', 'action': 'b'}, 3)]
    [({'slot': 'home', 'action': 'b'}, 0.003)]
    [({'slot': 'home'}, 1.0)]
    """

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        self._slots: dict[str, _Drawn] = {}
        self._lock = Lock()
        if registry is not None:
            registry.register(self)

    def add(self, slot: str, labels: Sequence[str], counts: Sequence[int], inverse: float) -> None:
        """Count draws of one slot by label; labels may repeat.

        ``inverse`` is the sum of 1/p of what was drawn over the mean number of actions with p > 0.
        It is exact in expectation: 1/p averages to the number of actions that could be drawn.
        """
        with self._lock:
            self._slots.setdefault(slot, _Drawn()).add(labels, counts, inverse)

    def collect(self) -> Iterator[CounterMetricFamily | GaugeMetricFamily]:
        """Give the counts, the recent shares and the audit of every slot."""
        decisions, shares, audit = self._families()
        with self._lock:
            for slot, drawn in self._slots.items():
                for label, count in drawn.counts.items():
                    decisions.add_metric([slot, label], count)
                    shares.add_metric([slot, label], drawn.share(label))
                audit.add_metric([slot], drawn.inverse / drawn.total)
        yield from (decisions, shares, audit)

    def describe(self) -> Iterator[CounterMetricFamily | GaugeMetricFamily]:
        """Name the metrics without values, so that others of these names are refused."""
        yield from self._families()

    def _families(self) -> tuple[CounterMetricFamily, GaugeMetricFamily, GaugeMetricFamily]:
        by_action = ["slot", "action"]
        return (
            CounterMetricFamily("banditflow_decisions", "Decisions by action.", labels=by_action),
            GaugeMetricFamily(
                "banditflow_slot_action_share", "Recent share of the traffic.", labels=by_action
            ),
            GaugeMetricFamily(
                "banditflow_propensity_audit_ratio",
                "Mean of 1/probability of the drawn action (a slate's first) over the number of "
                "eligible ones: 1 when the logged probabilities are exact.",
                labels=["slot"],
            ),
        )
