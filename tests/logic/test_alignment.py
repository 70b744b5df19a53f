from typing import NamedTuple

from hypothesis import given, settings
from hypothesis import strategies as st

from operators.logic.alignment import Alignment
from schemas.clock import ALWAYS, NEVER


class Ev(NamedTuple):
    lane: int
    offset: int
    at: int


LANES = 3
TIMES = st.lists(st.integers(0, 60), max_size=25)
LOGS = st.lists(TIMES, min_size=LANES, max_size=LANES)


def events_of(logs: list[list[int]]) -> list[list[Ev]]:
    return [[Ev(lane, i, at) for i, at in enumerate(log)] for lane, log in enumerate(logs)]


def keys_of(log: list[Ev]) -> dict[Ev, int]:
    """The oracle's keys: the largest time so far, computed the slow way."""
    return {event: max(e.at for e in log[: i + 1]) for i, event in enumerate(log)}


class Feed:
    """Reads the logs in random portions, as a consumer would."""

    def __init__(self, logs: list[list[Ev]]) -> None:
        self.logs = logs
        self.read = [0] * LANES
        self.group = Alignment[Ev](LANES, idle_after=10)

    def step(self, lane: int, count: int) -> None:
        log, start = self.logs[lane], self.read[lane]
        portion = log[start : start + count]
        self.group.lanes[lane].extend(portion, [e.at for e in portion], [ALWAYS] * len(portion))
        self.read[lane] = start + len(portion)
        self.group.lanes[lane].at_end = self.read[lane] == len(log)

    def drain(self, limit: int) -> list[Ev]:
        out: list[Ev] = []
        for lane in range(LANES):
            self.step(lane, 10**6)
        while more := self.group.release(limit, now=0):
            out += more
        return out


STEPS = st.lists(st.tuples(st.integers(0, LANES - 1), st.integers(0, 6)), max_size=40)


@settings(max_examples=300, deadline=None)
@given(LOGS, STEPS, st.integers(1, 8))
def test_nothing_is_lost_and_no_lane_is_overtaken(
    logs: list[list[int]], steps: list[tuple[int, int]], limit: int
) -> None:
    feed = Feed(events_of(logs))
    keys = {e: k for log in feed.logs for e, k in keys_of(log).items()}
    released: list[Ev] = []
    watermark = NEVER
    for lane, count in steps:
        feed.step(lane, count)
        batch = feed.group.release(limit, now=0)
        assert [e.at for e in batch] == sorted(e.at for e in batch)
        released += batch
        assert feed.group.watermark >= watermark, "the watermark fell"
        watermark = feed.group.watermark
        _check_rules(feed, released, keys, watermark)
    released += feed.drain(limit)
    assert sorted(released) == sorted(e for log in feed.logs for e in log)


def _check_rules(feed: Feed, released: list[Ev], keys: dict[Ev, int], watermark: int) -> None:
    gone = set(released)
    for log, read in zip(feed.logs, feed.read, strict=True):
        seen = log[:read]
        waiting = [e for e in seen if e not in gone]
        # What went is a prefix of the lane, in offset order.
        assert waiting == seen[len(seen) - len(waiting) :]
        # Everything read with a key below the watermark has gone.
        assert all(keys[e] >= watermark for e in waiting)


@settings(max_examples=200, deadline=None)
@given(LOGS, STEPS)
def test_an_event_waits_exactly_while_a_lane_with_more_has_not_come_so_far(
    logs: list[list[int]], steps: list[tuple[int, int]]
) -> None:
    feed = Feed(events_of(logs))
    for lane, count in steps:
        feed.step(lane, count)
        feed.group.release(10**6, now=0)
        frontier = [
            max((e.at for e in log[:n]), default=NEVER)
            for log, n in zip(feed.logs, feed.read, strict=True)
        ]
        open_lanes = [i for i in range(LANES) if not feed.group.lanes[i].at_end]
        bound = min((frontier[i] for i in open_lanes), default=ALWAYS)
        for i, log in enumerate(feed.logs):
            keys = keys_of(log)
            expected = [e for e in log[: feed.read[i]] if keys[e] > bound]
            waiting = feed.group.lanes[i].events
            # The bound only rises while lanes stay open, so what waits now is what exceeds it,
            # less what went while another lane was at its end.
            assert waiting == expected[len(expected) - len(waiting) :]
            assert all(keys[e] > bound for e in waiting)


@settings(max_examples=200, deadline=None)
@given(LOGS, st.integers(1, 8))
def test_a_backlog_of_ordered_lanes_comes_out_in_time_order(
    logs: list[list[int]], limit: int
) -> None:
    feed = Feed(events_of([sorted(log) for log in logs]))
    released = feed.drain(limit)
    assert released == sorted(
        (e for log in feed.logs for e in log), key=lambda e: (e.at, e.lane, e.offset)
    )
    if released:
        assert feed.group.watermark == released[-1].at


def test_a_fast_clock_holds_nobody_back_beyond_the_brokers_time() -> None:
    group = Alignment[str](2, idle_after=10)
    group.lanes[0].extend(["future", "next"], [1000, 6], [5, 6])
    group.lanes[1].extend(["b7"], [7], [7])
    assert group.release(10, 0) == ["next", "future"]
    assert group.watermark == 6


def test_an_idle_group_goes_on_with_the_clock_from_its_last_release() -> None:
    group = Alignment[str](2, idle_after=100)
    for lane in group.lanes:
        lane.at_end = True
    group.lanes[0].extend(["a"], [5000], [ALWAYS])
    assert group.release(10, now=70) == ["a"]
    seen = []
    for now in (100, 169, 170, 270):
        group.release(10, now)
        seen.append(group.watermark)
    assert seen == [5000, 5000, 5100, 5200]
    group.lanes[1].extend(["late"], [5150], [ALWAYS])
    assert group.release(10, now=300) == ["late"]
    assert group.watermark == 5200


def test_a_group_that_is_not_at_its_end_does_not_follow_the_clock() -> None:
    group = Alignment[str](2, idle_after=100)
    group.lanes[0].extend(["a"], [5], [ALWAYS])
    group.lanes[0].at_end = True
    for now in (0, 1000):
        assert group.release(10, now) == []
    assert group.watermark == NEVER


def test_a_silent_group_follows_its_neighbours_until_its_first_event() -> None:
    group = Alignment[str](1, idle_after=100)
    group.follow(50)
    assert group.watermark == NEVER, "its topic was not yet read to its end"
    group.lanes[0].at_end = True
    group.release(10, now=0)
    group.follow(50)
    assert group.watermark == 50
    group.lanes[0].extend(["a"], [40], [ALWAYS])
    assert group.release(10, now=0) == ["a"]
    group.follow(90)
    assert group.watermark == 50


def test_a_release_stops_near_its_limit() -> None:
    group = Alignment[int](2, idle_after=100)
    for lane in group.lanes:
        lane.extend(range(50), range(50), range(50))
    assert group.release(10, 0) == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4]
    assert group.watermark == 5
