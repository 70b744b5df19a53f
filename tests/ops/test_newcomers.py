"""The benchmark of newcomers: its yardstick, and that sums teach what single decisions would."""

from typing import Any

import numpy as np
import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st
from scipy.stats import binom

from operators.logic.policies import Deltas
from operators.logic.slot_policy import new_policy
from ops.benchmarks.bandits import before
from ops.benchmarks.bandits.newcomers import blocks, report, rivals
from ops.benchmarks.bandits.newcomers.blocks import POLICIES, Block, Cell
from ops.benchmarks.bandits.newcomers.curves import POINTS, summed_up
from ops.benchmarks.bandits.newcomers.trial import batch_deltas, trial
from ops.benchmarks.bandits.newcomers.worlds import INCUMBENTS, RANGES, RATES, World
from ops.benchmarks.bandits.newcomers.yardstick import ALPHA, POWER, better_rate, sample_size
from ops.benchmarks.bandits.runner import Row

CLICKS = World(1, 100_000, 0.05, (0.0, 1.0))


def test_the_yardstick_at_the_rates_of_the_benchmark() -> None:
    assert [sample_size(rate) for rate in RATES] == [41_393, 4_197, 893, 211, 696]


@given(st.floats(0.001, 0.97), st.floats(1.2, 3.0))
@example(0.05, 1.5)
@example(0.001, 1.5)
@example(0.97, 3.0)
def test_the_yardstick_is_that_of_an_exact_binomial_test(rate: float, odds: float) -> None:
    n, better = sample_size(rate, odds), better_rate(rate, odds)
    assert better / (1.0 - better) == pytest.approx(odds * rate / (1.0 - rate))
    assume(min(n * rate, n * (1.0 - better)) >= 5.0)  # else a normal approximation is too coarse
    # The power of the exact test at the level that the approximation stands for: between those of
    # the two counts around the critical one.
    count = binom.ppf(1.0 - ALPHA, n, rate)
    assert binom.sf(count, n, better) - 0.03 <= POWER <= binom.sf(count - 1, n, better) + 0.03


@given(
    st.sampled_from(POLICIES),
    st.sampled_from(RANGES),
    st.lists(st.tuples(st.integers(0, 2), st.booleans()), min_size=1, max_size=60),
    st.lists(st.floats(-8.0, 8.0), min_size=3, max_size=3),
)
def test_a_batch_teaches_what_its_decisions_teach_one_by_one(
    kind: str,
    reward_range: tuple[float, float],
    decisions: list[tuple[int, bool]],
    predictors: list[float],
) -> None:
    world = World(3, 100_000, 0.05, reward_range)
    dim, ids, eta = int(kind != "beta"), world.ids, np.array(predictors)
    actions, succeeded = np.array([a for a, _ in decisions]), np.array([s for _, s in decisions])
    once, batched = (
        new_policy(world.slot(kind), world.actions(ids), dim),
        new_policy(world.slot(kind), world.actions(ids), dim),
    )
    for action, success in decisions:
        one = np.arange(3) == action
        once.learn(batch_deltas(ids, dim, eta, 1.0, one * 1, one * success, world.payoffs))
    counts = np.bincount(actions, minlength=3)
    successes = np.bincount(actions, succeeded, 3).astype(int)
    batched.learn(batch_deltas(ids, dim, eta, 1.0, counts, successes, world.payoffs))
    x = np.ones((1, dim))
    for mine, theirs in zip(_figures(once, x), _figures(batched, x), strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=1e-9, atol=1e-12)


def _figures(policy: Any, x: Any) -> list[Any]:
    posterior = policy.publish()
    weights = posterior.weigh(x)
    summary = posterior.summary()
    return [weights.p, weights.eta, [s.count for s in summary], [s.reward for s in summary]]


def test_a_delta_of_one_decision_is_the_flow_s_own() -> None:
    world = World(2, 100_000, 0.05, (-1.0, 1.0))
    found = batch_deltas(
        world.ids, 1, np.array([0.5, -2.0]), 3.0, np.array([0, 1]), np.array([0, 0]), world.payoffs
    )
    assert isinstance(found, Deltas)
    assert found.action_ids == ["a01"]
    assert [found.eta.tolist(), found.count_delta.tolist()] == [[-2.0], [1.0]]
    assert found.reward_delta.tolist() == [0.5], "no answer pays 0, the middle of [-1, 1]"


