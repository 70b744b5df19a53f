"""One loud visitor among a thousand requests, through the whole flow, in whatever order."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

import msgspec
import pytest
from bytewax.testing import TestingSink, run_main
from prometheus_client import CollectorRegistry

from flows.personalize import Sinks, Sources, build
from flows.runtime.clock import system_clock
from operators.decode import reader
from operators.io.memory import MemoryCatalogSource, MemorySink, Record, memory_group_source
from operators.io.metrics.root import Metrics
from operators.logic.murmur2 import partition_of
from schemas.catalog import Action, CatalogEntry, RobotRate, Slot, SubjectLimit
from schemas.clock import micros
from schemas.events import Decision
from schemas.results import Outcome, PolicySnapshot
from schemas.settings import load
from schemas.topics import Topic

SETTINGS = load({}, secret="a secret of the tests", partitions=2, gather=0.0)
START = datetime(2026, 3, 1, 12, tzinfo=UTC)
LATE = timedelta(seconds=50)
LOUD, REQUESTS, OF_LOUD = "loud", 1_000, 150
BATCH = 50
BOUND = SubjectLimit().decisions

Logs = dict[Topic, list[tuple[datetime, str, bytes]]]
"""By topic: when each record arrives, the raw subject that names its partition, what it says."""


class Made:
    """What a flow wrote of some records."""

    def __init__(self, logs: Logs, slot: Slot) -> None:
        partitions = SETTINGS.kafka.partitions
        records: dict[Topic, dict[int, list[Record]]] = {}
        for topic, log in logs.items():
            shards = records.setdefault(topic, {k: [] for k in range(partitions)})
            for time, subject, value in sorted(log, key=lambda each: each[0]):
                key = None if topic is Topic.DECISIONS else subject.encode()
                shards[partition_of(subject, partitions)].append(Record(value, micros(time), key))
        names = ("decisions", "outcomes", "policies")
        self.sinks = {name: MemorySink(partitions) for name in names}
        sinks: dict[str, Any] = {name: TestingSink([]) for name in Sinks.__annotations__}
        catalog: list[CatalogEntry] = [
            slot,
            Action(id="a0", time=START, action_id="a0", slots=["home"]),
        ]
        sources = Sources(
            memory_group_source(records, reader(SETTINGS), partitions, BATCH),
            MemoryCatalogSource(catalog),
        )
        self.registry = CollectorRegistry()
        metrics = Metrics(self.registry)
        flow = build(sources, Sinks(**sinks | self.sinks), SETTINGS, system_clock, metrics)
        run_main(flow, epoch_interval=timedelta(seconds=10))

    def read(self, name: str, type_: type) -> list[Any]:
        """Give the records that were written to a topic."""
        written = self.sinks[name].written.values()
        return [msgspec.json.decode(m.value, type=type_) for messages in written for m in messages]

    def learned(self) -> tuple[float, float]:
        """Give the count and the reward that the slot has learned of its action."""
        newest = max(self.read("policies", PolicySnapshot), key=lambda each: each.version)
        (action,) = newest.actions
        assert (newest.decisions, newest.rewards) == (action.count, action.reward)
        return action.count, action.reward

    def not_learned(self) -> Mapping[str, float]:
        """Give the counter by reason."""
        name = "banditflow_decisions_not_learned_total"
        samples = [each for family in self.registry.collect() for each in family.samples]
        return {each.labels["reason"]: each.value for each in samples if each.name == name}


def slot(**fields: Any) -> Slot:
    return Slot(id="slot", time=START, slot_id="home", needs_impression=False, **fields)


def asked(span: timedelta, robot: bool = False) -> Logs:
    """A thousand requests, of which one visitor makes many: all others ask once."""
    rng = Random(5)
    loud = set(rng.sample(range(REQUESTS), OF_LOUD))
    log = []
    for number in range(REQUESTS):
        subject, time = f"visitor-{number}", START + span * number / REQUESTS
        body: dict[str, Any] = {}
        if number in loud:
            subject, body = LOUD, {"robot": robot}
        body |= {"id": f"r{number}", "time": time, "subject": subject, "slot_id": "home"}
        log.append((time, subject, msgspec.json.encode(body)))
    return {Topic.DECISION_REQUESTS: log, Topic.IMPRESSIONS: strays(START + span)}


def strays(end: datetime) -> list[tuple[datetime, str, bytes]]:
    """Make records of nothing, so that the last batch, which ends all time, has no request."""
    log = []
    for number in range(4 * BATCH):
        later = end + timedelta(milliseconds=number)
        body = {"id": f"i{number}", "time": later, "subject": f"stray-{number}", "slot_id": "home"}
        value = msgspec.json.encode(body | {"decision_id": "none"})
        log.append((later, f"stray-{number}", value))
    return log


def answered(logs: Logs, made: Made) -> Logs:
    """What was decided, and the clicks: all of the loud visitor, every tenth of the others."""
    subjects = {
        msgspec.json.decode(value)["id"]: subject
        for _, subject, value in logs[Topic.DECISION_REQUESTS]
    }
    found: Logs = {Topic.DECISIONS: [], Topic.CLICKS: []}
    for decision in made.read("decisions", Decision):
        name, time = decision.decision_id, decision.time
        subject = subjects[name]
        value = msgspec.json.encode(decision)
        found[Topic.DECISIONS].append((time, subject, value))
        if subject == LOUD or int(name[1:]) % 10 == 0:
            time += timedelta(seconds=2)
            click = {"id": f"c-{name}", "time": time, "subject": subject, "slot_id": "home"}
            value = msgspec.json.encode(click | {"decision_id": name})
            found[Topic.CLICKS].append((time, subject, value))
    return found


def shuffled(logs: Logs, seed: int) -> Logs:
    """The same records, each late by up to ``LATE``, and some of them twice."""
    rng = Random(seed)

    def late(log: Iterable[tuple[datetime, str, bytes]]) -> list[tuple[datetime, str, bytes]]:
        twice = [each for each in log for _ in range(rng.choice((1, 1, 1, 2)))]
        return [(time + rng.random() * LATE, *rest) for time, *rest in twice]  # type: ignore[misc]

    return {topic: late(log) for topic, log in logs.items()}


def others_only(logs: Logs) -> Logs:
    return {topic: [each for each in log if each[1] != LOUD] for topic, log in logs.items()}


@pytest.fixture(scope="module")
def events() -> Logs:
    """Twenty minutes of a slot with the settings that slots have by default."""
    requests = asked(timedelta(minutes=20))
    return answered(requests, Made(requests, slot()))


def test_one_subject_moves_the_mean_by_no_more_than_the_bound_says(events: Logs) -> None:
    without = Made(others_only(events), slot()).learned()
    for some in (events, shuffled(events, 1), shuffled(events, 2)):
        made = Made(some, slot())
        count, reward = made.learned()
        assert without[0] == REQUESTS - OF_LOUD
        assert (count - without[0], reward - without[1]) == (BOUND, BOUND)
        mean = without[1] / without[0]
        assert reward / count - mean <= (1.0 - mean) * BOUND / (without[0] + BOUND) + 1e-12
        assert made.not_learned() == {"subject_limit": OF_LOUD - BOUND}
        outcomes = made.read("outcomes", Outcome)
        settled = [outcome for outcome in outcomes if outcome.status == "settled"]
        assert len(settled) == REQUESTS
        quiet = [outcome for outcome in settled if outcome.not_learned]
        assert len(quiet) == OF_LOUD - BOUND
        assert {(each.subject, each.reward) for each in quiet} == {(None, 1.0)}
    unbound = slot(subject_limit=SubjectLimit(enabled=False))
    count, reward = Made(events, unbound).learned()
    assert (count, reward) == (REQUESTS, without[1] + OF_LOUD), "what it was about"


def test_a_robot_by_its_rate_teaches_nothing() -> None:
    requests = asked(timedelta(minutes=1))
    events = answered(requests, Made(requests, slot()))
    for some in (events, shuffled(events, 3)):
        made = Made(some, slot())
        assert made.learned()[0] == REQUESTS - OF_LOUD
        found = made.not_learned()
        assert sum(found.values()) == OF_LOUD
        outcomes = made.read("outcomes", Outcome)
        said = [each.not_learned for each in outcomes if each.status == "settled"]
        assert said.count("robot_rate") == OF_LOUD


@pytest.mark.parametrize(
    ("limit", "robots", "reward_window"),
    [
        (10.0, 60.0, 600.0),
        (90.0, 60.0, 600.0),
        (40.0, 60.0, 600.0),
        (10.0, 60.0, 47.0),
        (3600.0, 60.0, 47.3),
    ],
)
def test_a_robot_is_known_by_its_rate_whatever_the_window_of_the_limit(
    limit: float, robots: float, reward_window: float
) -> None:
    """Within each limit's window it stays below the limit, and below the rate of a robot."""
    begin = START - timedelta(seconds=START.timestamp() % 180)
    times = [begin + timedelta(seconds=0.2 * number) for number in range(900)]
    body = {"subject": LOUD, "slot_id": "home"}
    requests = [
        (at, LOUD, msgspec.json.encode(body | {"id": f"r{number}", "time": at}))
        for number, at in enumerate(times)
    ]
    rules = slot(
        subject_limit=SubjectLimit(decisions=1_000, window=limit),
        robot_rate=RobotRate(decisions=200, window=robots),
        reward_window=reward_window,
    )
    logs = {Topic.DECISION_REQUESTS: requests, Topic.IMPRESSIONS: strays(times[-1])}
    made = Made(answered(logs, Made(logs, rules)), rules)
    settled = [each for each in made.read("outcomes", Outcome) if each.status == "settled"]
    said = [each.not_learned for each in sorted(settled, key=lambda each: each.time)]
    assert len(said) == 900
    assert set(said[200:-200]) == {"robot_rate"}, "the first and the last window may be cut short"


