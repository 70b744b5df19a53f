"""``banditflow verify-replay``: a log through the flows under ``kill -9``, and once without."""

import argparse
import contextlib
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct
from rich import box
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from flows.devkit.embedded import APACHE_KAFKA, NOIDA, VALKEY, Embedded, Server, Supervisor
from flows.devkit.verify_replay.runs import Run, prepare, run_killed, run_once
from flows.devkit.verify_replay.simulated_log import simulated_log
from flows.verification.findings import TOLERANCE, Verification
from flows.verification.log import Logged, copied, in_order, read_log, record_log
from flows.verification.sameness import Same, compare_runs
from operators.io.kafka.client import KafkaTrouble
from schemas.settings import Settings, load
from schemas.topics import Topic

SECRET = "pseudonyms of a replayed log"
"""Keys the pseudonyms, unless the log's own decisions are to be joined."""

_LATENESS = 300.0
_PER_KILL = 60.0
"""Seconds of allowed lateness: the log's time goes on while a flow is down."""


class ReplayReport(Struct):
    """What a replay found: the run with kills, the one without, and whether they agree."""

    records: int
    killed: Run
    once: Run
    same: list[Same]

    @property
    def crashes(self) -> list[Verification]:
        """What was verified of killed flows before they went on."""
        return [kill.crash for kill in self.killed.kills if kill.crash is not None]

    @property
    def holds(self) -> bool:
        """Say whether every comparison came out equal, and no request got a second answer."""
        verified = [self.killed.found, self.once.found, *self.crashes]
        answered_once = not any(each.repeated for each in verified)
        same = not any(each.different for each in self.same)
        return answered_once and same and all(each.holds for each in verified)


def add_arguments(command: argparse.ArgumentParser) -> None:
    """Declare the command's options."""
    source = command.add_mutually_exclusive_group()
    source.add_argument("--log", type=Path, metavar="FOLDER", help="a log that was recorded")
    source.add_argument(
        "--record",
        type=Path,
        metavar="FOLDER",
        help="only record: copy the topics of the deployment that BANDITFLOW_... names",
    )
    source.add_argument(
        "--requests", type=int, default=20_000, help="of a simulated log (20000); the default"
    )
    command.add_argument("--rate", type=float, default=500.0, help="its requests per second (500)")
    command.add_argument(
        "--given-decisions",
        action="store_true",
        help="keep the log's own decisions; needs the BANDITFLOW_SECRET that made them",
    )
    command.add_argument("--kills", type=int, default=10, help="how often to kill -9 (10)")
    command.add_argument("--seed", type=int, default=7, help="of log, victims and moments (7)")
    command.add_argument("--speed", type=float, default=1.0, help="seconds of log in one (1)")
    command.add_argument(
        "--at-end-only", action="store_true", help="do not verify what each kill leaves behind"
    )
    command.add_argument(
        "--kafka",
        nargs="?",
        const=APACHE_KAFKA.name,
        metavar="ADDRESS",
        help="on Apache Kafka started here, or at this address (default: the embedded broker)",
    )
    command.add_argument("--folder", type=Path, help="keep stores and logs there")
    command.add_argument("--json", action="store_true", help="print the report as JSON")


def run_verify_replay(options: argparse.Namespace) -> int:
    """Record, or replay and compare; 1 when anything differs."""
    if options.record is not None:
        count = record_log(load(), options.record)
        print(f"{count} records in {options.record}: they hold raw visitor ids")
        return 0
    with contextlib.ExitStack() as stack:
        folder = options.folder or Path(
            stack.enter_context(tempfile.TemporaryDirectory(prefix="banditflow-"))
        )
        settings, log = _log_of(options)
        reach, supervisor = stack.enter_context(_parts(options.kafka, folder))
        progress = stack.enter_context(Progress(console=Console(stderr=True), transient=True))
        task = progress.add_task("with kills", total=len(log))
        report = verify_replay(
            msgspec.structs.replace(settings, **reach),
            supervisor,
            folder,
            log,
            kills=options.kills,
            seed=options.seed,
            speed=options.speed,
            each=not options.at_end_only,
            tell=lambda done, what: progress.update(
                task, completed=done, description=what or "with kills"
            ),
        )
    if options.json:
        print(msgspec.json.encode(report).decode())
    else:
        show(Console(), report)
    return 0 if report.holds else 1


