"""Where a slot takes what requests list, actions that nobody registered are learned like others."""

from collections import Counter
from typing import Any

import msgspec
import numpy as np
import pytest
from bytewax.testing import run_main

from flows.runtime.clock import system_clock
from operators.io.metrics.learner import LearnerMetrics
from operators.learner import LearnerLogic, resumed
from operators.logic.features import FeatureMap
from operators.logic.models import CanonicalOrder
from operators.logic.policies import Deltas
from operators.logic.policies.published import PublishedPolicy
from operators.logic.policy_memory import most_actions
from operators.logic.request_actions import MOST_REQUEST_ACTIONS
from operators.logic.slot_policy import policy_dim
from operators.updates import PosteriorUpdate
from schemas.catalog import FeatureSpec, PolicySettings, Slot
from schemas.clock import NEVER
from schemas.events import Decision
from schemas.settings import load
from tests.support import records as make
from tests.support.closed_loop import World, play

LISTED = (make.action("listed"), make.action("other"))
ONCE = PolicySettings(kind="beta", publish_rewards=1, publish_interval=1.0)


def slot_of(kind: str, **changes: Any) -> Slot:
    plain = kind in ("beta", "uniform", "split")
    return make.slot(
        "feed",
        policy=PolicySettings(kind=kind, publish_rewards=1, publish_interval=1.0),
        features=FeatureSpec() if plain else FeatureSpec(numeric=["u"]),
        candidates="request",
        **changes,
    )


def learner() -> LearnerLogic:
    return LearnerLogic(order=CanonicalOrder(1), clock=system_clock, metrics=LearnerMetrics())


def teach(
    logic: LearnerLogic, slot: Slot, names: list[str], rewards: list[float], second: float = 0.0
) -> PublishedPolicy:
    """Teach the learner decisions; give the policy that it publishes then."""
    n, dim = len(names), policy_dim(slot, FeatureMap(slot.features))
    dim = 0 if slot.policy.kind == "beta" else dim
    taught = Deltas(
        action_ids=names,
        x=np.ones((n, dim)),
        eta=np.zeros(n),
        time=np.full(n, second) + np.arange(n) * 1e-3,
        count_delta=np.ones(n),
        reward_delta=np.array(rewards),
    )
    logic.on_batch(
        [
            PosteriorUpdate(
                shard=0, watermark=NEVER, slot=slot, actions=LISTED, deltas=taught, rewards=n
            )
        ]
    )
    published = [each for each in logic._publish() if isinstance(each, PublishedPolicy)]
    return published[-1]


def shares(published: PublishedPolicy, names: list[str]) -> dict[str, float]:
    posterior = published.posterior
    dim = 0 if published.kind == "beta" else 2
    weights = posterior.weigh(np.ones((1, dim)), posterior.columns(names))
    return dict(zip(names, weights.p[0].tolist(), strict=True))


@pytest.mark.parametrize("restart", [False, True])
@pytest.mark.parametrize("kind", ["beta", "logistic", "gaussian", "diagonal"])
def test_an_unlisted_action_is_shown_by_what_it_earns(kind: str, restart: bool) -> None:
    """It stayed at the prior, which is above what the others earn: a third of all was shown it."""
    names, slot, logic = ["listed", "other", "worst", "best"], slot_of(kind), learner()
    earns = {"listed": 0.1, "other": 0.1, "worst": 0.0, "best": 0.4}
    chance = np.random.default_rng(3)
    made = [names[number % 4] for number in range(4_000)]
    published = teach(logic, slot, made, [float(chance.random() < earns[name]) for name in made])
    if restart:
        logic = resumed(logic.snapshot(), system_clock, LearnerMetrics())
        (published, *_) = logic._publish()
    by_name = shares(published, names)
    assert by_name["best"] > 0.9
    assert by_name["worst"] < 0.01
    known = {each.action_id: each.count for each in published.posterior.summary()}
    assert known == dict.fromkeys(names, 1_000.0)


def test_those_that_were_decided_last_are_published_and_no_more_than_there_is_memory_for() -> None:
    slot, logic = slot_of("beta"), learner()
    for batch in range(3):
        names = [f"r{batch}-{number:03d}" for number in range(MOST_REQUEST_ACTIONS)]
        published = teach(logic, slot, names, [0.0] * len(names), 100.0 * batch)
        assert published.posterior.action_ids == tuple(sorted(["listed", "other", *names]))


def test_listed_actions_have_their_place_first(monkeypatch: pytest.MonkeyPatch) -> None:
    slot, logic = slot_of("beta"), learner()
    for module in ("operators.logic.slot_policy", "operators.learner"):
        monkeypatch.setattr(f"{module}.most_actions", lambda slot: 3)
    assert most_actions(slot) > 3
    published = teach(logic, slot, ["x", "y", "z"], [0.0] * 3)
    assert published.posterior.action_ids == ("listed", "other", "z")


def test_one_that_the_catalog_lists_by_now_is_no_longer_beside_it() -> None:
    slot, logic = slot_of("beta"), learner()
    assert "new" in teach(logic, slot, ["new"], [1.0]).posterior.action_ids
    actions = (*LISTED, make.action("new"))
    logic.on_batch([PosteriorUpdate(shard=0, watermark=NEVER, slot=slot, actions=actions)])
    (published, *_) = logic._publish()
    assert published.posterior.action_ids == ("listed", "new", "other")
    assert not logic._unlisted


def test_a_slot_of_the_catalogs_actions_publishes_no_others() -> None:
    slot, logic = make.slot("feed", policy=ONCE), learner()
    assert teach(logic, slot, ["gone"], [1.0]).posterior.action_ids == ("listed", "other")


def test_a_flow_finds_the_best_of_what_requests_list() -> None:
    """Two of four are registered, and of the others one is the best and one is never clicked."""
    settings = load({}, secret="a secret of the tests", partitions=2)
    click = np.tile([0.1, 0.1, 0.5, 0.0], (60, 1))
    world = World(click, 25, settings, seed=3, consenting=0, lists=["a0", "a1", "a2", "a3"])
    slot = make.slot("home", -100, policy=ONCE, candidates="request")
    registered = [make.action(name, -100, embedding=None) for name in ("a0", "a1")]
    flow, written = play(world, [slot, *registered])
    run_main(flow)
    last = Counter(
        decision.action_id
        for messages in written.decisions.written.values()
        for message in messages
        if (decision := msgspec.json.decode(message.value, type=Decision)).decision_id.endswith(
            ("-20", "-21", "-22", "-23", "-24")
        )
    )
    assert last.total() == 300
    assert last["a2"] > 240
    assert last["a3"] < 15
