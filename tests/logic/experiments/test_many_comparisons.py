"""e-BH over segments against its definition, Bonferroni's shares, and the error rates of both."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from operators.logic.experiments.multiplicity import MultiplicityError, share_alpha
from operators.logic.experiments.segments import SegmentError, discoveries

EVIDENCE = st.dictionaries(
    st.text(max_size=3), st.none() | st.floats(-5.0, 12.0, allow_nan=False), max_size=8
)
LEVELS = st.sampled_from([0.01, 0.05, 0.1, 0.5])


@given(EVIDENCE, LEVELS)
def test_discoveries_are_the_largest_set_that_its_size_allows(log_e, level):
    """Among all k: the segments with e >= m / (k level) are at least k of them."""
    known = {name: value for name, value in log_e.items() if value is not None}
    expected = set()
    for k in range(1, len(known) + 1):
        needed = math.log(len(log_e) / level) - math.log(k)
        above = {name for name, value in known.items() if value >= needed}
        if len(above) >= k:
            expected = above
    found = discoveries(log_e, level)
    assert set(found) == expected
    assert [known[name] for name in found] == sorted((known[n] for n in found), reverse=True)


@given(EVIDENCE, LEVELS)
def test_a_segment_without_an_arm_only_raises_what_the_others_need(log_e, level):
    more = dict(log_e) | {"no arm here": None}
    assert set(discoveries(more, level)) <= set(discoveries(log_e, level))


def test_evidence_that_is_no_number_is_refused():
    with pytest.raises(SegmentError, match="no number"):
        discoveries({"a": math.nan}, 0.1)
    with pytest.raises(SegmentError, match="level"):
        discoveries({"a": 1.0}, 1.0)
    assert discoveries({}, 0.1) == []
    assert discoveries({"a": math.inf, "b": -math.inf}, 0.1) == ["a"]


def test_the_false_discovery_rate_is_kept():
    """20 dependent segments, 5 with an effect: over 2,000 runs at most 0.1 × 15/20 are false."""
    rng, shares, found = np.random.default_rng(4), [], 0
    for _ in range(2_000):
        z = rng.normal(size=20) * 0.7 + rng.normal() * math.sqrt(1.0 - 0.49)
        z[:5] += 4.0
        # exp(t z - t² / 2) is an e-value of a standard normal z.
        log_e = {str(number): 3.0 * value - 4.5 for number, value in enumerate(z.tolist())}
        names = discoveries(log_e, 0.1)
        false = sum(int(name) >= 5 for name in names)
        shares.append(false / max(1, len(names)))
        found += len(names) - false
    assert np.mean(shares) <= 0.075 + 3.0 * np.std(shares) / math.sqrt(2_000)
    assert found > 2_000


@given(
    st.floats(1e-6, 0.5),
    st.lists(st.text(max_size=2), min_size=1, max_size=5, unique=True),
    st.lists(st.text(max_size=2), min_size=1, max_size=5, unique=True),
    st.data(),
)
def test_shares_sum_to_alpha(alpha, variations, metrics, data):
    pairs = [(v, m) for v in variations for m in metrics]
    weights = {pair: data.draw(st.floats(0.01, 100.0)) for pair in pairs}
    for shares in (
        share_alpha(alpha, variations, metrics),
        share_alpha(alpha, variations, metrics, weights),
    ):
        assert math.fsum(shares.shares.values()) == pytest.approx(alpha, rel=1e-12)
        assert shares.shares.keys() == set(pairs)
        for variation, metric in pairs:
            share = shares.shares[variation, metric]
            assert shares.level(variation, metric) == 1.0 - share


def test_what_was_not_declared_at_the_start_has_no_share():
    shares = share_alpha(0.05, ["b"], ["clicks"])
    with pytest.raises(MultiplicityError, match="no further comparison"):
        shares.level("c", "clicks")
    for wrong in (
        {"variations": []},
        {"metrics": []},
        {"variations": ["b", "b"]},
        {"alpha": 1.0},
        {"weights": {}},
        {"weights": {("b", "clicks"): 0.0}},
        {"weights": {("b", "clicks"): math.nan}},
    ):
        arguments = {"alpha": 0.05, "variations": ["b"], "metrics": ["clicks"]} | wrong
        with pytest.raises(MultiplicityError):
            share_alpha(**arguments)