def verify_replay(
    settings: Settings,
    supervisor: Supervisor,
    folder: Path,
    log: Sequence[Logged],
    *,
    kills: int,
    seed: int,
    speed: float,
    each: bool,
    tell: Callable[[int, str], Any] = lambda _done, _what: None,
) -> ReplayReport:
    """Run a log with kills, then once without over what it left on the topics, and compare.

    ``settings`` say where Kafka and Redis are; each run has topics, recovery folder and store of
    its own. The second run is given the first one's decisions, so the two must agree.
    """
    name = f"replay-{time.time_ns() // 1_000_000:x}-"
    lateness = _LATENESS + _PER_KILL * kills
    settings = msgspec.structs.replace(settings, allowed_lateness=lateness, epoch=1, metrics_port=0)
    killed_in, once_in = (
        msgspec.structs.replace(
            settings,
            topic_prefix=f"{settings.topic_prefix}{name}{run}.",
            recovery=str(folder / run / "recovery"),
            store=f"sqlite:{folder / run / 'store.db'}",
        )
        for run in ("killed", "once")
    )
    for each_in in (killed_in, once_in):
        Path(each_in.recovery).mkdir(parents=True, mode=0o700)
        prepare(each_in)
    killed = run_killed(
        killed_in, supervisor, log, kills=kills, seed=seed, speed=speed, each=each, tell=tell
    )
    tell(len(log), "once without kills")
    once = run_once(once_in, supervisor, _left_by(killed_in))
    return ReplayReport(len(log), killed, once, compare_runs(killed_in, once_in))


def show(console: Console, report: ReplayReport) -> None:
    """Print what was compared, line by line, and the verdict."""
    table = Table("", "compared", "different", box=box.SIMPLE)
    for right in (1, 2):
        table.columns[right].justify = "right"
    crashes = report.crashes
    for what, found in [
        *((f"after kill {number}", crash) for number, crash in enumerate(crashes, 1)),
        ("with kills", report.killed.found),
        ("once", report.once.found),
    ]:
        for line in _rows(found):
            table.add_row(f"{what}: {line[0]}", f"{line[1]:,}", f"{line[2]:,}")
    for same in report.same:
        table.add_row(f"both runs: {same.what}", f"{same.compared:,}", f"{same.different:,}")
    console.print(table)
    resumed = [kill.resumed for kill in report.killed.kills]
    verified = [*crashes, report.killed.found, report.once.found]
    largest = max(each.largest_difference for each in verified)
    console.print(
        f"{report.records:,} records, {len(resumed)} kills; an epoch closed again after at most "
        f"{max(resumed, default=0.0):.1f} s; largest relative difference of a learned float "
        f"{largest:.1e} (at most {TOLERANCE:g})"
    )
    console.print("[green]holds[/green]" if report.holds else "[red]DIFFERS[/red]")


def _rows(found: Verification) -> Iterator[tuple[str, int, int]]:
    """Give what, how many, how many of them different."""
    outcomes = found.outcomes
    yield "requests without an answer", found.requests, found.unanswered
    yield "requests with two answers", found.decisions, found.contradicted + found.repeated
    disagreeing = sum(not check.agrees for check in found.actions)
    yield "learned actions", len(found.actions), disagreeing
    yield "pending decisions", found.pending.decisions, found.pending.different
    final = outcomes.settled + outcomes.void
    yield "final outcomes", final, outcomes.missing + outcomes.different
    rows = sum(table.rows for table in found.store)
    yield "rows of the store", rows, sum(table.different for table in found.store)


def _log_of(options: argparse.Namespace) -> tuple[Settings, list[Logged]]:
    settings = load() if options.given_decisions else load(secret=SECRET)
    if options.log is None:
        log = simulated_log(options.requests, options.rate, settings.partitions, options.seed)
        return settings, log
    partitions, log = read_log(options.log)
    settings = msgspec.structs.replace(settings, partitions=partitions)
    return settings, log if options.given_decisions else list(_undecided(log))


def _undecided(log: Sequence[Logged]) -> Iterator[Logged]:
    """Leave out decisions, and which action an impression showed: it will be another one."""
    for each in log:
        if each.topic is Topic.DECISIONS:
            continue
        if each.topic is Topic.IMPRESSIONS:
            with contextlib.suppress(msgspec.DecodeError, AttributeError, UnicodeDecodeError):
                body = msgspec.json.decode(each.value)
                body.pop("action_id", None)
                yield msgspec.structs.replace(each, value=msgspec.json.encode(body))
                continue
        yield each


def _left_by(settings: Settings) -> list[Logged]:
    """Give what a run left on its topics, decisions included."""
    return in_order(copied(settings))


@contextlib.contextmanager
def _parts(kafka: str | None, folder: Path) -> Iterator[tuple[dict[str, str], Supervisor]]:
    """Start a broker, unless there is one, and Valkey; say how to reach them."""
    if kafka is None or kafka == APACHE_KAFKA.name:
        with Embedded(folder / "parts", broker=kafka or NOIDA.name) as parts:
            reach = {"bootstrap_servers": parts.bootstrap_servers, "redis_url": parts.redis_url}
            yield reach, parts.supervisor
        return
    if ":" not in kafka:
        raise KafkaTrouble(f"--kafka {kafka}: an address is host:port")
    with Supervisor(folder / "parts" / "logs") as supervisor:
        valkey = Server(supervisor, VALKEY, folder / "parts")
        yield {"bootstrap_servers": kafka, "redis_url": f"redis://{valkey.address}/0"}, supervisor
