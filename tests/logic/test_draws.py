"""Draws: uniform, independent, and functions of names alone. Seeds are fixed by the secret."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chi2, kstest

from operators.logic.deciding.draws import (
    ACTION,
    GROUP,
    sticky_uniforms,
    uniform,
    uniform_pairs,
    uniforms,
)

SECRET = b"a secret of the tests"
N = 20_000


def many(salt=ACTION, secret=SECRET, slot="home"):
    subjects = [f"s{i % 97}" for i in range(N)]
    return uniforms(secret, slot, subjects, [f"d{i}" for i in range(N)], salt)


@given(st.binary(min_size=1, max_size=100), st.text(), st.lists(st.text(), max_size=4))
def test_a_batch_draws_what_single_decisions_draw(secret, slot, names):
    subjects, decisions = names, names[::-1]
    expected = [uniform(secret, slot, s, d) for s, d in zip(subjects, decisions, strict=True)]
    assert uniforms(secret, slot, subjects, decisions).tolist() == expected
    groups = [uniform(secret, slot, s, salt=GROUP) for s in subjects]
    assert sticky_uniforms(secret, slot, subjects).tolist() == groups
    assert all(0.0 <= number < 1.0 for number in [*expected, *groups])


def test_the_value_is_the_same_in_every_release():
    assert uniform(b"secret", "home", "ann", "d-1").hex() == "0x1.9504a4ce46a06p-1"


def test_draws_are_uniform():
    """Fails by chance once in 1e6 secrets: the secret is fixed."""
    assert kstest(many(), "uniform").pvalue > 1e-6
    counts = np.histogram(many(), 100, (0.0, 1.0))[0]
    assert ((counts - N / 100) ** 2 / (N / 100)).sum() < chi2.isf(1e-6, 99)


@pytest.mark.parametrize(
    "other",
    [
        many(salt=GROUP),
        many(secret=b"another"),
        many(slot="away"),
        np.roll(many(), 1),
    ],
)
def test_streams_are_independent(other):
    """A 10 × 10 table of two streams; fails by chance once in 1e6 secrets."""
    table = np.histogram2d(many(), other, 10, ((0, 1), (0, 1)))[0]
    assert ((table - N / 100) ** 2 / (N / 100)).sum() < chi2.isf(1e-6, 99)


def test_a_pair_is_two_independent_uniform_numbers():
    """Each check fails by chance once in 1e6 secrets."""
    names = [f"s{i % 97}" for i in range(N)], [f"d{i}" for i in range(N)]
    first, second = uniform_pairs(SECRET, "home", *names)
    assert kstest(first, "uniform").pvalue > 1e-6
    assert kstest(second, "uniform").pvalue > 1e-6
    table = np.histogram2d(first, second, 10, ((0, 1), (0, 1)))[0]
    assert ((table - N / 100) ** 2 / (N / 100)).sum() < chi2.isf(1e-6, 99)
    again = uniform_pairs(SECRET, "home", names[0][5:9], names[1][5:9])
    assert again[0].tolist() == first[5:9].tolist()
    assert again[1].tolist() == second[5:9].tolist()


def test_names_do_not_run_together():
    assert uniform(SECRET, "ab", "c") != uniform(SECRET, "a", "bc")
    assert uniform(SECRET, "a", "") != uniform(SECRET, "", "a")
    assert uniform(SECRET, "1:a", "b") != uniform(SECRET, "1", "a1:b")


def test_a_subject_keeps_its_group():
    first = sticky_uniforms(SECRET, "home", ["ann", "bob", "ann"])
    assert first[0] == first[2] != first[1]
    assert sticky_uniforms(SECRET, "home", ["ann"])[0] == first[0]


def test_without_a_secret_nothing_is_drawn():
    with pytest.raises(ValueError, match="draw secret is empty"):
        uniform(b"", "home")
