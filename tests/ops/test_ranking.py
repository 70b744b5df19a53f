"""The environments of rankings: what they give, by which formula, and that learners fit them."""

import json
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ops.benchmarks.bandits.ranking import cells, paired, report, speeds, tuning
from ops.benchmarks.bandits.ranking.campaign import tasks_of
from ops.benchmarks.bandits.ranking.environments import SETS, STREAMS, environment_of
from ops.benchmarks.bandits.ranking.learners import Decisions, Uniform
from ops.benchmarks.bandits.ranking.market import LIVE, TURNOVER
from ops.benchmarks.bandits.ranking.requests import Block, Floats, Requests
from ops.benchmarks.bandits.ranking.runner import batches, run
from ops.benchmarks.bandits.ranking.settings import SETTINGS
from ops.benchmarks.bandits.ranking.tasks import Row, Task
from ops.benchmarks.bandits.ranking.vowpal import Setting, VowpalWabbit, crossing, text
from ops.benchmarks.bandits.ranking.wide import Wide
from ops.benchmarks.bandits.speeds import Speed

_SHIPPED = pytest.mark.skipif(
    find_spec("sklearn") is None, reason="scikit-learn is one of the benchmarks' own packages"
)
SMALL = (
    pytest.param("wine", marks=_SHIPPED),
    pytest.param("cancer", marks=_SHIPPED),
    "phishing",
)
"""Sets that are read in no time."""


made = lru_cache(environment_of)


@lru_cache(maxsize=16)
def all_of(name: str, seed: int, events: int) -> tuple[Requests, Floats, Floats]:
    """Give an environment's events as one block's parts; the same objects for all callers."""
    environment = made(name, seed, events)
    (block,) = batches(environment.blocks(), lambda: events)
    return block.requests, block.p, block.u


@pytest.mark.parametrize("name", [*STREAMS, *SMALL])
def test_an_environment_is_the_same_by_its_seed_and_another_by_another(name: str) -> None:
    first, other = all_of(name, 7, 300), all_of(name, 8, 300)
    all_of.cache_clear()
    made.cache_clear()
    again = all_of(name, 7, 300)
    assert again[1] is not first[1]
    assert first[0].contexts == again[0].contexts
    assert first[0].actions == again[0].actions
    assert all(np.array_equal(one, two) for one, two in zip(first[1:], again[1:], strict=True))
    assert first[0].contexts != other[0].contexts
    assert not np.array_equal(first[2], other[2])


@pytest.mark.parametrize("name", STREAMS)
def test_a_longer_environment_begins_as_a_shorter_one(name: str) -> None:
    short, long = all_of(name, 7, 300), all_of(name, 7, 1_100)
    assert short[0].contexts == long[0].contexts[:300]
    assert short[0].actions == long[0].actions[:300]
    assert np.array_equal(short[1], long[1][:300])
    assert np.array_equal(short[2], long[2][:300])


@pytest.mark.parametrize("name", [*STREAMS, *SMALL])
def test_requests_have_the_shape_that_they_promise(name: str) -> None:
    environment = made(name, 7, 400)
    requests, p, u = all_of(name, 7, 400)
    assert p.shape == (400, environment.candidates)
    assert ((p >= 0.0) & (p <= 1.0)).all()
    assert ((u >= 0.0) & (u < 1.0)).all()
    assert (np.diff(requests.times) >= 0.0).all()
    letters = [*environment.context_namespaces, *environment.action_namespaces]
    assert len({name[0] for name in letters}) == len(letters)
    assert "k" not in {name[0] for name in letters}  # what VW's ids are called
    for context, actions in zip(requests.contexts, requests.actions, strict=True):
        assert tuple(context) == environment.context_namespaces
        assert len({action["id"] for action in actions}) == environment.candidates
        assert all(tuple(a["features"]) == environment.action_namespaces for a in actions)
    json.dumps([requests.contexts, requests.actions], allow_nan=False)


def test_a_market_without_repeats_has_none_and_the_others_have_a_thousand_that_turn_over() -> None:
    seen = [a["id"] for row in all_of("market-unrepeated", 7, 500)[0].actions for a in row]
    assert len(set(seen)) == len(seen) == 10_000
    actions = all_of("market-stationary", 7, 10 * TURNOVER)[0].actions
    for start in range(0, 10 * TURNOVER, TURNOVER):
        # 1,000 draws of 20 from 1,000 show some 63 % of them, and none that came later
        shown = {int(a["id"][1:]) for row in actions[start : start + TURNOVER] for a in row}
        assert 550 < len(shown) < 720
        assert max(shown) < LIVE + start // TURNOVER


