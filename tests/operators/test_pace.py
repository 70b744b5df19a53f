"""The epochs of all sources end together: against a model of how Bytewax ends them."""

import random
from collections.abc import Sequence
from datetime import UTC, datetime

import pytest

from flows.runtime.clock import system_clock
from operators.io.kafka.pace import SLACK, Beat, Pace

INTERVAL = 5.0
START = 1_800_000_000.0


class Source:
    """A source as Bytewax runs it: it looks when it wants, some time late, and ends its epochs."""

    def __init__(self, beat: Beat, began: float, every: float, late: float, seed: int) -> None:
        self.beat = beat
        self.began = self.next = began
        self.every = every
        self.epoch = 0
        self.ends: list[float] = []
        self._late = late
        self._random = random.Random(seed)

    def run(self, now: float, closed: int) -> None:
        """Be activated, with all epochs before ``closed`` closed everywhere."""
        if closed < self.epoch:
            self.next = now + 0.001  # it may not look before the others have ended their epochs
            return
        self.beat.note_poll()
        wanted = datetime.fromtimestamp(now + self.every).astimezone()
        awake = self.beat.next_poll(wanted)
        assert awake is not None
        self.next = max(awake.timestamp(), now) + self._random.random() * self._late
        if now - self.began >= INTERVAL:
            assert self.beat.ends_epoch or not self.beat._interval
            self.beat.note_epoch_end()
            self.began, self.epoch = now, self.epoch + 1
            self.ends.append(now)


def skews(processes: Sequence[Sequence[Source]], clock: list[float], epochs: int) -> list[float]:
    """Run all sources for so many epochs; give how far apart each epoch's ends were."""
    sources = [source for process in processes for source in process]
    while min(source.epoch for source in sources) < epochs:
        source = min(sources, key=lambda each: each.next)
        clock[0] = source.next
        source.run(clock[0], min(each.epoch for each in sources))
    ends = zip(*(source.ends[:epochs] for source in sources), strict=True)
    return [max(times) - min(times) for times in ends]


def deployment(interval: float, behind: Sequence[float]) -> tuple[list[list[Source]], list[float]]:
    """A process per item of ``behind``, whose second source begins 0.13 s after its first."""
    clock = [START]
    processes = []
    for number, late in enumerate(behind):
        pace = Pace(lambda: datetime.fromtimestamp(clock[0], UTC), interval, len(behind) == 1)
        first = Source(pace.beat(), START + late, 0.005, 0.004, 2 * number)
        second = Source(pace.beat(), START + late + 0.13, 0.02, 0.002, 2 * number + 1)
        processes.append([first, second])
    return processes, clock


def test_sources_that_begin_apart_end_their_epochs_together_from_the_first_on() -> None:
    found = skews(*deployment(INTERVAL, [0.0]), 500)
    assert max(found) < SLACK


def test_processes_come_together_and_stay() -> None:
    found = skews(*deployment(INTERVAL, [0.0, 0.3, 2.0]), 500)
    assert found[0] > 1.0
    assert max(found[25:]) < 2 * SLACK


def test_left_alone_they_would_fall_further_and_further_apart() -> None:
    found = skews(*deployment(0.0, [0.0]), 500)
    assert found[-1] > 1.0


@pytest.mark.parametrize("wanted", [None, datetime.fromtimestamp(START + 9.0).astimezone()])
def test_without_an_interval_everybody_looks_when_they_want(wanted: datetime | None) -> None:
    beat = Pace(system_clock).beat()
    beat.note_poll()
    beat.note_epoch_end()
    assert beat.next_poll(wanted) is wanted
