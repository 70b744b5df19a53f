"""Any JSON becomes features by rules that an oracle repeats, in any order of keys, for ever."""

import json
import math
import os
import subprocess
import sys
from collections import defaultdict
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from operators.logic.features.auto import (
    ActionEncodings,
    AutoEncoder,
    SparseFeatures,
    namespace_hash,
)
from operators.logic.features.auto.names import stable_hash
from schemas.bounds import CONTEXT_DEPTH, GREATEST_FOUND_NUMBER, LONGEST_VECTOR
from schemas.catalog import AutoFeatures
from tests.support.free_json import ANY_JSON, OBJECTS, turned

ROOT = Path(__file__).parents[2]
PLAIN = AutoFeatures(scale=False)


def named(features: SparseFeatures) -> dict[int, float]:
    return dict(zip(features.names.tolist(), features.values.tolist(), strict=True))


def expected(**values: float) -> dict[int, float]:
    """Give the features of these names, in the namespace of top-level values."""
    return {name_hash(f"|{name}"): value for name, value in values.items()}


def name_hash(name: str, element: bool = False) -> int:
    data = name.encode("utf-8", "surrogatepass")
    hashed = blake2b(data, digest_size=8, person=b"banditflow auto1").digest()
    return int.from_bytes(hashed, "little") % 2**63 + (2**63 if element else 0)


def escaped(key: str) -> str:
    return "".join("\\" + letter if letter in "\\|.[=" else letter for letter in key)


def oracle(features: Any) -> dict[int, float]:
    """Give the features of any JSON by the rules as they are written, one value after the other."""
    found: dict[int, list[float]] = defaultdict(list)

    def scalar(path: str, value: Any, place: int | None) -> None:
        if isinstance(value, bool | str):
            text = value if isinstance(value, str) else str(value).lower()
            if len(text) <= 256 and place is None:
                found[name_hash(f"{path}={text}")].append(1.0)
        elif isinstance(value, int | float) and abs(value) <= 1e9:
            name = name_hash(path) if place is None else name_hash(f"{path}[{place}]", True)
            found[name].append(value)

    def walk(path: str, value: Any, level: int, members: str) -> None:
        """Take in a value at a level; what is in an object is called by ``members`` and its key."""
        if isinstance(value, dict) and level <= CONTEXT_DEPTH:
            for key, inner in value.items():
                if len(key) <= 256:
                    name = members + escaped(key)
                    walk(name, inner, level + 1, f"{name}.")
        elif isinstance(value, list) and level <= CONTEXT_DEPTH:
            for text in {
                str(v).lower() if isinstance(v, bool) else v
                for v in value
                if isinstance(v, str | bool)
            }:
                scalar(path, text, None)
            for place, inner in enumerate(value):
                if isinstance(inner, dict):
                    walk(path, inner, level + 1, members)
                elif isinstance(inner, list):
                    walk(f"{path}[{place}]", inner, level + 1, f"{path}[{place}].")
                else:
                    scalar(path, inner, place)
        elif not isinstance(value, dict | list):
            scalar(path, value, None)

    tops = [(1, features)] if isinstance(features, dict) else []
    if isinstance(features, list):
        tops = [(2, each) for each in features if isinstance(each, dict)]
    for level, top in tops:
        for key, value in top.items():
            if len(key) <= 256:
                walk(f"|{escaped(key)}", value, level + 1, f"{escaped(key)}|")
    sums = {
        name: float(np.float32(min(max(math.fsum(numbers), -1e9), 1e9)))
        for name, numbers in found.items()
    }
    return {name: value for name, value in sorted(sums.items()) if value}


@given(ANY_JSON | OBJECTS)
@settings(deadline=None, max_examples=150)
def test_any_json_has_the_features_of_the_rules(value: Any) -> None:
    encoded = AutoEncoder(PLAIN).encode(value)
    assert named(encoded) == oracle(value)
    assert encoded.names.tolist() == sorted(encoded.names.tolist())
    assert encoded.namespaces.tolist() == sorted(encoded.namespaces.tolist())
    assert set(encoded.spaces.tolist()) == set(range(len(encoded.namespaces)))
    assert np.isfinite(encoded.values).all()


@given(ANY_JSON | OBJECTS, st.integers(1, 6), st.booleans())
@settings(deadline=None)
def test_the_order_of_keys_changes_nothing(value: Any, most: int, scale: bool) -> None:
    encoder = AutoEncoder(AutoFeatures(most_features=most, scale=scale))
    encoded = encoder.encode(value)
    assert encoded.is_same(encoder.encode(turned(value)))
    assert len(encoded) <= most


