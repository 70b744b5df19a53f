"""What moved a decision is called by what the columns of its rows stand for."""

from typing import Any

import msgspec
import pytest

from flows.reports.column_names import column_names
from operators.logic.features.auto_rows import AutoRows
from operators.logic.features.crossing import crossed
from schemas.catalog import AutoFeatures

CONTEXT = {"geo": "US", "age": 3, "user": {"v": [0.5, 2.0]}}
FEW: dict[str, Any] = {"topic": "sport"}
MANY = {"of": {f"f{n}": "x" for n in range(30)}}


@pytest.mark.parametrize("actions", [[FEW], [FEW, MANY], [MANY], [None, FEW], [None]])
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"context_products": 0},
        {"context_alone": False},
        {"crosses": []},
        {"crosses": [("user", ""), ("", "of")]},
        {"most_crossed": 0},
    ],
)
def test_every_column_of_a_row_has_a_name(actions: list[Any], changes: dict[str, Any]) -> None:
    auto = AutoFeatures(bits=20, **changes)
    contents = [None if each is None else msgspec.json.encode(each) for each in actions]
    (operands,) = AutoRows(auto).of_candidates([CONTEXT], [contents])
    filled = set(crossed(operands).indices.tolist())
    names = column_names(auto, CONTEXT, contents)
    assert filled <= names.keys()
    assert len({names[column] for column in filled}) == len(filled)
    squares = [names[column] for column in filled if names[column] == "context |geo=US * |geo=US"]
    has_own = (
        auto.crosses is None and auto.context_products and auto.most_crossed and FEW in actions
    )
    assert len(squares) == bool(has_own and auto.context_alone)
    crossed_squares = "context |geo=US * |geo=US × action |topic=sport"
    assert (crossed_squares in {names[column] for column in filled}) == bool(has_own)
