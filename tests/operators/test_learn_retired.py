"""A policy remembers its slot's actions and the last retired ones, and loses nothing by it."""

from dataclasses import replace

import numpy as np
import pytest

from flows.runtime.clock import system_clock
from flows.verification.statistics import statistics_of
from operators import learner
from operators.io.metrics.learner import LearnerMetrics
from operators.learner import LearnerLogic, resumed
from operators.learner_state import unpack_learner
from operators.logic.models import CanonicalOrder
from operators.logic.policies import KINDS, Deltas, make_policy
from operators.logic.policies.micro_batches import with_rows
from operators.logic.slot_policy import learned_rows
from operators.updates import PosteriorUpdate
from schemas.catalog import AutoFeatures, FeatureSpec, PolicySettings
from tests.support import records as make

MINUTE = 60_000_000
WINDOW = 10
"""Minutes of the reward window."""
MOST = 40
"""Retired actions that are remembered beyond those."""


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_statistics_are_those_of_the_catalog_the_pending_and_the_last_retired(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(learner, "MOST_RETIRED", MOST)
    plain = kind in ("beta", "uniform", "split")
    spec = FeatureSpec() if plain else FeatureSpec(numeric=["u"])
    dim, chance = (0 if plain else 2), np.random.default_rng(5)
    if kind == "shared":
        spec, dim = FeatureSpec(auto=AutoFeatures(bits=8)), 1
    slot = make.slot(
        "home", policy=PolicySettings(kind=kind), features=spec, reward_window=60.0 * WINDOW
    )
    logic = LearnerLogic(order=CanonicalOrder(1), clock=system_clock, metrics=LearnerMetrics())
    whole, rows, sizes = make_policy(kind, None, dim, width=256), learned_rows(slot), []
    for minute in range(4 * MOST):
        names = [f"a{minute + ahead}" for ahead in range(3)]
        actions = tuple(make.action(name) for name in [*names, "always"])
        made = Deltas(
            action_ids=[*names, "always"],
            x=np.column_stack([np.ones(4), chance.normal(size=4)])[:, :dim],
            eta=np.zeros(4),
            time=np.full(4, 60.0 * minute),
            count_delta=np.ones(4),
            reward_delta=(np.arange(4) == minute % 4) * 1.0,
        )
        update = PosteriorUpdate(
            shard=0,
            watermark=(minute - 2) * MINUTE,
            slot=slot,
            actions=actions,
            deltas=made,
            rewards=0,
        )
        late = replace(made, time=made.time - 60.0 * WINDOW, count_delta=np.zeros(4))
        late = replace(late, action_ids=[f"a{max(minute - WINDOW, 0)}"] * 4)
        for deltas in (made, late):
            logic.on_batch([replace(update, deltas=deltas)])
            for part in with_rows(deltas, rows):
                whole.learn(part)
        if minute % 20 == 19:
            logic = resumed(logic.snapshot(), system_clock, LearnerMetrics())
            sizes.append(len(logic.snapshot()))
        assert len(logic.retired) <= MOST + 2 * WINDOW
    state = unpack_learner(logic.snapshot())
    written = statistics_of(state.policy), statistics_of(whole.dump())
    learned, fresh = (each.by_action for each in written if each is not None)
    assert MOST <= len(learned.ids) <= MOST + 4
    last = 4 * MOST + 1
    assert {f"a{last - back}" for back in range(MOST)} | {"always"} <= set(learned.ids)
    for name, array in learned.at(None).items():
        places = [fresh.ids.index(action_id) for action_id in learned.ids]
        assert np.array_equal(array, fresh.at(None)[name][places])
    assert max(sizes[5:]) < 1.05 * max(sizes[3:5])
