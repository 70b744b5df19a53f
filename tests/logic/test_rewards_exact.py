"""Rewards of any declared range add up as exact fractions do, in any order, within 64 bits."""

import random
from fractions import Fraction

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from operators.logic.attribution.rewards import Rewards, first_reward
from operators.logic.attribution.rules import AttributionRules, rules_of
from schemas.bounds import GREATEST_REWARD, LEAST_REWARD_SPAN
from schemas.catalog import Slot
from tests.support import records as make

SIZES = st.one_of(
    st.floats(-GREATEST_REWARD, GREATEST_REWARD),
    st.sampled_from([GREATEST_REWARD, -GREATEST_REWARD, 0.0, 1.0, 5e-324, 2.0**-33, -1e-12]),
)


def summed(values: list[float], order: list[int]) -> Rewards:
    first, *others = order
    rewards = first_reward(first, f"r{first}", values[first])
    for number in others:
        rewards.add(number, f"r{number}", values[number])
    return rewards


def packed(rewards: Rewards) -> Rewards:
    """What a snapshot gives back: msgpack holds no integer beyond 64 bits."""
    return msgspec.msgpack.decode(msgspec.msgpack.encode(rewards), type=Rewards)


@settings(deadline=None)
@given(SIZES, SIZES, st.lists(SIZES, min_size=1, max_size=12), st.randoms(), st.integers(1, 60))
def test_a_sum_is_the_rounded_sum_of_fractions(
    one: float, other: float, values: list[float], shuffler: random.Random, times: int
) -> None:
    low, high = min(one, other), max(one, other)
    if high - low < LEAST_REWARD_SPAN:
        return
    values = [max(low, min(high, value)) for value in values] * times
    order = list(range(len(values)))
    rewards = summed(values, order)
    shuffler.shuffle(order)
    half = max(1, len(order) // 2)
    again = packed(summed(values, order[:half]))
    for number in order[half:]:
        again.add(number, f"r{number}", values[number])
    assert (rewards.total, rewards.carried) == (again.total, again.carried)
    exact = sum(Fraction(value) for value in values)
    share = (exact - Fraction(low)) / (Fraction(high) - Fraction(low))
    expected = float(min(Fraction(1), max(Fraction(0), share)))
    made = make.slot("home", reward_range=(low, high), reward_aggregation="sum")
    error = len(values) * 2.0**-33 / (high - low) + 1e-6
    assert abs(rewards.reward(rules_of(made)) - expected) <= error


def test_many_of_the_greatest_rewards_fit_into_a_snapshot() -> None:
    rules = AttributionRules(
        aggregation="sum", click_reward=1.0, default=0.0, low=0.0, high=GREATEST_REWARD,
        needs_impression=False, viewable_only=False, quarantine=False,
    )  # fmt: skip
    rewards = summed([GREATEST_REWARD] * 1000, list(range(1000)))
    assert rewards.carried
    assert packed(rewards).reward(rules) == 1.0
    back = summed([GREATEST_REWARD] * 500 + [-GREATEST_REWARD] * 499, list(range(999)))
    assert (back.carried, back.total) == (0, round(GREATEST_REWARD * 2**32))


@pytest.mark.parametrize("aggregation", ["first", "sum", "max"])
@settings(deadline=None)
@given(low=SIZES, high=SIZES, click=SIZES)
def test_any_declared_range_gives_rewards_from_0_to_1(
    aggregation: str, low: float, high: float, click: float
) -> None:
    if high - low < LEAST_REWARD_SPAN:
        return
    slot: Slot = make.slot(
        "home",
        reward_range=(low, high),
        default_reward=low,
        click_reward=click,
        reward_aggregation=aggregation,
    )
    rules = rules_of(slot)
    rewards = summed([click, low, high], [2, 0, 1])
    assert 0.0 <= rewards.reward(rules) <= 1.0
    assert 0.0 <= rules.default_reward <= 1.0
