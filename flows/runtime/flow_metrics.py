"""Reads the metrics that a running flow serves, as Prometheus would."""

import urllib.request
from collections import defaultdict
from urllib.error import URLError

from prometheus_client.parser import text_string_to_metric_families

Labels = tuple[tuple[str, str], ...]


class FlowMetrics:
    """The metrics that a process served at one moment: samples by metric and labels."""

    def __init__(self, text: str = "") -> None:
        self._samples: dict[str, dict[Labels, float]] = defaultdict(dict)
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                self._samples[sample.name][tuple(sorted(sample.labels.items()))] = sample.value

    def total(self, name: str) -> float:
        """Sum a metric over all labels."""
        return sum(self._samples[name].values())

    def by(self, name: str, label: str, **where: str) -> dict[str, float]:
        """Sum a metric by one label, among the samples whose other labels are ``where``.

        >>> FlowMetrics('x_total{a="1",b="2"} 3').by("x_total", "a", b="2")
        {'1': 3.0}
        """
        sums: dict[str, float] = defaultdict(float)
        for pairs, value in self._samples[name].items():
            labels = dict(pairs)
            if all(labels.get(key) == wanted for key, wanted in where.items()):
                sums[labels.get(label, "")] += value
        return dict(sums)


def read_metrics(url: str, timeout: float = 2.0) -> FlowMetrics | None:
    """Read the metrics at ``url``; None where nobody answers."""
    try:
        with urllib.request.urlopen(url, timeout=timeout) as answer:  # a loopback address
            return FlowMetrics(answer.read().decode())
    except (URLError, OSError):
        return None
