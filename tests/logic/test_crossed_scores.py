"""Scores without rows are those of the crossed rows; deviations those of features' worths."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from operators.logic.features.auto import AutoEncoder
from operators.logic.features.crossing import Crossing, Operands, crossed
from operators.logic.features.rows import Rows
from operators.logic.policies.base import Deltas
from operators.logic.policies.shared import Shared, SharedPosterior
from schemas.catalog import AutoFeatures
from tests.logic.test_crossing import CROSSES, DECISIONS, all_entries
from tests.support.free_json import turned


def posterior_of(seed: int, auto: AutoFeatures, **params: Any) -> SharedPosterior:
    """Learn 40 decisions whose features are some that examples have, too."""
    rng = np.random.default_rng(seed)
    encoder, crossing = AutoEncoder(auto), Crossing(auto)
    contexts = [{"k": "xy"[n % 2], "a": {"q": float(n % 3)}} for n in rng.integers(9, size=40)]
    actions = [{"k": "yx"[n % 2], "b": {"r": float(n % 5)}} for n in rng.integers(9, size=40)]
    taken = [[encoder.encode(each)] for each in actions]
    operands = crossing.operands([encoder.encode(each) for each in contexts], taken)
    policy = Shared(params, crossing.width)
    policy.learn(
        Deltas(
            action_ids=[f"a{n % 5}" for n in range(40)],
            x=np.zeros((40, 0)),
            eta=rng.normal(size=40) - 1.0,
            time=np.arange(40.0),
            count_delta=np.ones(40),
            reward_delta=(rng.random(40) < 0.4).astype(float),
            rows=crossed(operands),
        )
    )
    return policy.publish()


def coefficients(posterior: SharedPosterior, columns: Sequence[int]) -> tuple[Any, Any]:
    """Give mean and variance of single columns, as rows of one entry show them."""
    count = len(columns)
    rows = Rows(np.arange(count + 1), np.array(columns, np.int64), np.ones(count), 2**20)
    scores = posterior.score(rows, [""] * count)
    return scores.mean, np.square(scores.width) - scores.own


AUTO = st.builds(
    AutoFeatures,
    bits=st.sampled_from([8, 18]),
    crosses=CROSSES,
    most_crossed=st.integers(0, 9) | st.just(4096),
    context_products=st.sampled_from([0, 12, 256]),
    context_alone=st.booleans(),
)


@given(DECISIONS, AUTO, st.integers(0, 5), st.sampled_from([0, 2**7, 2**16]))
@settings(deadline=None, max_examples=60)
def test_means_are_those_of_the_rows(
    decisions: list[tuple[Any, list[Any]]], auto: AutoFeatures, seed: int, buckets: int
) -> None:
    # 128 buckets are no more than the sketch is wide, so everything is solved exactly.
    posterior = posterior_of(seed, auto, buckets=buckets or 2**10, whole=0 if not buckets else 1024)
    encoder, crossing = AutoEncoder(auto), Crossing(auto)
    operands = crossing.operands(
        [encoder.encode(context) for context, _ in decisions],
        [[encoder.encode(each) for each in some] for _, some in decisions],
    )
    ids = [f"a{n % 7}" for n in range(len(operands.which))]
    scores, of_rows = (
        posterior.score_crossed(operands, ids),
        posterior.score(crossed(operands), ids),
    )
    np.testing.assert_allclose(scores.mean, of_rows.mean, rtol=1e-9, atol=1e-9)
    assert scores.indptr.tolist() == operands.starts.tolist()
    place = 0
    for context, some in decisions:
        for action in some:
            one = crossing.operands([encoder.encode(turned(context))], [[encoder.encode(action)]])
            alone = posterior.score_crossed(one, ids[place : place + 1])
            np.testing.assert_allclose(alone.mean[0], scores.mean[place], rtol=1e-12)
            np.testing.assert_allclose(alone.width[0], scores.width[place], rtol=1e-9)
            place += 1


@given(DECISIONS, AUTO, st.integers(0, 5))
@settings(deadline=None, max_examples=60)
def test_variances_are_those_of_the_features_worths(
    decisions: list[tuple[Any, list[Any]]], auto: AutoFeatures, seed: int
) -> None:
    posterior = posterior_of(seed, auto)
    encoder, crossing = AutoEncoder(auto), Crossing(auto)
    contexts = [encoder.encode(context) for context, _ in decisions]
    candidates = [[encoder.encode(each) for each in some] for _, some in decisions]
    operands = crossing.operands(contexts, candidates)
    scores = posterior.score_crossed(operands, ["new"] * len(operands.which))
    intercept = posterior.score(crossed(crossing.operands([], [])), []).own
    place = 0
    for context, some in zip(contexts, candidates, strict=True):
        for action in some:
            # Values that share a column add up by their squares, as if each had one of its own.
            entries, _ = all_entries(auto, context, action)
            columns = [max(column & 65_535, 1) if column else 0 for column in entries]
            _, variances = coefficients(posterior, columns)
            squares = [sum(value**2 for value in values) for values in entries.values()]
            expected = float(np.dot(variances, squares))
            found = float(np.square(scores.width[place])) - intercept
            assert found == pytest.approx(expected, rel=1e-5, abs=1e-12)
            place += 1


def covariance(posterior: SharedPosterior, operands: Operands) -> tuple[Any, Any]:
    """Give the correlation of the first two scores, from their rows, and as it is estimated."""
    scores = posterior.score_crossed(operands, ["new"] * len(operands.which))
    first, second = _by_column(operands)
    shared = sorted(first.keys() & second.keys())
    columns = [max(column & 65_535, 1) if column else 0 for column in shared]
    _, variances = coefficients(posterior, columns)
    values = np.array([first[column] * second[column] for column in shared])
    widths = scores.width[:2].prod()
    return values @ variances / widths, scores.factor[0] @ scores.factor[1] / widths


def _by_column(operands: Operands) -> list[dict[int, float]]:
    rows = [crossed(operands).take([k]) for k in range(2)]
    return [dict(zip(row.indices.tolist(), row.values.tolist(), strict=True)) for row in rows]


def pair(auto: AutoFeatures, seed: int, alike: int, other: int) -> Operands:
    """Make a decision of two candidates with so many features that are alike, and that are not."""
    encoder = AutoEncoder(auto)
    context = encoder.encode({"user": {f"c{seed}.{n}": 1.0 + n / 9 for n in range(8)}})
    of_both = {f"n{seed}.{n}": 0.5 for n in range(alike)}
    mine = [{f"m{seed}.{k}.{n}": 0.5 for n in range(other)} for k in range(2)]
    actions = [encoder.encode({"item": of_both | each}) for each in mine]
    return Crossing(auto).operands([context], [actions])


@pytest.mark.parametrize("alike", [0, 1, 6, 31])
def test_what_few_features_have_in_common_varies_exactly_as_one(alike: int) -> None:
    auto = AutoFeatures()
    exact, estimate = covariance(posterior_of(alike, auto), pair(auto, 7, alike, 5))
    assert estimate == pytest.approx(exact, abs=1e-5)


def test_what_many_features_have_in_common_varies_as_one_on_average() -> None:
    """Three candidates of 60 features, of which each two have 20 in common; over 60 catalogs."""
    auto = AutoFeatures()
    posterior, encoder = posterior_of(3, auto), AutoEncoder(auto)
    context = encoder.encode({"user": {f"c{n}": 1.0 + n / 9 for n in range(8)}})
    errors = []
    for seed in range(60):
        shared = [{f"n{seed}.{k}.{n}": 0.5 for n in range(20)} for k in range(3)]
        actions = [
            encoder.encode({"item": shared[k] | shared[(k + 1) % 3] | {f"m{seed}.{k}": 0.5}})
            for k in range(3)
        ]
        exact, estimate = covariance(posterior, Crossing(auto).operands([context], [actions]))
        errors.append(estimate - exact)
    assert abs(np.mean(errors)) < 4 * np.std(errors) / 60**0.5
    assert 0.02 < np.std(errors) < 0.25


def test_actions_that_have_one_feature_each_vary_on_their_own() -> None:
    auto = AutoFeatures()
    encoder = AutoEncoder(auto)
    actions = [encoder.encode({"topic": f"t{n}"}) for n in range(300)]
    operands = Crossing(auto).operands([encoder.encode({"geo": "US"})], [actions])
    scores = posterior_of(4, auto).score_crossed(operands, ["new"] * 300)
    assert not scores.factor[:, 1:].any()
    assert (scores.own > 0.0).all()
