"""When the groups of a source look for records."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from operators.io.kafka.turns import LIVE_TURN, ArrivalTurns

START = datetime(2026, 3, 1, tzinfo=UTC)


class Hands:
    """A clock that goes as it is told."""

    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> datetime:
        return self.now

    def pass_by(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)


def test_what_comes_is_given_in_turns_of_all_groups_together() -> None:
    clock = Hands()
    turns = ArrivalTurns(clock)
    looked, given_at = [0, 0], []
    for _ in range(5):
        for group in range(2):
            assert turns.begin(looked[group]) == 0.0
            looked[group] = turns.number
            given_at.append(clock.now)
            at = turns.next(gave=True, at_end=True)
            clock.pass_by(0.001)
        assert turns.begin(looked[0]) is None, "nobody looks twice in a turn"
        clock.now = at
    starts = given_at[::2]
    lengths = {round((b - a).total_seconds(), 6) for a, b in pairwise(starts)}
    assert lengths == {LIVE_TURN}


def test_after_a_lull_a_group_waits_and_the_turn_begins_with_what_came() -> None:
    clock = Hands()
    turns = ArrivalTurns(clock)
    clock.pass_by(1.0)
    wait = turns.begin(0)
    assert wait
    clock.pass_by(wait / 2)
    turns.waited()
    at = turns.next(gave=True, at_end=True)
    assert round((at - clock.now).total_seconds(), 6) == LIVE_TURN


def test_a_backlog_is_read_on_at_once() -> None:
    clock = Hands()
    turns = ArrivalTurns(clock)
    turns.begin(0)
    assert turns.next(gave=True, at_end=False) == clock.now


@given(st.lists(st.tuples(st.floats(-9000.0, 9000.0), st.booleans(), st.booleans()), max_size=30))
def test_nobody_sleeps_long_whatever_the_clock_does(
    steps: list[tuple[float, bool, bool]],
) -> None:
    """Steps of the clock fall between a look and what it says of the next one, too."""
    clock = Hands()
    turns, last = ArrivalTurns(clock), 0
    for seconds, between, gave in steps:
        if not between:
            clock.pass_by(seconds)
        if turns.begin(last) is not None:
            last = turns.number
        if between:
            clock.pass_by(seconds)
        pause = (turns.next(gave=gave, at_end=True) - clock.now).total_seconds()
        assert 0.0 <= pause <= LIVE_TURN + 1e-6
