"""What a request may be shown, by the records that go into the flow and those that come out."""

from collections.abc import Callable, Sequence
from datetime import timedelta
from random import Random
from typing import Any

import msgspec
import pytest
from bytewax.dataflow import Dataflow
from bytewax.testing import TestingSink, cluster_main, run_main
from prometheus_client import CollectorRegistry

from flows.personalize import Sinks, Sources, build
from flows.runtime.clock import system_clock
from operators.io.memory import MemoryCatalogSource, MemorySink, Record, memory_group_source
from operators.io.metrics.root import Metrics
from operators.logic.murmur2 import partition_of
from schemas.catalog import CatalogEntry
from schemas.clock import micros
from schemas.codec import encode
from schemas.events import Decision, DecisionRequest, Impression
from schemas.results import DeadLetter
from schemas.topics import Topic
from tests.support import records as make
from tests.support.catalog_edits import edit, request, some_requests
from tests.support.showing import READ, SETTINGS, SHARDS, SUBJECTS, Knowledge, check_shown

Run = Callable[[Dataflow], None]


def two_workers(flow: Dataflow) -> None:
    cluster_main(flow, [], 0, worker_count_per_proc=2)


def run_flow(
    entries: Sequence[CatalogEntry], requests: Sequence[DecisionRequest], run: Run = run_main
) -> tuple[dict[str, Decision], dict[str, str]]:
    """The answer to each request, and the reason where it was refused."""
    lanes: dict[int, list[Record]] = {shard: [] for shard in range(SHARDS)}
    asked: dict[tuple[int, int], str] = {}
    for each in sorted(requests, key=lambda each: each.time):
        shard = partition_of(each.subject.encode(), SHARDS)
        asked[shard, len(lanes[shard])] = each.id
        lanes[shard].append(Record(encode(each), micros(each.time), each.subject.encode()))
    last = max(each.time for each in requests)
    after = [  # the end of the input is the end of time: what comes last is no request
        Impression(
            id=f"last-{number}",
            time=last + timedelta(microseconds=number),
            subject=SUBJECTS[number % SHARDS],
            slot_id="home",
            decision_id="none",
        )
        for number in range(1, 100)
    ]
    ends = {
        shard: [
            Record(encode(each), micros(each.time), each.subject.encode())
            for each in after
            if each.subject == SUBJECTS[shard]
        ]
        for shard in range(SHARDS)
    }
    records = {Topic.DECISION_REQUESTS: lanes, Topic.IMPRESSIONS: ends}
    made = {name: MemorySink(SHARDS) for name in ("decisions", "dead_letters")}
    others = {name: TestingSink([]) for name in Sinks.__annotations__.keys() - made}
    flow = build(
        Sources(memory_group_source(records, READ, SHARDS, 20), MemoryCatalogSource(entries)),
        Sinks(**made, **others),
        SETTINGS,
        system_clock,
        Metrics(CollectorRegistry()),
    )
    run(flow)
    decisions = [
        msgspec.json.decode(message.value, type=Decision)
        for messages in made["decisions"].written.values()
        for message in messages
    ]
    letters = [
        msgspec.json.decode(message.value, type=DeadLetter)
        for messages in made["dead_letters"].written.values()
        for message in messages
    ]
    refused = {
        asked[letter.partition, letter.offset]: letter.reason
        for letter in letters
        if letter.topic == Topic.DECISION_REQUESTS
    }
    return {decision.decision_id: decision for decision in decisions}, refused


def on_shard_0(name: str, seconds: float, **fields: Any) -> DecisionRequest:
    return request(name, seconds, 0, slot_id="home", **fields)


def test_a_slot_whose_actions_are_all_disabled_shows_nothing_that_a_request_lists() -> None:
    entries = [
        make.slot("home"),
        *[make.action(name) for name in "ab"],
        *[make.action(name, 10, enabled=False) for name in "ab"],
    ]
    requests = [
        on_shard_0("before", 9.9, actions=["a", "never registered"]),
        on_shard_0("after", 10, actions=["a", "b"]),
        on_shard_0("unknown", 11, actions=["never registered"]),
        on_shard_0("no list", 12),
    ]
    decisions, refused = run_flow(entries, requests)
    assert {name: decision.action_id for name, decision in decisions.items()} == {"before": "a"}
    assert refused == dict.fromkeys(["after", "unknown", "no list"], "no_eligible_action")


def test_a_slot_takes_candidates_from_requests_where_its_record_says_so() -> None:
    entries = [
        make.slot("home", candidates="request"),
        make.action("a"),
        make.action("a", 10, enabled=False),
        make.action("b"),
        make.action("b", 20, deleted=True),
    ]
    both = {"actions": ["a", "b"]}
    requests = [
        on_shard_0("both", 9.9, **both),
        on_shard_0("one", 10, **both),
        on_shard_0("none", 20, **both),
        on_shard_0("another", 21, actions=["a", "b", "never registered"]),
        on_shard_0("no list", 22),
    ]
    decisions, refused = run_flow(entries, requests)
    ranked = {
        name: {each.action_id for each in decision.ranking} for name, decision in decisions.items()
    }
    assert ranked == {"both": {"a", "b"}, "one": {"b"}, "another": {"never registered"}}
    assert refused == dict.fromkeys(["none", "no list"], "no_eligible_action")


@pytest.mark.parametrize("run", [run_main, two_workers])
def test_a_history_of_edits_shows_nothing_that_it_keeps_back(run: Run) -> None:
    rng, knowledge = Random(7), Knowledge()
    entries = [make.slot("home"), make.slot("side", candidates="request")]
    entries += [edit(rng, number) for number in range(600)]
    for entry in entries:
        knowledge.hear(entry)
    requests = [
        each
        for number in range(0, 600, 2)
        for each in some_requests(rng, number, number // 2 % SHARDS)
    ]
    decisions, refused = run_flow(entries, requests, run)
    assert decisions.keys() | refused.keys() == {each.id for each in requests}
    assert not decisions.keys() & refused.keys()
    assert min(len(decisions), len(refused)) > 100
    for each in requests:
        may_show = knowledge.may_show(each)
        if each.id in refused:
            expected = "unknown_slot" if may_show is None else "no_eligible_action"
            assert (refused[each.id], may_show or None) == (expected, None)
        else:
            assert may_show
            check_shown(decisions[each.id], may_show)
