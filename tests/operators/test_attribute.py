"""The attribute step in a dataflow: any number of shards, crashed and resumed."""

import random
from datetime import timedelta
from pathlib import Path
from typing import Any

import bytewax.operators as op
import msgspec
import numpy as np
import pytest
from bytewax.dataflow import Dataflow
from bytewax.recovery import RecoveryConfig, init_db_dir
from bytewax.testing import TestingSink, TestingSource, run_main
from msgspec import structs
from prometheus_client import CollectorRegistry

from operators.attribute import attribute, resumed
from operators.envelope import Event, Message
from operators.io.metrics.attribution import AttributionMetrics
from operators.io.segments import PENDING, SUBJECTS, ShardFiles
from operators.logic.attribution import chunks, outcome_id, subject_counts
from operators.logic.catalog import Catalog, CatalogedBatch
from operators.logic.recount import Verdict, recount
from operators.updates import PosteriorUpdate
from schemas.catalog import RobotRate, SubjectLimit
from schemas.clock import ALWAYS
from schemas.codec import decode
from schemas.results import Outcome
from schemas.settings import Settings, load
from schemas.state import StateError
from schemas.topics import Topic
from tests.support.histories import LATENESS, SECOND, START, WINDOW, Visitors
from tests.support.histories import SLOTS as OF_EVERY_KIND

SETTINGS = load({}, secret="sixteen letters!", allowed_lateness=LATENESS / 1e6)
SLOTS = {
    name: structs.replace(
        slot,
        subject_limit=SubjectLimit(decisions=3, window=30.0),
        robot_rate=RobotRate(decisions=3, window=3.0),
    )
    for name, slot in OF_EVERY_KIND.items()
}
"""They learn little of one visitor."""

CATALOG = Catalog(slots=SLOTS)
EXPECTED_REASONS = {
    "no_decision", "duplicate", "duplicate_decision", "wrong_action", "outside_window",
    "value_out_of_range", "click_without_impression", "unknown_slot", "duplicate_waiting",
}  # fmt: skip


def traffic(shards: int, decisions: int, seed: int) -> tuple[list[list[Event]], list[Visitors]]:
    """Each shard's events, and who made them."""
    rng = random.Random(seed)
    makers = [Visitors(SLOTS, shard=shard) for shard in range(shards)]
    events: list[list[Event]] = [[] for _ in range(shards)]
    for number in range(decisions):
        shard = rng.randrange(shards)
        make, mine = makers[shard], events[shard]
        at = START + rng.randrange(3 * WINDOW)
        subject = f"{rng.randrange(40):032x}"
        slot_id = rng.choice([*SLOTS, *SLOTS, "nowhere"])
        key = rng.getrandbits(64)
        name = f"{rng.randrange(1, 4):08x}" if rng.random() < 0.9 else None
        decision = make.decision(slot_id, subject, at, key, eta=float(number), subject_window=name)
        mine.append(decision)
        if rng.random() < 0.8:
            action = rng.choice(["a"] * 9 + ["b"])
            mine.append(make.impression(decision, at + SECOND, action_id=action, viewable=True))
        while rng.random() < 0.4:
            age = rng.choice([WINDOW, WINDOW + 1000, rng.randrange(WINDOW)])
            mine.append(make.click(decision, at + age))
        if rng.random() < 0.2:
            mine.append(make.reward(decision, at + rng.randrange(WINDOW), rng.choice([0.5, 99.0])))
        if rng.random() < 0.1:
            mine.append(mine[-1])
        if rng.random() < 0.02:
            mine.append(make.erasure(subject, at + rng.randrange(WINDOW)))
        if rng.random() < 0.02:
            mine.append(make.click(decision, at + 10, id=f"stray{number}"))
            mine[-1].key ^= 1
    return events, makers


