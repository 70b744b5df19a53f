"""The demo's view fits the terminal, whatever it has to show."""

import doctest
import io
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.console import Console

import flows.devkit.view
import flows.runtime.flow_metrics
from flows.devkit.simulation.article_report import ArticleReport
from flows.devkit.view import Arm, DemoFrame, render

TERMINALS = [(80, 24), (100, 30), (220, 60)]
counts = st.one_of(st.integers(0, 10), st.integers(0, 10**9))
rates = st.floats(0.0, 1.0)
unknown = st.none()
names = st.one_of(
    st.sampled_from(["a01", "[bold]x", "名前", "a\nb\tc", "a" * 200]), st.text(max_size=40)
)
histories = st.lists(rates, max_size=200)
beliefs = rates | unknown
arms = st.builds(Arm, action_id=names, count=counts, mean=beliefs, deviation=beliefs, share=rates)
frames = st.builds(
    DemoFrame,
    elapsed=st.floats(0.0, 1e6),
    events_per_second=st.floats(0.0, 1e7) | unknown,
    requests=counts,
    decisions=counts,
    open=counts,
    impressions=counts,
    clicks=counts,
    latency_p50_ms=st.floats(0.0, 1e5) | unknown,
    latency_p99_ms=st.floats(0.0, 1e5) | unknown,
    staleness_p99_s=st.floats(0.0, 1e4) | unknown,
    click_rate_policy=rates | unknown,
    click_rate_uniform=rates | unknown,
    click_rate_best=rates | unknown,
    policy=st.sampled_from(["", "logistic", "p" * 100]),
    policy_version=counts,
    arms=st.lists(arms, max_size=60),
    history_policy=histories,
    history_uniform=histories,
    history_best=histories,
    dead_letters=st.dictionaries(names, counts, max_size=30),
    lag=counts,
    metrics_url=st.just("http://127.0.0.1:65535/metrics"),
    store=names,
    articles=unknown
    | st.builds(
        ArticleReport,
        decisions=counts,
        different=counts,
        click_rate_policy=beliefs,
        click_rate_uniform=beliefs,
        click_rate_best=beliefs,
        lift=st.floats(0.0, 1e5) | unknown,
    ),
)


FRAME: dict[str, Any] = {
    "elapsed": 42.0,
    "events_per_second": 2345.6,
    "requests": 42_000,
    "decisions": 41_990,
    "open": 10,
    "impressions": 40_000,
    "clicks": 2_100,
    "latency_p50_ms": 31.0,
    "latency_p99_ms": 83.0,
    "staleness_p99_s": 0.52,
    "click_rate_policy": 0.06,
    "click_rate_uniform": 0.04,
    "click_rate_best": 0.07,
    "policy": "logistic",
    "policy_version": 123,
    "arms": [Arm(f"a{i:02d}", 1000.0 * i, 0.01 * i, 0.001, 0.05 * i) for i in range(1, 9)],
    "dead_letters": {"not_json": 3},
    "metrics_url": "http://127.0.0.1:9464/metrics",
    "store": "sqlite:/tmp/banditflow.db",
}


def articles(**changes: Any) -> ArticleReport:
    fields: dict[str, Any] = {
        "requests": 2_000_010,
        "decisions": 2_000_000,
        "unanswered": 10,
        "duplicate_answers": 0,
        "clicks": 300_000,
        "different": 12_345,
        "click_rate_policy": 0.1945,
        "click_rate_uniform": 0.081,
        "click_rate_best": 0.2709,
        "lift": 0.1945 / 0.081,
        "observed_click_rate_policy": 0.2,
        "observed_click_rate_uniform": 0.09,
        "latency_p50_ms": 31.0,
        "latency_p99_ms": 83.0,
    }
    return ArticleReport(**(fields | changes))


def drawn(frame: DemoFrame, width: int, height: int) -> list[str]:
    out = io.StringIO()
    console = Console(width=width, height=height, file=out, color_system=None, legacy_windows=False)
    console.print(render(frame, height))
    return out.getvalue().removesuffix("\n").split("\n")


def frame(**changes: Any) -> DemoFrame:
    return DemoFrame(**(FRAME | changes))


def test_the_most_frequent_dead_letters_come_first() -> None:
    letters = {f"reason{i}": i for i in range(1, 31)}
    text = drawn(frame(dead_letters=letters), 80, 24)
    assert any("dead letters reason30 30, reason29 29" in " ".join(line.split()) for line in text)