def test_what_counts_as_what() -> None:
    encoder = AutoEncoder(PLAIN)
    device = {"device": "phone", "new": True, "age": 37, "none": None}
    assert named(encoder.encode(device)) == expected(
        **{"device=phone": 1.0, "new=true": 1.0, "age": 37.0}
    )
    nested = {"user": {"home": {"geo": "US"}, "tags": ["a", "b", "a"], "taste": [0.5, 0, 2]}}
    assert named(encoder.encode(nested)) == {
        name_hash("user|home.geo=US"): 1.0,
        name_hash("user|tags=a"): 1.0,
        name_hash("user|tags=b"): 1.0,
        name_hash("user|taste[0]", True): 0.5,
        name_hash("user|taste[2]", True): 2.0,
    }
    assert not encoder.problems


def test_a_list_of_objects_counts_as_one_object_whose_repeated_names_add_up() -> None:
    encoder = AutoEncoder(PLAIN)
    parts = [{"user": [{"age": 1}, {"age": 2, "geo": "US"}]}, {"user": {"age": 0.5}}, {"x": "y"}]
    whole = {name_hash("user|age"): 3.5, name_hash("user|geo=US"): 1.0, name_hash("|x=y"): 1.0}
    assert named(encoder.encode(parts)) == whole
    assert named(encoder.encode(parts[::-1])) == whole


@given(st.permutations([0.1, 0.2, 0.3, 1e9, -1e9, 1e-9, 0.7]))
def test_repeated_names_add_up_in_any_order(numbers: list[float]) -> None:
    encoded = AutoEncoder(PLAIN).encode([{"x": number} for number in numbers])
    assert encoded.values.tolist() == [np.float32(1.3 + 1e-9)]


def test_a_field_of_another_type_is_another_feature() -> None:
    encoder = AutoEncoder(PLAIN)
    values = [3, "3", [3], {"3": 3}, ["3"]]
    found = [set(named(encoder.encode({"a": value}))) for value in values]
    assert found[1] == found[4]
    assert len(set.union(*found)) == 4


@pytest.mark.parametrize(
    ("value", "problem", "times"),
    [
        ({"a": math.nan}, "not_finite", 1),
        ({"a": [1.0, -math.inf]}, "not_finite", 1),
        ({"a": 10**400}, "too_large", 1),
        ({"a": [1e10, True]}, "too_large", 1),
        ({"a": "x" * 257}, "too_long", 1),
        ({"x" * 257: "a"}, "too_long", 1),
        ({"a": {"x" * 257: "a"}}, "too_long", 1),
        ({"a": ["x" * 257]}, "too_long", 1),
        ({"a": list(range(LONGEST_VECTOR + 3))}, "too_long", 3),
        ({"a": {"b": {"c": {"d": {"e": {"f": {}}}}}}}, "too_deep", 1),
        ({"a": [[[[[[]]]]]]}, "too_deep", 1),
        ({str(number): "x" for number in range(7)}, "too_many", 2),
        ("text", "not_an_object", 1),
        ([1, [{"a": 1}], None], "not_an_object", 2),
        ({"a": {1, 2}}, "wrong_type", 1),
        ({"a": [b"x"]}, "wrong_type", 1),
        ({3: 1}, "wrong_type", 1),
    ],
)
def test_what_is_left_out_is_counted(value: Any, problem: str, times: int) -> None:
    encoder = AutoEncoder(AutoFeatures(most_features=5 if problem == "too_many" else 4096))
    encoded = encoder.encode(value)
    assert encoder.problems == {problem: times}
    assert np.isfinite(encoded.values).all()


def test_of_too_many_features_those_with_the_least_hashes_count_elements_last() -> None:
    value = {"v": [1.0] * 50, "a": {f"k{number}": "x" for number in range(20)}}
    whole = AutoEncoder(AutoFeatures()).encode(value)
    encoder = AutoEncoder(AutoFeatures(most_features=20))
    few = encoder.encode(value)
    assert few.names.tolist() == whole.names.tolist()[:20]
    assert few.namespaces.tolist() == [namespace_hash("a")]
    assert encoder.problems == {"too_many": 50}


def test_ignored_namespaces_are_left_out() -> None:
    value = {"a": {"x": 1}, "b": [{"x": 1}, 2.0], "c": 3.0}
    ignoring = AutoEncoder(AutoFeatures(ignore=["a", "b"], scale=False))
    assert named(ignoring.encode(value)) == {
        name_hash("|b[1]", True): 2.0,
        name_hash("|c"): 3.0,
    }
    ignoring = AutoEncoder(AutoFeatures(ignore=["a", ""], scale=False))
    assert named(ignoring.encode(value)) == {name_hash("b|x"): 1.0}


