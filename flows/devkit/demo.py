"""``banditflow demo``: everything on this machine, with simulated visitors and a live view."""

import contextlib
import io
import secrets
import shlex
import signal
import sys
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import redis
from rich.console import Console
from rich.live import Live

from flows.devkit.demo_catalog import ARTICLES, DEMO_POLICY, SLOT, articles_slot, demo_catalog
from flows.devkit.embedded import Child, Embedded
from flows.devkit.simulate import Line, Progress, Summary, all_answered, describe_articles
from flows.devkit.simulation.article_report import ArticleReport
from flows.devkit.simulation.tally import RECENT, SimulatorReport
from flows.devkit.view import Arm, DemoFrame, render, written
from flows.registry import PERSIST, PERSONALIZE
from flows.runtime.catalog_topic import publish_entries
from flows.runtime.clock import system_clock
from flows.runtime.flow_metrics import FlowMetrics, read_metrics
from flows.runtime.ports import HOST, free_port
from operators.cache import redis_policy_key
from operators.io import redis as cache
from operators.io.kafka import create_topics
from operators.io.store.open import migrate, open_store
from schemas.catalog import PolicySettings
from schemas.codec import encode_for_people
from schemas.results import PolicySnapshot
from schemas.settings import PREFIX, Settings, child_environment, environment_of, load
from schemas.topics import Topic

REWARD_WINDOW = 20.0
LATENESS = 5.0
REFRESH = 0.5
RATE_SAMPLES = 20
"""So many looks ago events per second are counted from."""

START_TIMEOUT = 90.0
DRAIN_TIMEOUT = 60.0
SLOW_MS = 1000.0
"""Half of the decisions take longer than this only where requests queue for the machine."""

NOT_YET = (
    " (personalize had not begun to decide: where it first starts it compiles loops, for a minute "
    "or more on a busy machine; try again)"
)
"""What is said where a demo was too short for a first answer."""


class DemoError(RuntimeError):
    """The demo cannot run here; the message says why."""


@dataclass(frozen=True, kw_only=True)
class DemoOptions:
    """What a demo is to do.

    It asks for ``seconds`` (None: until Ctrl-C) at ``rate`` requests per second, and beside them
    for ``articles``, a share of ``rate``. ``policy`` is the kind of policy (None: the demo's own),
    ``folder`` where results go (None: a new one), and ``picture`` where the last view is saved as
    an SVG. ``live`` asks for the live view, ``as_json`` for the summary as JSON.
    """

    seconds: float | None = None
    rate: float = 1000.0
    articles: float = 0.05
    seed: int = 7
    policy: str | None = None
    folder: Path | None = None
    picture: Path | None = None
    live: bool = True
    as_json: bool = False


@dataclass
class Demo:
    """A running demo: its settings, its children and where they report."""

    parts: Embedded
    settings: Settings
    metrics_url: str
    progress: Path
    simulator: Child
    seconds: float | None
    cache: redis.Redis = field(init=False)
    counted: deque[tuple[float, float]] = field(default_factory=lambda: deque(maxlen=RATE_SAMPLES))
    """When events were counted of late, and how many."""
    frame: DemoFrame | None = None
    """The newest view."""

    def __post_init__(self) -> None:
        """Connect to Redis, where the flow leaves its policy for readers."""
        self.cache = cache.client(self.settings.redis.url, 1.0)

    def report(self) -> SimulatorReport | None:
        """Read the simulator's last report."""
        with contextlib.suppress(OSError, msgspec.DecodeError):
            lines = self.progress.read_bytes().rstrip(b"\n").rsplit(b"\n", 1)
            line: Line = msgspec.json.decode(lines[-1], type=Progress | Summary)
            return line.report
        return None

    def recent_events(self, events: float, now: float) -> float | None:
        """Give the events per second since a moment ago; None at first, and after a restart."""
        self.counted.append((now, events))
        since, before = self.counted[0]
        if now <= since or events < before:
            return None
        return (events - before) / (now - since)

    def policy(self) -> PolicySnapshot | None:
        """Read the slot's newest policy from Redis."""
        with contextlib.suppress(redis.RedisError):
            cached = cache.read(self.cache, redis_policy_key(SLOT))
            if cached is not None:
                return msgspec.json.decode(cached.fields["policy"], type=PolicySnapshot)
        return None