def batches(events: list[list[Event]], seed: int) -> list[tuple[str, CatalogedBatch]]:
    """What a disordered source releases, shard by shard in turn, to the end of the input."""
    rng = random.Random(seed)
    found: list[tuple[int, str, CatalogedBatch]] = []
    for shard, mine in enumerate(events):
        arriving = sorted(
            ((event.at + rng.randrange(LATENESS), event) for event in mine),
            key=lambda each: each[0],
        )
        while arriving:
            size = rng.randrange(1, 30)
            part, arriving = arriving[:size], arriving[size:]
            held = sorted((event for _, event in part), key=lambda event: event.at)
            batch = CatalogedBatch(shard, part[-1][0], held, catalog=CATALOG)
            found.append((batch.watermark, str(shard), batch))
        found.append((ALWAYS, str(shard), CatalogedBatch(shard, ALWAYS, catalog=CATALOG)))
    found.sort(key=lambda each: each[:2])
    return [(key, batch) for _, key, batch in found]


def add_up(totals: dict[float, tuple[float, float]] | None, update: PosteriorUpdate) -> Any:
    """The running contribution of each decision, named by its eta."""
    totals = dict(totals or {})
    if update.deltas is not None:
        deltas = update.deltas
        for eta, count_delta, reward_delta in zip(
            deltas.eta.tolist(),
            deltas.count_delta.tolist(),
            deltas.reward_delta.tolist(),
            strict=True,
        ):
            before = totals.get(eta, (0.0, 0.0))
            totals[eta] = (before[0] + count_delta, before[1] + reward_delta)
    return totals, totals


def flow(
    items: list[Any],
    outcomes: list[Any],
    totals: list[Any],
    rejected: list[Any],
    settings: Settings = SETTINGS,
) -> Dataflow:
    """The step between a list and lists."""
    made = Dataflow("attribution")
    up = op.input("in", made, TestingSource(items))
    attributed = attribute("attribute", up, settings.time, settings.state, AttributionMetrics())
    op.output("outcomes", attributed.outcomes, TestingSink(outcomes))
    op.output("rejected", attributed.rejected, TestingSink(rejected))
    summed = op.stateful_map("sum", attributed.posterior_updates, add_up)
    op.output("totals", summed, TestingSink(totals))
    return made


def final(messages: list[tuple[str, list[Message]]]) -> dict[int, Outcome]:
    """The final reports, each fence key once and always with the same content."""
    by_id: dict[int, Outcome] = {}
    for _, part in messages:
        for message in part:
            outcome = decode(Topic.OUTCOMES, message.value)
            key = int(outcome.key, 16)
            assert message.id == outcome_id(key, outcome.status, outcome.revision)
            if outcome.status != "pending":
                assert by_id.setdefault(message.id, outcome) == outcome
    return {int(outcome.key, 16): outcome for outcome in by_id.values()}


def check(
    events: list[list[Event]], messages: list[Any], totals: list[tuple[str, dict[float, Any]]]
) -> None:
    """Outcomes and what the learners hold equal the recomputation."""
    expected: dict[int, Verdict] = {}
    numbers: dict[int, float] = {}
    for mine in events:
        expected |= recount(mine, SLOTS, round(SETTINGS.time.clock_tolerance * 1e6))
        numbers |= {e.key: e.body.eta for e in mine if hasattr(e.body, "eta")}
    found = final(messages)
    assert found.keys() == expected.keys()
    learned = {eta: sums for by_eta in dict(totals).values() for eta, sums in by_eta.items()}
    for key, verdict in expected.items():
        outcome, judged = found[key], verdict.outcome()
        assert (outcome.status, outcome.reward) == (judged.status, judged.reward)
        assert outcome.reason in (verdict.withdrawals or (judged.reason,))
        assert outcome.not_learned == judged.not_learned
        sums = (1.0, judged.reward) if verdict.teaches else (0.0, 0.0)
        assert learned.get(numbers[key], (0.0, 0.0)) == sums
    assert {outcome.not_learned for outcome in found.values()} >= {"", "subject_limit"}


@pytest.mark.parametrize("shards", [1, 2, 4])
def test_outcomes_and_posterior_updates_equal_the_recomputation(shards: int) -> None:
    events, _ = traffic(shards, decisions=600, seed=shards)
    outcomes: list[Any] = []
    totals: list[Any] = []
    rejected: list[Any] = []
    run_main(flow(batches(events, seed=7), outcomes, totals, rejected))
    check(events, outcomes, totals)
    reasons = {item.reason for _, part in rejected for item in part}
    assert reasons == EXPECTED_REASONS


