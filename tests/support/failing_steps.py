"""Makes steps of a dataflow fail on records that carry a mark; run as a program, in a flow.

``python -m tests.support.failing_steps FAILURE=STEP=MARK ... -- run personalize`` is that command
with a fault in each step that is named: it fails where what it is given holds the mark. A failure
is ``raise``, ``kill`` or ``stall``.
"""

import os
import signal
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from bytewax.dataflow import Dataflow, Operator

from flows.cli.main import main
from flows.registry import Flow


class MarkedError(Exception):
    """A step was given something that carries its mark; ``values`` are of a record."""


@dataclass(frozen=True)
class Fault:
    """A step's way to fail on what carries a mark."""

    failure: str
    step: str
    mark: str

    def strike(self, values: Any) -> None:
        """Fail if the values carry the mark."""
        if self.mark not in repr(values):
            return
        if self.failure == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        if self.failure == "stall":
            time.sleep(600.0)
        raise MarkedError(f"visitor-secret in {values!r}")


def leaves(steps: Iterable[Operator]) -> Iterable[Operator]:
    """Give the operators that do something themselves."""
    for step in steps:
        if step.substeps:
            yield from leaves(step.substeps)
        else:
            yield step


def install(flow: Dataflow, faults: Iterable[Fault]) -> None:
    """Put the faults into the steps of a dataflow."""
    by_step = {step.step_id: step for step in leaves(flow.substeps)}
    for fault in faults:
        step = by_step[fault.step]
        for name, wrap in (("mapper", _mapper), ("builder", _builder), ("sink", _sink)):
            value = getattr(step, name, None)
            if value is not None:
                object.__setattr__(step, name, wrap(value, fault))


def _mapper(call: Callable[[list[Any]], Any], fault: Fault) -> Callable[[list[Any]], Any]:
    def mapper(values: list[Any]) -> Any:
        fault.strike(values)
        return call(values)

    return mapper


def _method(made: Any, name: str, fault: Fault) -> None:
    method = getattr(made, name)

    def failing(values: list[Any]) -> Any:
        fault.strike(values)
        return method(values)

    setattr(made, name, failing)


def _builder(build: Callable[[Any], Any], fault: Fault) -> Callable[[Any], Any]:
    def builder(state: Any) -> Any:
        logic = build(state)
        _method(logic, "on_batch", fault)
        return logic

    return builder


def _sink(sink: Any, fault: Fault) -> Any:
    build = sink.build_part

    def build_part(*given: Any) -> Any:
        part = build(*given)
        _method(part, "write_batch", fault)
        return part

    sink.build_part = build_part
    return sink


def _run(words: list[str]) -> int:
    place = words.index("--")
    faults = [Fault(*word.split("=", 2)) for word in words[:place]]
    dataflow = Flow.dataflow

    def failing(flow: Flow, *given: Any, **named: Any) -> Dataflow:
        made = dataflow(flow, *given, **named)
        install(made, (fault for fault in faults if fault.step.startswith(f"{flow.name}.")))
        return made

    Flow.dataflow = failing  # type: ignore[method-assign]
    return main(words[place + 1 :])


if __name__ == "__main__":
    sys.exit(_run(sys.argv[1:]))