def demo(options: DemoOptions) -> int:
    """Run the demo until its time is over or Ctrl-C, then print what happened."""
    folder = options.folder or Path(".banditflow") / f"demo-{datetime.now(UTC):%Y%m%d-%H%M%S}"
    _must_be_writable(folder)
    console = Console(stderr=options.as_json)
    with Embedded(folder.resolve()) as parts:
        running = _start(parts, options, console)
        live = options.live and console.is_terminal
        try:
            if live:
                _watch_live(running, console)
            else:
                _watch_quietly(running, console, options.picture is not None)
        except KeyboardInterrupt:
            console.print("stopping: no new requests, waiting for the last answers …")
            running.simulator.signal(signal.SIGINT)
        if options.picture is not None:
            _draw(running, options.picture)
        report, summary = _finish(running)
    print(encode_for_people(summary) if options.as_json else _sentences(summary))
    return 0 if all_answered(report) else 1


def _must_be_writable(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DemoError(f"--folder: {folder} cannot be made: {error.strerror}") from error


def _start(parts: Embedded, options: DemoOptions, console: Console) -> Demo:
    console.print(f"starting in {parts.folder} …", highlight=False)
    settings = load(
        {},
        secret=secrets.token_hex(16),
        bootstrap_servers=parts.bootstrap_servers,
        redis_url=parts.redis_url,
        store=f"sqlite:{parts.folder / 'banditflow.db'}",
        recovery=str(parts.folder / "recovery"),
        allowed_lateness=LATENESS,
        metrics_port=free_port(),
    )
    _keep_settings(settings, parts.folder)
    create_topics(settings.kafka)
    migrate(settings.store, system_clock())
    kind = PolicySettings(kind=options.policy) if options.policy else DEMO_POLICY
    catalog = demo_catalog(options.seed, kind, reward_window=REWARD_WINDOW)
    articles = articles_slot(reward_window=REWARD_WINDOW)
    publish_entries(settings, system_clock, [*catalog, articles])
    url = f"http://{HOST}:{settings.metrics.port}/metrics"
    _flow(parts, PERSIST.name, settings.replaced(metrics_port=0))
    _flow(parts, PERSONALIZE.name, settings, ready=lambda: _reads(url))
    progress = parts.folder / "visitors.jsonl"
    arguments = [
        f"--rate={options.rate}",
        f"--articles={options.articles}",
        f"--seed={options.seed}",
        f"--progress={progress}",
    ]
    if options.seconds is not None:
        arguments.append(f"--seconds={options.seconds}")
    simulator = parts.supervisor.start(
        "visitors",
        [sys.executable, "-m", "flows", "simulate", *arguments],
        env=child_environment(settings),
        may_end=(0, 1),  # 1: some requests went unanswered, which the summary says
    )
    return Demo(
        parts=parts,
        settings=settings,
        metrics_url=url,
        progress=progress,
        simulator=simulator,
        seconds=options.seconds,
    )


def _keep_settings(settings: Settings, folder: Path) -> None:
    """Leave what ``inspect`` needs to read the results later, for the owner only."""
    names = ("SECRET", "STORE", "RECOVERY", "REDIS_URL", "BOOTSTRAP_SERVERS")
    values = environment_of(settings)
    path = folder / "demo.env"
    path.touch(mode=0o600)
    path.write_text("".join(f"{PREFIX}{name}={values[PREFIX + name]}\n" for name in names))


def _flow(
    parts: Embedded, flow: str, settings: Settings, ready: Callable[[], bool] | None = None
) -> None:
    """Start a flow that is started again when it dies."""
    command = [sys.executable, "-m", "flows", "run", flow, "--processes=1"]
    parts.supervisor.start(
        flow,
        [*command, f"--logs={parts.folder / 'logs'}"],
        env=child_environment(settings),
        ready=ready,
        timeout=START_TIMEOUT,
    )


def _reads(url: str) -> bool:
    """Say whether the flow has opened its topics."""
    metrics = read_metrics(url)
    return metrics is not None and bool(metrics.by("banditflow_consumer_lag_records", "topic"))


def _watch_live(running: Demo, console: Console) -> None:
    with Live(console=console, screen=True, auto_refresh=False) as live:
        while running.simulator.running:
            frame = _frame(running)
            if frame is not None:
                live.update(render(frame, console.height), refresh=True)
            running.parts.wait(REFRESH)


def _watch_quietly(running: Demo, console: Console, frames: bool) -> None:
    """Say now and then how it goes; with ``frames`` take them, too, for a picture at the end."""
    said = 0.0
    while running.simulator.running:
        report = running.report()
        if frames:
            _frame(running)
        if report is not None and report.seconds - said >= 10.0:
            said = report.seconds
            policy = written(report.click_rate_policy, "{:.2%}")
            uniform = written(report.click_rate_uniform, "{:.2%}")
            beside = _beside(report.articles) if report.articles else ""
            console.print(
                f"{report.seconds:5.0f} s  {report.decisions:,} decisions  "
                f"true click rate of the last {RECENT} s: policy {policy}, hold-out {uniform}"
                f"{beside}",
                highlight=False,
                soft_wrap=True,
            )
        running.parts.wait(REFRESH)


def _beside(articles: ArticleReport) -> str:
    policy = written(articles.click_rate_policy, "{:.2%}")
    uniform = written(articles.click_rate_uniform, "{:.2%}")
    return f"; articles: policy {policy}, hold-out {uniform}"


def _draw(running: Demo, picture: Path) -> None:
    """Save the last view of the running visitors as an SVG."""
    frame = running.frame or _frame(running)
    if frame is not None:
        canvas = Console(record=True, width=96, file=io.StringIO(), force_terminal=True)
        canvas.print(render(frame, 36))
        picture.write_text(canvas.export_svg(title="banditflow demo"))


def _frame(running: Demo) -> DemoFrame | None:
    report, metrics = running.report(), read_metrics(running.metrics_url)
    if report is None or metrics is None:
        return None
    policy = running.policy()
    whole = report.series[:-1]  # of the last second hardly anything may be known yet
    shares = metrics.by("banditflow_slot_action_share", "action", slot=SLOT)
    shown = metrics.by("banditflow_decisions_total", "action", slot=SLOT)
    arms = [
        Arm(
            action.action_id,
            shown.get(action.action_id, 0.0),
            action.mean,
            action.deviation,
            shares.get(action.action_id, 0.0),
            action.observed,
        )
        for action in (policy.actions if policy else [])
    ]
    running.frame = DemoFrame(
        elapsed=report.seconds,
        events_per_second=running.recent_events(_events(metrics), time.monotonic()),
        requests=report.requests,
        decisions=report.decisions,
        open=report.unanswered,
        impressions=report.impressions,
        clicks=report.clicks,
        latency_p50_ms=report.recent_latency_p50_ms,
        latency_p99_ms=report.recent_latency_p99_ms,
        staleness_p99_s=report.recent_staleness_p99_s,
        click_rate_policy=report.click_rate_policy,
        click_rate_uniform=report.click_rate_uniform,
        click_rate_best=report.click_rate_best,
        policy=policy.policy if policy else "",
        policy_version=policy.version if policy else 0,
        arms=arms,
        history_policy=[second.click_rate_policy or 0.0 for second in whole],
        history_uniform=[second.click_rate_uniform or 0.0 for second in whole],
        history_best=[second.click_rate_best or 0.0 for second in whole],
        dead_letters=_dead_letters(metrics),
        lag=int(metrics.total("banditflow_consumer_lag_records")),
        metrics_url=running.metrics_url,
        store=running.settings.store.address,
        articles=report.articles,
    )
    return running.frame


def _finish(running: Demo) -> tuple[SimulatorReport, dict[str, Any]]:
    """Wait for the last answers and for the store to have them; sum up."""
    deadline = time.monotonic() + DRAIN_TIMEOUT
    while running.simulator.running and time.monotonic() < deadline:
        running.parts.wait(REFRESH)
    report, metrics = running.report(), read_metrics(running.metrics_url)
    if report is None:
        raise RuntimeError(f"the visitors said nothing: see {running.simulator.log}")
    brought = report.articles.decisions if report.articles else 0
    stored = _await_store(running, report.decisions + brought, deadline)
    rates = ("click_rate_policy", "click_rate_uniform", "click_rate_best")
    return report, {
        "seconds": round(report.seconds, 1),
        "requests": report.requests,
        "decisions": report.decisions,
        "unanswered": report.unanswered,
        "duplicate_answers": report.duplicate_answers,
        "impressions": report.impressions,
        "clicks": report.clicks,
        **{name: getattr(report, name) for name in rates},
        "observed_click_rate_policy": report.observed_click_rate_policy,
        "observed_click_rate_uniform": report.observed_click_rate_uniform,
        "staleness_p99_s": report.staleness_p99_s,
        "latency_p50_ms": report.latency_p50_ms,
        "latency_p99_ms": report.latency_p99_ms,
        "articles": report.articles,
        "dead_letters": metrics and _dead_letters(metrics),
        "events_per_second": metrics and round(_events(metrics) / max(report.seconds, 1.0), 1),
        "consumer_lag": metrics and int(metrics.total("banditflow_consumer_lag_records")),
        "store": running.settings.store.address,
        "stored": stored,
        "metrics_url": running.metrics_url,
        "folder": str(running.parts.folder),
    }


def _await_store(running: Demo, decisions: int, deadline: float) -> dict[str, int]:
    store = open_store(running.settings.store)
    try:
        while (counts := store.counts())["decisions"] < decisions:
            if time.monotonic() > deadline:
                break
            running.parts.wait(REFRESH)
        return counts
    finally:
        store.close()


def _events(metrics: FlowMetrics) -> float:
    """Count the events that came from outside: not the decisions that were read back."""
    counts = metrics.by("banditflow_events_in_total", "topic")
    return sum(count for topic, count in counts.items() if topic != Topic.DECISIONS)


def _dead_letters(metrics: FlowMetrics) -> dict[str, int]:
    counts = metrics.by("banditflow_dead_letters_total", "reason")
    return {reason: int(count) for reason, count in sorted(counts.items()) if count}


def _sentences(summary: dict[str, Any]) -> str:
    policy, uniform, best = (
        summary[f"click_rate_{what}"] for what in ("policy", "uniform", "best")
    )
    lift = f" ({policy / uniform:.2f} × the hold-out)" if policy is not None and uniform else ""
    letters = summary["dead_letters"]
    counted = "not known: the flow does not answer" if letters is None else letters or "none"
    p50, p99 = summary["latency_p50_ms"], summary["latency_p99_ms"]
    stored, articles = summary["stored"], summary["articles"]
    file = shlex.quote(f"{summary['folder']}/demo.env")
    half = float(f"{summary['requests'] / max(summary['seconds'], 1.0) / 2:.1g}")
    slow = p50 is not None and p50 > SLOW_MS
    hint = f" (requests wait for this machine: try --rate {max(half, 1.0):.0f})" if slow else ""
    instead = f" (or at {ARTICLES} instead)" if articles else ""
    return "\n".join(
        (
            f"{summary['requests']:,} requests in {summary['seconds']:.0f} s: "
            f"{summary['decisions']:,} decisions, {summary['unanswered']} unanswered, "
            f"{summary['clicks']:,} clicks{'' if summary['decisions'] else NOT_YET}",
            f"true click rate of what was shown in the last {RECENT} s: "
            f"policy {written(policy, '{:.2%}')}{lift}, uniform hold-out "
            f"{written(uniform, '{:.2%}')}, best possible {written(best, '{:.2%}')}",
            f"decision latency p50 {written(p50, '{:.0f} ms')}, p99 {written(p99, '{:.0f} ms')}"
            f"{hint}; policy staleness p99 {written(summary['staleness_p99_s'], '{:.2f} s')}",
            *([describe_articles(articles)] if articles else []),
            f"dead letters: {counted}",
            f"results: {summary['store']} ({stored['decisions']:,} decisions, "
            f"{stored['outcomes']:,} outcomes; most decisions of the last "
            f"{REWARD_WINDOW + LATENESS:.0f} s had none yet); logs in {summary['folder']}/logs",
            f"look closer{instead}: env $(cat {file}) {sys.executable} -m flows inspect slot "
            f"{SLOT}",
        )
    )
