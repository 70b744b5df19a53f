"""The search for a record that a flow dies of, against a flow that is only its offsets."""

from dataclasses import dataclass, field

from hypothesis import given
from hypothesis import strategies as st

from operators.io.releases import Releases, SearchTurns, Unnoted
from operators.logic.quarantine import STALLED, Culprit, Death, History, InFlight, judge

PLACES = ("clicks/0", "decision-requests/0")
Record = tuple[str, int]


@dataclass
class SimulatedFlow:
    """Two topics of ``length`` records; reading some of them ends the process."""

    length: int
    faults: dict[Record, str]
    """What the step raises on a record; empty: the process is killed, as by a signal."""
    tells: bool
    """Whether the step is given records, so that it can name them."""
    history: History = field(default_factory=History)
    culprits: list[Culprit] = field(default_factory=list)
    resume: dict[str, int] = field(default_factory=lambda: dict.fromkeys(PLACES, 0))
    executions: int = 0

    def run(self) -> None:
        """Execute again and again until everything is read."""
        while any(offset < self.length for offset in self.resume.values()):
            self.executions += 1
            assert self.executions < 40 * (len(self.faults) + 1)
            if self.history.search is None:
                death, released, part = self._normal()
            else:
                death, released, part = self._search()
            verdict = judge(self.history, death, dict(self.resume), released, part)
            assert not verdict.stop
            self.history = verdict.history
            if verdict.culprit is not None:
                self.culprits.append(verdict.culprit)

    def _normal(self) -> tuple[Death | None, dict[str, int], InFlight | None]:
        """All that is left in one epoch."""
        waiting = self._left()
        released = dict.fromkeys(PLACES, self.length)
        for at in range(0, len(waiting), 50):
            batch = waiting[at : at + 50]
            for record in batch:
                if record in self.faults:
                    return self._death(record, batch), released, None
        self.resume = released
        return None, released, None

    def _search(self) -> tuple[Death | None, dict[str, int], InFlight | None]:
        search = self.history.search
        assert search is not None
        finished: list[bool] = []
        turns = SearchTurns(search, Unnoted(), lambda: finished.append(True))
        releases = Releases(turns=turns)
        turns.join("0")
        while turns.begin("0"):
            if turns.passed("0", self.resume, at_end=not self._left()):
                break
            part = self._part(turns)
            end = self.resume | {place: offset + 1 for place, offset in part}
            in_flight = InFlight(source="0", records=len(part), record=part[0], end=end)
            turns.note_in_flight(in_flight)
            for record in part:
                if record in self.faults:
                    return self._death(record, part), dict(self.resume), in_flight
            self.resume = end
        assert finished
        assert not releases.has_dropped
        self.history.search = None
        return None, dict(self.resume), None

    def _part(self, turns: SearchTurns) -> list[Record]:
        part: list[Record] = []
        for record in self._left():
            alone = turns.is_suspect(*record)
            if len(part) == turns.size(self.resume) or (alone and part):
                break
            part.append(record)
            if alone:
                break
        return part

    def _left(self) -> list[Record]:
        known = {(each.place, each.offset) for each in self.culprits}
        records = sorted(
            (offset, place) for place in PLACES for offset in range(self.resume[place], self.length)
        )
        return [(place, offset) for offset, place in records if (place, offset) not in known]

    def _death(self, record: Record, batch: list[Record]) -> Death:
        error = self.faults[record]
        return Death(step="learn", error=error, given=batch if error and self.tells else [])


records = st.tuples(st.sampled_from(PLACES), st.integers(0, 399))


@given(
    length=st.integers(1, 400),
    faults=st.dictionaries(records, st.sampled_from(["ValueError", "", STALLED]), max_size=6),
    tells=st.booleans(),
)
def test_exactly_the_records_that_a_step_fails_on_are_quarantined(
    length: int, faults: dict[Record, str], tells: bool
) -> None:
    faults = {record: error for record, error in faults.items() if record[1] < length}
    flow = SimulatedFlow(length, faults, tells)

    flow.run()

    assert {(each.place, each.offset) for each in flow.culprits} == set(faults)
    assert len(flow.culprits) == len(faults)
    for each in flow.culprits:
        assert each.error == (faults[each.place, each.offset] or "killed")


def test_a_process_that_is_killed_once_is_started_as_ever() -> None:
    begin, end = {"clicks/0": 0}, {"clicks/0": 500}
    first = judge(History(), Death(), begin, end, None)
    later = judge(first.history, Death(), {"clicks/0": 400}, end, None)
    again = judge(later.history, Death(), {"clicks/0": 400}, end, None)

    assert first.history.search is None
    assert later.history.search is None
    assert again.history.search is not None


def test_a_step_that_fails_without_a_record_works_piece_by_piece_and_ends_the_flow_in_the_end() -> (
    None
):
    death, at = Death(step="learn", error="ValueError"), {"clicks/0": 7}
    first = judge(History(), death, at, at, None)
    second = judge(first.history, death, at, at, None)

    assert first.history.isolate == ["learn"]
    assert not first.stop
    assert "learn raises ValueError" in second.stop


def test_who_is_stopped_on_purpose_is_not_dead() -> None:
    verdict = judge(History(deaths=1), None, {}, {"clicks/0": 9}, None)

    assert verdict.history == History()
