"""Our automatic mode as a learner of rankings."""

from collections.abc import Iterator

import numpy as np

from ops.benchmarks.bandits.ranking.environments import environment_of
from ops.benchmarks.bandits.ranking.ours import SharedRanking
from ops.benchmarks.bandits.ranking.requests import Block, Requests
from ops.benchmarks.bandits.ranking.runner import batches, run


class Matched:
    """The candidate whose colour is the visitor's is worth 0.8, the others 0.1."""

    name = "matched"
    candidates, events = 4, 2_000
    context_namespaces, action_namespaces = ("user",), ("item",)

    def blocks(self) -> Iterator[Block]:
        """Give all at once; no action repeats."""
        rng = np.random.default_rng(3)
        colours = rng.integers(4, size=self.events)
        actions = [
            [{"id": f"{i}-{k}", "features": {"item": {"colour": f"c{k}"}}} for k in range(4)]
            for i in range(self.events)
        ]
        contexts = [{"user": {"colour": f"c{c}"}} for c in colours.tolist()]
        p = np.where(np.arange(4) == colours[:, None], 0.8, 0.1)
        times = np.arange(self.events, dtype=float)
        yield Block(Requests(times, contexts, actions), p, rng.random(self.events))


def test_learns_what_only_the_crossing_tells_of_actions_that_never_repeat() -> None:
    outcome = run(SharedRanking(Matched(), 1), Matched())
    assert outcome.fractions[1_000] > 0.7
    late = 2 * outcome.fractions[2_000] - outcome.fractions[1_000]
    assert late > 0.95


def test_probabilities_sum_to_one_and_say_how_often_each_place_is_drawn() -> None:
    environment = environment_of("market-stationary", 7, 1_000)
    learner = SharedRanking(environment, 7)
    expected = np.zeros(environment.candidates)
    drawn, variance = np.zeros_like(expected), np.zeros_like(expected)
    for block in batches(environment.blocks(), lambda: learner.batch):
        decisions = learner.decide(block.requests)
        np.testing.assert_allclose(decisions.p.sum(axis=1), 1.0, atol=1e-9)
        assert (decisions.p > 0.0).all()
        order = np.argsort(-decisions.p, axis=1)
        ranked = np.take_along_axis(decisions.p, order, axis=1)
        place = (order == decisions.chosen[:, None]).argmax(axis=1)
        np.add.at(drawn, place, 1.0)
        expected += ranked.sum(axis=0)
        variance += (ranked * (1.0 - ranked)).sum(axis=0)
        true = block.p[np.arange(len(block.u)), decisions.chosen]
        learner.learn(block.requests, decisions, (block.u < true).astype(float))
    assert (np.abs(drawn - expected) < 4.0 * np.sqrt(variance) + 3.0).all()


def test_the_same_seed_decides_the_same() -> None:
    environment = environment_of("news", 7, 300)
    one, two = (run(SharedRanking(environment, 7), environment) for _ in range(2))
    assert one.fractions == two.fractions
    assert run(SharedRanking(environment, 8), environment).fractions != one.fractions
