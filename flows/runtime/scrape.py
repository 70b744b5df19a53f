"""Reading a flow's own metrics, as Prometheus would."""

import urllib.request
from collections import defaultdict
from urllib.error import URLError

from prometheus_client.parser import text_string_to_metric_families

Labels = tuple[tuple[str, str], ...]


class Scrape:
    """The samples of one scrape by name and labels."""

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

        >>> Scrape('x_total{a="1",b="2"} 3').by("x_total", "a", b="2")
        {'1': 3.0}
        """
        found: dict[str, float] = defaultdict(float)
        for labels, value in self._samples[name].items():
            given = dict(labels)
            if all(given.get(key) == wanted for key, wanted in where.items()):
                found[given.get(label, "")] += value
        return dict(found)


def scrape(url: str, timeout: float = 2.0) -> Scrape | None:
    """Read the metrics at ``url``; None where nobody answers."""
    try:
        with urllib.request.urlopen(url, timeout=timeout) as answer:  # a loopback address
            return Scrape(answer.read().decode())
    except (URLError, OSError):
        return None
