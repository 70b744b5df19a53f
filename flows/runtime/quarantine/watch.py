"""Sees which step of a process is at work, what it raises, and that it makes progress."""

import faulthandler
import threading
import time
from collections.abc import Callable, Collection, Iterator
from typing import NoReturn

from flows.runtime import endings
from flows.runtime.quarantine.files import Ending
from flows.runtime.recovery import RecoveryError
from operators.envelope import Batch, Event, Origin, Rejected
from operators.gathering import Gathered
from operators.io.journal import Journal
from operators.io.kafka.client import KafkaTrouble
from operators.io.store.protocol import StoreError
from operators.logic.quarantine import STALLED, Record
from schemas.settings import SettingsError
from schemas.state import StateError


class Unwatched:
    """Sees what a step raises where nothing is kept over a stop, so that nothing is searched."""

    def enter(self, step: int) -> None:
        """Look away."""

    def failed(self, step_id: str, error: Exception, given: object) -> NoReturn:  # noqa: ARG002
        """End the process."""
        endings.end_by(step_id, error)

    def dropped(self, step_id: str, error: Exception) -> None:
        """End the process."""
        endings.end_by(step_id, error)


ENVIRONMENT = (
    KafkaTrouble, StoreError, RecoveryError, StateError, SettingsError, OSError, ImportError,
)  # fmt: skip
"""What is raised because of what surrounds the flow: no record is looked for."""

_LOOKS = 10
"""How often within the time that a step may take it is looked at."""


class Watch:
    """Watches the steps of one process.

    ``end`` notes how the process ends, ``again`` starts it anew, ``drop`` is told of a piece that
    a step has dropped.
    """

    def __init__(
        self,
        journal: Journal,
        end: Callable[[Ending], None],
        again: Callable[[], NoReturn],
        drop: Callable[[str, str], None],
    ) -> None:
        self._journal = journal
        self._end = end
        self._again = again
        self._drop = drop
        self._step = 0
        self._calls = 0

    def enter(self, step: int) -> None:
        """Note that the step of this number begins to work; 0: none does."""
        self._step = step
        self._calls += 1
        self._journal.enter(step)

    def failed(self, step_id: str, error: Exception, given: object) -> NoReturn:
        """End the process, which is started again to find the record that the step fails on."""
        if any(isinstance(cause, ENVIRONMENT) for cause in _causes(error)):
            self.end_of_environment()
            endings.end_by(step_id, error)
        what = type(error).__name__
        self._note(Ending(step=step_id, error=what, given=records_in(given)))
        endings.show_place(error)
        endings.say(f"step {step_id} raises {what}: its record is looked for")
        self._again()

    def end_of_environment(self) -> None:
        """Note that the process ends because of what surrounds it."""
        self._journal.end("environment")

    def dropped(self, step_id: str, error: Exception) -> None:
        """Note a piece that a step has dropped; what its environment raises is no piece's fault."""
        if any(isinstance(cause, ENVIRONMENT) for cause in _causes(error)):
            raise error
        self._drop(step_id, type(error).__name__)

    def against_stalls(self, timeout: float, steps: list[str], waiting: Collection[str]) -> None:
        """Name the steps; end the process when one works for ``timeout`` seconds on one thing.

        ``steps`` are named by number, from 1; those ``waiting`` may take as long as what they wait
        for. Where even the interpreter stands still, its fault handler ends the process.
        """
        self._journal.name_steps(steps)
        excused = {number for number, step in enumerate(steps, start=1) if step in waiting}

        def look() -> None:
            seen, since = (0, 0), time.monotonic()
            while True:
                faulthandler.dump_traceback_later(timeout, exit=True)
                time.sleep(timeout / _LOOKS)
                now, at_work = time.monotonic(), (self._step, self._calls)
                if at_work != seen or at_work[0] == 0 or at_work[0] in excused:
                    seen, since = at_work, now
                elif now - since >= timeout:
                    self._stalled(steps[at_work[0] - 1], timeout)

        threading.Thread(target=look, name="watch", daemon=True).start()

    def _stalled(self, step_id: str, timeout: float) -> NoReturn:
        self._note(Ending(step=step_id, error=STALLED))
        faulthandler.dump_traceback(all_threads=True)
        endings.say(f"step {step_id} has made no progress for {timeout:g} s")
        endings.end(endings.STALLED)

    def _note(self, ending: Ending) -> None:
        """Note what the process ends of; where there is no room to, that is what it ends by."""
        try:
            self._end(ending)
        except RecoveryError as unwritable:
            self.end_of_environment()
            endings.end_by(ending.step, unwritable)


def records_in(given: object) -> list[Record]:
    """Find the records in what a step was given; none where these are too many."""
    records = [(f"{origin.topic}/{origin.partition}", origin.offset) for origin in _origins(given)]
    return records if len(records) <= _FEW else []


_FEW = 64
"""Of so many records each is replayed alone."""


def _origins(given: object) -> Iterator[Origin]:
    if isinstance(given, (list, tuple)) and not isinstance(given, Rejected):
        for each in given:
            yield from _origins(each)
    elif isinstance(given, (Event, Rejected)):
        yield given.origin
    elif isinstance(given, Batch):
        yield from _origins(given.events)
        yield from _origins(given.rejected)
    elif isinstance(given, Gathered):
        yield from _origins(given.batch)


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__
