"""Makes steps of a dataflow fail on records that carry a mark; run as a program, in a flow.

``python -m tests.support.failing_steps FAILURE=STEP=MARK ... -- run personalize`` is that command
with a fault in each step that is named: it fails where what it is given holds the mark, a regular
expression. A failure is ``raise``, ``kill`` or ``stall``.
"""

import os
import re
import signal
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from bytewax.dataflow import Dataflow, Operator

from flows.cli.main import main
from flows.registry import Flow
from operators.io.store.protocol import Writes

_QUARANTINED = re.compile(r"Rejected\(reason='processing_error'.*?detail='[^']*'\)")
"""A record that was left out already, on its way to the dead letters."""


class MarkedError(Exception):
    """A step was given something that carries its mark; ``values`` are of a record."""


@dataclass(frozen=True)
class Fault:
    """A step's way to fail on what carries a mark; at most so many ``times``, if that is not 0.

    In the file ``strikes`` they are counted over all lives of the flow.
    """

    failure: str
    step: str
    mark: str
    times: int = 0
    strikes: str = ""

    def strike(self, values: Any) -> None:
        """Fail if the values carry the mark."""
        if not re.search(self.mark, _QUARANTINED.sub("", _text(values))):
            return
        if self.times:
            with open(self.strikes, "a+") as strikes:
                strikes.write(".")
                if strikes.tell() > self.times:
                    return
        if self.failure == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        if self.failure == "stall":
            time.sleep(600.0)
        raise MarkedError(f"visitor-secret in {values!r}")


def _text(values: Any) -> str:
    """Write values out, rows on their way to the store among them."""
    rows = [list(value.tables()) for value in values if isinstance(value, Writes)]
    return repr(rows or values)


def leaves(steps: Iterable[Operator]) -> Iterable[Operator]:
    """Find the operators that do something themselves."""
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
    name = "build_part" if hasattr(sink, "build_part") else "build"
    build = getattr(sink, name)

    def failing_part(*given: Any) -> Any:
        part = build(*given)
        _method(part, "write_batch", fault)
        return part

    setattr(sink, name, failing_part)
    return sink


def failing(faults: Iterable[Fault]) -> None:
    """Let every flow of this process be built with the faults in its steps."""
    dataflow, faults = Flow.dataflow, list(faults)

    def built(flow: Flow, *given: Any, **named: Any) -> Dataflow:
        made = dataflow(flow, *given, **named)
        install(made, (fault for fault in faults if fault.step.startswith(f"{flow.name}.")))
        return made

    Flow.dataflow = built  # type: ignore[method-assign]


def _run(words: list[str]) -> int:
    place = words.index("--")
    failing([Fault(*word.split("=", 2)) for word in words[:place]])
    return main(words[place + 1 :])


if __name__ == "__main__":
    sys.exit(_run(sys.argv[1:]))
