"""Matrix factorisation: it finds shared tastes, forgets on request, and restarts exactly."""

import numpy as np
import pytest

from operators.logic.models import FactorModel, FactorSettings
from tests.support.settled import settled, settlements

SUBJECTS, ACTIONS = 200, 12


def tastes(n, seed=0):
    """Subjects of two camps; each likes one half of the actions."""
    rng = np.random.default_rng(seed)
    outcomes = []
    for number in range(n):
        subject, action = int(rng.integers(SUBJECTS)), int(rng.integers(ACTIONS))
        p = 0.5 if subject % 2 == action % 2 else 0.05
        outcomes.append(
            settled(number, f"a{action}", float(rng.random() < p), subject=f"s{subject}")
        )
    return outcomes


OUTCOMES = tastes(20_000)


def test_factors_tell_the_camps_apart():
    model = FactorModel()
    model.learn(settlements(OUTCOMES))
    subjects = np.array([model.subject_factors(f"s{i}") for i in range(SUBJECTS)])
    actions = np.array([model.action_factors(f"a{i}") for i in range(ACTIONS)])
    scores = subjects @ actions.T
    same = np.arange(SUBJECTS)[:, None] % 2 == np.arange(ACTIONS)[None] % 2
    assert ((scores > scores.mean()) == same).mean() > 0.95


def test_restarts_and_batches_change_nothing():
    whole, again = FactorModel(), FactorModel()
    whole.learn(settlements(OUTCOMES[:3000]))
    for start in range(0, 3000, 370):
        again.learn(settlements(OUTCOMES[start : min(start + 370, 3000)]))
        again = FactorModel.load(again.dump())
    assert again.dump() == whole.dump()
    factors = whole.subject_factors("s1")
    assert again.subject_factors("s1") == pytest.approx(factors, rel=1e-12)


def test_a_forgotten_subject_leaves_no_trace_of_its_own():
    model = FactorModel()
    model.learn(settlements(OUTCOMES[:3000]))
    assert model.forget("s1")
    assert not model.forget("s1")
    assert model.subject_factors("s1") is None
    assert "s1" not in model.changed()
    assert b"\xa2s2\xc4" in model.dump()
    assert b"\xa2s1\xc4" not in model.dump()


def test_room_is_made_at_the_same_outcome_however_they_are_batched():
    whole, again = (FactorModel(FactorSettings(max_subjects=40)) for _ in range(2))
    whole.learn(settlements(OUTCOMES[:1500]))
    for start in range(0, 1500, 7):
        again.learn(settlements(OUTCOMES[start : min(start + 7, 1500)]))
    assert again.dump() == whole.dump()
    assert len(whole) == 40
    assert whole.evicted == again.evicted > 0


def test_subjects_without_a_name_are_passed_over():
    model = FactorModel()
    outcomes = [settled(0, "a0", 1.0, subject=None)]
    assert model.learn(settlements(outcomes)) == 0
    assert (len(model), model.action_factors("a0")) == (0, None)


def test_changes_are_given_once():
    model = FactorModel()
    model.learn(settlements(OUTCOMES[:50]))
    changed = model.changed()
    assert set(changed) == {outcome.subject for outcome in OUTCOMES[:50]}
    name = OUTCOMES[0].subject
    assert (changed[name].factors == model.subject_factors(name)).all()
    assert sum(change.outcomes for change in changed.values()) == 50
    assert model.changed() == {}


def test_the_longest_unseen_are_forgotten_first():
    model = FactorModel(FactorSettings(max_subjects=3))
    model.learn(settlements([settled(i, "a0", 0.0, subject=s) for i, s in enumerate("abcad")]))
    assert [s for s in "abcd" if model.subject_factors(s) is not None] == ["a", "c", "d"]
    assert model.evicted == 1
    model = FactorModel(FactorSettings(ttl=100.0))
    model.learn(
        settlements([settled(0, "a0", 0.0, subject="a"), settled(90, "a0", 0.0, subject="b")])
    )
    assert len(model) == 2
    model.learn(settlements([settled(101, "a0", 0.0, subject="c")]))
    assert model.subject_factors("a") is None
    assert len(model) == 2


def test_a_subject_starts_from_its_own_place_whenever_it_comes():
    first, second = FactorModel(), FactorModel()
    first.learn(
        settlements([settled(0, "a0", 1.0, subject="x"), settled(1, "a1", 1.0, subject="y")])
    )
    second.learn(
        settlements([settled(1, "a1", 1.0, subject="y"), settled(0, "a0", 1.0, subject="x")])
    )
    start = FactorModel()._model.u_latents
    assert (start["x"] == start.initial("x")).all()
    for name in "xy":
        moved = np.abs(first.subject_factors(name) - second.subject_factors(name)).max()
        assert moved < 1e-2


def test_only_the_actions_learned_from_last_are_remembered():
    settings = FactorSettings(max_actions=6)
    names = [f"a{number // 20 + number % 4}" for number in range(900)]
    outcomes = [settled(n, name, float(n % 3 == 0)) for n, name in enumerate(names)]
    whole, again = FactorModel(settings), FactorModel(settings)
    whole.learn(settlements(outcomes))
    for start in range(0, 900, 70):
        again.learn(settlements(outcomes[start : start + 70]))
        again = FactorModel.load(again.dump())
        assert len(again._model.i_latents) == len(again._model.i_biases) <= 6
    assert again.dump() == whole.dump()
    assert whole.action_factors("a0") is None
    assert whole.action_factors(names[-1]) is not None
