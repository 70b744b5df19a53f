"""Puts stopwatches around a flow's steps and functions, and counts what its source gives."""

import time
from collections import Counter
from collections.abc import Callable
from typing import Any

from bytewax.dataflow import Dataflow, Operator

from ops.benchmarks.speed.inside.components import (
    PRODUCE,
    RECORDS,
    SNAPSHOTS,
    THREADS,
    WORK,
    batches_in,
    component_of,
    functions,
)
from ops.benchmarks.speed.inside.reading import Reading
from ops.benchmarks.speed.inside.stopwatches import Cost, Stopwatches
from ops.benchmarks.speed.inside.threads import cpu_by_component

_CALLS = ("mapper", "predicate", "inspector")
_METHODS = ("next_batch", "next_awake", "write_batch", "on_batch", "on_notify", "on_eof",
            "notify_at", "snapshot")  # fmt: skip


class Instruments:
    """The stopwatches of a flow's one worker, and counts of what its source gives."""

    def __init__(self, watches: Stopwatches, cost_of_one: Cost) -> None:
        self._watches = watches
        self._cost = cost_of_one
        self._polls: Counter[int] = Counter()
        self._turns = self._batches = self._records = 0
        self._work = -1

    def around_functions(self) -> None:
        """Put stopwatches around the functions that have a component of their own."""
        for owner, name, function, component in functions():
            setattr(owner, name, self._watches.timed(component, function))

    def around_steps(self, flow: Dataflow) -> None:
        """Put stopwatches around what the steps of a dataflow hand to Bytewax."""
        for step in leaves(flow.substeps):
            component = component_of(step.step_id)
            for name in _CALLS:
                if getattr(step, name, None) is not None:
                    timed = self._watches.timed(component, getattr(step, name))
                    object.__setattr__(step, name, timed)  # an operator is a frozen dataclass
            builder = getattr(step, "builder", None)
            if builder is not None:
                object.__setattr__(step, "builder", self._building(component, builder))
            for made in (getattr(step, "source", None), getattr(step, "sink", None)):
                for name in ("build_part", "build"):
                    if hasattr(made, name):
                        records = step.step_id == f"{flow.flow_id}.{RECORDS}"
                        build = self._building(component, getattr(made, name), records)
                        setattr(made, name, build)

    def read(self) -> Reading:
        """Give what was measured so far."""
        return Reading(
            at=time.monotonic(),
            process=time.process_time_ns(),
            charges=self._watches.charges,
            threads=cpu_by_component(THREADS),
            cost=self._cost,
            turns=max(self._polls.values(), default=0),
            busy_turns=self._turns,
            batches=self._batches,
            records=self._records,
        )

    def _building(
        self, component: str, build: Callable[..., Any], records: bool = False
    ) -> Callable[..., Any]:
        """Wrap a function that makes an object on whose methods Bytewax calls."""

        def built(*given: Any) -> Any:
            made = build(*given)
            if records:
                made.next_batch = self._counted(id(made), made.next_batch)
            for name in _METHODS:
                if hasattr(made, name):
                    is_state = name == "snapshot" and component != PRODUCE
                    charged = SNAPSHOTS if is_state else component
                    setattr(made, name, self._watches.timed(charged, getattr(made, name)))
            return made

        return self._watches.timed(component, built)

    def _counted(self, part: int, next_batch: Callable[[], Any]) -> Callable[[], Any]:
        """Count a source partition's turns; other steps work between two that gave something."""
        charges = self._watches.charges

        def counted() -> Any:
            self._polls[part] += 1
            given = next_batch()
            sizes = list(batches_in(given))
            if sizes:
                work = sum(charges[name].calls for name in WORK if name in charges)
                self._turns += work != self._work
                self._work = work
                self._batches += len(sizes)
                self._records += sum(sizes)
            return given

        return counted


def leaves(steps: list[Operator]) -> list[Operator]:
    """Give the steps that have none of their own, in order."""
    return [leaf for step in steps for leaf in (leaves(step.substeps) or [step])]
