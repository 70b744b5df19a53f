"""Decides before each execution of a flow how it is to go on, and keeps to it in its processes."""

from collections.abc import Callable, Collection
from datetime import timedelta
from typing import Final

from flows.registry import INPUT, Flow
from flows.runtime.quarantine.files import (
    Ending,
    FileNotes,
    Quarantined,
    QuarantineFiles,
)
from flows.runtime.recovery import RecoveryError, recovery_folder
from flows.runtime.snapshots import read_states, released_by
from operators.io.journal import Journal
from operators.io.reading import READING
from operators.io.releases import Releases, SearchTurns
from operators.logic.quarantine import Culprit, History, Offsets, Search, judge
from schemas.clock import Clock
from schemas.settings import Settings

_HOUR: Final = timedelta(hours=1)

_READ_AHEAD: Final = 10_000
"""Records of a topic partition that a source may have read and not released."""

Say = Callable[[str], None]


class QuarantineError(RecoveryError):
    """The flow must not go on, since a fault of a release would cost too many records."""


class Quarantine:
    """What a flow's recovery folder knows of records that its steps failed on.

    ``say`` tells the operator what is going on, in sentences. Without a recovery folder nothing is
    kept over a stop, so that nothing can be searched for.
    """

    def __init__(self, settings: Settings, flow: Flow, clock: Clock, say: Say) -> None:
        self._flow = flow
        self._clock = clock
        self._say = say
        self._limit = settings.state.max_processing_errors
        self._recovery = recovery_folder(settings, flow.name)
        self._files = QuarantineFiles(self._recovery)

    def before_execution(self) -> Search | None:
        """Learn from how the last execution ended; give the search that the next one belongs to.

        Raises :class:`QuarantineError` where it must not go on. Call it before any of its
        processes begins.
        """
        progress, history = self._files.progress(), self._files.history()
        if progress is None:
            return history.search
        death = self._files.death()
        released = progress.released
        if death is not None and death.step in self._sources():
            released = {place: offset + _READ_AHEAD for place, offset in released.items()}
        passed_over = {(each.place, each.offset) for each in self._known() if each.unreported}
        verdict = judge(
            history, death, self._resume(), released, self._files.in_flight(), passed_over
        )
        self._files.remember(verdict.history)
        # First: of a record that is quarantined twice the dead letter is believed to be at fault.
        self._files.begin_anew()
        if verdict.culprit is not None:
            self._quarantine(verdict.culprit)
        if verdict.stop:
            raise QuarantineError(f"{self._flow.name}: {verdict.stop}")
        search = verdict.history.search
        if search is not None:
            self._say(
                f"{self._flow.name}: what came since its last complete epoch is replayed, "
                f"{search.size} at a time, to find the record that a step fails on"
            )
        return search

    def releases(
        self, process: int, finished: Callable[[], None]
    ) -> tuple[Releases, Journal, History]:
        """Make what the sources of a process keep to, its journal, and what came before.

        ``finished`` is called when the search is finished that it belongs to.
        """
        journal = self._files.journal(process)
        notes = FileNotes(self._files, journal, self._quarantine)
        history = self._files.history()
        search = history.search

        def forget_search() -> None:
            history.search, history.isolate = None, []
            self._files.remember(history)
            journal.end("stopped")
            finished()

        known = self._files.quarantined()
        releases = Releases(
            notes,
            {(each.place, each.offset): f"{each.error} in {each.step}" for each in known},
            {(each.place, each.offset) for each in known if each.unreported},
            None if search is None else SearchTurns(search, notes, forget_search),
        )
        return releases, journal, history

    def end(self, process: int, ending: Ending) -> None:
        """Note what a process ends of."""
        self._files.end(process, ending)

    def _sources(self) -> Collection[str]:
        return {step for step in self._flow.steps if step.kind == INPUT}

    def _resume(self) -> Offsets:
        return released_by(self._flow, read_states(self._recovery))

    def drop(self, step: str, error: str) -> str:
        """Note a piece that a step has dropped; say what it was."""
        self._add(Quarantined(step=step, error=error, time=self._clock()))
        return f"{error} in {step}"

    def _quarantine(self, culprit: Culprit) -> None:
        """Quarantine a record; where its dead letter is what failed, without one."""
        place, offset = culprit.place, culprit.offset
        again = any((place, offset) == (each.place, each.offset) for each in self._known())
        if again and culprit.step == READING:  # it is rejected each time that it is read
            return
        self._say(
            f"{self._flow.name}: the record at offset {offset} of {place} is quarantined: "
            f"{culprit.error} in {culprit.step}"
        )
        self._add(
            Quarantined(
                place=place,
                offset=offset,
                step=culprit.step,
                error=culprit.error,
                time=self._clock(),
                unreported=again,
            )
        )

    def _known(self) -> list[Quarantined]:
        return self._files.quarantined()

    def _add(self, new: Quarantined) -> None:
        """Add to the quarantined; too many within an hour are no matter of records any more."""
        self._files.quarantine(new)
        recent = sum(new.time - each.time < _HOUR for each in self._known())
        if recent > self._limit:
            raise QuarantineError(
                f"{self._flow.name}: {recent} processing errors within an hour, the last "
                f"{new.error} in {new.step}: that is a fault of this release, not of records. Run "
                "another release, or raise BANDITFLOW_MAX_PROCESSING_ERRORS (now "
                f"{self._limit})"
            )
