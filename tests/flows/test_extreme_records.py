"""Extreme values through the whole flow, killed in between: each record has exactly one answer."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import msgspec
import pytest
from bytewax.recovery import RecoveryConfig, init_db_dir
from bytewax.testing import TestingSink, run_main
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry

from flows.personalize import Sinks, Sources, build
from flows.runtime.clock import system_clock
from operators.decode import reader
from operators.io.memory import MemoryCatalogSource, MemorySink, Record, memory_group_source
from operators.io.metrics.root import Metrics
from schemas.bounds import LONGEST_REWARD_WINDOW
from schemas.catalog import Action, CatalogEntry, FeatureSpec, PolicySettings, Slot
from schemas.clock import EARLIEST, LATEST, micros, moment
from schemas.events import Decision
from schemas.results import DeadLetter
from schemas.settings import Settings, load
from schemas.topics import GROUP, Topic
from tests.flows.test_factors import Crashing
from tests.schemas.test_codec import AT_THE_ENDS
from tests.schemas.test_leniency import extreme_json

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
SETTINGS = load({}, secret="a secret of tests", partitions=1)
FEATURES = FeatureSpec(
    numeric=["a"], vectors={"b": 2}, categories={"c": ["x"]}, hashed={"d": 4}, time_of_day=True
)


def catalog(**slot: Any) -> list[CatalogEntry]:
    policy = PolicySettings(kind="logistic", publish_rewards=1)
    return [
        Slot(id="s", time=NOW, slot_id="home", policy=policy, features=FEATURES, **slot),
        *(Action(id=name, time=NOW, action_id=name, slots=["home"]) for name in ("a0", "a1")),
    ]


def event(id_: str, time: str = "2026-03-01T12:00:00Z", **fields: Any) -> dict[str, Any]:
    return {"id": id_, "time": time, "subject": "visitor-1", "slot_id": "home", **fields}


def decision(number: int, time: str, expires_at: str) -> dict[str, Any]:
    return {
        **event(f"decision-{number}", time),
        "subject": None,
        "decision_id": f"d-{number}",
        "key": f"{number:016x}",
        "action_id": "a0",
        "propensity": 0.5,
        "policy": "logistic",
        "policy_version": 0,
        "expires_at": expires_at,
        "eta": 1e12,
    }


Answers = tuple[Counter[str], Counter[tuple[str, int, str, str | None]]]
"""How often each decision id was answered; how often each record was refused, and why."""


def run(
    log: Mapping[Topic, Sequence[Record]],
    folder: Path,
    crashes: Sequence[int],
    with_settings: Settings = SETTINGS,
    entries: Sequence[CatalogEntry] = (),
) -> Answers:
    """Run the flow over the log, killed after so many batches, until its end."""
    init_db_dir(folder, 1)
    # The end of the input is the end of time: what comes last there is no request.
    newest = max([micros(NOW), *(record.time for lane in log.values() for record in lane)])
    last = list(log.get(Topic.IMPRESSIONS, ()))
    for n in range(1, 20):
        at = min(newest + n, LATEST - 1)
        last += records([event(f"last-{n}", moment(at).isoformat(), decision_id="none")], at)
    log = {**log, Topic.IMPRESSIONS: last}
    made = {name: MemorySink(1) for name in ("decisions", "outcomes", "dead_letters", "profiles")}
    others = {name: TestingSink([]) for name in Sinks.__annotations__.keys() - made}
    for batches in [*crashes, None]:
        lanes = {topic: {0: lane} for topic, lane in log.items()}
        source = Crashing(memory_group_source(lanes, reader(with_settings), 1, 7), batches)
        flow = build(
            Sources(source, MemoryCatalogSource(list(entries) or catalog())),
            Sinks(**made, **others),
            with_settings,
            system_clock,
            Metrics(CollectorRegistry()),
        )
        run_main(flow, epoch_interval=timedelta(0), recovery_config=RecoveryConfig(str(folder)))
    # What a crash repeats, the sinks' fences drop by the messages' ids.
    answers = {message.id: message.value for message in made["decisions"].written[0]}
    letters = {message.id: message.value for message in made["dead_letters"].written[0]}
    answered = Counter(
        msgspec.json.decode(value, type=Decision).decision_id for value in answers.values()
    )
    refused = [msgspec.json.decode(value, type=DeadLetter) for value in letters.values()]
    return answered, Counter(
        (letter.topic, letter.offset, letter.reason, letter.field)
        for letter in refused
        if (letter.topic, letter.reason) != (Topic.IMPRESSIONS, "no_decision")
    )


def records(bodies: Sequence[dict[str, Any]], at: int | None = None) -> list[Record]:
    time = micros(NOW) if at is None else at
    return [Record(json.dumps(body).encode(), time) for body in bodies]


@settings(
    max_examples=4,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
    phases=[Phase.generate],
)
@given(
    st.lists(
        st.dictionaries(st.sampled_from("abcdef"), extreme_json, max_size=4),
        min_size=20,
        max_size=40,
    )
)
def test_whatever_a_context_says_the_request_is_answered_once(
    contexts: list[dict[str, str]],
) -> None:
    lane = []
    for number, context in enumerate(contexts):
        said = ",".join(f"{json.dumps(name)}:{value}" for name, value in context.items())
        at = micros(NOW) + number
        body = json.dumps(event(f"r-{number}", moment(at).isoformat()))[:-1]
        lane.append(Record(f'{body}, "context": {{{said}}}}}'.encode(), at))
    with TemporaryDirectory() as folder:
        answered, refused = run({Topic.DECISION_REQUESTS: lane}, Path(folder), [1, 2])
    assert not refused
    assert answered == Counter(f"r-{number}" for number in range(len(contexts)))


INPUTS = (
    '{"a": 123456789012345678901234}',
    '{"unused": 123456789012345678901234}',
    '{"unused": [18446744073709551615, 1e400]}',
    '{"a": 1e400, "b": [1e999, 1], "c": 1e400, "d": -1e999}',
    '{"b": [18446744073709551616, -9223372036854775809]}',
    '{"unused": ' + "9" * 5000 + "}",
    '{"unused": ' + "[" * 300 + "]" * 300 + "}",
    '{"c": "\\u0000", "d": "' + "x" * 50_000 + '"}',
    "null",
)


def test_requests_that_ended_the_service_are_answered(tmp_path: Path) -> None:
    lane = [
        Record(
            json.dumps(event(f"r-{n}"))[:-1].encode() + f', "context": {context}}}'.encode(),
            micros(NOW),
        )
        for n, context in enumerate(INPUTS)
    ]
    nulls = dict.fromkeys(("excluded", "actions", "source", "type", "deferred", "decision_id"))
    lane += records([event("r-null", **nulls)])
    answered, refused = run({Topic.DECISION_REQUESTS: lane}, tmp_path, [0, 1])
    assert not refused
    assert answered == Counter([*(f"r-{n}" for n in range(len(INPUTS))), "r-null"])


def test_times_at_the_ends_of_the_calendar_are_dead_letters_and_the_flow_goes_on(
    tmp_path: Path,
) -> None:
    about = {"decision_id": "r-1"}
    more: dict[Topic, dict[str, Any]] = {
        Topic.IMPRESSIONS: about,
        Topic.CLICKS: about,
        Topic.REWARDS: {**about, "value": 1.0},
        Topic.CONSENTS: {"type": "consent", "purposes": [5, 6]},
    }
    log: dict[Topic, list[Record]] = {}
    expected: Counter[tuple[str, int, str, str | None]] = Counter()
    good = "2026-03-01T12:00:00Z"
    for topic in GROUP:
        bad = [
            decision(n, time, good) if topic == Topic.DECISIONS else event(f"{topic}-{n}", time)
            for n, time in enumerate(AT_THE_ENDS)
        ]
        fields = ["time"] * len(bad)
        if topic == Topic.DECISIONS:
            bad += [decision(9, good, time) for time in AT_THE_ENDS]
            fields += ["expires_at"] * len(AT_THE_ENDS)
        log[topic] = records([body | more.get(topic, {}) for body in bad])
        expected.update(
            (topic, offset, "invalid_value", field) for offset, field in enumerate(fields)
        )
    log[Topic.DECISION_REQUESTS] += records([event("r-1")])
    answered, refused = run(log, tmp_path, [0, 1])
    assert refused == expected
    assert answered == Counter(["r-1"])


GOOD_TIME = "2026-03-01T12:00:00Z"
WILD_DECISIONS: dict[str, tuple[dict[str, Any], str, str]] = {
    "a version beyond 32 bits": ({"policy_version": 2**32}, "invalid_value", "policy_version"),
    "a version below zero": ({"policy_version": -1}, "invalid_value", "policy_version"),
    "a predictor that overflows": ({"eta": 1e308}, "invalid_value", "eta"),
    "no probability": ({"propensity": 0}, "invalid_value", "propensity"),
    "an action without a name": ({"slate": [{"action_id": "", "probability": 1, "eta": 0}]},
                            "invalid_value", "slate[0].action_id"),
    "a slate of 51": ({"slate": [{"action_id": "a", "probability": 1, "eta": 0}] * 51},
                      "invalid_value", "slate"),
    "a long subject": ({"subject": "s" * 70_000}, "invalid_value", "subject"),
    "a long fingerprint": ({"mapping": "m" * 257}, "invalid_value", "mapping"),
    "a window that ends before it begins": ({"expires_at": "2026-03-01T11:59:59Z"},
                                            "invalid_value", "expires_at"),
    "a window of years": ({"expires_at": "2031-03-01T12:00:00Z"}, "invalid_value", "expires_at"),
    "a key that is none": ({"key": "z" * 16}, "invalid_value", "key"),
    "features that are not numbers": ({"features": "AADAfw=="}, "invalid_decision", "features"),
    "features without end": ({"features": "A" * 349_520}, "invalid_value", "features"),
    "features of half a number": ({"features": "AAA="}, "invalid_decision", "features"),
}  # fmt: skip


def test_wild_decisions_of_others_are_dead_letters_and_the_flow_goes_on(tmp_path: Path) -> None:
    bodies = [
        decision(number, GOOD_TIME, "2026-03-01T12:10:00Z") | {"eta": 0.0} | wild
        for number, (wild, _, _) in enumerate(WILD_DECISIONS.values())
    ]
    log = {Topic.DECISIONS: records(bodies), Topic.DECISION_REQUESTS: records([event("r-1")])}
    answered, refused = run(log, tmp_path, [0, 1])
    flaws = {offset: (reason, field) for _, offset, reason, field in refused}
    for offset, (name, (_, reason, field)) in enumerate(WILD_DECISIONS.items()):
        assert flaws[offset] == (reason, field), name
    assert sum(refused.values()) == len(WILD_DECISIONS)
    assert answered == Counter(["r-1"])


times = st.one_of(
    st.sampled_from([EARLIEST, EARLIEST + 1, LATEST - 1, LATEST - 10**6, micros(NOW)]),
    st.integers(EARLIEST, LATEST - 1),
)
durations = st.sampled_from([1e-9, 1e-3, 1.0, 1e9])


@settings(
    max_examples=6,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
    phases=[Phase.generate],
)
@given(data=st.data())
def test_no_time_and_no_window_leads_out_of_the_calendar(data: st.DataObject) -> None:
    names = ("max_skew", "allowed_lateness", "dedup_horizon", "profile_interval", "profile_ttl")
    chosen = {name: data.draw(durations, name) for name in names}
    window = data.draw(st.sampled_from([1e-3, 600.0, LONGEST_REWARD_WINDOW]), "window")
    log: dict[Topic, list[Record]] = {topic: [] for topic in GROUP}
    asked = 0
    for number, at in enumerate(data.draw(st.lists(times, min_size=8, max_size=12), "times")):
        time = moment(at).isoformat()
        closes = moment(min(LATEST - 1, at + round(window * 1e6))).isoformat()
        bodies = {
            Topic.DECISION_REQUESTS: event(f"r-{number}", time, context={"a": number}),
            Topic.DECISIONS: decision(number, time, closes),
            Topic.IMPRESSIONS: event(f"i-{number}", time, decision_id=f"d-{number}"),
            Topic.CLICKS: event(f"c-{number}", time, decision_id=f"r-{number}"),
            Topic.REWARDS: event(f"w-{number}", time, decision_id=f"r-{number}", value=1.0),
            Topic.CONSENTS: event(
                f"g-{number}", time, type="consent", purposes=[5, 6] if number % 3 else []
            ),
        }
        asked += 1
        for topic, body in bodies.items():
            log[topic] += records([body], at)
    mode = data.draw(st.sampled_from(["immediate", "wait", "exposure"]), "mode")
    entries = catalog(reward_window=window, learning_mode=mode, needs_impression=False)
    with TemporaryDirectory() as folder:
        extreme = SETTINGS.replaced(**chosen)
        answered, refused = run(log, Path(folder), [1, 2], extreme, entries)
    requests = [offset for topic, offset, _, _ in refused if topic == Topic.DECISION_REQUESTS]
    assert max(answered.values(), default=1) == 1
    assert len(answered) + len(requests) == asked


@pytest.mark.parametrize("number", [1_000, 20_000])
def test_any_number_of_excluded_ids_is_taken(tmp_path: Path, number: int) -> None:
    excluded = [f"other-{n}" for n in range(number)] + ["a0"] * 100
    lane = records([event("r-1", excluded=excluded, actions=["a1", "a1", "a0"])])
    answered, refused = run({Topic.DECISION_REQUESTS: lane}, tmp_path, [0])
    assert not refused
    assert answered == Counter(["r-1"])