def test_scaled_numbers_are_logarithms_beyond_one_and_vectors_are_as_they_are() -> None:
    encoded = AutoEncoder(AutoFeatures()).encode({"a": -1000, "b": 0.5, "v": [1000.0]})
    assert named(encoded) == {
        name_hash("|a"): pytest.approx(-1.0 - math.log(1000.0)),
        name_hash("|b"): 0.5,
        name_hash("|v[0]", True): 1000.0,
    }


@given(st.floats(-GREATEST_FOUND_NUMBER, GREATEST_FOUND_NUMBER), st.floats(1e-6, 1e3))
def test_scaling_keeps_the_order_of_numbers(number: float, step: float) -> None:
    def value(each: float) -> float:
        return sum(named(AutoEncoder(AutoFeatures()).encode({"a": each})).values())

    assert value(number) <= value(number + step) or number + step > GREATEST_FOUND_NUMBER
    assert abs(value(number)) <= 22.0


NAMES = [("a|b", "c"), ("a", "b|c"), ("a", "b.c"), ("a.b", "c"), ("a", "b=c"), ("a", "b[0]")]


def test_no_two_fields_share_a_name() -> None:
    values: list[Any] = [{space: {key: 1}} for space, key in NAMES]
    values += [{"a": {"b": "c"}}, {"a": {"b": {"c": 1}}}, {"a": {"b": [1]}}, {"b": 1}]
    values += [{"a": {"b": [[1]]}}, {"a": {"b": {"": 1}}}, {"a": {"b": {"c": ""}}}, {"": {"a": 1}}]
    encoder = AutoEncoder(PLAIN)
    names = [name for value in values for name in named(encoder.encode(value))]
    assert len(set(names)) == len(values)


GOLDEN = {
    "user|geo=US": 0x8C0E173A9DF51C7E,
    "|device=phone": 0xDC2E6AD7C456AF17,
    "article|price": 0x92F6BFB38D42C12B,
    "article|embedding[3]": 0xD5BFB9E677E7A835,
    "|\ud800=\u00e9": 0xD84D02D3E766B203,
    "|": 0x7578D54ADAEB7D6B,
}


@pytest.mark.parametrize(("name", "hashed"), GOLDEN.items())
def test_hashes_are_the_same_for_ever(name: str, hashed: int) -> None:
    assert stable_hash(name) == hashed


SAMPLE = {"device": "phone", "user": {"age": 37, "tags": ["a", "b"]}, "v": [0.5, 2.0]}
_PROGRAM = f"""
from operators.logic.features.auto import AutoEncoder
from schemas.catalog import AutoFeatures
found = AutoEncoder(AutoFeatures()).encode({SAMPLE!r})
print(found.names.tobytes().hex(), found.values.tobytes().hex(), found.namespaces.tobytes().hex())
"""
GOLDEN_SAMPLE = """
d9bb5adf8b2ec41417af56c4d76a2e5c5e53d2a70b3a1571d8ed0c4894582d7ec7d0c481d9eafcab5c7bf00d2bc971bf
0000803f0000803fa48c93400000803f000000400000003f
5cd7076bc03cc4586b7debda4ad57875
"""


@pytest.mark.parametrize("seed", ["1", "2"])
def test_every_process_gives_the_same_vector(seed: str) -> None:
    said = subprocess.run(
        [sys.executable, "-c", _PROGRAM],
        cwd=ROOT,
        env=os.environ | {"PYTHONHASHSEED": seed, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert said.stdout.split() == GOLDEN_SAMPLE.split()


@given(st.lists(ANY_JSON | OBJECTS, max_size=12), st.integers(0, 6000))
@settings(deadline=None)
def test_remembered_encodings_are_the_same_and_bounded(values: list[Any], most: int) -> None:
    encodings = ActionEncodings(AutoEncoder(PLAIN), most)
    for value in [*values, *values[::-1]]:
        assert encodings.encode(value).is_same(AutoEncoder(PLAIN).encode(value))
        assert 0 <= encodings.nbytes <= most


def test_what_was_used_last_is_remembered() -> None:
    encodings = ActionEncodings(AutoEncoder(PLAIN), 4000)
    first = encodings.encode({"a": 0})
    for number in range(1, 50):
        encodings.encode({"a": number})
        assert encodings.encode({"a": 0}) is first
    assert len(encodings) == 3
    assert encodings.encode(json.loads('{"a": 1}')) is not first
