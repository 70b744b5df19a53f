"""Versions rise for every reader, whatever versions others write."""

from hypothesis import example, given, settings
from hypothesis import strategies as st

from operators.logic.policy_versions import (
    GENERATION,
    HIGHEST_BELIEVED,
    REACH,
    above_decisions,
    above_published,
    next_generation,
)
from operators.logic.slot_lives import SLOTS_KEPT, SlotLives

FOREIGN = st.integers(-(2**70), 2**70) | st.integers(0, 2**33) | st.just(4_294_967_295)


@settings(max_examples=300, deadline=None)
@given(
    st.integers(0, 2**31),
    st.lists(st.tuples(st.lists(FOREIGN, max_size=4), st.integers(0, 50)), max_size=30),
)
def test_foreign_versions_never_lower_it_and_use_up_no_more_than_half(
    version: int, turns: list[tuple[list[int], int]]
) -> None:
    counted = sum(published for _, published in turns)
    bound = max(version, HIGHEST_BELIEVED) + counted
    for foreign, published in turns:
        before = version
        version = above_decisions(version, foreign)
        assert version >= before
        version += published
    assert version <= bound


@settings(max_examples=200, deadline=None)
@given(st.integers(0, HIGHEST_BELIEVED - REACH), st.integers(1, REACH - 1), FOREIGN)
@example(version=0, more=GENERATION, foreign=1)
def test_what_an_earlier_life_decided_by_is_passed_beside_any_foreign_version(
    version: int, more: int, foreign: int
) -> None:
    earlier = version + more
    assert above_decisions(version, {foreign, earlier}) > earlier


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(1, 5 * GENERATION), min_size=1, max_size=50))
@example([1, GENERATION - 1])
def test_a_log_that_is_read_again_from_its_start_is_climbed(steps: list[int]) -> None:
    """Each life went on above the one before; all of it is believed, step by step.

    What is published next bears one more than the version to go on from.
    """
    version = earlier = 0
    for step in steps:
        earlier += step
        version = above_decisions(version, {earlier})
        assert version + 1 > earlier


def test_beyond_reach_a_version_counts_only_where_it_was_published() -> None:
    assert above_decisions(7, {7 + REACH}) == next_generation(7 + REACH)
    assert above_decisions(7, {8 + REACH}) == 7
    assert above_published(7, 8 + REACH) == next_generation(8 + REACH)
    assert above_published(7, 4_294_967_295) == 7


@settings(max_examples=100, deadline=None)
@given(st.lists(FOREIGN, max_size=5), st.integers(0, 5))
def test_a_slot_that_comes_back_begins_above_its_earlier_lives_and_within_31_bits(
    foreign: list[int], restarts: int
) -> None:
    lives = SlotLives()
    lives.follow(["home", "side"], at=0)
    lives.earlier("side", [*foreign, 7])
    for _ in range(restarts):
        lives = SlotLives(lives.state())
    lives.follow(["home"], at=5)
    assert lives.forget(5 + SLOTS_KEPT, busy=()) == ["side"]
    lives.follow(["home", "side"], at=6 + SLOTS_KEPT)
    assert 7 < lives.earlier("side") < HIGHEST_BELIEVED + 8 * GENERATION
