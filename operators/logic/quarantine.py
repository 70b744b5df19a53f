"""The search for the record that a flow dies of: what is replayed next, in how small parts.

A flow that died is started again from its last complete epoch. Everything that its sources had
released since then is suspect. In a search the suspects are replayed in parts, each in an epoch of
its own that is closed before the next part is released, so that a death belongs to the one part
that was in flight, and what came before it is done with for good. A part that kills the flow is
replayed in smaller parts, until it is one record.

Places are texts ``topic/partition``, offsets the next one to read there.
"""

from collections.abc import Collection
from math import ceil
from typing import Final

from msgspec import Struct, field, structs

Record = tuple[str, int]
"""The place and the offset of a record."""

Offsets = dict[str, int]
"""The next offset to read, by place."""

PARTS: Final = 64
"""Into so many parts suspects are divided at first, and a part that a flow died of."""

TWICE: Final = 2
"""Deaths without an exception (killed, out of memory, stalled) that start a search, or end one."""


class Death(Struct, kw_only=True):
    """How an execution ended: the step at work, and what it raised.

    ``error`` is empty where the process was killed, and ``stalled`` where a step made no progress:
    both may have come from outside. Otherwise it is the type of an exception. ``given`` are the
    records that the step had been given, where it was given records, and few.
    """

    step: str = ""
    error: str = ""
    given: list[Record] = field(default_factory=list)

    @property
    def raised(self) -> bool:
        """Whether a step raised an exception."""
        return self.error not in ("", STALLED)


STALLED: Final = "stalled"


class InFlight(Struct, kw_only=True):
    """What a source released last in a search: ``records`` of them, or a watermark alone (0).

    ``record`` is the place and the offset of the first, ``end`` the source's offsets after them.
    """

    source: str
    records: int
    record: Record | None = None
    end: Offsets = field(default_factory=dict)

    def is_closed(self, resume: Offsets) -> bool:
        """Tell whether the epoch of these records is complete, so that they are not read again."""
        if not self.records or self.record is None:
            return False
        place, offset = self.record
        return resume.get(place, 0) > offset


class Culprit(Struct, kw_only=True):
    """A record that is not to be read again, and why."""

    place: str
    offset: int
    step: str
    error: str


class Search(Struct, kw_only=True):
    """A search as it goes on over several executions.

    Suspects are all records before ``until``. Those before ``narrow`` are released ``size`` at a
    time, those after it in growing parts, and those in ``alone`` one by one. ``kills`` counts the
    deaths without an exception at ``record``.
    """

    until: Offsets
    narrow: Offsets
    size: int
    alone: list[Record] = field(default_factory=list)
    record: Record | None = None
    kills: int = 0


class History(Struct, kw_only=True):
    """What is remembered between executions: how often they died, where, and the search.

    ``isolate`` are steps that failed while no record was in flight: they take what they are given
    piece by piece, and drop the piece that they fail on.
    """

    resume: Offsets = field(default_factory=dict)
    deaths: int = 0
    isolate: list[str] = field(default_factory=list)
    search: Search | None = None


class Verdict(Struct, kw_only=True):
    """What to do next: the history to keep, which record is at fault, or why not to go on."""

    history: History
    culprit: Culprit | None = None
    stop: str = ""


def judge(
    history: History,
    death: Death | None,
    resume: Offsets,
    released: Offsets,
    in_flight: InFlight | None,
    passed_over: Collection[Record] = (),
) -> Verdict:
    """Decide how to go on after an execution: as ever, by a search, or not at all.

    ``death`` is None where the execution was stopped on purpose or by its environment. ``resume``
    is where the next execution begins, ``released`` how far the last one had come. Records that
    were ``passed_over`` already cannot be at fault.

    >>> step, begin, end = (
    ...     Death(step="learn", error="ValueError"),
    ...     {"clicks/0": 10},
    ...     {"clicks/0": 11},
    ... )
    >>> verdict = judge(History(), step, begin, end, None)
    >>> verdict.history.search.size
    1
    >>> part = InFlight(source="0", records=1, record=("clicks/0", 10), end=end)
    >>> judge(verdict.history, step, begin, end, part).culprit.offset
    10
    """
    if death is None:
        return Verdict(history=History(resume=resume, search=history.search))
    if history.search is not None:
        return _go_on(history, history.search, death, resume, in_flight, passed_over)
    suspects = sum(max(0, end - resume.get(place, 0)) for place, end in released.items())
    if not suspects:
        return _isolate(history, death, resume)
    deaths = history.deaths + 1 if resume == history.resume else 1
    if not death.raised and deaths < TWICE:
        return Verdict(history=History(resume=resume, deaths=deaths, isolate=history.isolate))
    search = Search(
        until=dict(released),
        narrow=dict(released),
        size=ceil(suspects / PARTS),
        alone=death.given,
    )
    return Verdict(history=History(resume=resume, isolate=history.isolate, search=search))


def _go_on(
    history: History,
    search: Search,
    death: Death,
    resume: Offsets,
    in_flight: InFlight | None,
    passed_over: Collection[Record],
) -> Verdict:
    if in_flight is None or in_flight.is_closed(resume) or not in_flight.records:
        return _isolate(history, death, resume)
    new = History(resume=resume, isolate=history.isolate)
    if in_flight.records > 1:
        new.search = structs.replace(
            search,
            narrow=in_flight.end,
            size=ceil(in_flight.records / PARTS),
            alone=death.given,
            record=None,
        )
        return Verdict(history=new)
    record = in_flight.record
    assert record is not None
    if record in passed_over:
        return _isolate(history, death, resume)
    kills = search.kills + 1 if record == search.record else 1
    if not death.raised and kills < TWICE:
        narrow = search.narrow | in_flight.end
        new.search = structs.replace(search, narrow=narrow, size=1, record=record, kills=kills)
        return Verdict(history=new)
    place, offset = record
    error = death.error or "killed"
    new.search = structs.replace(search, narrow={}, size=1, alone=[], record=None, kills=0)
    return Verdict(
        history=new, culprit=Culprit(place=place, offset=offset, step=death.step, error=error)
    )


def _isolate(history: History, death: Death, resume: Offsets) -> Verdict:
    """Let the step work piece by piece that failed while no record was in flight."""
    new = History(resume=resume, isolate=history.isolate, search=history.search)
    if not death.raised:
        return Verdict(history=new)
    if death.step not in history.isolate:
        new.isolate = [*history.isolate, death.step]
        return Verdict(history=new)
    return Verdict(
        history=new,
        stop=f"step {death.step} raises {death.error}, whatever it is given: that is a fault of "
        "this release",
    )
