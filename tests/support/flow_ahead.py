"""The personalize flow on a machine whose clock is two days ahead where it judges records.

Run as ``python flow_ahead.py``, with the settings in the environment.
"""

from datetime import timedelta

from flows.registry import PERSONALIZE
from flows.runtime.runner import run
from operators.io.kafka import source
from operators.io.kafka.timestamps import SteadyClock
from schemas.clock import Clock
from schemas.settings import load

AHEAD = timedelta(days=2)


def ahead(clock: Clock) -> SteadyClock:
    """Make the clock that the source asks; Bytewax has the machine's own."""
    return SteadyClock(lambda: clock() + AHEAD)


if __name__ == "__main__":
    source.SteadyClock = ahead  # type: ignore[misc, assignment]
    run(PERSONALIZE.name, load())