def test_a_robot_by_its_own_word_teaches_nothing() -> None:
    requests = asked(timedelta(minutes=20), robot=True)
    free = slot(subject_limit=SubjectLimit(enabled=False), robot_rate=RobotRate(enabled=False))
    first = Made(requests, free)
    decisions: Sequence[Decision] = first.read("decisions", Decision)
    assert sum(decision.robot for decision in decisions) == OF_LOUD
    assert all(decision.subject_window is None for decision in decisions)
    made = Made(shuffled(answered(requests, first), 4), free)
    assert made.learned()[0] == REQUESTS - OF_LOUD
    assert made.not_learned() == {"robot": OF_LOUD}


def test_consent_gives_another_name_than_none() -> None:
    """So that decisions from before it cannot be told by those that bear the pseudonym."""
    requests = asked(timedelta(minutes=20))
    middle = START + timedelta(minutes=10)
    consent = {"type": "consent", "id": "c", "time": middle, "subject": LOUD, "purposes": [5, 6]}
    requests[Topic.CONSENTS] = [(middle, LOUD, msgspec.json.encode(consent))]
    made = Made(requests, slot()).read("decisions", Decision)
    named = {decision.subject_window for decision in made if decision.subject}
    unnamed = {decision.subject_window for decision in made if not decision.subject}
    assert len(named) == 1
    assert not named & unnamed


def test_a_name_tells_one_visitors_decisions_in_a_window_and_no_others(events: Logs) -> None:
    by_subject: dict[str, set[str]] = {}
    for _, subject, value in events[Topic.DECISIONS]:
        decision = msgspec.json.decode(value, type=Decision)
        assert decision.subject is None
        by_subject.setdefault(subject, set()).add(decision.subject_window or "")
    assert all(len(names) == 1 for names in by_subject.values())
    assert len(set.union(*by_subject.values())) == len(by_subject)