@settings(max_examples=30, deadline=None)
@example(
    DemoFrame(
        **(
            FRAME
            | {
                "dead_letters": {"a\nb": 0, "long" * 30: 1},
                "arms": [Arm("a01", 0, 0.0, 0.0, 0.0)] * 13,
            }
        )
    ),
    (80, 24),
)
@given(frames, st.sampled_from(TERMINALS))
def test_it_never_overflows(shown: DemoFrame, terminal: tuple[int, int]) -> None:
    width, height = terminal
    lines = drawn(shown, width, height)
    assert len(lines) < height  # a full screen would scroll
    assert max(map(cell_len, lines)) <= width


@pytest.mark.parametrize(("width", "height"), TERMINALS)
def test_it_says_what_matters(width: int, height: int) -> None:
    text = "\n".join(drawn(frame(), width, height))
    for said in (
        "events/s 2,346",
        "p50 31 ms",
        "p99 83 ms",
        "stale p99 0.52 s",
        "open 10",
        "6.00%",
        "4.00%",
        "7.00%",
        "true click rate, last 20 s · the policy earns 1.50 × the hold-out",
        "logistic policy, version 123",
        "not_json 3",
        "http://127.0.0.1:9464/metrics",
        "sqlite:/tmp/banditflow.db",
    ):
        assert said in text


def test_actions_are_ranked_by_traffic_and_the_rest_is_summed() -> None:
    many = [Arm(f"a{i:02d}", 1.0, 0.1, 0.01, (i + 1) / 820) for i in range(40)]
    text = drawn(frame(arms=many), 80, 24)
    listed = [line for line in text if " a" in line and "%" in line and "±" in line]
    assert [line.split()[1] for line in listed] == [f"a{i:02d}" for i in range(39, 32, -1)]
    (rest,) = [line for line in text if "33 more" in line]
    assert f"{sum((i + 1) / 820 for i in range(33)):.1%}" in rest


def test_a_bar_is_as_long_as_the_share() -> None:
    two = [Arm("most", 1.0, 0.1, 0.01, 0.8), Arm("half", 1.0, 0.1, 0.01, 0.4)]
    most, half = (line.count("█") for line in drawn(frame(arms=two), 80, 24) if "% ±" in line)
    assert most == 2 * half > 0


def test_it_draws_before_anything_happened() -> None:
    empty = frame(arms=[], click_rate_uniform=0.0, click_rate_best=0.0, dead_letters={})
    assert "dead letters none" in "\n".join(drawn(empty, 80, 24))


def test_what_is_not_known_is_a_dash_and_no_zero() -> None:
    unseen = [Arm("a01", 0.0, None, None, 0.0), Arm("a02", 0.0, 0.05, 0.01, 0.0)]
    nothing = {name: None for name, value in FRAME.items() if isinstance(value, float)}
    text = "\n".join(drawn(frame(**(nothing | {"elapsed": 1.0, "arms": unseen})), 80, 24))
    for said in ("events/s –", "p50 –", "p99 –", "stale p99 –", "policy                –", "– ± –"):
        assert said in text
    assert "0.00%" not in text
    assert "×" not in text
    first = articles(click_rate_policy=None, click_rate_uniform=None, lift=None)
    text = "\n".join(drawn(frame(articles=first), 80, 24))
    assert "policy – " in text
    assert "hold-out – " in text
    assert "articles from requests, last 20 s ─" in text


def test_a_policy_with_one_model_for_all_actions_has_no_empty_column_of_beliefs() -> None:
    text = "\n".join(drawn(frame(arms=[Arm("a01", 9.0, None, None, 0.4, 0.07)]), 80, 24))
    assert "believed" not in text
    assert "±" not in text
    assert "what actions earn of those who saw them" in text
    assert "7.00%" in text


@pytest.mark.parametrize(("width", "height"), TERMINALS)
def test_articles_that_requests_bring_have_a_line_of_their_own(width: int, height: int) -> None:
    text = drawn(frame(articles=articles()), width, height)
    (line,) = [line for line in text if "hold-out 8.10%" in line]
    for said in ("policy 19.45%", "best 27.09%", "decisions 2,000,000", "articles 12,345"):
        assert said in line
    title = "articles from requests, last 20 s · the policy earns 2.40 × the hold-out"
    assert title in "".join(text)
    assert not any("articles" in line for line in drawn(frame(), width, height))


@pytest.mark.parametrize("module", [flows.devkit.view, flows.runtime.flow_metrics])
def test_the_examples_are_true(module: Any) -> None:
    assert doctest.testmod(module).failed == 0


def test_what_was_observed_stands_beside_what_is_believed() -> None:
    """An action that is shown to those who like it earns more of them than of the mean visitor."""
    liked = Arm("liked", 900.0, 0.05, 0.004, 0.3, observed=0.12)
    (line,) = [line for line in drawn(frame(arms=[liked]), 80, 24) if "liked" in line]
    assert "12.00%" in line
    assert "5.00% ± 0.40%" in line
