"""Sparse rows: taking and stacking are those of the dense matrix, and a broken form is named."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from operators.logic.features.rows import Rows

WIDTH = 7
MATRIX = st.lists(
    st.dictionaries(st.integers(0, WIDTH - 1), st.floats(-9.0, 9.0), max_size=5), max_size=6
)


def sparse(matrix: list[dict[int, float]], width: int = WIDTH) -> Rows:
    sizes = [len(row) for row in matrix]
    return Rows(
        np.cumsum([0, *sizes]).astype(np.int64),
        np.array([column for row in matrix for column in row], dtype=np.int64),
        np.array([value for row in matrix for value in row.values()], dtype=np.float64),
        width,
    )


def dense(matrix: list[dict[int, float]]) -> list[list[float]]:
    return [[row.get(column, 0.0) for column in range(WIDTH)] for row in matrix]


@given(MATRIX, st.data())
def test_rows_are_taken_as_of_the_dense_matrix(
    matrix: list[dict[int, float]], data: st.DataObject
) -> None:
    number = st.integers(0, max(len(matrix) - 1, 0))
    chosen = data.draw(st.lists(number, max_size=9 if matrix else 0))
    taken = sparse(matrix).take(chosen)
    assert taken.flaw is None
    assert taken.dense().tolist() == dense([matrix[number] for number in chosen])


@given(st.lists(MATRIX, min_size=1, max_size=4))
def test_stacked_rows_are_those_of_the_parts(parts: list[list[dict[int, float]]]) -> None:
    whole = Rows.concatenate([sparse(part) for part in parts])
    assert whole.flaw is None
    assert whole.dense().tolist() == dense([row for part in parts for row in part])


def test_rows_of_other_widths_are_not_stacked() -> None:
    with pytest.raises(ValueError, match="2 widths"):
        Rows.concatenate([sparse([{1: 2.0}]), sparse([{1: 2.0}], 9)])
    with pytest.raises(ValueError, match="0 widths"):
        Rows.concatenate([])


GOOD = sparse([{0: 1.0, 3: 2.0}, {}, {3: 1.0}])


@pytest.mark.parametrize(
    ("changes", "flaw"),
    [
        ({"indptr": np.array([1, 2, 2, 3])}, "begin"),
        ({"indptr": np.array([], dtype=np.int64)}, "begin"),
        ({"indptr": np.array([0, 2, 1, 3])}, "falls"),
        ({"indptr": np.array([0, 2, 2, 2])}, "end"),
        ({"values": GOOD.values[:2]}, "end"),
        ({"indices": GOOD.indices.astype(np.int32)}, "int64"),
        ({"values": GOOD.values.astype(np.float32)}, "float64"),
        ({"values": np.array([1.0, np.inf, 0.0])}, "finite"),
        ({"indices": np.array([0, WIDTH, 3])}, "not one of 7"),
        ({"indices": np.array([-1, 1, 3])}, "not one of 7"),
        ({"indices": np.array([1, 1, 3])}, "twice"),
    ],
)
def test_a_broken_form_is_named(changes: dict[str, Any], flaw: str) -> None:
    assert GOOD.flaw is None
    assert flaw in str(replace(GOOD, **changes).flaw)
