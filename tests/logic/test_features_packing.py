"""Packed vectors and action matrices."""

import base64
import struct
from datetime import UTC, datetime

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from operators.logic.features import (
    FeatureError,
    action_matrix,
    pack,
    pack_rows,
    packed_length,
    unpack_rows,
)
from schemas.catalog import Action

FLOATS = st.floats(width=32, allow_nan=False, allow_infinity=False)


@given(st.integers(1, 9), st.data())
def test_packing_is_base64_of_little_endian_float32(dim, data):
    rows = data.draw(st.lists(st.lists(FLOATS, min_size=dim, max_size=dim), min_size=1))
    x = np.array(rows)
    packed = pack_rows(x)
    expected = [base64.b64encode(struct.pack(f"<{dim}f", *row)).decode() for row in rows]
    assert packed == expected == [pack(row) for row in x]
    assert {len(text) for text in packed} == {packed_length(dim)}
    assert (unpack_rows(packed, dim) == x).all()


def test_no_vector_is_the_intercept():
    assert unpack_rows([None, pack(np.array([1.0, 2.0, 3.0]))], 3).tolist() == [
        [1.0, 0.0, 0.0],
        [1.0, 2.0, 3.0],
    ]
    assert unpack_rows([], 3).shape == (0, 3)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("AAA", "row 1: not base64"),
        ("é", "row 1: not base64"),
        (pack(np.ones(3)), "row 1: 3 numbers where 2 belong"),
        (pack(np.array([1.0, np.inf])), "row 1: a number is not finite"),
    ],
)
def test_a_bad_row_is_refused_by_its_place(row, message):
    good = pack(np.ones(2))
    with pytest.raises(FeatureError, match=message):
        unpack_rows([good, row], 2)


def test_two_wrong_lengths_that_cancel_are_refused():
    with pytest.raises(FeatureError, match="row 0"):
        unpack_rows([pack(np.ones(1)), pack(np.ones(3))], 2)


def action(name, embedding=None, **features):
    return Action(
        id=name,
        time=datetime(2026, 1, 1, tzinfo=UTC),
        action_id=name,
        slots=["home"],
        features=features,
        embedding=embedding,
    )


def test_action_features_become_a_matrix():
    actions = [
        action("a", embedding=[1.0, 0.0], price=2, kind="news", tags=[1.0]),
        action("b", embedding=[0.0, 1.0], price=4, kind="sport", tags=[3.0, 5.0]),
        action("c", price=None, kind="news"),
    ]
    assert action_matrix(actions, ["price"]).tolist() == [[2.0], [4.0], [3.0]]
    assert action_matrix(actions, ["kind"]).tolist() == [[1.0, 0.0], [0.0, 1.0], [1.0, 0.0]]
    assert action_matrix(actions, ["tags"]).tolist() == [[1.0, 5.0], [3.0, 5.0], [2.0, 5.0]]
    assert action_matrix(actions, ["embedding"])[2].tolist() == [0.5, 0.5]
    assert action_matrix(actions, ["price", "kind"]).shape == (3, 3)


def test_no_action_features_are_none():
    assert action_matrix([action("a")], ["price"]) is None
    assert action_matrix([action("a")], []) is None
    assert action_matrix([], ["price"]) is None


@given(
    st.lists(
        st.one_of(
            st.none(), st.booleans(), st.integers(), st.floats(), st.text(), st.lists(st.floats())
        ),
        min_size=1,
        max_size=5,
    )
)
def test_any_json_gives_a_finite_matrix(values):
    matrix = action_matrix([action(str(i), f=value) for i, value in enumerate(values)], ["f"])
    assert matrix is None or (matrix.shape[0] == len(values) and np.isfinite(matrix).all())
