"""The simulator: its script and parts by themselves, and the closed loop on a real broker."""

import json
from collections import Counter
from datetime import UTC, datetime
from typing import Any

import confluent_kafka
import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from flows.cli.main import main
from flows.devkit.articles import Articles
from flows.devkit.demo_catalog import ARTICLES, SLOT
from flows.devkit.embedded import Server
from flows.devkit.simulate import all_answered, describe
from flows.devkit.simulation import Injection, Simulator, SimulatorReport, malformed
from flows.devkit.simulation.arrivals import Arrivals
from flows.devkit.simulation.article_script import ArticleScript
from flows.devkit.simulation.injector import PLACES
from flows.devkit.simulation.outbox import Outbox
from flows.devkit.simulation.record_writer import RecordWriter
from flows.devkit.simulation.script import BLOCK, Script
from flows.devkit.simulation.tally import Answers, Histogram, Tally
from flows.devkit.visitors import Visitors
from operators.decode import reader
from operators.envelope import Event, Rejected
from operators.io.kafka import create_topics
from operators.io.kafka.client import consumer_config, range_of
from schemas.clock import micros
from schemas.codec import Flaw, decode
from schemas.settings import Settings, environment_of, load
from schemas.topics import Topic
from tests.support.echo import echo_decider

SECRET = "a secret for tests only"
WORLD = Visitors(seed=5, users=300)


@pytest.fixture(scope="module")
def script() -> Script:
    return Script(WORLD, seed=5)


# --- the script ---------------------------------------------------------------------------------


@given(st.lists(st.integers(0, 3 * BLOCK), min_size=1, max_size=20))
@settings(max_examples=30)
def test_a_fate_depends_on_the_number_alone(numbers: list[int]) -> None:
    one, two = (Script(WORLD, seed=5) for _ in range(2))
    together = one.rows(np.array(numbers))
    for place, number in enumerate(numbers):
        alone = two.rows(np.array([number]))
        for left, right in zip(together, alone, strict=True):
            assert_array_equal(left[place], right[0])


def test_another_seed_gives_other_fates(script: Script) -> None:
    other = Script(WORLD, seed=6)
    assert not np.allclose(other.block(0).click, script.block(0).click)


@given(st.lists(st.floats(0.0, 12.0), max_size=30), st.booleans())
@settings(max_examples=30, deadline=None)
def test_arrivals_do_not_depend_on_when_they_are_asked_for(
    moments: list[float], even: bool
) -> None:
    script = Script(WORLD, seed=5)
    at_once = requests(Arrivals(script, 900.0, 10.0, even=even), [20.0])
    by_and_by = requests(Arrivals(script, 900.0, 10.0, even=even), [*sorted(moments), 20.0])
    assert at_once == by_and_by
    assert [number for number, _ in at_once] == list(range(len(at_once)))


def requests(arrivals: Arrivals, moments: list[float]) -> list[tuple[int, int]]:
    found = []
    for moment in moments:
        for first, fate in arrivals.due(moment):
            found += list(enumerate(fate.users.tolist(), first))
    assert arrivals.over
    return found


def test_arrivals_keep_their_rate(script: Script) -> None:
    # 18,000 Poisson arrivals expected: five standard deviations (error rate 6e-7).
    poisson = requests(Arrivals(script, 900.0, 20.0), [30.0])
    assert abs(len(poisson) - 18_000) < 5 * 18_000**0.5
    assert len(requests(Arrivals(script, 900.0, 20.0, even=True), [30.0])) == 18_000
    endless = Arrivals(script, 900.0, None)
    assert sum(len(fate.users) for _, fate in endless.due(1.0)) > 0
    assert not endless.over
    endless.end()
    assert list(endless.due(2.0)) == []
    with pytest.raises(ValueError, match="rate must be above 0"):
        Arrivals(script, 0.0, 1.0)


# --- what goes wrong on purpose -----------------------------------------------------------------


class Sent:
    """Keeps what was sent, in order."""

    def __init__(self) -> None:
        self.values: list[bytes] = []

    def send(self, topic: Topic, key: bytes, value: bytes) -> None:
        self.values.append(value)


def test_the_outbox_sends_each_record_when_it_is_due_and_spoils_what_it_counts() -> None:
    sent = Sent()
    outbox = Outbox(sent, Injection(duplicates=0.5, disorder=0.5))
    put = [
        (b"now", 10.0, 0.9, 0.9),
        (b"later", 12.0, 0.9, 0.9),
        (b"twice", 10.0, 0.25, 0.9),
        (b"delayed", 10.0, 0.9, 0.4),
    ]
    goes = [outbox.put(Topic.CLICKS, b"k", v, at, 10.0, twice, late) for v, at, twice, late in put]
    assert goes == [10.0, 12.0, 10.0, 10.8]
    assert sent.values == [b"now", b"twice"]
    outbox.send_due(10.9)
    assert sent.values == [b"now", b"twice", b"twice", b"delayed"]
    outbox.send_due(12.0)
    assert sent.values[-1] == b"later"
    assert not outbox
    assert outbox.injected == {"duplicates": 1, "disorder": 1}