def test_the_drifting_market_differs_from_the_stationary_one_in_what_items_are_worth_alone() -> (
    None
):
    still, drifting = all_of("market-stationary", 7, 2_500), all_of("market-drifting", 7, 2_500)
    assert still[0].contexts == drifting[0].contexts
    assert still[0].actions == drifting[0].actions
    assert np.array_equal(still[2], drifting[2])
    assert np.array_equal(still[1][:1_000], drifting[1][:1_000])
    first, second = (np.abs(still[1] - drifting[1])[k : k + 1_000].mean() for k in (1_000, 2_000))
    assert 0.0 < first < second


def test_articles_live_two_to_six_minutes_and_show_their_age() -> None:
    requests = all_of("news", 7, 12_000)[0]
    ages: dict[str, list[int]] = {}
    first: dict[str, float] = {}
    last: dict[str, float] = {}
    for now, row in zip(requests.times, requests.actions, strict=True):
        for action in row:
            ages.setdefault(action["id"], []).append(action["features"]["state"]["age"])
            first.setdefault(action["id"], now)
            last[action["id"]] = now
    whole = [who for who, at in first.items() if at > 60.0 and last[who] < 1_100.0]
    assert len(whole) > 200
    assert all(ages[who] == sorted(ages[who]) and ages[who][0] == 0 for who in whole)
    lives = np.array([last[who] - first[who] for who in whole])
    assert lives.max() <= 360.0
    assert 100.0 < lives.min() < 140.0
    assert 220.0 < lives.mean() < 250.0  # uniform between two and six minutes: 240


@pytest.mark.parametrize(
    ("name", "mean"), [("market-stationary", 0.05), ("market-unrepeated", 0.05), ("news", 0.04)]
)
def test_the_mean_reward_is_what_the_intercept_was_found_for(name: str, mean: float) -> None:
    # Calibrated over users alike; those that come often and the trends of topics make it differ.
    p = all_of(name, 7, 4_000)[1]
    assert p.mean() == pytest.approx(mean, rel=0.25)


@pytest.mark.parametrize("name", [*STREAMS, *SMALL])
def test_a_uniform_learner_earns_the_mean_of_the_candidates(name: str) -> None:
    environment = made(name, 7, 4_000)
    p = all_of(name, 7, environment.events)[1]
    outcome = run(Uniform(environment, 1), environment)
    # Each choice is worth the mean of its row, with the row's variance.
    total = p.max(axis=1).sum()
    error = np.sqrt(p.var(axis=1).sum()) / total
    assert outcome.fractions[environment.events] == pytest.approx(
        p.mean(axis=1).sum() / total, abs=4.0 * error
    )
    assert outcome.audit == pytest.approx(1.0)


class Oracle:
    """Knows the probabilities; chooses the best (``sign`` 1) or the worst (-1)."""

    def __init__(self, name: str, seed: int, events: int, batch: int, sign: float) -> None:
        self.batch = batch
        self._p, self._u = all_of(name, seed, events)[1:]
        self._sign, self._at = sign, 0
        self.rewards: list[float] = []

    def decide(self, requests: Requests) -> Decisions:
        """Choose."""
        rows = self._p[self._at : self._at + len(requests)]
        chosen = (self._sign * rows).argmax(axis=1)
        p = np.zeros_like(rows)
        p[np.arange(len(rows)), chosen] = 1.0
        return Decisions(p, chosen)

    def learn(self, requests: Requests, decisions: Decisions, rewards: Floats) -> None:
        """Compare the rewards with those of the environment's own numbers."""
        rows = np.arange(self._at, self._at + len(requests))
        expected = self._u[rows] < self._p[rows, decisions.chosen]
        assert np.array_equal(rewards, expected.astype(float))
        self._at += len(requests)
        self.rewards += rewards.tolist()


