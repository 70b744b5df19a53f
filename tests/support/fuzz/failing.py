"""Records that make a flow fail: as few as do it, written to a file and read from there.

``python -m tests.support.fuzz.failing FILE`` plays the records of a file to the flow.
"""

import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec

from tests.support.fuzz.playing import outputs, play, settings_for
from tests.support.fuzz.records import FuzzRecord
from tests.support.fuzz.turns import Place, TurnLog

_Turns = list[list[tuple[Place, FuzzRecord]]]


def smallest(places: Sequence[Place], fails: Callable[[set[Place]], bool]) -> list[Place]:
    """Leave out what can be left out, in halves, quarters and so on; what is left still fails.

    >>> smallest([("t", 0, n) for n in range(100)], lambda remaining: ("t", 0, 37) in remaining)
    [('t', 0, 37)]
    """
    remaining, portion = list(places), max(1, len(places) // 2)
    while True:
        start = 0
        while start < len(remaining):
            fewer = remaining[:start] + remaining[start + portion :]
            if fails(set(fewer)):
                remaining = fewer
            else:
                start += portion
        if portion == 1:
            return remaining
        portion = max(1, portion // 2)


def write(log: TurnLog, path: Path) -> None:
    """Write the turns of a log."""
    path.write_bytes(msgspec.json.encode(log.turns))


def read(path: Path) -> TurnLog:
    """Read the turns of a log."""
    return TurnLog(msgspec.json.decode(path.read_bytes(), type=_Turns))


def fails(log: TurnLog) -> bool:
    """Say whether the flow dies of a log."""
    with tempfile.TemporaryDirectory() as folder:
        settings = settings_for(Path(folder))
        try:
            play(log, settings, outputs(settings.kafka.partitions))
        except BaseException as error:
            if isinstance(error, KeyboardInterrupt):
                raise
            return True
    return False


def reduced(log: TurnLog, attempts: int = 60) -> TurnLog:
    """Find the few records of a log that the flow dies of, in at most so many attempts."""
    left = attempts

    def dies(remaining: set[Place]) -> bool:
        nonlocal left
        left -= 1
        return left >= 0 and fails(_only(log, remaining))

    return _only(log, set(smallest([place for place, _ in log.records()], dies)))


def _only(log: TurnLog, remaining: set[Place]) -> TurnLog:
    return TurnLog([[each for each in turn if each[0] in remaining] for turn in log.turns])


if __name__ == "__main__":
    sys.exit("the flow dies of it" if fails(read(Path(sys.argv[1]))) else "the flow lives")
