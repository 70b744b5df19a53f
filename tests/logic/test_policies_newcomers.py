"""A better action that is added late gets its chance, whatever rates and rewards are; a lucky one
does not win for good."""

import functools

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from operators.logic.policies import Deltas, load_policy, make_policy
from operators.logic.policies.base import Floats
from operators.logic.policies.reward_variation import reward_variation
from operators.logic.slot_policy import first_policy, new_policy
from ops.benchmarks.bandits.newcomers.trial import trial
from ops.benchmarks.bandits.newcomers.worlds import World
from ops.benchmarks.bandits.newcomers.yardstick import better_rate, sample_size
from schemas.catalog import Action, PolicySettings, Slot
from schemas.clock import moment

KINDS = ("beta", "diagonal", "logistic", "gaussian")
STEPS = 10


class Taught:
    """A policy without context that sees what is expected of given rates, in a few batches.

    An answer is worth ``size`` more than no answer, on the scale of [0, 1].
    """

    def __init__(self, kind: str, incumbents: int, default: float, size: float) -> None:
        self.dim, self.default, self.size = int(kind != "beta"), default, size
        self.policy = make_policy(kind, None, self.dim)
        self.policy.default_reward = default
        self.incumbents = [f"a{i}" for i in range(incumbents)]
        self.policy.set_actions([*self.incumbents, "new"])

    def teach(self, ids: list[str], decisions: float, answers: float, steps: int = STEPS) -> None:
        """Teach each of ``ids`` so many decisions, of which so many were answered."""
        ones = np.ones(len(ids))
        n, s = decisions / steps * ones, answers / steps * ones
        low, high = self.default, self.default + self.size
        for _ in range(steps):
            posterior = self.policy.publish()
            weights = posterior.weigh(np.ones((1, self.dim)), posterior.columns(ids))
            self.policy.learn(
                Deltas(
                    action_ids=ids,
                    x=np.ones((len(ids), self.dim)),
                    eta=weights.eta[0],
                    time=np.zeros(len(ids)),
                    count_delta=n,
                    reward_delta=low * (n - s) + high * s,
                    square_delta=low**2 * (n - s) + high**2 * s,
                )
            )

    @property
    def shares(self) -> Floats:
        """The probability of each action; the newcomer's is the last."""
        posterior = self.policy.publish()
        columns = posterior.columns([*self.incumbents, "new"])
        return posterior.weigh(np.ones((1, self.dim)), columns).p[0]


rates = st.floats(-7.0, 3.0).map(lambda log_odds: float(1.0 / (1.0 + np.exp(-log_odds))))
defaults = st.sampled_from([0.0, 0.5]) | st.floats(0.0, 0.9)
sizes = st.sampled_from([1.0, 0.01]) | st.floats(0.01, 1.0)
"""Of answers, as shares of the way from the default to the top of the range."""


@settings(max_examples=12, deadline=None)
@given(
    kind=st.sampled_from(KINDS), rate=rates, default=defaults, size=sizes,
    incumbents=st.integers(1, 10), decisions=st.floats(30.0, 1e6),
)  # fmt: skip
@example(kind="beta", rate=0.5, default=0.0, size=1.0, incumbents=1, decisions=1e5)
@example(kind="diagonal", rate=0.05, default=0.5, size=1.0, incumbents=1, decisions=1e5)
@example(kind="gaussian", rate=0.9, default=0.0, size=0.01, incumbents=10, decisions=1e5)
@example(kind="logistic", rate=0.001, default=0.0, size=1.0, incumbents=10, decisions=1e6)
def test_a_new_action_begins_with_its_share(
    kind: str, rate: float, default: float, size: float, incumbents: int, decisions: float
) -> None:
    """At least 0.4 of an even share, whatever is known; half of all where others are well known."""
    taught = Taught(kind, incumbents, default, size * (1.0 - default))
    taught.teach(taught.incumbents, decisions, decisions * rate)
    assert taught.shares[-1] >= 0.4 / (incumbents + 1)
    if decisions * rate * (1.0 - rate) >= 100.0:
        assert taught.shares[-1] >= 0.5


@settings(max_examples=5, deadline=None)
@given(kind=st.sampled_from(KINDS), rate=rates, default=defaults, size=sizes,
       incumbents=st.integers(1, 10))  # fmt: skip