@pytest.mark.parametrize("batch", [1, 7, 250, 5_000])
def test_the_oracle_earns_one_and_luck_is_shared_whatever_the_batch(batch: int) -> None:
    events = 1_003
    best = Oracle("market-stationary", 7, events, batch, 1.0)
    worst = Oracle("market-stationary", 7, events, 250, -1.0)
    found = run(best, made("market-stationary", 7, events)).fractions
    assert found == {1_000: pytest.approx(1.0), events: pytest.approx(1.0)}
    least = run(worst, made("market-stationary", 7, events)).fractions[events]
    _, p, _ = all_of("market-stationary", 7, events)
    assert least == pytest.approx(p.min(axis=1).sum() / p.max(axis=1).sum())
    assert len(best.rewards) == len(worst.rewards) == events
    assert all(one >= other for one, other in zip(best.rewards, worst.rewards, strict=True))


@given(st.lists(st.integers(1, 9), min_size=1, max_size=8), st.integers(1, 12))
def test_batches_keep_order_and_lose_nothing(sizes: list[int], size: int) -> None:
    def blocks() -> Any:
        at = 0
        for count in sizes:
            numbers = np.arange(at, at + count, dtype=float)
            at += count
            named = [{"n": int(i)} for i in numbers]
            yield Block(Requests(numbers, named, [[c] for c in named]), numbers[:, None], numbers)

    found = list(batches(blocks(), lambda: size))
    assert [len(block.u) for block in found[:-1]] == [size] * (len(found) - 1)
    assert 1 <= len(found[-1].u) <= size
    for values in (
        [c["n"] for block in found for c in block.requests.contexts],
        [a[0]["n"] for block in found for a in block.requests.actions],
        np.concatenate([block.p[:, 0] for block in found]).tolist(),
        np.concatenate([block.requests.times for block in found]).tolist(),
    ):
        assert values == list(range(sum(sizes)))


def test_a_learner_whose_probabilities_cannot_be_right_is_refused() -> None:
    class Wrong(Uniform):
        """Gives twice as much."""

        def decide(self, requests: Requests) -> Decisions:
            right = super().decide(requests)
            return Decisions(2.0 * right.p, right.chosen)

    environment = made("phishing", 7, 100)
    with pytest.raises(ValueError, match="sum to 1"):
        run(Wrong(environment, 1), environment)


class Trivial:
    """The candidate whose colour the context names is worth 0.9, the others 0.1."""

    name, candidates, events = "trivial", 3, 600
    context_namespaces, action_namespaces = ("user",), ("item",)

    def blocks(self) -> Any:
        """Give all at once."""
        rng = np.random.default_rng(5)
        wanted = rng.integers(3, size=self.events)
        actions = [{"id": f"c{i}", "features": {"item": {"colour": f"c{i}"}}} for i in range(3)]
        contexts = [{"user": {"likes": f"c{i}"}} for i in wanted.tolist()]
        p = np.where(wanted[:, None] == np.arange(3), 0.9, 0.1)
        requests = Requests(np.arange(600.0), contexts, [actions] * self.events)
        yield Block(requests, p, rng.random(self.events))


@pytest.mark.parametrize(
    "setting",
    [
        Setting("--squarecb --gamma_scale 100", losses=True),
        Setting("--bag 3", "all", losses=True),
        Setting("--epsilon 0.1", "cubic", ids=True),
    ],
)
def test_vowpal_wabbit_gives_probabilities_and_learns_a_trivial_case(setting: Setting) -> None:
    pytest.importorskip("vowpalwabbit")
    environment = Trivial()
    learner = VowpalWabbit(environment, setting, 1)
    found: list[Floats] = []
    for block in batches(environment.blocks(), lambda: 1):
        decisions = learner.decide(block.requests)
        found.append(decisions.p[0])
        rewards = (block.u < block.p[0, decisions.chosen]).astype(float)
        learner.learn(block.requests, decisions, rewards)
    p = np.array(found)
    assert p.shape == (600, 3)
    assert np.allclose(p.sum(axis=1), 1.0, atol=1e-9)
    assert (p >= 0.0).all()
    (block,) = environment.blocks()
    late = p[300:][block.p[300:] == 0.9].mean()
    assert late > 0.75  # a third without learning


