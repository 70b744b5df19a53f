"""Where every request may bring new ids, the last ones are learned, exactly and within a bound."""

from dataclasses import replace
from random import Random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flows.runtime.clock import system_clock
from flows.verification.statistics import statistics_of
from operators import learner
from operators.io.metrics.learner import LearnerMetrics
from operators.learner import LearnerLogic, resumed
from operators.learner_state import unpack_learner
from operators.logic import request_actions
from operators.logic.models import CanonicalOrder
from operators.logic.policies import Deltas
from operators.logic.policies.micro_batches import micros_of
from operators.logic.request_actions import KnownContent, RequestActions
from operators.updates import PosteriorUpdate
from schemas.catalog import Action, FeatureSpec, PolicySettings, Slot
from schemas.clock import NEVER
from tests.support import records as make

MOST = 5
MINUTE = 60_000_000

decisions = st.lists(
    st.tuples(st.sampled_from("abcdefghij"), st.integers(0, 60)), min_size=1, max_size=60
)


@given(decisions, st.randoms(), st.integers(1, 7))
def test_those_whose_last_decision_is_the_newest_stay_in_any_order(
    made: list[tuple[str, int]], rng: Random, size: int
) -> None:
    newest: dict[str, int] = {}
    for name, at in made:
        newest[name] = max(at, newest.get(name, at))
    last = sorted(newest, key=lambda name: (newest[name], name))[-MOST:]
    rng.shuffle(made)
    actions = RequestActions()
    for start in range(0, len(made), size):
        names, times = zip(*made[start : start + size], strict=True)
        actions.admit(names, times, MOST)
        actions = RequestActions(actions.last_met, actions.state())
    assert sorted(actions.last_met) == sorted(last)
    assert all(actions.last_met[name] == newest[name] for name in last)


def test_features_are_kept_of_those_decided_last_within_their_bytes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(request_actions, "REQUEST_ACTION_BYTES", 2_000)
    orders = [list(range(30)), list(range(30))[::-1], list(range(0, 30, 2)) + list(range(1, 30, 2))]
    kept = []
    for order in orders:
        actions = RequestActions()
        actions.admit([f"a{n:02d}" for n in range(30)], list(range(30)), 20)
        for number in order:
            content = KnownContent(number, f"{number:016x}", b"x" * 200)
            actions.describe(f"a{number:02d}", content)
        kept.append(dict(actions.contents))
    assert kept[0] == kept[1] == kept[2]
    assert sorted(kept[0]) == [f"a{n:02d}" for n in range(25, 30)]


def a_slot(kind: str) -> Slot:
    spec = FeatureSpec() if kind == "beta" else FeatureSpec(numeric=["u"])
    policy = PolicySettings(kind=kind)
    return make.slot("feed", policy=policy, features=spec, candidates="request")


def deltas_of(rng: np.random.Generator, kind: str, minute: int, ids: list[str]) -> Deltas:
    n = len(ids)
    x = np.zeros((n, 0))
    if kind != "beta":
        x = np.column_stack([np.ones(n), rng.normal(size=n)])
    return Deltas(
        action_ids=ids,
        x=x,
        eta=np.zeros(n),
        time=(MINUTE * minute + rng.integers(0, MINUTE, n)) / 1e6,
        count_delta=np.ones(n),
        reward_delta=np.zeros(n),
    )


@pytest.mark.parametrize("listed", [(), (make.action("listed"),)])
@pytest.mark.parametrize("kind", ["beta", "gaussian", "diagonal"])
def test_what_is_known_of_an_action_is_all_since_it_began_also_through_a_kill(
    kind: str, listed: tuple[Action, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rewards come for a while, also of actions that were forgotten meanwhile or came back."""
    monkeypatch.setattr(learner, "MOST_REQUEST_ACTIONS", MOST)
    rng, slot = np.random.default_rng(11), a_slot(kind)
    first = LearnerLogic(order=CanonicalOrder(1), clock=system_clock, metrics=LearnerMetrics())
    logics, made, sizes = [first, replace(first, order=CanonicalOrder(1))], list[Deltas](), []
    logics[1].retired = RequestActions()
    for minute in range(120):
        fresh = [f"new-{minute}-{n}" for n in range(2)]
        ids = [*fresh, *rng.choice([f"old-{n}" for n in range(8)], 2).tolist(), "listed"]
        step = [deltas_of(rng, kind, minute, ids)]
        made += step
        for late in rng.integers(max(0, len(made) - 40), len(made), 3).tolist():
            earned = rng.random(len(made[late])) < 0.4
            step.append(replace(made[late], count_delta=earned * 0.0, reward_delta=earned * 1.0))
        made += step[1:]
        for deltas in step:
            update = PosteriorUpdate(
                shard=0,
                watermark=NEVER,
                slot=slot,
                actions=listed,
                deltas=deltas,
                fingerprint="",
            )
            for logic in logics:
                logic.on_batch([update])
        if minute % 7 == 0:
            logics[1] = resumed(logics[1].snapshot(), system_clock, LearnerMetrics())
        sizes.append(len(logics[0].snapshot()))
        assert len(logics[0].retired) <= MOST
    plain, killed = (unpack_learner(logic.snapshot()) for logic in logics)
    assert (plain.policy, plain.retired, plain.request_actions) == (
        killed.policy,
        killed.retired,
        killed.request_actions,
    )
    written = statistics_of(plain.policy)
    assert written is not None
    learned = written.by_action
    known = logics[0].retired
    named = {action.action_id for action in listed}
    assert set(learned.ids) <= named | set(known.last_met)
    assert any(known.since(name) > NEVER for name in known.last_met)
    for row, name in enumerate(learned.ids):
        since = NEVER if name in named else known.since(name)
        counts = rewards = 0.0
        for deltas in made:
            rows = (np.array(deltas.action_ids) == name) & (micros_of(deltas) > since)
            counts += float(deltas.count_delta[rows].sum())
            rewards += float(deltas.reward_delta[rows].sum())
        assert counts > 0.0
        assert (learned["counts"][row], learned["rewards"][row]) == (counts, rewards)
    assert max(sizes[60:]) < 1.1 * max(sizes[30:60])
    (published, *_) = logics[0]._publish()
    assert set(published.posterior.action_ids) == named | set(known.last_met)
