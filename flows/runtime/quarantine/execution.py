"""One process of an execution of a flow: what it may release, and what is watched in it."""

import os
import signal
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from types import FrameType
from typing import NoReturn

from bytewax.dataflow import Dataflow

from flows.registry import STATE, Step
from flows.runtime import endings
from flows.runtime.quarantine.files import Ending
from flows.runtime.quarantine.quarantine import Quarantine
from flows.runtime.quarantine.steps import watch_steps
from flows.runtime.quarantine.watch import Unwatched, Watch
from flows.runtime.recovery import RecoveryError
from operators.io.journal import Journal
from operators.io.releases import Releases
from operators.logic.quarantine import Search
from schemas.settings import Settings


@dataclass
class Execution:
    """A process that runs a flow; without a watch nothing of it is kept over a stop."""

    releases: Releases = field(default_factory=Releases)
    search: Search | None = None
    isolate: Sequence[str] = ()
    watcher: Watch | None = None

    def settings(self, settings: Settings) -> Settings:
        """Choose the settings to run with: in a search no step waits for more of anything."""
        return settings if self.search is None else settings.replaced(gather=0.0)

    def epoch(self, settings: Settings) -> timedelta:
        """Choose the length of its epochs: in a search each part has one of its own."""
        return timedelta(seconds=settings.state.epoch if self.search is None else 0)

    @contextmanager
    def noting_environment(self) -> Iterator[None]:
        """Note it where the recovery store ends the process within the block."""
        try:
            yield
        except RecoveryError:
            if self.watcher is not None:
                self.watcher.end_of_environment()
            raise

    def watch(self, flow: Dataflow, timeout: float, known: Iterable[Step]) -> None:
        """Watch the steps of its dataflow; those that wait for others may take their time."""
        if self.watcher is None:
            watch_steps(flow, Unwatched())
            return
        steps = watch_steps(flow, self.watcher, self.isolate)
        self.watcher.against_stalls(timeout, steps, {step for step in known if step.kind != STATE})


def begin_execution(
    quarantine: Quarantine | None, process: int, again: Callable[[], NoReturn]
) -> Execution:
    """Begin one process of an execution; ``again`` ends it so that another one begins."""
    if quarantine is None:
        signal.signal(signal.SIGINT, endings.interrupted)
        return Execution()
    return _begin_watched(quarantine, process, again)


def _begin_watched(
    quarantine: Quarantine, process: int, again: Callable[[], NoReturn]
) -> Execution:
    journals: list[Journal] = []

    def end(ending: Ending) -> None:
        quarantine.end(process, ending)

    def stopped(number: int, _: FrameType | None) -> None:
        for journal in journals:
            journal.end("stopped")
        if number == signal.SIGINT:
            endings.interrupted()
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)

    signal.signal(signal.SIGINT, stopped)
    signal.signal(signal.SIGTERM, stopped)
    releases, journal, history = quarantine.releases(process, again)
    journals.append(journal)

    def drop(step: str, error: str) -> None:
        releases.drop(quarantine.drop(step, error))

    watcher = Watch(journal, end, again, drop)
    return Execution(releases, history.search, history.isolate, watcher)
