"""What the stopwatches inside a flow say, and what they say of the time between two readings."""

import socket
from typing import Self

import msgspec
from msgspec import Struct

from ops.benchmarks.speed.inside.components import COMPONENTS, REST
from ops.benchmarks.speed.inside.stopwatches import OUTSIDE, Charge, Cost

SOCKET = "STOPWATCHES"
"""The environment variable that names where an instrumented flow answers."""


class Reading(Struct):
    """What was measured since the process began, at ``at`` monotonic seconds; CPU in nanoseconds.

    ``turns`` are those of the source's busiest partition; in the ``busy_turns`` among them the
    source gave ``batches`` that were not empty, with ``records``.
    """

    at: float
    process: int
    charges: dict[str, Charge]
    threads: dict[str, int]
    cost: Cost
    turns: int
    busy_turns: int
    batches: int
    records: int


class Spent(Struct):
    """CPU seconds by component between two readings, the stopwatches' own apart.

    ``outside`` is the worker's thread between its calls: a part of Bytewax core and the rest.
    """

    seconds: float
    total: float
    components: dict[str, float]
    outside: float
    stopwatches: float
    turns: int
    busy_turns: int
    batches: int
    records: int

    @classmethod
    def between(cls, before: Reading, after: Reading) -> Self:
        """Tell what was spent between two readings of one process."""
        found = dict.fromkeys(COMPONENTS, 0.0)
        stopwatches = outside = 0.0
        for name, charge in after.charges.items():
            earlier = before.charges.get(name, Charge())
            charge = Charge(
                charge.spent - earlier.spent,
                charge.calls - earlier.calls,
                charge.inner - earlier.inner,
            )
            own = after.cost.of(charge)
            stopwatches += own
            if name == OUTSIDE:
                outside = charge.spent - own
            else:
                found[name] += charge.spent - own
        for name, spent in after.threads.items():
            found[name] += spent - before.threads.get(name, 0)
        total = after.process - before.process
        found[REST] = total - sum(found.values()) - stopwatches
        return cls(
            seconds=after.at - before.at,
            total=total * 1e-9,
            components={name: spent * 1e-9 for name, spent in found.items()},
            outside=outside * 1e-9,
            stopwatches=stopwatches * 1e-9,
            turns=after.turns - before.turns,
            busy_turns=after.busy_turns - before.busy_turns,
            batches=after.batches - before.batches,
            records=after.records - before.records,
        )


def read(path: str) -> Reading:
    """Ask a flow's stopwatches what they have measured so far."""
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(10.0)
        client.connect(path)
        parts = []
        while part := client.recv(65_536):
            parts.append(part)
    return msgspec.json.decode(b"".join(parts), type=Reading)
