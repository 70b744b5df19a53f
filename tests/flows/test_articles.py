"""Articles that requests bring: who likes which, what each request brings, and what is learned."""

import doctest
import math
from datetime import timedelta
from typing import Any

import msgspec
import numpy as np
import pytest
from bytewax.testing import run_main
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

import flows.devkit.articles
import flows.devkit.simulation.article_script
from flows.devkit.articles import (
    EVERY,
    FORMATS,
    LIVES,
    MEAN_CLICK,
    MOST_ALIVE,
    TOPICS,
    Articles,
)
from flows.devkit.demo_catalog import articles_slot
from flows.devkit.simulation.article_script import OFFERED, ArticleScript
from flows.devkit.visitors import HOURS, Visitors
from flows.runtime.clock import system_clock
from schemas.events import Decision
from schemas.settings import load
from tests.support.closed_loop import World, play

PEOPLE = Visitors(seed=5, users=300)
ARTICLES = Articles(PEOPLE, seed=5)


def script(rate: float = 50.0, seed: int = 5) -> ArticleScript:
    return ArticleScript(PEOPLE, Articles(PEOPLE, seed), seed, rate)


# --- the articles -------------------------------------------------------------------------------


def test_click_probabilities_are_the_formula() -> None:
    rng = np.random.default_rng(1)
    users, numbers = rng.integers(300, size=200), rng.integers(5000, size=200)
    found = ARTICLES.p(users, numbers)
    for user, number, p in zip(users.tolist(), numbers.tolist(), found.tolist(), strict=True):
        said, segment = ARTICLES.features(number), PEOPLE.users.segment[user]
        media, device = said["media"], PEOPLE.users.device[user]
        logit = (
            ARTICLES.intercept
            + ARTICLES.by_segment[segment, TOPICS.index(said["topic"])]
            + ARTICLES.by_format[device, FORMATS.index(media["format"])]
            + ARTICLES.by_length[device] * (media["minutes"] - 5) / 3
            + ARTICLES.stock(np.array([number])).appeal[0]
        )
        assert_allclose(p, 1.0 / (1.0 + math.exp(-logit)), rtol=1e-12)


def test_the_mean_click_probability_is_set_and_no_topic_is_liked_by_all() -> None:
    # 20,000 draws of probabilities whose deviation is about 0.1: five standard errors are 0.0035.
    rng = np.random.default_rng(2)
    users = PEOPLE.users_at(rng.random(20_000))
    found = ARTICLES.p(users, rng.integers(1024, size=20_000))
    assert abs(found.mean() - MEAN_CLICK) < 0.0071  # the intercept is from a sample as large
    for effects in (ARTICLES.by_segment, ARTICLES.by_format, ARTICLES.by_length):
        assert_allclose(effects.mean(axis=0), 0.0, atol=1e-12)
        assert effects.std() > 0.1


@given(st.floats(0.0, 1e6))
def test_articles_come_one_a_second_and_live_about_a_minute(at: float) -> None:
    numbers = ARTICLES.alive(at)
    born = EVERY * (numbers - MOST_ALIVE)
    life = ARTICLES.stock(numbers).life
    assert ((born <= at) & (at < born + life)).all()
    assert LIVES[0] - 1 <= len(numbers) <= MOST_ALIVE
    assert ARTICLES.alive(at + LIVES[1] + EVERY)[0] > numbers[-1], "all have gone"
    around = np.arange(max(0, numbers[0] - 100), numbers[-1] + 100)
    before = EVERY * (around - MOST_ALIVE)
    living = around[(before <= at) & (at < before + ARTICLES.stock(around).life)]
    assert_array_equal(numbers, living)


# --- the requests -------------------------------------------------------------------------------


@given(st.lists(st.integers(0, 20_000), min_size=1, max_size=10))
@settings(max_examples=30, deadline=None)
def test_a_request_depends_on_its_number_alone(numbers: list[int]) -> None:
    together = script()
    for number in numbers:
        one, other = together.request(number), script().request(number)
        assert one._replace(offered=None) == other._replace(offered=None)
        assert_array_equal(one.offered, other.offered)
        assert len(set(one.offered.tolist())) == OFFERED
        assert set(one.offered.tolist()) <= set(ARTICLES.alive(together.due(number)).tolist())
        assert 0 <= one.user < len(PEOPLE.users)


@given(st.floats(1.0, 200.0), st.lists(st.floats(0.0, 100.0), max_size=20))
def test_requests_are_due_at_even_distances(rate: float, moments: list[float]) -> None:
    found = script(rate)
    for moment in moments:
        count = found.count(moment)
        assert count == 0 or found.due(count - 1) <= moment * (1 + 1e-12)
        assert found.due(count) > moment


def test_requests_bring_other_articles_each_and_another_seed_other_ones() -> None:
    requests = [script().request(number) for number in range(500)]
    assert len({tuple(request.offered.tolist()) for request in requests}) == 500
    # 10 of 45 to 76 articles each: that one of the first 61 is brought by none is below 1e-12.
    assert set(ARTICLES.alive(5.0).tolist()) <= {n for r in requests for n in r.offered.tolist()}
    others = [script(seed=6).request(number) for number in range(500)]
    assert [r.user for r in requests] != [r.user for r in others]
    assert Articles(PEOPLE, 6).action_id(7) != ARTICLES.action_id(7)


@pytest.mark.parametrize("module", [flows.devkit.articles, flows.devkit.simulation.article_script])
def test_the_examples_are_true(module: Any) -> None:
    assert doctest.testmod(module).failed == 0


# --- what is learned ----------------------------------------------------------------------------


def test_a_policy_that_learns_from_features_beats_the_hold_out_on_articles_never_seen() -> None:
    """Each turn brings articles of its own; only features say what they are like."""
    visitors, turns = 60, 30

    def numbers(turn: int) -> range:
        return range(turn * OFFERED, (turn + 1) * OFFERED)

    def asks(visitor: int, turn: int) -> dict[str, Any]:
        return {
            "context": ARTICLES.context(visitor, turn % HOURS),
            "actions": [
                {"id": ARTICLES.action_id(n), "features": ARTICLES.features(n)}
                for n in numbers(turn)
            ],
        }

    def worth(visitor: int, decision: Decision) -> float:
        number = int(decision.action_id.rpartition("-")[2])
        return float(ARTICLES.p(np.array([visitor]), np.array([number]))[0])

    slot = msgspec.structs.replace(articles_slot(), slot_id="home")
    world = World(
        np.zeros((visitors, 1)),
        turns,
        load({}, secret="a secret of the tests", partitions=2),
        seed=3,
        consenting=0,
        ask=asks,
        worth=worth,
    )
    # On a clock that stands still no publication takes long, so none is rested after.
    now = system_clock() + timedelta(hours=1)
    flow, _ = play(world, [slot], clock=lambda: now)
    run_main(flow)
    users = np.repeat(np.arange(visitors), OFFERED)
    uniform = [ARTICLES.p(users, np.tile(numbers(turn), visitors)).mean() for turn in range(turns)]
    assert len(world.chance) == turns
    # A tenth of the decisions is the hold-out's, so the policy earns still more.
    assert np.mean(world.chance[-10:]) > 1.5 * np.mean(uniform[-10:])
