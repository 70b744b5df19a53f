"""Pairs of two checkouts: what is a ratio, what a difference, and which bound is judged."""

import pytest

from ops.benchmarks.speed.comparison import TITLES, Comparison, Pair
from ops.benchmarks.speed.points import (
    BACKLOG,
    CPU,
    IDLE,
    NAIVE_BACKLOG,
    P50,
    P99,
    SHARE,
    Figures,
    at,
)
from ops.benchmarks.speed.report import Report

PLACE = (at(1000), CPU)


def _side(cpu: float, share: float, p50: float) -> Figures:
    return {
        PLACE: cpu,
        (at(1000), P50): p50,
        (at(1000, "echo"), P50): 12.0,
        (at(1000), P99): 50.0,
        (IDLE, SHARE): share,
        (BACKLOG, CPU): 40.0,
        (NAIVE_BACKLOG, CPU): 60.0,
    }


@pytest.fixture
def report() -> Report:
    found = Report("pairs", TITLES)
    pairs = [
        Pair(_side(400.0, 17.0, 55.0), _side(200.0, 3.0, 20.0)),
        Pair(_side(500.0, 18.0, 55.0), _side(250.0, 3.5, 22.0)),
    ]
    Comparison(found, pairs, judged=True).sum_up([1000])
    return found


def test_ratios_differences_and_the_naive_loop_have_their_rows(report: Report) -> None:
    rows = {row[0]: row[1:] for row in report.rows}
    assert rows[f"{': '.join(PLACE)}, after / before"] == (450.0, 225.0, 0.5, 0.5, 2)
    assert rows[f"{IDLE}: {SHARE}"][:3] == (17.5, 3.25, 3.25)
    assert rows[f"{at(1000)}: {P50} above echo"][:3] == (43.0, 9.0, 9.0)
    assert rows[f"{BACKLOG}: CPU, naive / ours"][2] == pytest.approx(1.5)
    assert rows[f"{at(1000)}: CPU, naive / ours"][-1] == 0, "nothing was measured of it"


def test_bounds_are_judged_not_means(report: Report) -> None:
    judged = {bar.name: bar for bar in report.bars}
    assert judged[f"{': '.join(PLACE)}, after / before"].passed
    idle = judged[f"{IDLE}: {SHARE}"]
    assert idle.figure is not None
    assert idle.figure > 4.0 > 3.5, "though every pair's is below"
    assert not idle.passed
    assert judged[f"{BACKLOG}: CPU, naive / ours"].sign == "≥"
    assert not judged[f"{BACKLOG}: {CPU}, after / before"].passed