@pytest.mark.parametrize("arguments", ["--squarecb", "--bag 5"])
def test_examples_that_are_kept_teach_what_text_parsed_again_does(arguments: str) -> None:
    pytest.importorskip("vowpalwabbit")
    from vowpalwabbit import Workspace

    environment = made("news", 7, 150)
    setting = Setting(arguments)
    ours = VowpalWabbit(environment, setting, 3)
    crossed = crossing(setting, environment.context_namespaces, environment.action_namespaces)
    theirs = Workspace(f"--cb_explore_adf {arguments} {crossed} --quiet --random_seed 3")
    for block in batches(environment.blocks(), lambda: 1):
        decisions = ours.decide(block.requests)
        rewards = (block.u < block.p[0, decisions.chosen]).astype(float)
        ours.learn(block.requests, decisions, rewards)
        lines = [text(action["features"]) for action in block.requests.actions[0]]
        context = f"shared {text(block.requests.contexts[0])}"
        assert np.allclose(theirs.predict([context, *lines]), decisions.p[0], atol=1e-6)
        at = int(decisions.chosen[0])
        lines[at] = f"0:{-rewards[0]:g}:{decisions.p[0, at]:.6g} {lines[at]}"
        theirs.learn([context, *lines])


def test_the_wide_requests_have_thirty_features_a_side() -> None:
    (block,) = batches(Wide(50, 7, 200).blocks(), lambda: 200)
    assert block.p.shape == (200, 50)
    sides = [*block.requests.contexts, *(a["features"] for a in block.requests.actions[0])]
    for side in sides:
        line = text(side)
        assert len([word for word in line.split() if not word.startswith("|")]) == 30
    assert all(len({a["id"] for a in row}) == 50 for row in block.requests.actions)


def test_speeds_of_learners_that_take_turns() -> None:
    pytest.importorskip("vowpalwabbit")
    found = speeds.speeds(3, 7, 1, ())
    assert [speed.learner for speed in found] == [f"{who}, 3 candidates" for who in speeds.RIVALS]
    assert all(speed.median > 0.0 for speed in found)
    of = dict.fromkeys(speeds.RIVALS, 10.0) | {"VW squarecb, pairs": 99.0, "new": 51.0}
    measured = [Speed(f"{who}, 20 candidates", value, (0.0, 0.0)) for who, value in of.items()]
    assert speeds.bar(measured, "new").passed is True
    slow = [Speed("new, 20 candidates", 49.0, (0.0, 0.0)), *measured[:-1]]
    assert speeds.bar(slow, "new").passed is False


def test_every_setting_starts_and_decides() -> None:
    pytest.importorskip("vowpalwabbit")
    assert len(SETTINGS) >= 20
    for setting in SETTINGS.values():
        environment = Trivial()
        learner = VowpalWabbit(environment, setting, 1)
        block = next(batches(environment.blocks(), lambda: 1))
        decisions = learner.decide(block.requests)
        learner.learn(block.requests, decisions, np.ones(1))


def test_finished_tasks_are_kept_by_line_and_a_torn_line_is_run_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "cells" / "rows.jsonl"
    tasks = [Task("phishing", "uniform", seed, 200) for seed in (1, 2, 3)]
    first = {row.seed: row for row in cells.performed(tasks, 1, path)}
    assert first.keys() == {1, 2, 3}
    torn = path.read_bytes().rstrip()[:-5]  # as a kill within the last write leaves it
    path.write_bytes(torn)
    assert len(dict(cells.read(path))) == 2
    again = list(cells.performed(tasks, 1, path))
    assert [row.fractions for row in sorted(again, key=lambda row: row.seed)] == [
        first[seed].fractions for seed in (1, 2, 3)
    ]
    assert len(dict(cells.read(path))) == 3
    with monkeypatch.context() as patch:
        patch.setattr(cells, "perform", lambda _: pytest.fail("performed again"))
        assert {row.seed: row for row in cells.performed(tasks, 1, path)}.keys() == {1, 2, 3}


def row_of(environment: str, learner: str, seed: int, events: int, figure: float) -> Row:
    return Row(
        environment=environment,
        learner=learner,
        seed=seed,
        events=events,
        fractions={events: figure},
        seconds=1.0,
        audit=1.0,
    )


