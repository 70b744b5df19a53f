"""The command ``banditflow simulate``: closed-loop visitors on the topics of a deployment."""

import argparse
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import TextIO

import msgspec
from msgspec import Struct

from flows.cli.arguments import count, positive, share
from flows.cli.catalog import DEMO_POLICY, publish
from flows.devkit.demo_catalog import demo_catalog
from flows.devkit.simulation import Injection, Simulator, SimulatorReport
from schemas.settings import load

_SHOWN = 60
"""Seconds of the series that a line of progress carries."""


class Line(Struct, tag_field="type"):
    """What is written once a second and at the end, one JSON object per line."""

    report: SimulatorReport


class Progress(Line, tag="progress"):
    """The report so far, with the last minute of its series."""


class Summary(Line, tag="summary"):
    """The final report."""


def add_arguments(command: argparse.ArgumentParser) -> None:
    """Declare the command's options."""
    command.add_argument("--rate", type=positive, default=1000, help="requests per second (1000)")
    command.add_argument("--seconds", type=positive, help="how long to ask (default: until Ctrl-C)")
    command.add_argument(
        "--catalog", action="store_true", help="first publish the catalog that the visitors know"
    )
    command.add_argument("--seed", type=int, default=7, help="of the visitors and their tastes")
    command.add_argument("--actions", type=count, default=20, help="content variants (20)")
    command.add_argument("--arrivals", choices=("poisson", "even"), default="poisson")
    command.add_argument("--consent", type=share, default=0.95, help="share who consent (0.95)")
    command.add_argument("--click-delay", type=positive, default=1.0, help="mean seconds (1)")
    command.add_argument(
        "--patience", type=positive, default=30.0, help="seconds to wait at the end"
    )
    command.add_argument("--run", help="name of this run in all ids (default: by the time)")
    wrong = command.add_argument_group("what goes wrong on purpose, as shares of the records")
    for name, meaning in (
        ("duplicates", "sent twice"),
        ("disorder", "sent up to a second after the time that they bear"),
        ("late", "clicks long past their window, by request"),
        ("malformed", "records that nothing can be done with, by request"),
    ):
        wrong.add_argument(f"--{name}", type=share, default=0.0, help=meaning)
    command.add_argument(
        "--progress", type=Path, metavar="FILE", help="a line of JSON each second ('-': stdout)"
    )
    command.add_argument("--json", action="store_true", help="print the final report as JSON")


def run_simulate(options: argparse.Namespace) -> int:
    """Run the simulation that the options describe; 1 when a request went unanswered.

    The first SIGINT or SIGTERM ends the requests and drains; the second one ends at once.
    """
    if options.catalog:
        publish(load(), demo_catalog(options.seed, DEMO_POLICY, actions=options.actions))
    simulator = simulator_of(options)
    stream = _stream(options.progress)
    try:
        with _stopped_by_signals(simulator):
            report = simulator.run(None if stream is None else lambda now: _write(stream, now))
        if stream is not None:
            _say(stream, Summary(report))
    finally:
        if stream is not None and stream is not sys.stdout:
            stream.close()
    if options.json:
        print(msgspec.json.encode(report).decode())
    elif stream is not sys.stdout:
        print("\n".join(describe(report)))
    return 0 if report.unanswered == 0 else 1


def simulator_of(options: argparse.Namespace) -> Simulator:
    """Make the simulator that the options describe."""
    rates = {
        name: getattr(options, name) for name in ("duplicates", "disorder", "late", "malformed")
    }
    return Simulator(
        load(),
        options.rate,
        options.seed,
        options.seconds,
        actions=options.actions,
        arrivals=options.arrivals,
        consent_share=options.consent,
        click_delay=options.click_delay,
        injection=msgspec.convert(rates, Injection),
        patience=options.patience,
        run=options.run,
    )


def describe(report: SimulatorReport) -> list[str]:
    """Say in sentences what a report says."""
    rates = (report.click_rate_policy, report.click_rate_uniform, report.click_rate_best)
    policy, uniform, best = ("-" if rate is None else f"{100 * rate:.2f} %" for rate in rates)
    lines = [
        f"{report.requests} requests in {report.seconds:.0f} s, {report.decisions} answered, "
        f"{report.unanswered} unanswered, {report.duplicate_answers} answered twice",
        f"{report.impressions} impressions, {report.clicks} clicks",
        f"latency p50 {report.latency_p50_ms} ms, p99 {report.latency_p99_ms} ms",
        f"click rate of the last 20 s: policy {policy}, uniform {uniform}, best possible {best}",
    ]
    if report.injected:
        lines.append("injected: " + ", ".join(f"{n} {kind}" for kind, n in report.injected.items()))
    return lines


def _stream(path: Path | None) -> TextIO | None:
    if path is None:
        return None
    return sys.stdout if str(path) == "-" else path.open("w")


def _write(stream: TextIO, report: SimulatorReport) -> None:
    report.series = report.series[-_SHOWN:]
    _say(stream, Progress(report))


def _say(stream: TextIO, line: Line) -> None:
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
