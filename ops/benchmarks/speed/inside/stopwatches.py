"""CPU time of a thread by component: what runs longest inside is what it is charged to.

A call is charged without the calls within it that have a component of their own. Each reading of
the thread's clock is a system call, so what the stopwatches cost is measured, and taken out of the
components again.
"""

from collections.abc import Callable
from functools import update_wrapper
from time import thread_time_ns
from typing import Any

from msgspec import Struct

OUTSIDE = "outside"
"""What the thread does between the calls that have a component."""

_TRIALS = 20_000


class Charge(Struct):
    """What a component took so far: nanoseconds, its calls, and other components' calls in it."""

    spent: int = 0
    calls: int = 0
    inner: int = 0


class Cost(Struct, frozen=True):
    """Nanoseconds of one stopwatch that fall into its own component, and into the one around it."""

    within: float
    around: float

    def of(self, charge: Charge) -> float:
        """Give the nanoseconds of stopwatches that a component was charged."""
        return charge.calls * self.within + charge.inner * self.around


class Stopwatches:
    """One thread's stopwatches; all wrapped calls have to be made by that thread."""

    def __init__(self) -> None:
        self.charges: dict[str, Charge] = {OUTSIDE: Charge()}
        self._at = OUTSIDE
        self._charge = self.charges[OUTSIDE]
        self._since: int | None = None

    def timed(self, component: str, call: Callable[..., Any]) -> Callable[..., Any]:
        """Wrap a function so that its time is charged to a component."""
        charge = self.charges.setdefault(component, Charge())

        def run(*given: Any, **named: Any) -> Any:
            if self._charge is charge:
                return call(*given, **named)
            around, now = self._charge, thread_time_ns()
            if self._since is not None:
                around.spent += now - self._since
            self._charge, self._since = charge, now
            try:
                return call(*given, **named)
            finally:
                now = thread_time_ns()
                charge.spent += now - self._since
                self._charge, self._since = around, now
                charge.calls += 1
                around.inner += 1

        return update_wrapper(run, call) if hasattr(call, "__name__") else run


def cost() -> Cost:
    """Measure what one stopwatch costs."""
    watches, bare = Stopwatches(), _nothing
    timed = watches.timed("nothing", bare)
    started = thread_time_ns()
    for _ in range(_TRIALS):
        bare()
    empty = thread_time_ns() - started
    started = thread_time_ns()
    for _ in range(_TRIALS):
        timed()
    whole = thread_time_ns() - started
    within = watches.charges["nothing"].spent
    return Cost((within - empty) / _TRIALS, (whole - within) / _TRIALS)


def _nothing() -> None:
    pass
