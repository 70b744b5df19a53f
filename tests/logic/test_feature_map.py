"""Feature maps: against a slow oracle, on any JSON, in any batch."""

import json
import math
from hashlib import blake2b
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from operators.logic.features import LIMIT, FeatureError, FeatureMap, fingerprint
from schemas.catalog import FeatureSpec, Interaction

SPEC = FeatureSpec(
    numeric=["age", "price"],
    vectors={"taste": 3},
    categories={"device": ["phone", "desktop"], "member": ["true", "false"]},
    hashed={"geo": 7},
    profile=["click_rate"],
    profile_embedding=2,
    interactions=[
        Interaction(left="device", right="member"),
        Interaction(left="age", right="taste"),
        Interaction(left="geo", right="geo"),
    ],
    interaction_buckets=12,
    time_of_day=True,
)

SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.just(10**400),
    st.floats(allow_nan=True, allow_infinity=True),
    st.sampled_from(["phone", "desktop", "watch", "true", "12", "other", ""]),
    st.text(max_size=5),
)
VALUES = st.one_of(SCALARS, st.lists(SCALARS, max_size=4), st.dictionaries(st.text(), SCALARS))
FIELDS = st.sampled_from(["age", "price", "taste", "device", "member", "geo", "else"])
CONTEXTS = st.dictionaries(FIELDS, VALUES)


def slow_number(value: Any) -> float:
    if not isinstance(value, int | float):
        return 0.0
    try:
        value = float(value)
    except OverflowError:
        return 0.0
    return 0.0 if not math.isfinite(value) else max(-LIMIT, min(LIMIT, value))


def slow_vector(value: Any, width: int) -> list[float]:
    if not isinstance(value, list) or len(value) != width:
        return [0.0] * width
    for entry in value:
        if not isinstance(entry, int | float) or abs(entry) > 1e308 or entry != entry:
            return [0.0] * width
    return [slow_number(entry) for entry in value]


def slow_text(value: Any) -> str | None:
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return json.dumps(value)
    if isinstance(value, int) and abs(value) < 2**63:
        return str(value)
    if isinstance(value, float) and math.isfinite(value) and abs(value) < 2**63:
        return str(int(value)) if value == int(value) else repr(value)
    return None


def slow_one_hot(value: Any, listed: list[str]) -> list[float]:
    text = slow_text(value)
    if text is None:
        return [0.0] * (len(listed) + 1)
    return [float(text == one) for one in listed] + [float(text not in listed)]


def slow_buckets(value: Any, field: str, buckets: int) -> list[float]:
    text = slow_text(value)
    if text is None:
        return [0.0] * buckets
    key = blake2b(field.encode(), digest_size=16).digest()
    digest = blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8, key=key).digest()
    chosen = int.from_bytes(digest, "little") % buckets
    return [float(place == chosen) for place in range(buckets)]


def slow_encode(context: dict[str, Any], rate: float, embedding: Any, at: int) -> list[float]:
    """Encode what comes before the interactions, one value at a time."""
    angle = 2 * math.pi * (at % 86_400_000_000) / 86_400_000_000
    return [
        1.0,
        slow_number(context.get("age")),
        slow_number(context.get("price")),
        rate,
        *slow_vector(context.get("taste"), 3),
        *slow_one_hot(context.get("device"), ["phone", "desktop"]),
        *slow_one_hot(context.get("member"), ["true", "false"]),
        *slow_buckets(context.get("geo"), "geo", 7),
        *embedding,
        math.sin(angle),
        math.cos(angle),
    ]


@settings(max_examples=300, deadline=None)
@given(st.lists(CONTEXTS, min_size=1, max_size=5), st.integers(0, 2**51))
def test_encode_agrees_with_the_oracle_on_any_json(contexts, at):
    feature_map = FeatureMap(SPEC)
    n = len(contexts)
    profiles = [{"click_rate": 0.25}] * n
    x = feature_map.encode(contexts, profiles, [[0.5, -0.5]] * n, [at] * n)
    assert x.shape == (n, feature_map.dim)
    for row, context in zip(x, contexts, strict=True):
        expected = slow_encode(context, 0.25, [0.5, -0.5], at)
        assert row[: len(expected)] == pytest.approx(np.float32(expected).tolist(), abs=1e-6)
        check_interactions(dict(zip(feature_map.names, row.tolist(), strict=True)))


def check_interactions(row: dict[str, float]) -> None:
    for device in ("phone", "desktop", "other"):
        for member in ("true", "false", "other"):
            left, right = f"device={device}", f"member={member}"
            assert row[f"{left}*{right}"] == row[left] * row[right]
    for i in range(3):
        product = np.float32(row["age"]) * np.float32(row[f"taste[{i}]"])
        assert row[f"age*taste[{i}]"] == product
    # Every pair of lit geo columns lands in one of the hashed buckets.
    geo = sum(row[f"geo#{i}"] for i in range(7))
    assert sum(row[f"geo*geo#{i}"] for i in range(12)) == geo * geo


