"""The demo's live terminal view: how fast, how fresh, how much better than chance, and why."""

from collections.abc import Sequence

from msgspec import Struct
from rich import box
from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from flows.devkit.simulation.article_report import ArticleReport

_BLOCKS = " ▁▂▃▄▅▆▇█"
_BAR = 12
_FRAME = 15
"""The lines that are not an action's."""

_ARTICLES = 3
"""The lines of what articles came to."""


class Arm(Struct):
    """An action as the view shows it: posterior mean and deviation, and its recent share.

    A policy that does not learn, or that has one model for all actions, believes nothing of it by
    itself. ``observed`` is the mean reward of those to whom it was shown.
    """

    action_id: str
    count: float
    mean: float | None
    deviation: float | None
    share: float
    observed: float | None = None


class DemoFrame(Struct, kw_only=True):
    """What the view shows at a moment; None is what is not known yet.

    Counts are those of the whole run, and ``open`` are requests without an answer so far. Events
    per second, latencies in milliseconds, staleness and true click rates are recent. ``articles``
    is what the requests that bring articles came to (None: there are none).
    """

    elapsed: float
    events_per_second: float | None
    requests: int
    decisions: int
    open: int
    impressions: int
    clicks: int
    latency_p50_ms: float | None
    latency_p99_ms: float | None
    staleness_p99_s: float | None
    click_rate_policy: float | None
    click_rate_uniform: float | None
    click_rate_best: float | None
    policy: str
    policy_version: int
    arms: Sequence[Arm] = ()
    history_policy: Sequence[float] = ()
    history_uniform: Sequence[float] = ()
    history_best: Sequence[float] = ()
    dead_letters: dict[str, int] = {}
    lag: int = 0
    metrics_url: str = ""
    store: str = ""
    articles: ArticleReport | None = None


def render(frame: DemoFrame, height: int = 30) -> RenderableType:
    """Lay a frame out for a terminal of ``height`` lines, 24 or more; 80 columns are enough."""
    beside = [] if frame.articles is None else [_articles(frame.articles)]
    rows = max(3, height - 1 - _FRAME - _ARTICLES * len(beside))
    return Group(_head(frame), _rates(frame), _arms(frame, rows), *beside, _foot(frame))


def sparkline(values: Sequence[float], width: int, top: float) -> str:
    """Draw the last ``width`` values as blocks, ``top`` being the full height.

    >>> sparkline([0.0, 0.5, 1.0], 3, 1.0)
    ' ▄█'
    """
    scale = (len(_BLOCKS) - 1) / top if top > 0 else 0.0
    shown = values[-width:]
    return "".join(_BLOCKS[min(len(_BLOCKS) - 1, max(0, round(v * scale)))] for v in shown)


def bar(share: float, width: int = _BAR) -> str:
    """Draw a share of 1 as a bar.

    >>> bar(0.5, 4)
    '██  '
    """
    return ("█" * round(share * width)).ljust(width)


def count(number: float | None) -> str:
    """Write a count in at most 9 characters; what is not known is a dash.

    >>> count(1234567), count(12345678), count(None)
    ('1,234,567', '12.3 M', '–')
    """
    if number is None:
        return "–"
    return f"{number:,.0f}" if number < 1e7 else f"{number / 1e6:,.1f} M"


def written(value: float | None, form: str) -> str:
    """Write a number by a format; what is not known is a dash.

    >>> written(0.5, "{:.2%}"), written(None, "{:.2%}")
    ('50.00%', '–')
    """
    return "–" if value is None else form.format(value)


def one_line(text: str) -> str:
    r"""Write what somebody else named on one line, without what would steer a terminal.

    >>> one_line("not\njson\x1b[2J")
    'not json [2J'
    """
    return " ".join("".join(x if x.isprintable() else " " for x in text).split())


def _head(frame: DemoFrame) -> RenderableType:
    grid = Table.grid(expand=True, padding=(0, 1))
    for _ in range(4):
        grid.add_column(ratio=1, no_wrap=True)
    grid.add_row(
        _fact("events/s", count(frame.events_per_second)),
        _fact("p50", written(frame.latency_p50_ms, "{:.0f} ms")),
        _fact("p99", written(frame.latency_p99_ms, "{:.0f} ms")),
        _fact("stale p99", written(frame.staleness_p99_s, "{:.2f} s")),
    )
    grid.add_row(
        _fact("decisions", count(frame.decisions)),
        _fact("open", count(frame.open)),
        _fact("clicks", count(frame.clicks)),
        _fact("lag", count(frame.lag)),
    )
    title = f"banditflow demo · {frame.elapsed:.0f} s"
    subtitle = f"{frame.policy} policy, version {frame.policy_version}"
    return Panel(grid, title=title, subtitle=subtitle, box=box.ROUNDED)