@pytest.mark.parametrize(("topic", "kind"), PLACES)
def test_every_malformed_kind_is_refused_with_a_reason(topic: Topic, kind: str) -> None:
    read = reader(load({}, secret=SECRET, partitions=1))
    rng = np.random.default_rng(0)
    good = {
        "id": "e1",
        "time": "2026-03-01T12:00:00+00:00",
        "subject": "visitor-1",
        "slot_id": "home-hero",
        "decision_id": "d1",
    }
    now = micros(datetime(2026, 3, 1, 12, tzinfo=UTC))
    assert isinstance(read(topic, 0, b"visitor-1", json.dumps(good).encode(), 0, now), Event)
    found = read(topic, 0, b"visitor-1", malformed(kind, rng, good), 0, now)
    if kind in ("unknown_slot", "time_long_past"):
        assert isinstance(found, Event), "it is well formed: the decide step refuses it"
    else:
        assert isinstance(found, Rejected)
        assert found.reason


# --- the tally ----------------------------------------------------------------------------------


def test_the_tally_is_a_recount(script: Script) -> None:
    rng = np.random.default_rng(4)
    n = 40_000
    second = np.sort(rng.integers(0, 200, size=n))
    held_out, p = rng.random(n) < 0.1, rng.random(n) * 0.1
    best, clicked = p + 0.01, rng.random(n) < p
    latency, stale = rng.gamma(2.0, 0.02, size=n), rng.gamma(3.0, 0.1, size=n)
    tally = Tally()
    for part in np.array_split(np.arange(n), 300):
        for s, count in Counter(second[part].tolist()).items():
            tally.asked(s, count)
        columns = (held_out, p, best, clicked, latency, stale)
        tally.answered(Answers(second[part], *(column[part] for column in columns)))
    report = tally.report(200.0, 20.0, {"late": 3})
    last = second > second.max() - 20
    assert (report.requests, report.decisions, report.unanswered) == (n, n, 0)
    assert report.clicks == clicked.sum()
    assert_allclose(report.click_rate_policy, p[last & ~held_out].mean())
    assert_allclose(report.click_rate_uniform, p[last & held_out].mean())
    assert_allclose(report.click_rate_best, best[last].mean())
    assert_allclose(report.observed_click_rate_policy, clicked[last & ~held_out].mean())
    assert_allclose(report.latency_p99_ms, 1e3 * np.quantile(latency, 0.99), rtol=0.02)
    assert_allclose(report.recent_latency_p50_ms, 1e3 * np.median(latency[last]), rtol=0.02)
    assert_allclose(report.staleness_p99_s, np.quantile(stale[second >= 10], 0.99), rtol=0.02)
    assert report.cpu == 0.1
    assert report.injected == {"late": 3}
    assert [s.second for s in report.series] == list(range(200))
    assert sum(s.requests for s in report.series) == n
    msgspec.json.decode(msgspec.json.encode(report))


@given(st.lists(st.floats(2e-4, 300.0), min_size=1, max_size=200), st.floats(0.01, 1.0))
def test_quantiles_are_within_two_per_cent(values: list[float], q: float) -> None:
    histogram = Histogram()
    histogram.add(np.array(values))
    wanted = float(np.quantile(values, q, method="inverted_cdf"))
    assert_allclose(histogram.quantile(q), wanted, rtol=0.02)


# --- the closed loop ----------------------------------------------------------------------------


@pytest.fixture
def deployment(broker: Server, topic_prefix: str) -> Settings:
    made = load(
        {},
        secret=SECRET,
        bootstrap_servers=broker.address,
        topic_prefix=topic_prefix,
        partitions=2,
    )
    create_topics(made.kafka)
    return made


def everything(made: Settings, topic: Topic) -> list[bytes]:
    """Read a topic from its start to its end."""
    consumer = confluent_kafka.Consumer(consumer_config(made.kafka))
    name, payloads, open_ends = made.kafka.topic(topic), [], {}
    for k in range(made.kafka.partitions_of(topic)):
        low, high = range_of(made.kafka, consumer, name, k)
        if high > low:
            open_ends[k] = high
    consumer.assign([confluent_kafka.TopicPartition(name, k, 0) for k in open_ends])
    while open_ends:
        for message in consumer.consume(1000, 0.1):
            if message.error():
                continue
            payloads.append(message.value() or b"")
            if message.offset() + 1 >= open_ends.get(message.partition(), 2**62):
                del open_ends[message.partition()]
    consumer.close()
    return payloads