@pytest.mark.parametrize("shards", [1, 2, 4])
@pytest.mark.parametrize("segments", [False, True])
def test_a_crash_changes_nothing(
    shards: int, segments: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chunks, "CHUNK", 8)
    monkeypatch.setattr(subject_counts, "PART", 2)
    read, reader = [], ShardFiles.read
    monkeypatch.setattr(ShardFiles, "read", lambda *args: read.append(args) or reader(*args))
    init_db_dir(tmp_path, 1)
    settings = SETTINGS.replaced(recovery=str(tmp_path) if segments else "")
    events, _ = traffic(shards, decisions=300, seed=10 + shards)
    items: list[Any] = list(batches(events, seed=8))
    rng = random.Random(9)
    crashes = 6
    for place in sorted(rng.sample(range(1, len(items)), crashes), reverse=True):
        items.insert(place, TestingSource.ABORT())
    outcomes: list[Any] = []
    totals: list[Any] = []
    made = flow(items, outcomes, totals, [], settings)
    for _ in range(crashes + 1):
        run_main(
            made,
            epoch_interval=timedelta(0),
            recovery_config=RecoveryConfig(str(tmp_path)),
        )
    check(events, outcomes, totals)
    assert bool(read) == segments
    assert {files._folder.name for files, *_ in read} == (
        {PENDING, SUBJECTS} if segments else set()
    )
    files = list((tmp_path / PENDING).glob("*"))
    assert len(files) < 8 * shards, "settled chunks leave no files"


def test_a_snapshot_of_another_version_is_refused() -> None:
    with pytest.raises(StateError, match="written as version 0, this release reads version 6"):
        resumed(SETTINGS.time, SETTINGS.state, None, b"attribution/0\n", AttributionMetrics())


def test_what_waits_is_reported_while_the_watermark_stands_still() -> None:
    """Just then it grows: the gauges used to move with the horizon alone."""
    events, _ = traffic(1, decisions=50, seed=3)
    registry = CollectorRegistry()
    metrics = AttributionMetrics(registry)
    logic = resumed(SETTINGS.time, SETTINGS.state, None, None, metrics)
    still = min(event.at for event in events[0])
    for start in range(0, len(events[0]), 20):
        part = sorted(events[0][start : start + 20], key=lambda event: event.at)
        logic.on_batch([CatalogedBatch(0, still, part, catalog=CATALOG)])
        held = logic.attribution.pending, logic.attribution.waiting
        names = ("banditflow_pending_decisions", "banditflow_waiting_events")
        assert tuple(registry.get_sample_value(name, {"shard": "0"}) for name in names) == held
    assert held[0] > 20


def test_every_slot_hears_how_far_settlement_is_complete() -> None:
    events, _ = traffic(1, decisions=50, seed=3)
    updates: list[tuple[str, PosteriorUpdate]] = []
    made = Dataflow("updates")
    up = op.input("in", made, TestingSource(batches(events, seed=4)))
    op.output(
        "out",
        attribute(
            "attribute", up, SETTINGS.time, SETTINGS.state, AttributionMetrics()
        ).posterior_updates,
        TestingSink(updates),
    )
    run_main(made)
    for slot_id, slot in SLOTS.items():
        mine = [update for key, update in updates if key == slot_id]
        assert all(update.slot is slot for update in mine)
        marks = [update.watermark for update in mine]
        assert marks == sorted(marks)
        assert marks[-1] == ALWAYS
        done = -(2**62)
        for update in mine:
            for block in update.settled:
                assert done <= block.end.min()
                assert block.end.max() < update.watermark
                assert (np.diff(block.end) >= 0).all()
            done = update.watermark


def test_an_outcome_is_json_with_the_key_of_its_decision() -> None:
    events, _ = traffic(1, decisions=20, seed=5)
    outcomes: list[Any] = []
    run_main(flow(batches(events, seed=6), outcomes, [], []))
    for _, part in outcomes:
        for message in part:
            record = msgspec.json.decode(message.value)
            assert message.key == record["key"].encode()