@example(kind="beta", rate=0.001, default=0.5, size=1.0, incumbents=1)
@example(kind="beta", rate=0.0024726231566347743, default=0.5, size=0.01, incumbents=1)
def test_what_a_new_action_gets_follows_what_it_earns(
    kind: str, rate: float, default: float, size: float, incumbents: int
) -> None:
    """A better one keeps most decisions, one without answers soon gets few."""
    n = sample_size(rate)
    better, dead, lucky = (
        Taught(kind, incumbents, default, size * (1.0 - default)) for _ in range(3)
    )
    for each in (better, dead, lucky):
        each.teach(each.incumbents, 100_000.0, 100_000.0 * rate)
    for _ in range(4):
        better.teach(["new"], n / 4, n / 4 * better_rate(rate))
        assert better.shares[-1] > 0.5
    dead.teach(["new"], n, 0.0)
    assert dead.shares[-1] < 0.05
    lucky.teach(["new"], 3.0, 3.0, 3)
    lucky.teach(["new"], 3.0 * n, 3.0 * n * better_rate(rate, 1.0 / 1.5))
    assert lucky.shares[-1] < 0.5


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("rate", [0.001, 0.05, 0.5, 0.9])
def test_a_first_lucky_action_does_not_win_for_good(kind: str, rate: float) -> None:
    """Of eleven new actions one is answered at once; the others are not forgotten."""
    taught = Taught(kind, 10, 0.0, 1.0)
    taught.teach(["a0"], 2.0, 2.0, 2)
    for decisions in (20.0, 200.0, 2000.0):
        taught.teach(["a0"], decisions, decisions * rate)
        assert taught.shares[1:].sum() > 0.1


CELLS = [
    World(1, 100_000, 0.5, (0.0, 1.0)),
    World(1, 100_000, 0.001, (0.0, 1.0)),
    World(1, 100_000, 0.05, (-1.0, 1.0)),
]
"""In each of them a kind of policy let the newcomer win in no trial of 100 before, or in one."""


@pytest.mark.parametrize("world", CELLS)
def test_a_better_action_wins_where_it_never_did(world: World) -> None:
    """Of 12 trials one may be lost: at 1.5 % that is exceeded with probability 1.3 %."""
    won = [trial(world, kind, 9_000 + seed).final > 0.5 for kind in KINDS for seed in range(3)]
    assert sum(won) >= len(won) - 1


def test_the_first_prior_follows_what_no_answer_is_worth() -> None:
    slot = Slot(
        id="s", time=moment(0), slot_id="s", reward_range=(-1.0, 1.0), default_reward=0.0,
        policy=PolicySettings(kind="beta"),
    )  # fmt: skip
    actions = tuple(
        Action(id=name, time=moment(0), action_id=name, slots=["s"]) for name in ("a", "b")
    )
    means = [summary.mean for summary in first_policy(slot, actions, 0).posterior.summary()]
    assert means == pytest.approx([0.5 + 0.5 / 21] * 2)
    usual = Slot(id="s", time=moment(0), slot_id="s")
    assert first_policy(usual, actions, 0).posterior.summary()[0].mean == pytest.approx(1 / 21)


@settings(max_examples=50)
@given(
    values=st.lists(st.lists(st.floats(0.0, 1.0), min_size=1, max_size=9), max_size=5),
    default=st.floats(0.0, 1.0),
)
def test_rewards_never_vary_more_than_clicks_of_the_same_mean(
    values: list[list[float]], default: float
) -> None:
    counts = np.array([float(len(rewards)) for rewards in values])
    sums = np.array([sum(rewards) for rewards in values])
    squares = np.array([sum(reward**2 for reward in rewards) for rewards in values])
    found = reward_variation(counts, sums, squares, default)
    assert 0.0 < found.dispersion <= 1.0
    assert 0.0 < found.size <= 1.0
    assert 0.0 < found.variance <= 0.26
    clicks = reward_variation(counts, np.round(sums), np.round(sums), 0.0)
    assert (clicks.dispersion, clicks.size) == (1.0, 1.0)


@pytest.mark.parametrize("kind", KINDS)
def test_statistics_without_squares_are_of_clicks(kind: str) -> None:
    """What earlier releases wrote: no squares, and their defaults as if they were given."""
    x = np.ones((3, int(kind != "beta")))
    policy = make_policy(kind, None, x.shape[1])
    policy.learn(
        Deltas(
            action_ids=["a", "b", "a"],
            x=x,
            eta=np.full(3, -3.5),
            time=np.zeros(3),
            count_delta=np.ones(3),
            reward_delta=np.array([1.0, 0.0, 0.0]),
        )
    )
    read = load_policy(policy.dump())
    columns = policy.publish().columns(["a", "b", "new"])
    np.testing.assert_array_equal(
        read.publish().weigh(x, columns).p, policy.publish().weigh(x, columns).p
    )


@functools.cache
def _untaught(kind: str) -> bytes:
    slot = Slot(id="s", time=moment(0), slot_id="s", policy=PolicySettings(kind=kind))
    return new_policy(slot, (), 1).dump()


@pytest.mark.parametrize("kind", KINDS)
def test_a_policy_keeps_what_no_answer_is_worth(kind: str) -> None:
    policy = load_policy(_untaught(kind))
    policy.default_reward = 0.25
    assert load_policy(policy.dump()).default_reward == 0.25
