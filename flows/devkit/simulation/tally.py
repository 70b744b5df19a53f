"""What a simulation has seen so far: counts and true click rates by second, delays."""

import numpy as np
from msgspec import Struct, field
from numpy.typing import NDArray

from flows.devkit.simulation.article_report import ArticleReport

Floats = NDArray[np.float64]

RECENT = 20
"""Seconds of traffic that the click rates of a report are about."""

WARM_UP = 10
"""Seconds at the start that the staleness leaves out."""

_KEPT = 120
_GROWTH = 1.02
_LEAST = 1e-4
_EDGES = _LEAST * _GROWTH ** np.arange(780)
"""Durations from 0.1 ms to about 8 minutes, each bin 2 % wide."""


class SecondOfTraffic(Struct):
    """The requests made in one second of a run, and what became of them so far.

    Click rates are means of true click probabilities; None where nobody was shown anything.
    """

    second: int
    requests: int
    decisions: int
    impressions: int
    clicks: int
    click_rate_policy: float | None
    click_rate_uniform: float | None
    click_rate_best: float | None
    latency_p50_ms: float | None
    latency_p99_ms: float | None
    staleness_p99_s: float | None


class SimulatorReport(Struct):
    """What a simulation knows at some moment, or at its end.

    ``click_rate_*`` are means of the TRUE click probabilities of what was shown to the requests of
    the last 20 seconds: by the policy, by the uniform hold-out, and by the best choice for each.
    ``observed_*`` are shares of clicks of the same requests. Latency runs from the request's
    production to the decision's consumption; ``recent_*`` are of those 20 seconds. Staleness is
    decision time minus policy time, of the whole run without its first 10 seconds. ``undelivered``
    records were not taken by the broker; ``foreign`` decisions were not for this run's requests;
    ``cpu`` is the share of one core that the simulator's process used. ``articles`` are the
    requests that brought articles, which nothing else here counts; None where there are none.
    """

    seconds: float
    requests: int
    decisions: int
    unanswered: int
    duplicate_answers: int
    foreign: int
    impressions: int
    clicks: int
    undelivered: int
    latency_p50_ms: float | None
    latency_p99_ms: float | None
    recent_latency_p50_ms: float | None
    recent_latency_p99_ms: float | None
    staleness_p99_s: float | None
    click_rate_policy: float | None
    click_rate_uniform: float | None
    click_rate_best: float | None
    observed_click_rate_policy: float | None
    observed_click_rate_uniform: float | None
    requests_per_second: float
    decisions_per_second: float
    cpu: float
    injected: dict[str, int] = field(default_factory=dict)
    series: list[SecondOfTraffic] = field(default_factory=list)
    recent_staleness_p99_s: float | None = None
    articles: ArticleReport | None = None


class Histogram:
    """Durations in seconds, counted in bins 2 % wide.

    >>> histogram = Histogram()
    >>> histogram.add(np.array([0.010] * 99 + [1.0]))
    >>> round(histogram.quantile(0.5), 3)
    0.01
    """

    def __init__(self) -> None:
        self.counts = np.zeros(len(_EDGES) + 1, dtype=np.int64)

    def add(self, seconds: Floats) -> None:
        """Count durations."""
        places = np.searchsorted(_EDGES, seconds)
        self.counts += np.bincount(places, minlength=len(self.counts))

    def merge(self, other: "Histogram") -> None:
        """Add another's counts."""
        self.counts += other.counts

    def quantile(self, q: float) -> float | None:
        """Give a quantile to within 1 %; None without any duration."""
        total = int(self.counts.sum())
        if not total:
            return None
        place = int(np.searchsorted(np.cumsum(self.counts), q * total))
        return float(_EDGES[min(place, len(_EDGES) - 1)] / _GROWTH**0.5)


class _Second:
    def __init__(self) -> None:
        self.requests = self.impressions = self.clicks = 0
        self.shown = [0, 0]
        self.p = [0.0, 0.0]
        self.clicked = [0, 0]
        self.best = 0.0
        self.latency = Histogram()
        self.stale = Histogram()


class Answers(Struct):
    """A batch of answered requests as arrays [n]: what was shown to whom, and how fast.

    ``second`` is the second of the run in which each was asked.
    """

    second: NDArray[np.intp]
    held_out: NDArray[np.bool_]
    p: Floats
    best: Floats
    clicked: NDArray[np.bool_]
    latency: Floats
    staleness: Floats


