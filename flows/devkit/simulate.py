"""A simulation with its progress as lines of JSON, ended by signals without losing answers."""

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import TextIO

import msgspec
from msgspec import Struct

from flows.devkit.simulation import Simulator, SimulatorReport
from flows.devkit.simulation.article_report import ArticleReport
from flows.devkit.simulation.tally import RECENT

_SHOWN = 60
"""Seconds of the series that a line of progress carries."""


class Line(Struct, tag_field="type"):
    """What is written once a second and at the end, one JSON object per line."""

    report: SimulatorReport


class Progress(Line, tag="progress"):
    """The report so far, with the last minute of its series."""


class Summary(Line, tag="summary"):
    """The final report."""


def simulate(simulator: Simulator, progress: Path | None = None) -> SimulatorReport:
    """Let the visitors ask until their time is over; write a line of JSON a second to a file.

    ``-`` is standard output. The first SIGINT or SIGTERM ends the requests and drains; the second
    one ends at once.
    """
    stream = _stream(progress)
    try:
        with _stopped_by_signals(simulator):
            report = simulator.run(None if stream is None else lambda now: _write(stream, now))
        if stream is not None:
            _write_line(stream, Summary(report))
    finally:
        if stream is not None and stream is not sys.stdout:
            stream.close()
    return report


def all_answered(report: SimulatorReport) -> bool:
    """Say whether every request has its answer, those that brought articles included."""
    return report.unanswered + (report.articles.unanswered if report.articles else 0) == 0


def describe_articles(articles: ArticleReport) -> str:
    """Say in a sentence what a report says of articles."""
    lift = "" if articles.lift is None else f" ({articles.lift:.2f} × the hold-out)"
    rates = (
        articles.click_rate_policy, articles.click_rate_uniform, articles.click_rate_best
    )  # fmt: skip
    policy, uniform, best = ("–" if rate is None else f"{rate:.2%}" for rate in rates)
    return (
        f"articles that came with {articles.requests:,} requests: {articles.decisions:,} "
        f"decisions, {articles.unanswered} unanswered, {articles.different:,} different articles "
        f"shown, {articles.clicks:,} clicks; true click rate policy {policy}{lift}, uniform "
        f"hold-out {uniform}, best possible {best}"
    )


def describe(report: SimulatorReport) -> list[str]:
    """Say in sentences what a report says."""
    rates = (report.click_rate_policy, report.click_rate_uniform, report.click_rate_best)
    policy, uniform, best = ("–" if rate is None else f"{100 * rate:.2f} %" for rate in rates)
    latencies = (report.latency_p50_ms, report.latency_p99_ms)
    p50, p99 = ("–" if ms is None else f"{ms:.0f} ms" for ms in latencies)
    lines = [
        f"{report.requests} requests in {report.seconds:.0f} s, {report.decisions} answered, "
        f"{report.unanswered} unanswered, {report.duplicate_answers} answered twice",
        f"{report.impressions} impressions, {report.clicks} clicks",
        f"latency p50 {p50}, p99 {p99}",
        f"true click rate of what was shown in the last {RECENT} s: policy {policy}, uniform "
        f"hold-out {uniform}, best possible {best}",
    ]
    if report.articles is not None:
        lines.append(describe_articles(report.articles))
    if report.injected:
        lines.append("injected: " + ", ".join(f"{n} {kind}" for kind, n in report.injected.items()))
    return lines


def _stream(path: Path | None) -> TextIO | None:
    if path is None:
        return None
    return sys.stdout if str(path) == "-" else path.open("w")


def _write(stream: TextIO, report: SimulatorReport) -> None:
    report.series = report.series[-_SHOWN:]
    _write_line(stream, Progress(report))


def _write_line(stream: TextIO, line: Line) -> None:
    stream.write(msgspec.json.encode(line).decode() + "\n")
    stream.flush()


@contextmanager
def _stopped_by_signals(simulator: Simulator) -> Iterator[None]:
    """Let the first signal of a kind stop the simulator, and the second one what it stops."""

    def stop(number: int, frame: FrameType | None) -> None:  # noqa: ARG001
        if not simulator.started:  # there is nothing to drain: it waits for a broker
            raise KeyboardInterrupt
        simulator.stop()
        signal.signal(number, before[number])

    numbers = (int(signal.SIGINT), int(signal.SIGTERM))
    before = {number: signal.signal(number, stop) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