def readable(topic: Topic, payloads: list[bytes]) -> list[Any]:
    records = [decode(topic, payload) for payload in payloads]
    return [record for record in records if not isinstance(record, Flaw)]


def test_the_loop_is_closed_and_what_it_reports_lies_on_the_topics(deployment: Settings) -> None:
    lines = []
    simulator = Simulator(deployment, 200.0, 11, 3.0, click_delay=0.2, patience=10.0)
    with echo_decider(deployment):
        report = simulator.run(lines.append)
    asked = readable(Topic.DECISION_REQUESTS, everything(deployment, Topic.DECISION_REQUESTS))
    seen = readable(Topic.IMPRESSIONS, everything(deployment, Topic.IMPRESSIONS))
    clicks = readable(Topic.CLICKS, everything(deployment, Topic.CLICKS))
    consents = readable(Topic.CONSENTS, everything(deployment, Topic.CONSENTS))
    assert report.requests == report.decisions == report.impressions == len(asked) == len(seen)
    assert report.requests > 450
    assert report.unanswered == report.duplicate_answers == report.foreign == 0
    assert report.clicks == len(clicks) > 0
    assert abs(len(consents) - 4750) < 5 * (5000 * 0.95 * 0.05) ** 0.5
    assert report.staleness_p99_s is None, "the first ten seconds do not count"
    assert_allclose(report.click_rate_uniform, 0.03, atol=0.02)
    assert report.click_rate_best > 0.06
    assert lines
    assert lines[-1].requests <= report.requests
    shown = {impression.decision_id: impression for impression in seen}
    for click in clicks:
        assert click.time >= shown[click.decision_id].time
        assert click.subject == shown[click.decision_id].subject
    script = Script(simulator.visitors, 11)
    fates = script.block(0)
    users = {r.decision_id: r.subject for r in asked}
    writer = RecordWriter(simulator.run_id, simulator.visitors)
    for number in range(report.requests):
        assert users[writer.decision_id(number)] == f"visitor-{fates.users[number]}"
    wanted = {
        name
        for name, impression in shown.items()
        for number in [writer.number(name)]
        if number is not None
        for place in [int(impression.action_id.rpartition("-")[2])]
        if fates.click[number]
        < simulator.visitors.click[fates.users[number], fates.hours[number], place]
    }
    assert wanted == {click.decision_id for click in clicks}


def test_what_is_injected_is_what_is_reported(deployment: Settings) -> None:
    injection = Injection(
        duplicates=0.1, disorder=0.1, late=0.05, malformed=0.4, disorder_seconds=0.3
    )
    simulator = Simulator(deployment, 150.0, 12, 3.0, click_delay=0.1, injection=injection, run="w")
    with echo_decider(deployment):
        report = simulator.run()
    assert report.unanswered == 0
    payloads = {
        topic: everything(deployment, topic)
        for topic in (Topic.DECISION_REQUESTS, Topic.IMPRESSIONS, Topic.CLICKS)
    }
    total = sum(map(len, payloads.values()))
    injected = report.injected
    assert set(injected) == {"duplicates", "disorder", "late", "malformed"}
    assert total == (
        report.requests + report.impressions + report.clicks
        + injected["duplicates"] + injected["late"] + injected["malformed"]
    )  # fmt: skip
    clicks = readable(Topic.CLICKS, payloads[Topic.CLICKS])
    assert sum(click.id.startswith("w-late") for click in clicks) == injected["late"]
    read = reader(load({}, secret=SECRET, partitions=1))
    now = micros(datetime.now(UTC))
    events = [
        read(topic, 0, None, payload, 0, now)
        for topic, found in payloads.items()
        for payload in found
    ]
    useless = [e for e in events if isinstance(e, Rejected) or "malformed" in e.body.id]
    assert len(useless) == injected["malformed"]
    assert report.duplicate_answers > 0, "the echo answers a repeated request again"