def _fact(name: str, value: str) -> Text:
    return Text.assemble((f"{name} ", "dim"), (value, "bold"))


def _rates(frame: DemoFrame) -> RenderableType:
    top = max([*frame.history_best[-120:], frame.click_rate_best or 0.0, 1e-9])
    table = Table.grid(padding=(0, 1))
    for name, rate, history, style in (
        ("best possible", frame.click_rate_best, frame.history_best, "cyan"),
        ("policy", frame.click_rate_policy, frame.history_policy, "bold green"),
        ("uniform hold-out", frame.click_rate_uniform, frame.history_uniform, "yellow"),
    ):
        line = Text(sparkline(history, 34, top), style=style)
        shown = written(rate, "{:.2%}").rjust(6)
        table.add_row(Text(name, style=style), Text(shown, style=style), line)
    title = "true click rate, last 20 s"
    if frame.click_rate_policy is not None and frame.click_rate_uniform:
        lift = frame.click_rate_policy / frame.click_rate_uniform
        title += f" · the policy earns {lift:.2f} × the hold-out"
    return Panel(table, title=title, box=box.ROUNDED)


def _articles(articles: ArticleReport) -> RenderableType:
    grid = Table.grid(expand=True, padding=(0, 1))
    for _ in range(5):
        grid.add_column(no_wrap=True)
    grid.add_row(
        Text(f"policy {written(articles.click_rate_policy, '{:.2%}')}", style="bold green"),
        Text(f"hold-out {written(articles.click_rate_uniform, '{:.2%}')}", style="yellow"),
        Text(f"best {written(articles.click_rate_best, '{:.2%}')}", style="cyan"),
        _fact("decisions", count(articles.decisions)),
        _fact("articles", count(articles.different)),
    )
    title = "articles from requests, last 20 s"
    if articles.lift is not None:
        title += f" · the policy earns {articles.lift:.2f} × the hold-out"
    return Panel(grid, title=title, box=box.ROUNDED)


def _arms(frame: DemoFrame, rows: int) -> RenderableType:
    table = Table(box=None, padding=(0, 1), expand=True)
    table.add_column("action", no_wrap=True, ratio=1)
    table.add_column("traffic", no_wrap=True, width=_BAR)
    table.add_column("share", justify="right", no_wrap=True, width=6)
    table.add_column("observed", justify="right", no_wrap=True, width=8)
    believes = any(arm.mean is not None for arm in frame.arms)
    if believes:
        table.add_column("believed ± sd", justify="right", no_wrap=True, width=16)
    table.add_column("shown", justify="right", no_wrap=True, width=9)
    ranked = sorted(frame.arms, key=lambda arm: -arm.share)
    most = max([arm.share for arm in ranked], default=0.0) or 1.0
    shown = ranked if len(ranked) <= rows else ranked[: rows - 1]
    for arm in shown:
        belief = f"{written(arm.mean, '{:6.2%}')} ± {written(arm.deviation, '{:.2%}')}"
        table.add_row(
            Text(one_line(arm.action_id)),
            Text(bar(arm.share / most), style="green"),
            f"{arm.share:5.1%}",
            written(arm.observed, "{:.2%}"),
            *([belief] if believes else []),
            count(arm.count),
        )
    rest = ranked[len(shown) :]
    if rest:
        table.add_row(f"{len(rest)} more", "", f"{sum(arm.share for arm in rest):5.1%}")
    title = "what actions earn of those who saw them"
    if believes:
        title = "what actions earn: of those who saw them, and as believed of the mean visitor"
    return Panel(table, title=title, box=box.ROUNDED)


def _foot(frame: DemoFrame) -> RenderableType:
    ranked = sorted(frame.dead_letters.items(), key=lambda letter: -letter[1])
    letters = ", ".join(f"{reason} {number:,}" for reason, number in ranked)
    table = Table.grid(padding=(0, 1), expand=True)
    table.add_column(style="dim", width=12, min_width=12, no_wrap=True)
    table.add_column(no_wrap=True, ratio=1, overflow="ellipsis")
    table.add_row("dead letters", Text(one_line(letters) or "none"))
    table.add_row("metrics", Text(frame.metrics_url, style="underline"))
    table.add_row("store", Text(one_line(frame.store)))
    return table
