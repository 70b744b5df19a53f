"""Takes a log through the flows under ``kill -9``, and once without, and compares the two."""

import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct
from rich import box
from rich.console import Console
from rich.table import Table

from flows.devkit.embedded import APACHE_KAFKA, NOIDA, VALKEY, Embedded, Server, Supervisor
from flows.devkit.verify_replay.runs import Run, prepare, run_killed, run_once
from flows.verification.findings import TOLERANCE, Verification
from flows.verification.log import Logged, copied, read_log, sort_log
from flows.verification.sameness import Comparison, compare_runs
from operators.io.kafka.client import KafkaTrouble
from schemas.settings import Settings
from schemas.topics import Topic

SECRET = "pseudonyms of a replayed log"
"""Keys the pseudonyms, unless the log's own decisions are to be joined."""

_LATENESS = 300.0
_PER_KILL = 60.0
"""Seconds of allowed lateness: the log's time goes on while a flow is down."""


class VerifiedReplay(Struct):
    """What a replay came to: the run with kills, the one without, and whether they agree."""

    records: int
    killed: Run
    once: Run
    same: list[Comparison]

    @property
    def crashes(self) -> list[Verification]:
        """What was verified of killed flows before they went on."""
        return [kill.crash for kill in self.killed.kills if kill.crash is not None]

    @property
    def holds(self) -> bool:
        """Say whether every comparison came out equal, and no request got a second answer."""
        verified = [self.killed.verification, self.once.verification, *self.crashes]
        answered_once = not any(verification.repeated for verification in verified)
        same = not any(comparison.different for comparison in self.same)
        return answered_once and same and all(verification.holds for verification in verified)


def verify_replay(
    settings: Settings,
    supervisor: Supervisor,
    folder: Path,
    log: Sequence[Logged],
    *,
    kills: int,
    seed: int,
    speed: float,
    verify_kills: bool,
    on_progress: Callable[[int, str], Any] = lambda _done, _what: None,
) -> VerifiedReplay:
    """Run a log with kills, then once without over what it left on the topics, and compare.

    ``settings`` say where Kafka and Redis are; each run has topics, recovery folder and store of
    its own. With ``verify_kills``, what each kill leaves behind is verified before the flow goes
    on. ``on_progress`` is given how many records were fed, and what is going on. The second run is
    given the first one's decisions, so the two must agree.
    """
    name = f"replay-{time.time_ns() // 1_000_000:x}-"
    lateness = _LATENESS + _PER_KILL * kills
    settings = settings.replaced(allowed_lateness=lateness, epoch=1, metrics_port=0)
    killed_in, once_in = (
        settings.replaced(
            topic_prefix=f"{settings.kafka.topic_prefix}{name}{run}.",
            recovery=str(folder / run / "recovery"),
            store=f"sqlite:{folder / run / 'store.db'}",
        )
        for run in ("killed", "once")
    )
    for deployment in (killed_in, once_in):
        Path(deployment.state.recovery).mkdir(parents=True, mode=0o700)
        prepare(deployment)
    killed = run_killed(
        killed_in,
        supervisor,
        log,
        kills=kills,
        seed=seed,
        speed=speed,
        verify_kills=verify_kills,
        on_progress=on_progress,
    )
    on_progress(len(log), "once without kills")
    once = run_once(once_in, supervisor, _left_by(killed_in))
    return VerifiedReplay(len(log), killed, once, compare_runs(killed_in, once_in))


def show(console: Console, report: VerifiedReplay) -> None:
    """Print what was compared, line by line, and the verdict."""
    table = Table("", "compared", "different", box=box.SIMPLE)
    for right in (1, 2):
        table.columns[right].justify = "right"
    crashes = report.crashes
    for what, verification in [
        *((f"after kill {number}", crash) for number, crash in enumerate(crashes, 1)),
        ("with kills", report.killed.verification),
        ("once", report.once.verification),
    ]:
        for compared, number, different in _rows(verification):
            table.add_row(f"{what}: {compared}", f"{number:,}", f"{different:,}")
    for same in report.same:
        table.add_row(f"both runs: {same.what}", f"{same.compared:,}", f"{same.different:,}")
    console.print(table)
    resumed = [kill.resumed for kill in report.killed.kills]
    verified = [*crashes, report.killed.verification, report.once.verification]
    largest = max(verification.largest_difference for verification in verified)
    console.print(
        f"{report.records:,} records, {len(resumed)} kills; an epoch closed again after at most "
        f"{max(resumed, default=0.0):.1f} s; largest relative difference of a learned float "
        f"{largest:.1e} (at most {TOLERANCE:g})"
    )
    console.print("[green]holds[/green]" if report.holds else "[red]DIFFERS[/red]")


def _rows(verification: Verification) -> Iterator[tuple[str, int, int]]:
    """Give what, how many, how many of them different."""
    outcomes = verification.outcomes
    yield "requests without an answer", verification.requests, verification.unanswered
    yield (
        "requests with two answers",
        verification.decisions,
        verification.contradicted + verification.repeated,
    )
    disagreeing = sum(not check.agrees for check in verification.actions)
    yield "learned actions", len(verification.actions), disagreeing
    yield "pending decisions", verification.pending.decisions, verification.pending.different
    final = outcomes.settled + outcomes.void
    yield "final outcomes", final, outcomes.missing + outcomes.different
    rows = sum(table.rows for table in verification.store)
    yield "rows of the store", rows, sum(table.different for table in verification.store)


def recorded_log(
    settings: Settings, folder: Path, given_decisions: bool
) -> tuple[Settings, list[Logged]]:
    """Read a log from its folder, and give the settings its number of partitions.

    Its decisions are left out unless ``given_decisions``: the flow decides anew.
    """
    partitions, log = read_log(folder)
    settings = settings.replaced(partitions=partitions)
    return settings, log if given_decisions else list(_undecided(log))


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
    return sort_log(copied(settings))


@contextlib.contextmanager
def services(kafka: str | None, folder: Path) -> Iterator[tuple[dict[str, str], Supervisor]]:
    """Start a broker, unless there is one, and Valkey; say where they are, as settings."""
    if kafka is None or kafka == APACHE_KAFKA.name:
        with Embedded(folder / "parts", broker=kafka or NOIDA.name) as parts:
            urls = {"bootstrap_servers": parts.bootstrap_servers, "redis_url": parts.redis_url}
            yield urls, parts.supervisor
        return
    if ":" not in kafka:
        raise KafkaTrouble(f"--kafka {kafka}: an address is host:port")
    with Supervisor(folder / "parts" / "logs") as supervisor:
        valkey = Server(supervisor, VALKEY, folder / "parts")
        yield {"bootstrap_servers": kafka, "redis_url": f"redis://{valkey.address}/0"}, supervisor
