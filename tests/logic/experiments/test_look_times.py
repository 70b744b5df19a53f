"""Looks lie at fixed points of event time, however the watermark gets there."""

from dataclasses import replace
from datetime import UTC, datetime
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from operators.logic.experiments.look_times import DAY, LookTimes, days_of_run, utc_days

LOOKS = st.builds(
    LookTimes,
    start=st.integers(-50, 50),
    interval=st.integers(1, 20),
    last=st.none() | st.integers(-60, 150),
)


@given(LOOKS, st.lists(st.integers(0, 60), max_size=10))
def test_looks_are_the_same_however_the_watermark_moves(looks, steps):
    watermark, seen = looks.start, []
    for step in steps:
        new = list(looks.between(watermark, watermark + step))
        assert all(watermark < look <= watermark + step for look in new)
        seen += new
        watermark += step
    expected = [
        time
        for time in range(looks.start + 1, watermark + 1)
        if (looks.last is None or time <= looks.last)
        and ((time - looks.start) % looks.interval == 0 or time == looks.last)
    ]
    assert seen == expected


def test_the_last_look_is_taken_once():
    looks = LookTimes(start=0, interval=10, last=25)
    assert list(looks.between(20, 25)) == [25]
    assert list(looks.between(25, 90)) == []
    assert list(replace(looks, last=30).between(0, 90)) == [10, 20, 30]


def test_an_interval_that_never_ends_is_refused():
    with pytest.raises(ValueError, match="interval"):
        LookTimes(start=0, interval=0)


def micros(*moment):
    return int(datetime(*moment, tzinfo=UTC).timestamp()) * 10**6


def test_a_day_whose_exclusive_end_is_midnight_is_that_day():
    days = utc_days(micros(2026, 3, 28), micros(2026, 3, 30))
    assert [str(day) for day in days] == ["2026-03-28", "2026-03-29"]
    assert [str(day) for day in utc_days(micros(2026, 3, 28, 23), micros(2026, 3, 29, 0, 1))] == [
        "2026-03-28",
        "2026-03-29",
    ]
    assert utc_days(5, 5) == []


def test_no_hour_repeats_or_vanishes_where_clocks_change():
    """The 29th of March 2026 has 23 hours in Berlin, and 24 here."""
    start = micros(2026, 3, 29)
    looks = list(LookTimes(start=start, interval=DAY // 24).between(start, start + DAY))
    assert len(looks) == 24
    assert {later - one for one, later in pairwise(looks)} == {DAY // 24}
    assert days_of_run(start, looks[-1]) == 1.0
    assert days_of_run(start, start - 1) == 0.0
