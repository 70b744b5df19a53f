"""The factors step: shards in any interleaving, withdrawals in their place, bounded room."""

import random
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from prometheus_client import CollectorRegistry

from operators.envelope import Event, Origin
from operators.factors import (
    FactorsLogic,
    factor_settlements,
    factor_slots,
    resumed,
    withdrawals,
)
from operators.io.metrics.subjects import FactorMetrics
from operators.io.segments import FACTORS, ShardFiles
from operators.logic.attribution.rules import on_grid
from operators.logic.models import CanonicalOrder, FactorModel, FactorSettings
from operators.logic.settlements import Settlements
from operators.logic.state import segmented
from operators.updates import FactorUpdate
from schemas.catalog import FeatureSpec
from schemas.clock import ALWAYS
from schemas.events import Consent, Erasure
from schemas.results import Outcome
from schemas.settings import StateSettings
from tests.support import records as make
from tests.support.settled import settled, settled_us, settlements

SHARDS, WIDTH = 3, 4


def outcomes(n: int = 600) -> list[tuple[int, Outcome]]:
    """Outcomes of ten subjects, each with its shard."""
    rng = random.Random(1)
    found = []
    for number in range(n):
        subject = rng.randrange(10)
        reward = float(rng.random() < 0.3)
        outcome = settled(number, f"a{rng.randrange(4)}", reward, subject=f"s{subject}")
        found.append((subject % SHARDS, outcome))
    return found


def block(n: int) -> Settlements:
    return settlements([outcome for _, outcome in outcomes(n)])


def updates(withdrawn: list[tuple[int, str]], seed: int) -> list[FactorUpdate]:
    """Cut every shard's outcomes into updates, each as far as the shard is complete, in any mix."""
    rng = random.Random(seed)
    mixed: list[FactorUpdate] = []
    waiting: dict[int, list[FactorUpdate]] = defaultdict(list)
    for shard in range(SHARDS):
        mine = [outcome for home, outcome in outcomes() if home == shard]
        gone = [(at, name) for at, name in withdrawn if int(name[1:]) % SHARDS == shard]
        cuts = sorted(rng.sample(range(1, len(mine)), 15))
        before = 0
        for start, stop in zip([0, *cuts], [*cuts, len(mine)], strict=True):
            until = settled_us(mine[stop - 1]) + 1 if stop < len(mine) else ALWAYS
            some = [(at, name) for at, name in gone if before <= at < until]
            waiting[shard].append(
                FactorUpdate(shard, until, WIDTH, [settlements(mine[start:stop])], some)
            )
            before = until
    while any(waiting.values()):
        shard = rng.choice([shard for shard, left in waiting.items() if left])
        mixed.append(waiting[shard].pop(0))
    return mixed


def learned(given: list[FactorUpdate], seed: int) -> FactorsLogic:
    rng = random.Random(seed)
    logic = FactorsLogic(order=CanonicalOrder(SHARDS), ttl=1e9, max_subjects=1000)
    while given:
        some = rng.randrange(1, 4)
        batch, given = given[:some], given[some:]
        logic.on_batch(batch)
    return logic


def at(number: int) -> int:
    return settled_us(outcomes()[number][1])


WITHDRAWN = [(at(200) + 1, "s3"), (at(400), "s7"), (at(599) + 5, "s1")]


def in_one_row() -> FactorModel:
    """Learn every outcome and forget every subject one by one, in order of time."""
    model = FactorModel(FactorSettings(factors=WIDTH, ttl=1e9, max_subjects=1000, max_actions=1000))
    steps: list[tuple[int, int, Any]] = [(time, 0, name) for time, name in WITHDRAWN]
    steps += [(settled_us(outcome), 1, outcome) for _, outcome in outcomes()]
    for _, learns, what in sorted(steps, key=lambda step: step[:2]):
        if learns:
            model.learn(settlements([what]))
        else:
            model.forget(what)
    return model


@pytest.mark.parametrize("seed", range(5))
def test_what_is_known_does_not_depend_on_who_was_ahead(seed: int) -> None:
    found = learned(updates(WITHDRAWN, seed), seed)
    assert found.model is not None
    assert found.model.dump() == in_one_row().dump()
    assert found.withdrawn == []
    assert b"s1" not in found.snapshot(), "whoever withdrew leaves nothing"
    assert found.model.subject_factors("s3") is not None, "and may come back"


def test_news_is_given_once_and_names_its_time() -> None:
    logic = FactorsLogic(order=CanonicalOrder(1), ttl=1e9, max_subjects=1000)
    update = FactorUpdate(0, at(10), WIDTH, [block(30)])
    ((vectors,), _) = logic.on_batch([update])
    assert vectors.time == at(9), "an update is complete before its watermark"
    assert sum(count for count, _ in vectors.changes.values()) == 10
    assert all(len(vector) == WIDTH for _, vector in vectors.changes.values())
    assert list(logic.on_batch([FactorUpdate(0, at(10), WIDTH)])[0]) == []


