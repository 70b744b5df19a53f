"""A publication makes of a flow's catalog just what was asked for, from then on, and says so."""

from collections.abc import Iterable, Sequence
from datetime import timedelta
from typing import Any, NamedTuple

from hypothesis import given
from hypothesis import strategies as st

from operators.logic.catalog import CatalogHistory
from operators.logic.catalog_contents import timeline
from operators.logic.catalog_limits import take_in
from operators.logic.catalog_versions import Identity, content_of, held_at, identity_of
from operators.logic.entry_publication import PublicationError
from operators.logic.publication import Publication, plan_file, plan_rollback
from schemas.catalog import CatalogEntry
from schemas.clock import micros
from tests.support import records as make

DAY = 86_400


def at(seconds: float) -> int:
    return micros(make.START + timedelta(seconds=seconds))


class Flow:
    """A topic, and the catalog of a flow that reads it: it forgets, and is started again."""

    def __init__(self) -> None:
        self.topic: list[tuple[int, CatalogEntry]] = []
        self.history = CatalogHistory()
        self.left_out: list[Any] = []

    def take(self, entries: Sequence[CatalogEntry], now: int) -> None:
        self.topic += [(now, entry) for entry in entries]
        self.left_out += take_in(self.history, entries)

    def restart(self, now: int) -> None:
        self.history.forget(now - 3_000_000)
        self.history = CatalogHistory(self.history.state())

    def knows_past_of(self, entry: CatalogEntry) -> bool:
        """Whether it knows all versions: who writes without, tells it something else than others.

        To a flow that has forgotten a deletion, what comes later is the first that it hears.
        """
        identity = identity_of(entry)
        known = self.history.versions.get(identity, ())
        return list(known) == list(self.read().versions.get(identity, ()))

    def read(self, until: int = 2**62) -> CatalogHistory:
        """What a reader of the topic makes of what was appended until then."""
        history = CatalogHistory()
        take_in(history, [entry for appended, entry in self.topic if appended <= until])
        return history

    def holds(self, now: int) -> dict[Identity, bytes]:
        return held(self.history, now)


def held(history: CatalogHistory, now: int) -> dict[Identity, bytes]:
    found = {i: content_of(held_at(v, now)) for i, v in history.versions.items()}
    return {identity: content for identity, content in found.items() if content is not None}


def asked(
    entries: Iterable[CatalogEntry], before: CatalogHistory, now: int, when: int, *, prune: bool
) -> dict[Identity, bytes]:
    """Say from the file alone what is to hold at a time: the oracle."""
    wanted: dict[Identity, list[CatalogEntry]] = {}
    for entry in sorted(entries, key=lambda each: (each.time, each.id)):
        wanted.setdefault(identity_of(entry), []).append(entry)
    result = {} if prune else held(before, when)
    for identity, versions in wanted.items():
        due = [entry for entry in versions if micros(entry.time) <= when]
        content = content_of(due[-1]) if due else held(before, when).get(identity)
        result.pop(identity, None)
        if content is not None:
            result[identity] = content
    return result


class Edit(NamedTuple):
    """A record, relative to the moment at which it is written."""

    kind: str
    name: str
    ahead: int
    id: str
    deleted: bool
    value: int


EDITS = st.builds(
    Edit,
    kind=st.sampled_from(["slot", "action", "experiment"]),
    name=st.sampled_from(["home", "side"]),
    ahead=st.sampled_from([-2 * DAY, -2, -1, 0, 0, 1, 2, 3, 2 * DAY]),
    id=st.sampled_from(["a", "b", "b+"]),
    deleted=st.sampled_from([False, False, False, True]),
    value=st.integers(0, 2),
)
STEPS = st.lists(
    st.tuples(
        st.sampled_from(["produce", "publish", "publish", "prune", "rollback", "restart"]),
        st.sampled_from([0, 1, 1, 2, 2 * DAY]),
        st.lists(EDITS, max_size=4),
        st.integers(0, 5),
    ),
    max_size=12,
)


def made(edit: Edit, now: float) -> CatalogEntry:
    fields = {
        "slot": {"floor": edit.value / 10},
        "action": {"enabled": edit.value > 0},
        "experiment": {"enabled": edit.value > 0},
    }[edit.kind]
    make_it: Any = {"slot": make.slot, "action": make.action, "experiment": make.experiment}
    entry: CatalogEntry = make_it[edit.kind](
        edit.name, now + edit.ahead, id=edit.id, deleted=edit.deleted, **fields
    )
    return entry


def file_of(edits: Iterable[Edit], now: float) -> list[CatalogEntry]:
    """A file: of records with the same id and time about one thing the first."""
    file: dict[object, CatalogEntry] = {}
    for edit in edits:
        entry = made(edit, now)
        file.setdefault((identity_of(entry), entry.time, entry.id), entry)
    return list(file.values())


def holds_as_described(publication: Publication, before: CatalogHistory, now: int) -> None:
    """What a change says of now is so: what was there, and what is there instead."""
    was = held(before, now)
    for change in publication.changes:
        if change.at is None and change.kind != "unchanged":
            assert content_of(change.before) == was.get(change.identity)
            assert content_of(change.after) != was.get(change.identity)
    assert [c for c in publication.changes if c.kind != "unchanged"] or not publication.records


def held_before(history: CatalogHistory, now: int) -> dict[tuple[Identity, int], bytes | None]:
    """What held of each entry before now: at every time that makes a difference, and around it."""
    times = {moment for versions in history.versions.values() for moment, _ in versions}
    times |= {time - 1 for time in times} | {now - 1, at(-9 * DAY)}
    return {
        (identity, time): content_of(held_at(versions, time))
        for identity, versions in history.versions.items()
        for time in times
        if time < now
    }


@given(STEPS)
def test_after_any_publication_the_catalog_is_what_was_asked_for(
    steps: list[tuple[str, int, list[Edit], int]],
) -> None:
    flow, second = Flow(), 0
    for what, passes, edits, back in steps:
        second += passes
        now = at(second)
        if what == "restart":
            flow.restart(now)
            continue
        if what == "produce":
            written = [made(edit, second) for edit in edits]
            flow.take([entry for entry in written if flow.knows_past_of(entry)], now)
            continue
        topic = flow.read()
        times = {now, *(at(second + s) for s in range(5)), at(second + 2 * DAY), at(second + 9**6)}
        if what == "rollback":
            earlier = flow.read(at(second - back))
            if not earlier.versions:
                continue
            publication = plan_rollback(topic, earlier, now)
            wanted = {when: held(earlier, when) for when in times}
        else:
            file = file_of(edits, second)
            try:
                publication = plan_file(topic, file, now, prune=what == "prune")
            except PublicationError:
                assert what == "prune"
                continue
            wanted = {when: asked(file, topic, now, when, prune=what == "prune") for when in times}
        holds_as_described(publication, topic, now)
        known = len(flow.left_out)
        flow.take(publication.records, now)
        past = held_before(topic, now)
        assert past.items() <= held_before(flow.read(), now).items()
        assert flow.left_out[known:] == []
        for when, content in wanted.items():
            assert held(flow.read(), when) == content
            assert flow.holds(when) == content
        again = list(timeline(flow.read(), now))
        assert plan_file(flow.read(), again, now).records == []
