"""Whom an experiment is about, against the rules of the document written out once more."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from operators.logic.experiments.targeting import holds, is_targeted
from schemas.experiments import Condition, Targeting

VALUES = st.sampled_from([0, 1, 1.0, 2.5, True, False, "1", "", "phone", "吉 星"])


@pytest.mark.parametrize(
    ("operator", "values", "context", "expected"),
    [
        ("in", ["phone", "tablet"], {"a": "phone"}, True),
        ("in", [42], {"a": "42"}, False),
        ("in", ["42"], {"a": 42}, False),
        ("in", [42], {"a": 42.0}, True),
        ("in", [1], {"a": True}, False),
        ("in", [True], {"a": True}, True),
        ("in", ["x"], {"a": ["w", "x"]}, True),
        ("in", ["x"], {}, False),
        ("not_in", ["x"], {}, True),
        ("not_in", ["x"], {"a": None}, True),
        ("not_in", ["x"], {"a": ["x"]}, False),
        ("ge", [18], {"a": 18}, True),
        ("gt", [18], {"a": 18}, False),
        ("lt", [18], {"a": 17.5}, True),
        ("le", [18], {"a": "17"}, False),
        ("lt", [18], {}, False),
        ("lt", ["b"], {"a": "a"}, True),
        ("lt", [2], {"a": True}, False),
        ("exists", [], {"a": 0}, True),
        ("exists", [], {"a": None}, False),
        ("missing", [], {}, True),
    ],
)
def test_a_condition_holds(operator: Any, values: Any, context: Any, expected: bool) -> None:
    assert holds(Condition(field="a", operator=operator, values=values), context) is expected


def test_inner_fields_are_named_with_dots_and_whole_names_come_first() -> None:
    condition = Condition(field="user.age", operator="ge", values=[18])
    assert holds(condition, {"user": {"age": 20}})
    assert holds(condition, {"user.age": 20, "user": {"age": 1}})
    assert not holds(condition, {"user": [20]})
    assert not holds(condition, {"user": {"age": {"of": 20}}})


@given(
    st.sampled_from(["in", "not_in", "lt", "le", "gt", "ge", "exists", "missing"]),
    st.lists(VALUES, min_size=1, max_size=3),
    st.none() | VALUES | st.lists(VALUES, max_size=3) | st.just({"b": 1}),
)
def test_opposites_never_both_hold(operator: Any, values: Any, value: Any) -> None:
    opposite = {"in": "not_in", "exists": "missing", "lt": "ge", "gt": "le"}
    pairs = opposite | {other: one for one, other in opposite.items()}
    context = {} if value is None else {"a": value}
    one = holds(Condition(field="a", operator=operator, values=values), context)
    other = holds(Condition(field="a", operator=pairs[operator], values=values), context)
    assert not (one and other)
    if operator in ("in", "not_in", "exists", "missing"):
        assert one or other


@given(st.lists(st.booleans(), max_size=3), st.lists(st.booleans(), max_size=3))
def test_all_of_one_list_and_one_of_the_other(every: list[bool], some: list[bool]) -> None:
    def condition(true: bool) -> Condition:
        return Condition(field="a", operator="exists" if true else "missing")

    targeting = Targeting(all_of=[*map(condition, every)], any_of=[*map(condition, some)])
    expected = False not in every and (True in some or not some)
    assert is_targeted(targeting, {"a": 1}) is expected