@pytest.mark.parametrize("seed", range(3))
def test_factors_in_segments_are_the_same_after_crashes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    monkeypatch.setattr(segmented, "STEP", 2)
    rng = random.Random(seed)
    settings = StateSettings(profile_ttl=1e9, factor_subjects=1000)
    folder = tmp_path / FACTORS

    def again(snapshot: bytes | None) -> FactorsLogic:
        return resumed(SHARDS, settings, folder, snapshot, FactorMetrics())

    logic, snapshot, since = again(None), None, list[FactorUpdate]()
    for update in updates(WITHDRAWN, seed):
        logic.on_batch([update])
        since.append(update)
        if rng.random() < 0.3:
            snapshot, since = logic.snapshot(), []
        if rng.random() < 0.1:
            logic = again(snapshot)
            for value in since:
                logic.on_batch([value])
    logic = again(logic.snapshot())
    assert logic.model is not None
    found = FactorModel.load(logic.model.dump(), ShardFiles(folder, 0))
    for name in (f"s{n}" for n in range(10)):
        for model in (found, logic.model):
            expected, factors = in_one_row().subject_factors(name), model.subject_factors(name)
            assert (expected is None) == (factors is None)
            assert expected is None or (expected == factors).all()
    for _ in range(30):
        logic.on_batch([])
        logic.snapshot()
    assert list(folder.iterdir())
    assert not [file for file in folder.iterdir() if b"\xa2s1" in file.read_bytes()]
    logic.on_batch([FactorUpdate(0, ALWAYS, 0)])
    for _ in range(4):
        logic.snapshot()
    assert not list(folder.iterdir()), "when no slot asks nothing is kept of anybody"


def test_when_no_slot_asks_nothing_is_kept_of_anybody() -> None:
    logic = learned(updates([], 0), 0)
    logic.on_batch([FactorUpdate(0, ALWAYS, 0)])
    assert logic.model is None
    assert b"s3" not in logic.snapshot()


def test_who_made_room_is_counted() -> None:
    registry = CollectorRegistry()
    logic = FactorsLogic(
        order=CanonicalOrder(1), ttl=1e9, max_subjects=4, metrics=FactorMetrics(registry)
    )
    logic.on_batch([FactorUpdate(0, ALWAYS, WIDTH, [block(60)])])
    assert logic.model is not None
    assert len(logic.model) == 4
    assert (registry.get_sample_value("banditflow_factor_evictions_total") or 0.0) >= 6


def test_when_no_slot_asks_any_more_no_subject_is_reported() -> None:
    registry = CollectorRegistry()
    logic = FactorsLogic(
        order=CanonicalOrder(1), ttl=1e9, max_subjects=40, metrics=FactorMetrics(registry)
    )
    logic.on_batch([FactorUpdate(0, ALWAYS - 1, WIDTH, [block(60)])])
    assert registry.get_sample_value("banditflow_factor_subjects") == 10
    logic.on_batch([FactorUpdate(0, ALWAYS - 1, 0)])
    assert registry.get_sample_value("banditflow_factor_subjects") == 0


@pytest.mark.parametrize(
    ("reward_range", "default_reward"), [((0.0, 1.0), 0.0), ((-1.0, 1.0), 0.0), ((0.0, 10.0), 4.0)]
)
def test_no_answer_is_no_click_whatever_it_is_worth(
    reward_range: tuple[float, float], default_reward: float
) -> None:
    spec = FeatureSpec(profile_embedding=WIDTH)
    slot = make.slot("a", features=spec, reward_range=reward_range, default_reward=default_reward)
    no_answer, _ = factor_slots([slot])
    worth = on_grid((default_reward - reward_range[0]) / (reward_range[1] - reward_range[0]))
    given = block(60)
    given.reward[:] = np.where(given.reward > 0.0, 1.0, worth)
    (learned,) = factor_settlements([("a", given), ("elsewhere", block(5))], no_answer)
    assert learned.reward.tolist() == block(60).reward.tolist()
    assert learned.x.shape == (60, 0)


def test_slots_that_ask_and_subjects_that_withdraw() -> None:
    slots = [make.slot("a", features=FeatureSpec(profile_embedding=n)) for n in (0,)]
    slots += [make.slot(f"b{n}", features=FeatureSpec(profile_embedding=n)) for n in (4, 8)]
    assert factor_slots(slots) == ({"b4": 0.0, "b8": 0.0}, 8)
    assert factor_slots([]) == ({}, 0)
    time = make.START
    bodies = [
        Erasure(id="1", time=time, subject="ann"),
        Consent(id="2", time=time, subject="bob", purposes=[5]),
        Consent(id="3", time=time, subject="cat", purposes=[5, 6]),
    ]
    origin = Origin("consents", 0, 0, 0)
    events = [Event(n, body, body.subject, 0, origin) for n, body in enumerate(bodies)]
    assert withdrawals(events) == [(0, "ann"), (1, "bob")]