class Tally:
    """Counts by second; seconds long past keep their numbers and share one histogram."""

    def __init__(self) -> None:
        self._seconds: dict[int, _Second] = {}
        self._past: list[SecondOfTraffic] = []
        self._past_latency, self._past_stale = Histogram(), Histogram()
        self.requests = self.decisions = self.impressions = self.clicks = 0
        self.duplicate_answers = self.foreign = self.undelivered = 0

    def asked(self, second: int, count: int) -> None:
        """Count requests made in a second of the run."""
        self._second(second).requests += count
        self.requests += count

    def answered(self, answers: Answers) -> None:
        """Count answers; each answer's impression is sent with it."""
        self.decisions += len(answers.second)
        self.impressions += len(answers.second)
        self.clicks += int(answers.clicked.sum())
        for second in np.unique(answers.second).tolist():
            self._answered(self._second(second), answers, answers.second == second)

    def report(self, elapsed: float, cpu: float, injected: dict[str, int]) -> SimulatorReport:
        """Sum up what is known after ``elapsed`` seconds."""
        now = max(self._seconds, default=0)
        recent = [s for number, s in self._seconds.items() if number > now - RECENT]
        latency, last, stale, last_stale = Histogram(), Histogram(), Histogram(), Histogram()
        latency.merge(self._past_latency)
        stale.merge(self._past_stale)
        for number, second in self._seconds.items():
            latency.merge(second.latency)
            if number >= WARM_UP:
                stale.merge(second.stale)
        for second in recent:
            last.merge(second.latency)
            last_stale.merge(second.stale)
        shown = [sum(s.shown[group] for s in recent) for group in (0, 1)]
        series = [self._describe(number) for number in sorted(self._seconds)]
        whole = [s for s in series if now - 6 < s.second < now]
        return SimulatorReport(
            seconds=elapsed,
            requests=self.requests,
            decisions=self.decisions,
            unanswered=self.requests - self.decisions,
            duplicate_answers=self.duplicate_answers,
            foreign=self.foreign,
            impressions=self.impressions,
            clicks=self.clicks,
            undelivered=self.undelivered,
            latency_p50_ms=_ms(latency.quantile(0.5)),
            latency_p99_ms=_ms(latency.quantile(0.99)),
            recent_latency_p50_ms=_ms(last.quantile(0.5)),
            recent_latency_p99_ms=_ms(last.quantile(0.99)),
            staleness_p99_s=stale.quantile(0.99),
            click_rate_policy=_ratio(sum(s.p[0] for s in recent), shown[0]),
            click_rate_uniform=_ratio(sum(s.p[1] for s in recent), shown[1]),
            click_rate_best=_ratio(sum(s.best for s in recent), sum(shown)),
            observed_click_rate_policy=_ratio(sum(s.clicked[0] for s in recent), shown[0]),
            observed_click_rate_uniform=_ratio(sum(s.clicked[1] for s in recent), shown[1]),
            requests_per_second=_ratio(sum(s.requests for s in whole), len(whole)) or 0.0,
            decisions_per_second=_ratio(sum(s.decisions for s in whole), len(whole)) or 0.0,
            cpu=cpu / elapsed if elapsed > 0.0 else 0.0,
            injected=injected,
            series=[*self._past, *series],
            recent_staleness_p99_s=last_stale.quantile(0.99),
        )

    def _second(self, number: int) -> _Second:
        found = self._seconds.get(number)
        if found is None:
            found = self._seconds[number] = _Second()
            self._fold(number - _KEPT)
        return found

    def _fold(self, before: int) -> None:
        for number in [n for n in self._seconds if n < before]:
            self._past.append(self._describe(number))
            second = self._seconds.pop(number)
            self._past_latency.merge(second.latency)
            if number >= WARM_UP:
                self._past_stale.merge(second.stale)

    def _answered(self, second: _Second, answers: Answers, here: NDArray[np.bool_]) -> None:
        for group, these in ((0, here & ~answers.held_out), (1, here & answers.held_out)):
            second.shown[group] += int(these.sum())
            second.p[group] += float(answers.p[these].sum())
            second.clicked[group] += int(answers.clicked[these].sum())
        second.best += float(answers.best[here].sum())
        second.impressions += int(here.sum())
        second.clicks += int(answers.clicked[here].sum())
        second.latency.add(answers.latency[here])
        second.stale.add(answers.staleness[here])

    def _describe(self, number: int) -> SecondOfTraffic:
        second = self._seconds[number]
        answered = sum(second.shown)
        return SecondOfTraffic(
            second=number,
            requests=second.requests,
            decisions=answered,
            impressions=second.impressions,
            clicks=second.clicks,
            click_rate_policy=_ratio(second.p[0], second.shown[0]),
            click_rate_uniform=_ratio(second.p[1], second.shown[1]),
            click_rate_best=_ratio(second.best, answered),
            latency_p50_ms=_ms(second.latency.quantile(0.5)),
            latency_p99_ms=_ms(second.latency.quantile(0.99)),
            staleness_p99_s=second.stale.quantile(0.99),
        )


def _ratio(total: float, count: int) -> float | None:
    return total / count if count else None


def _ms(seconds: float | None) -> float | None:
    return None if seconds is None else round(1e3 * seconds, 3)