def test_tuning_takes_the_finalists_of_the_first_seed_and_chooses_by_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = list(SETTINGS)
    asked: list[Task] = []

    def perform(tasks: Any) -> list[Row]:
        """The later a setting stands the better, but the last of all fails on other seeds."""
        asked.extend(tasks)
        return [
            row_of(t.environment, t.learner, t.seed, t.events, figure)
            for t in tasks
            for place in [names.index(t.learner)]
            for figure in [0.0 if t.seed != 900 and place == len(names) - 1 else place / 100.0]
            for figure in [1.0 if t.events == 50_000 and place == len(names) - 3 else figure]
        ]

    found = {name: tuning.tune(name, perform) for name in ("news", "wine")}
    assert (found["news"].short, found["news"].long) == (names[-2], names[-3])
    assert (found["wine"].short, found["wine"].long) == (names[-2], names[-2])
    assert found["wine"].means[names[-1]] == pytest.approx((len(names) - 1) / 300.0)
    assert found["wine"].means[names[3]] == pytest.approx(0.03)
    assert {task.seed for task in asked} == {900, 901, 902}
    assert {task.learner for task in asked if task.seed == 900} == set(names)
    assert len({task.learner for task in asked if task.seed == 901}) == tuning.FINALISTS
    monkeypatch.setattr(tuning, "FOUND", tmp_path / "tuned.json")
    for name, one in found.items():
        tuning.keep(name, one)
    assert tuning.tuned() == found


def test_a_learner_is_compared_with_the_rival_that_is_best_on_the_same_seeds() -> None:
    rows = [
        row_of("news", who, seed, 10_000, figure)
        for seed in range(5)
        for who, figure in (("VW a", 0.5), ("VW b", 0.6), ("new", 0.61 + 0.001 * seed))
    ] + [row_of("news", "VW c", 0, 10_000, 0.9)]
    found = paired.paired(rows, "news", "new", 10_000)
    assert found is not None
    assert found.rival == "VW b"
    assert found.mean == pytest.approx(0.012)
    # Deviations of 0.001 times -2 to 2: variance 2.5e-6; the quantile of t with 4 degrees: 2.776.
    assert found.half_width == pytest.approx(2.776 * np.sqrt(2.5e-6 / 5), rel=1e-3)
    (bar, later) = paired.bars(rows, "new")
    assert bar.passed is True
    assert later.passed is None
    worse = [row_of("news", "new", r.seed, 10_000, 0.5) if r.learner == "new" else r for r in rows]
    assert paired.bars(worse, "new")[0].passed is False


def test_the_tables_give_means_errors_speeds_and_intervals() -> None:
    rows = [
        row_of("news", who, seed, 10_000, f + 0.1 * seed)
        for who, f in (("VW a", 0.5), ("uniform", 0.2))
        for seed in (0, 1)
    ]
    assert list(report.lines(rows)) == [
        ["news", "VW a", "2", "0.550 ± 0.050", "", "", "0.550 ± 0.050", "10,000", "10,000"],
        ["news", "uniform", "2", "0.250 ± 0.050", "", "", "0.250 ± 0.050", "10,000", "10,000"],
    ]
    found = paired.paired(rows, "news", "uniform", 10_000)
    assert found is not None
    line = ["news", "uniform", "VW a", "10,000", "2", "-0.300 ± 0.000", "-0.300 to -0.300"]
    assert list(report.pair_lines([found])) == [line]
    assert paired.paired(rows, "news", "uniform", 50_000) is None


def test_what_was_tuned_is_a_setting_and_is_run_with_the_uniform_learner(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    best = tuning.tuned()
    assert set(best) <= {*STREAMS, *SETS}
    for found in best.values():
        assert {found.short, found.long} <= found.means.keys() == SETTINGS.keys()
    news = tuning.Tuned("VW bag 5", "VW cover 5", {})
    monkeypatch.setattr(tuning, "FOUND", tmp_path / "tuned.json")
    tuning.keep("news", news)
    tuning.keep("wine", tuning.Tuned("VW bag 5", "VW bag 5", {}))
    tasks = tasks_of(["news", "wine"], [1, 2], 500, ["new"])
    asked = [(t.environment, t.learner, t.seed) for t in tasks]
    assert len(set(asked)) == len(asked)
    assert {who for name, who, _ in asked if name == "news"} == {
        "VW bag 5", "VW cover 5", "uniform", "new",
    }  # fmt: skip
    assert {who for name, who, _ in asked if name == "wine"} == {"VW bag 5", "uniform", "new"}
    assert all((t.setting is None) == (t.learner in ("uniform", "new")) for t in tasks)
    with pytest.raises(ValueError, match="digits"):
        tasks_of(["news", "digits"], [1], 500, [])
