"""What a survey says of requests: names by bucket, ranges, drift, constants, collisions."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from operators.logic.features.auto import AutoEncoder, survey_products
from operators.logic.features.auto.fields import typed_fields
from operators.logic.features.auto.survey import (
    ACTION,
    CONTEXT,
    MOST_NAMES,
    OWN_PRODUCTS,
    Findings,
    Survey,
)
from operators.logic.features.auto.survey_products import MOST_PRODUCTS
from operators.logic.features.crossing import Crossing
from schemas.catalog import AutoFeatures
from tests.support.free_json import ANY_JSON, OBJECTS


def surveyed(auto: AutoFeatures, contexts: list[Any], actions: list[Any]) -> Findings:
    survey = Survey(auto)
    for context in contexts:
        survey.add(CONTEXT, context)
    for action in actions:
        survey.add(ACTION, action)
    return survey.findings()


def test_features_are_listed_with_their_share_and_range() -> None:
    auto = AutoFeatures(scale=False)
    contexts = [{"geo": "US", "age": age, "v": [1.0, age]} for age in (3, 4)] + [{"geo": "US"}]
    found = surveyed(auto, contexts, [{"a": {"topic": "x"}}])
    listed = [(each.name, each.share, each.least, each.greatest) for each in found.features]
    assert listed == [
        ("|geo=US", 1.0, 1.0, 1.0),
        ("|age", pytest.approx(2 / 3), 3.0, 4.0),
        ("|v[0]", pytest.approx(2 / 3), 1.0, 1.0),
        ("|v[1]", pytest.approx(2 / 3), 3.0, 4.0),
        ("a|topic=x", 1.0, 1.0, 1.0),
    ]
    assert found.constant == ["context |geo=US", "action a|topic=x"]
    assert (found.contexts, found.actions, found.drift) == (3, 1, [])


def test_a_field_that_changes_its_type_is_named_with_how_often_it_was_of_each() -> None:
    values = [{"x": 1}, {"x": "1"}, {"x": [1]}, {"x": {"y": 1}}, {"x": ["1"]}, {"z": {"x.": 1}}]
    found = surveyed(AutoFeatures(), values, [{"z": 1}, {"z": 2}])
    kinds = {"category": 2, "number": 1, "object": 1, "vector": 1}
    assert [(each.field, each.side, each.kinds) for each in found.drift] == [("|x", CONTEXT, kinds)]


@pytest.mark.parametrize(
    ("name", "fields"),
    [
        ("|a", [("|a", "number")]),
        (r"|a\.b", [(r"|a\.b", "number")]),
        ("|a=b.c|d[0]=", [("|a", "category")]),
        (r"|a\=b", [(r"|a\=b", "number")]),
        ("|a[0][1]", [("|a", "vector")]),
        (r"n\|m|a.b[0]", [(r"n\|m|a.b", "vector"), (r"n\|m|a", "object"), (r"|n\|m", "object")]),
    ],
)
def test_a_name_says_its_field_and_kind(name: str, fields: list[tuple[str, str]]) -> None:
    assert [tuple(each) for each in typed_fields(name)] == fields


def test_buckets_are_those_of_the_rows_and_shared_ones_are_named() -> None:
    auto = AutoFeatures(bits=8)
    context = {f"c{number}": "x" for number in range(40)}
    actions = [{"k": number, f"a{number}": "x"} for number in range(1, 30)]
    found = surveyed(auto, [context], actions)
    buckets = {(each.side, each.name): each.bucket for each in found.features}
    encoder = AutoEncoder(auto)
    rows = Crossing(AutoFeatures(bits=8, crosses=[])).rows(
        encoder.encode({"c3": "x"}), [encoder.encode({"a7": "x"})]
    )
    assert rows.indices.tolist() == [0, buckets["action", "|a7=x"], buckets["context", "|c3=x"]]
    filled: dict[int, set[str]] = {}
    for (side, name), bucket in buckets.items():
        filled.setdefault(bucket, set()).add(f"{side} {name}")
    shared = {bucket: names for bucket, names in filled.items() if len(names) > 1}
    assert {each.bucket: set(each.names) for each in found.collisions} == shared
    assert len(shared) > 3
    assert found.products == 40 * 30
    assert 1100 < found.products_colliding <= 1200
    assert surveyed(AutoFeatures(bits=20), [context], actions).products_colliding <= 6


def test_products_are_those_of_declared_pairs() -> None:
    context: Any = {"u": {"a": 1, "b": 1}, "w": {"c": 1}, "d": 1}
    action: Any = {"p": {"e": 1, "f": 1, "g": 1}, "h": 1}
    for crosses, products in [([], 0), ([("u", "p")], 6), ([("w", ""), ("", "p")], 4)]:
        found = surveyed(AutoFeatures(crosses=crosses), [context], [action])
        assert (found.products, found.context_products) == (products, [])
    for most, products in [(0, 16), (55, 16), (56, 56)]:
        found = surveyed(AutoFeatures(context_products=most), [context], [action])
        assert (found.products, len(found.context_products)) == (products, 10 * (most == 56))


def test_products_of_a_contexts_own_features_are_listed_where_they_count() -> None:
    auto = AutoFeatures(scale=False, bits=20, context_products=20)
    contexts: list[Any] = [{"a": 2, "b": 9}, {"a": 3}, {"a": 2, "b": 9, "c": 1, "d": 1, "e": 1}]
    found = surveyed(auto, contexts, [{"t": "x"}, {f"t{n}": "x" for n in range(4)}, {}])
    listed = [
        (each.names, round(3 * each.share), each.least, each.greatest, each.most_action_features)
        for each in found.context_products[:3]
    ]
    nine = 8.0 * (1.0 + np.log(9.0 / 8.0))
    assert listed == [
        (("|a", "|a"), 3, 4.0, 9.0, 10),
        (("|a", "|b"), 2, *[pytest.approx(2.0 * nine)] * 2, 4),
        (("|b", "|b"), 2, *[pytest.approx(nine * nine)] * 2, 4),
    ]
    assert {each.share for each in found.context_products[3:]} == {1 / 3}
    assert len(found.context_products) == 15
    assert found.products == 5 * (5 + 3) + 12  # the largest's other products: before t alone
    encoder = AutoEncoder(auto)
    row = Crossing(auto).rows(encoder.encode(contexts[2]), [encoder.encode({"t": "x"})])
    in_row = dict(zip(row.indices.tolist(), row.values.tolist(), strict=True))
    for each in found.context_products[1:]:
        assert in_row[each.bucket] == pytest.approx(each.greatest)
    for candidates in ([], [{}], [{f"t{n}": "x" for n in range(11)}]):
        none = surveyed(auto, contexts, candidates)
        assert (none.context_products, none.further[OWN_PRODUCTS]) == ([], 0)


def test_own_products_that_share_a_bucket_or_never_change_are_named() -> None:
    context = {f"c{number}": "x" for number in range(20)}
    found = surveyed(AutoFeatures(bits=8), [context, context], [{"t": "x"}])
    assert all(each.constant for each in found.context_products)
    filled: dict[int, set[str]] = {}
    for each in found.features:
        filled.setdefault(each.bucket, set()).add(f"{each.side} {each.name}")
    for product in found.context_products:
        filled.setdefault(product.bucket, set()).add(f"context {' * '.join(product.names)}")
    shared = {bucket: names for bucket, names in filled.items() if len(names) > 1}
    assert {each.bucket: set(each.names) for each in found.collisions} == shared


def test_own_products_that_are_too_many_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    contexts = [{f"x{n}-{m}": "y" for m in range(20)} for n in range(MOST_PRODUCTS // 210 + 1)]
    met = 210 * len(contexts)
    for at_once in (1, 10**6):
        monkeypatch.setattr(survey_products, "_AT_ONCE", at_once)
        found = surveyed(AutoFeatures(), [*contexts, contexts[0]], [{"t": "x"}])
        assert len(found.context_products) == MOST_PRODUCTS
        assert found.further[OWN_PRODUCTS] == met - MOST_PRODUCTS
        shares = [each.share for each in found.context_products]
        assert shares == [2 / (len(contexts) + 1)] * 210 + [1 / (len(contexts) + 1)] * (5000 - 210)
    monkeypatch.setattr(survey_products, "MOST_KEPT", 25)
    found = surveyed(AutoFeatures(), contexts, [{"t": "x"}])
    assert (len(found.context_products), found.further[OWN_PRODUCTS]) == (210, met - 210)


def test_names_that_are_too_many_are_counted() -> None:
    contexts = [{f"x{number}": "y"} for number in range(MOST_NAMES + 7)]
    found = surveyed(AutoFeatures(), contexts, [])
    assert (len(found.features), found.further) == (
        MOST_NAMES,
        {CONTEXT: 7, ACTION: 0, OWN_PRODUCTS: 0},
    )


@given(st.lists(st.tuples(ANY_JSON | OBJECTS, st.integers(1, 4)), max_size=4))
@settings(deadline=None)
def test_what_comes_several_times_is_looked_at_once(given_times: list[tuple[Any, int]]) -> None:
    auto = AutoFeatures(bits=8, most_features=5)
    once, often = Survey(auto), Survey(auto)
    for side in (CONTEXT, ACTION):
        for features, times in given_times:
            once.add(side, features, times)
            for _ in range(times):
                often.add(side, features)
    assert once.findings() == often.findings()


@given(st.lists(ANY_JSON | OBJECTS, max_size=5), st.lists(ANY_JSON | OBJECTS, max_size=5))
@settings(deadline=None)
def test_any_json_is_surveyed(contexts: list[Any], actions: list[Any]) -> None:
    found = surveyed(AutoFeatures(bits=8), contexts, actions)
    encoder = AutoEncoder(AutoFeatures(bits=8))
    names = {name for each in contexts for name in encoder.encode(each).names.tolist()}
    assert sum(each.side == CONTEXT for each in found.features) == len(names)
    assert found.products_colliding <= found.products
    sizes = [len(encoder.encode(action)) for action in actions]
    least = min((size for size in sizes if size), default=0)
    counted = [n for each in contexts if (n := len(encoder.encode(each)))]
    counted = [n for n in counted if 0 < n * (n + 3) // 2 * least <= 256]
    occur = sum(each.share for each in found.context_products) * len(contexts)
    assert round(occur) == sum(n * (n + 1) // 2 for n in counted)