def test_requests_that_bring_articles_are_asked_beside_the_others(deployment: Settings) -> None:
    simulator = Simulator(
        deployment, 100.0, 15, 3.0, click_delay=0.1, patience=10.0, run="r", articles=0.5
    )
    with echo_decider(deployment):
        report = simulator.run()
    asked = readable(Topic.DECISION_REQUESTS, everything(deployment, Topic.DECISION_REQUESTS))
    decided = readable(Topic.DECISIONS, everything(deployment, Topic.DECISIONS))
    seen = readable(Topic.IMPRESSIONS, everything(deployment, Topic.IMPRESSIONS))
    clicks = readable(Topic.CLICKS, everything(deployment, Topic.CLICKS))
    articles = report.articles
    assert articles is not None
    assert all_answered(report)
    assert report.foreign == 0
    for slot, part in ((SLOT, report), (ARTICLES, articles)):
        assert sum(request.slot_id == slot for request in asked) == part.requests
        assert sum(decision.slot_id == slot for decision in decided) == part.decisions
        assert sum(impression.slot_id == slot for impression in seen) == part.decisions
        assert sum(click.slot_id == slot for click in clicks) == part.clicks > 0
    # The others are those of a run without articles.
    alone = Arrivals(Script(simulator.visitors, 15), 100.0, 3.0)
    writer = RecordWriter("r", simulator.visitors)
    users = {r.decision_id: (r.subject, r.context) for r in asked if r.slot_id == SLOT}
    for first, fate in alone.due(10.0):
        for number, (user, hour) in enumerate(
            zip(fate.users.tolist(), fate.hours.tolist(), strict=True), first
        ):
            wanted = (f"visitor-{user}", simulator.visitors.context(user, hour))
            assert users.pop(writer.decision_id(number)) == wanted
    assert not users
    # What was shown is one of those that the request brought, and its features say whether it is
    # clicked.
    assert articles.requests == 150
    world = Articles(simulator.visitors, 15)
    script = ArticleScript(simulator.visitors, world, 15, 50.0)
    beside = RecordWriter("r.articles", simulator.visitors, ARTICLES)
    shown = {decision.decision_id: decision.action_id for decision in decided}
    brought = {request.decision_id: request for request in asked if request.slot_id == ARTICLES}
    wishes = set()
    for number in range(150):
        name, request = beside.decision_id(number), script.request(number)
        offered = {world.action_id(n): n for n in request.offered.tolist()}
        record = brought[name]
        assert {a.id: msgspec.json.decode(a.features) for a in record.actions} == {
            each: world.features(n) for each, n in offered.items()
        }
        assert record.context == world.context(request.user, request.hour)
        assert record.subject == f"visitor-{request.user}"
        one = (np.array([request.user]), np.array([offered[shown[name]]]))
        if request.click < world.p(*one)[0]:
            wishes.add(name)
    assert wishes == {click.decision_id for click in clicks if click.slot_id == ARTICLES}
    assert articles.different == len({shown[name] for name in brought})
    assert_allclose(articles.lift, articles.click_rate_policy / articles.click_rate_uniform)
    assert any(f"{articles.different:,} different articles" in line for line in describe(report))


def test_requests_for_articles_that_nobody_answers_are_given_up(deployment: Settings) -> None:
    simulator = Simulator(deployment, 20.0, 16, 1.0, patience=1.0, articles=1.0)
    report = simulator.run()
    assert report.articles is not None
    assert report.articles.unanswered == report.articles.requests == 20
    assert report.articles.lift is None
    assert not all_answered(report)
    report.unanswered = 0
    assert not all_answered(report), "every request counts, whatever its slot"


def test_unanswered_requests_are_given_up_after_patience(deployment: Settings) -> None:
    simulator = Simulator(deployment, 100.0, 13, 1.0, patience=5.0)
    with echo_decider(deployment, skip=10):
        report = simulator.run()
    assert report.unanswered == report.requests // 10 > 0


def test_a_simulation_without_end_stops_when_it_is_told_and_drains(deployment: Settings) -> None:
    simulator = Simulator(deployment, 100.0, 14, None, arrivals="even", click_delay=0.1)
    reported = []

    def stop(report: SimulatorReport) -> None:
        reported.append(report.requests)
        simulator.stop()

    with echo_decider(deployment):
        report = simulator.run(stop)
    assert reported[0] <= report.requests < 2000
    assert report.unanswered == 0
    assert report.decisions == len(everything(deployment, Topic.DECISIONS))


def test_the_command_prints_its_report(
    deployment: Settings,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path,
) -> None:
    for name, value in environment_of(deployment).items():
        monkeypatch.setenv(name, value)
    progress = tmp_path / "progress.jsonl"
    arguments = [
        "simulate",
        "--rate",
        "100",
        "--seconds",
        "2",
        "--json",
        "--progress",
        str(progress),
    ]
    with echo_decider(deployment):
        assert main([*arguments, "--progress", str(progress)]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["decisions"] == report["requests"] > 0
    assert report["articles"]["decisions"] == report["articles"]["requests"] == 10
    lines = [json.loads(line) for line in progress.read_text().splitlines()]
    assert [line["type"] for line in lines][-1] == "summary"
    assert lines[-1]["report"]["requests"] == report["requests"]