@pytest.mark.parametrize("kind", POLICIES)
@pytest.mark.parametrize(("incumbents", "history"), INCUMBENTS)
def test_a_trial_is_repeated_by_its_seed(kind: str, incumbents: int, history: int) -> None:
    world = World(incumbents, history, 0.5, (0.0, 1.0))
    one, again = trial(world, kind, 7), trial(world, kind, 7)
    assert one.final == again.final
    assert one.shares.shape == (POINTS,)
    assert ((one.shares >= 0.0) & (one.shares <= 1.0)).all()


def test_the_end_is_the_last_tenth() -> None:
    shares = np.repeat([0.0, 1.0], [2_700, 300])
    assert summed_up(shares).final == 1.0
    assert summed_up(shares).shares.tolist() == [0.0] * 27 + [1.0] * 3


def test_ranges_that_scale_to_the_same_rewards_are_one_block(tmp_path: Any) -> None:
    made = [Block(World(1, 100_000, 0.5, r), "beta", 0, 2) for r in RANGES[1:]]
    cells = blocks.performed(made, 1, tmp_path, progress=False)
    assert [cell.world.reward_range for cell in cells] == [(0.0, 1.0), (0.0, 100.0)]
    assert cells[0].finals.tolist() == cells[1].finals.tolist()
    assert len(list(tmp_path.iterdir())) == 1
    again = blocks.performed(made, 1, tmp_path, progress=False)
    assert again[0].shares.tolist() == cells[0].shares.tolist()


@pytest.mark.parametrize("learner", [*rivals.VW_SETTINGS, *rivals.MABWISER])
def test_the_others_try_the_newcomer(learner: str) -> None:
    if learner not in rivals.installed():
        pytest.skip("not installed")
    made = rivals.trials(World(1, 500, 0.5, (0.0, 1.0)), learner, range(2))
    assert [len(each.shares) for each in made] == [POINTS] * 2
    assert all(0.0 <= each.final <= 1.0 for each in made)


def test_a_bar_is_judged_by_its_worst_cell() -> None:
    cells = [_cell("beta", 985), _cell("beta", 1_000), _cell("diagonal", 984)]
    assert [bar.passed for bar in report.bars(cells)] == [True, False]
    few = Cell(CLICKS, "beta", np.ones((10, POINTS)), np.zeros(10))
    assert report.bars([few])[0].passed is None


def test_incumbents_that_share_their_decisions_get_fewer_trials_and_no_bar() -> None:
    shared, given = World(10, 100_000, 0.05, (0.0, 1.0)), World(10, 1_000_000, 0.05, (0.0, 1.0))
    planned = blocks.blocks_of([shared, given], 1_000)
    trials = [sum(b.trials for b in planned if b.world == world) for world in (shared, given)]
    assert trials == [4 * 200, 4 * 1_000]
    assert not report.bars([Cell(shared, "beta", np.ones((1_000, POINTS)), np.zeros(1_000))])


def test_the_best_setting_of_a_library_is_the_one_that_wins_most_often() -> None:
    cells = [_cell("VW bag 5", 3), _cell("VW softmax", 7), _cell("mabwiser UCB1", 9)]
    assert [cell.learner for cell in report.best_of(cells, "VW")] == ["VW softmax"]


def _cell(learner: str, won: int) -> Cell:
    finals = (np.arange(1_000) < won).astype(float)
    return Cell(CLICKS, learner, np.ones((1_000, POINTS)), finals)


def test_the_paired_difference_is_of_the_same_seeds() -> None:
    earlier = [_row("digits", seed, 0.8 + seed / 100) for seed in range(4)]
    later = [_row("digits", seed, 0.81 + seed / 100) for seed in range(1, 5)]
    (found,) = before.differences(earlier, later)
    assert found.differences == pytest.approx([0.01] * 3)
    assert before.lower_bound(found.differences) == pytest.approx(0.01)
    assert [bar.passed for bar in before.bars([found])] == [True]


@given(st.lists(st.floats(-1.0, 1.0), min_size=2, max_size=20))
def test_the_bound_lies_below_the_mean(values: list[float]) -> None:
    assert before.lower_bound(values) <= np.mean(values) + 1e-12


def _row(environment: str, seed: int, fraction: float) -> Row:
    return Row(environment, "gaussian", seed, 10, {10: fraction}, [])