@settings(max_examples=100, deadline=None)
@given(st.lists(CONTEXTS, min_size=2, max_size=6))
def test_a_row_does_not_depend_on_its_batch(contexts):
    together = FeatureMap(SPEC).encode(contexts)
    alone = [FeatureMap(SPEC).encode([context])[0] for context in contexts]
    assert (together == np.array(alone)).all()


@settings(max_examples=100, deadline=None)
@given(st.lists(CONTEXTS, min_size=1, max_size=4))
def test_values_are_finite_float32(contexts):
    x = FeatureMap(SPEC).encode(contexts)
    assert np.isfinite(x).all()
    assert (x.astype(np.float32).astype(np.float64) == x).all()


def test_problems_are_counted_by_field_and_reason():
    feature_map = FeatureMap(SPEC)
    feature_map.encode(
        [
            {"age": "12", "price": 1e9, "taste": [1, 2], "device": "watch", "geo": {}},
            {"age": float("inf"), "taste": "abc", "device": None, "member": True, "geo": "US"},
            {"age": 3, "price": 2.5, "taste": [1, float("nan"), 0], "device": "phone"},
        ]
    )
    assert feature_map.problems == {
        ("age", "wrong_type"): 1,
        ("age", "not_finite"): 1,
        ("price", "clipped"): 1,
        ("price", "missing"): 1,
        ("profile.click_rate", "missing"): 3,
        ("taste", "wrong_length"): 1,
        ("taste", "wrong_type"): 1,
        ("taste", "not_finite"): 1,
        ("device", "other"): 1,
        ("device", "missing"): 1,
        ("member", "missing"): 2,
        ("geo", "wrong_type"): 1,
        ("geo", "missing"): 1,
    }


def test_no_batch_at_all():
    assert FeatureMap(SPEC).encode([]).shape == (0, FeatureMap(SPEC).dim)


def test_an_empty_spec_is_the_intercept():
    feature_map = FeatureMap(FeatureSpec())
    assert feature_map.names == ("1",)
    assert feature_map.encode([{"age": 3}, {}]).tolist() == [[1.0], [1.0]]


def test_listing_other_adds_no_second_column():
    feature_map = FeatureMap(FeatureSpec(categories={"device": ["other", "phone"]}))
    assert feature_map.names == ("1", "device=phone", "device=other")
    assert feature_map.encode([{"device": "other"}, {"device": "tv"}])[:, 2].tolist() == [1.0, 1.0]
    assert feature_map.problems == {("device", "other"): 1}


def test_hash_buckets_are_the_same_in_every_process():
    feature_map = FeatureMap(FeatureSpec(hashed={"geo": 1000}))
    rows = feature_map.encode([{"geo": "US"}, {"geo": 33}, {"geo": 33.0}])
    assert [row[1:].argmax() for row in rows] == [711, 84, 84]


def test_a_profile_without_consent_is_zero():
    spec = FeatureSpec(profile=["clicks"], profile_embedding=2)
    x = FeatureMap(spec).encode([{}, {}], [None, {"clicks": 2.0}], [None, [0.5, 1.5]])
    assert x.tolist() == [[1.0, 0.0, 0.0, 0.0], [1.0, 2.0, 0.5, 1.5]]


@pytest.mark.parametrize(
    ("spec", "named"),
    [
        (FeatureSpec(numeric=["age"], vectors={"age": 2}), "'age' is declared twice"),
        (FeatureSpec(numeric=["age", "age"]), "'age' is declared twice"),
        (FeatureSpec(categories={"d": ["a", "a"]}), "features.categories.d"),
        (
            FeatureSpec(numeric=["a"], interactions=[Interaction(left="a", right="b")]),
            r"features.interactions\[0\].right: 'b'",
        ),
    ],
)
def test_a_contradictory_spec_is_refused_by_name(spec, named):
    with pytest.raises(FeatureError, match=named):
        FeatureMap(spec)


def test_the_fingerprint_follows_the_spec():
    one, other = FeatureSpec(numeric=["age"]), FeatureSpec(profile=["age"])
    assert fingerprint(one) != fingerprint(other)
    assert FeatureMap(other).fingerprint == fingerprint(other)


def test_describe_names_every_column_and_its_source():
    columns = FeatureMap(SPEC).describe()
    assert [column.place for column in columns] == list(range(FeatureMap(SPEC).dim))
    assert len({column.name for column in columns}) == len(columns)
    sources = {column.source for column in columns if column.kind == "interaction"}
    assert sources == {"device*member", "age*taste", "geo*geo"}
