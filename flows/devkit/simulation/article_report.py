"""What a simulation knows of the slot whose requests bring articles."""

from msgspec import Struct


class ArticleReport(Struct, kw_only=True):
    """The traffic of the slot of articles so far; it is in no other figure of the report.

    Counts are those of the whole run; ``different`` articles were shown. ``lift`` is how many times
    the hold-out's true click rate the policy's is. Click rates and latencies
    mean what they do in :class:`flows.devkit.simulation.tally.SimulatorReport`: rates and
    ``recent_*`` are those of the last 20 seconds, None where there was nothing.
    """

    requests: int
    decisions: int
    unanswered: int
    duplicate_answers: int
    clicks: int
    different: int
    click_rate_policy: float | None
    click_rate_uniform: float | None
    click_rate_best: float | None
    lift: float | None
    observed_click_rate_policy: float | None
    observed_click_rate_uniform: float | None
    latency_p50_ms: float | None
    latency_p99_ms: float | None
