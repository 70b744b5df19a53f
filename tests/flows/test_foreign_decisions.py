"""Decisions that nobody of ours made, on our topic, among those of a flow that runs."""

import itertools
from collections import defaultdict
from collections.abc import Iterator
from datetime import datetime

import msgspec
import numpy as np
from bytewax.testing import run_main
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry

from operators.io.metrics.root import Metrics
from schemas.catalog import PolicySettings
from schemas.events import Decision
from schemas.settings import load
from tests.support import records as make
from tests.support.closed_loop import World, play

VISITORS, TURNS = 4, 6
ACTIONS = [make.action(f"a{number}", -100) for number in range(3)]
SLOT = make.slot(
    "home",
    -100,
    policy=PolicySettings(kind="beta", publish_rewards=1, publish_interval=1.0),
    needs_impression=False,
)
FOREIGN_KEY = "f00000000000000%d"
VERSIONS = st.integers(0, 2**32 - 1) | st.just(4_294_967_295)


@settings(max_examples=6, deadline=None)
@given(st.lists(VERSIONS, min_size=TURNS, max_size=TURNS))
def test_versions_rise_and_no_decision_is_refused_whatever_versions_others_write(
    versions: list[int],
) -> None:
    def foreign(turn: int, time: datetime) -> Iterator[Decision]:
        yield make.decision(
            turn, key=FOREIGN_KEY % turn, time=time, policy_version=versions[turn - 1]
        )

    registry = CollectorRegistry()
    world = World(
        np.full((VISITORS, 3), 0.5),
        TURNS,
        load({}, secret="a secret of the tests", partitions=1),
        seed=3,
        consenting=0,
        foreign=foreign,
    )
    flow, written = play(world, [SLOT, *ACTIONS], Metrics(registry))
    run_main(flow)
    by_turn: dict[str, set[int]] = defaultdict(set)
    for messages in written.decisions.written.values():
        for message in messages:
            decision = msgspec.json.decode(message.value, type=Decision)
            by_turn[decision.decision_id.partition("-")[2]].add(decision.policy_version)
    assert len(by_turn) == TURNS
    assert all(max(a) <= min(b) for a, b in itertools.pairwise(by_turn.values()))
    assert max(by_turn[str(TURNS - 1)]) < 2**31
    refused = {"reason": "invalid_decision"}
    assert not registry.get_sample_value("banditflow_dead_letters_total", refused)
