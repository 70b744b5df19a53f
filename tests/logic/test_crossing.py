"""Rows of crossed features against a dictionary that is filled product by product."""

from collections import defaultdict
from math import isqrt
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from operators.logic.features.auto import AutoEncoder, SparseFeatures, namespace_hash
from operators.logic.features.crossing import Crossing, Workspace, crossed
from operators.logic.features.rows import Rows
from schemas.catalog import AutoFeatures
from tests.support.free_json import turned

WORD = 2**64
SPACES = ["", "a", "b", "c"]


def mixed(name: int, salt: int) -> int:
    z = (name + salt) % WORD
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9 % WORD
    z = (z ^ z >> 27) * 0x94D049BB133111EB % WORD
    return z ^ z >> 31


def of_context(name: int) -> int:
    return mixed(name, 0x9E3779B97F4A7C15)


def of_action(name: int) -> int:
    return mixed(name, 0xC2B2AE3D27D4EB4F)


def of_pair(context: int, action: int) -> int:
    """Hash the product of a context's feature, hashed already, and an action's."""
    z = (context ^ of_action(action)) * 0xFF51AFD7ED558CCD % WORD
    return (z ^ z >> 32) * 0xC4CEB9FE1A85EC53 % WORD


def cut(a: int, b: int, room: int) -> tuple[int, int]:
    """Say how many features of each side are multiplied, the larger side being cut first."""
    if a * b <= room:
        return a, b
    side = isqrt(room)
    return (a, room // a) if a <= side else (room // b, b) if b <= side else (side, side)


def rooms(sizes: list[int], most: int) -> list[int]:
    """Share room: the small ones first, each as much as it needs of an equal share of the rest."""
    room = [0] * len(sizes)
    left = most
    for done, place in enumerate(sorted(range(len(sizes)), key=sizes.__getitem__)):
        room[place] = min(sizes[place], left // (len(sizes) - done))
        left -= room[place]
    return room


Named = list[tuple[int, float]]


def parts(item: SparseFeatures, namespace: str | None) -> Named:
    """Give an item's features of a namespace (None: of all) by their hashes, rising."""
    found = zip(item.names.tolist(), item.values.tolist(), item.spaces.tolist(), strict=True)
    return [
        (name, value)
        for name, value, space in found
        if namespace is None or item.namespaces[space] == namespace_hash(namespace)
    ]


def of_two(one: int, other: int) -> int:
    """Hash the product of two hashed features of a context."""
    z = (one * 0x9E3779B97F4A7C15 + other) % WORD
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9 % WORD
    z = (z ^ z >> 27) * 0x94D049BB133111EB % WORD
    return z ^ z >> 31


def hashed(context: Named) -> Named:
    return [(of_context(name), value) for name, value in context]


def with_products(auto: AutoFeatures, context: Named, actions: int) -> Named:
    """Add the products of each two of a context's features, where a row has few enough."""
    products = [
        (of_two(one, other), value * factor)
        for place, (one, value) in enumerate(context)
        for other, factor in context[place:]
    ]
    room = min(auto.context_products, auto.most_crossed)
    few = (len(context) + len(products)) * actions <= room
    return context + products if actions and few else context


def oracle(
    auto: AutoFeatures, context: SparseFeatures, action: SparseFeatures
) -> tuple[dict[int, float], int]:
    """Give a row, and how many products were left out."""
    entries, left_out = all_entries(auto, context, action)
    return {column: sum(values) for column, values in entries.items()}, left_out


def all_entries(
    auto: AutoFeatures, context: SparseFeatures, action: SparseFeatures
) -> tuple[dict[int, list[float]], int]:
    """Give the features and products that fall into each column."""
    row: dict[int, list[float]] = defaultdict(list)

    def add(name: int, value: float) -> None:
        row[max(name >> 64 - auto.bits, 1)].append(value)

    row[0] = [1.0]
    of_context_alone = hashed(parts(context, None))
    if auto.crosses is None:
        of_context_alone = with_products(auto, of_context_alone, len(action))
    for name, value in parts(action, None):
        add(of_action(name), value)
    for name, value in of_context_alone if auto.context_alone else []:
        add(name, value)
    crosses: Any = [(None, None)] if auto.crosses is None else auto.crosses
    pairs = sorted(
        {tuple(pair) for pair in crosses},
        key=lambda pair: [namespace_hash(name) if name is not None else 0 for name in pair],
    )
    blocks = [
        (
            of_context_alone if left is None else hashed(parts(context, left)),
            parts(action, right),
        )
        for left, right in pairs
    ]
    sizes = [len(left) * len(right) for left, right in blocks]
    room = sizes if sum(sizes) <= auto.most_crossed else rooms(sizes, auto.most_crossed)
    left_out = 0
    for (left, right), size, space in zip(blocks, sizes, room, strict=True):
        many, more = cut(len(left), len(right), space) if space else (0, 0)
        left_out += size - many * more
        for one, value in left[:many]:
            for other, factor in right[:more]:
                add(of_pair(one, other), value * factor)
    return row, left_out


VALUES = st.one_of(st.sampled_from(["x", "y"]), st.floats(-4, 4, width=32))
ITEMS = st.dictionaries(
    st.sampled_from("pqrstuv"),
    VALUES | st.lists(st.floats(-4, 4, width=32), max_size=4),
    max_size=6,
).map(lambda members: {"k": members.pop("p", None)} | {"a": members}) | st.dictionaries(
    st.sampled_from("abc"), st.dictionaries(st.sampled_from("pqrstuv"), VALUES, max_size=5)
)
DECISIONS = st.lists(st.tuples(ITEMS, st.lists(ITEMS, max_size=4)), max_size=4)
CROSSES = st.none() | st.lists(
    st.tuples(st.sampled_from(SPACES), st.sampled_from(SPACES)), max_size=6
)


def as_dict(rows: Rows, place: int) -> dict[int, float]:
    one = rows.take([place])
    return dict(zip(one.indices.tolist(), one.values.tolist(), strict=True))


@given(
    DECISIONS,
    CROSSES,
    st.sampled_from([8, 12, 20]),
    st.integers(0, 20) | st.just(4096),
    st.sampled_from([0, 12, 256]),
    st.booleans(),
)
@settings(deadline=None, max_examples=150)
def test_rows_are_those_of_the_dictionary(
    decisions: list[tuple[Any, list[Any]]],
    crosses: list[tuple[str, str]] | None,
    bits: int,
    most: int,
    squared: int,
    alone: bool,
) -> None:
    auto = AutoFeatures(
        bits=bits,
        crosses=crosses,
        most_crossed=most,
        context_products=squared,
        context_alone=alone,
    )
    encoder = AutoEncoder(auto)
    contexts = [encoder.encode(context) for context, _ in decisions]
    candidates = [[encoder.encode(each) for each in some] for _, some in decisions]
    operands = Crossing(auto).operands(contexts, candidates)
    rows, starts = crossed(operands), operands.starts
    assert rows.flaw is None
    assert (rows.width, starts.tolist()[-1]) == (2**bits, len(rows))
    assert np.diff(starts).tolist() == [len(some) for some in candidates]
    pairs = [
        (context, each) for context, some in zip(contexts, candidates, strict=True) for each in some
    ]
    total = 0
    for place, (context, action) in enumerate(pairs):
        expected, missing = oracle(auto, context, action)
        total += missing
        found = as_dict(rows, place)
        assert found.keys() == expected.keys()
        assert list(found.values()) == pytest.approx([expected[key] for key in found], abs=1e-9)
        products = len(found) - 1 - len(action) - alone * len(context)
        assert products <= most + alone * squared
    assert operands.left_out == total


@given(DECISIONS, CROSSES, st.integers(0, 9) | st.just(4096))
@settings(deadline=None)
def test_a_row_is_the_same_bits_in_any_company_and_order_of_keys(
    decisions: list[tuple[Any, list[Any]]], crosses: list[tuple[str, str]] | None, most: int
) -> None:
    auto = AutoFeatures(bits=8, crosses=crosses, most_crossed=most)
    encoder, crossing, workspace = AutoEncoder(auto), Crossing(auto), Workspace()
    contexts = [encoder.encode(context) for context, _ in decisions]
    candidates = [[encoder.encode(each) for each in some] for _, some in decisions]
    whole = crossed(crossing.operands(contexts, candidates), workspace)
    place = 0
    for context, some in decisions:
        for action in some:
            alone = crossing.rows(encoder.encode(turned(context)), [encoder.encode(turned(action))])
            one = whole.take([place])
            assert one.indices.tolist() == alone.indices.tolist()
            assert one.values.tobytes() == alone.values.tobytes()
            place += 1


@pytest.mark.parametrize("bits", [8, 11, 12, 13, 18])
def test_rows_in_which_few_or_many_features_share_a_bucket(bits: int) -> None:
    auto = AutoFeatures(bits=bits)
    encoder = AutoEncoder(auto)
    context = encoder.encode({f"c{number}": number + 2 for number in range(30)})
    actions = [encoder.encode({f"a{n}": n + k for n in range(30)}) for k in range(1, 12)]
    rows = Crossing(auto).rows(context, actions)
    assert rows.flaw is None
    for place, action in enumerate(actions):
        found = as_dict(rows, place)
        expected, _ = oracle(auto, context, action)
        assert found.keys() == expected.keys()
        assert list(found.values()) == pytest.approx([expected[key] for key in found])


def test_rows_are_the_same_for_ever() -> None:
    auto = AutoFeatures(context_products=0)
    encoder = AutoEncoder(auto)
    context = encoder.encode({"geo": "US", "user": {"age": 37}})
    rows = Crossing(auto).rows(context, [encoder.encode({"topic": "sport"})])
    assert as_dict(rows, 0) == {
        0: 1.0,
        253945: 1.0,
        172705: pytest.approx(4.610918),
        229831: 1.0,
        160044: pytest.approx(4.610918),
        256195: 1.0,
    }


def test_products_of_a_context_are_the_same_for_ever() -> None:
    auto = AutoFeatures()
    encoder = AutoEncoder(auto)
    context = encoder.encode({"geo": "US", "user": {"age": 37}})
    action = encoder.encode({"topic": "sport"})
    rows = Crossing(auto).rows(context, [action])
    assert as_dict(rows, 0) == {
        0: 1.0,
        253945: 1.0,
        172705: pytest.approx(4.610918),
        229831: 1.0,
        124441: pytest.approx(21.260565),
        177390: pytest.approx(4.610918),
        84762: 1.0,
        160044: pytest.approx(4.610918),
        256195: 1.0,
        10483: pytest.approx(21.260565),
        235081: pytest.approx(4.610918),
        240094: 1.0,
    }


def test_elements_of_vectors_are_the_first_to_be_left_out_of_products() -> None:
    auto = AutoFeatures(most_crossed=60, context_alone=False)
    encoder = AutoEncoder(auto)
    context = encoder.encode({"geo": "US", "device": "phone"})
    action = encoder.encode({"topic": "sport", "maker": "x", "v": [0.5] * 100})
    operands = Crossing(auto).operands([context], [[action]])
    assert operands.left_out == 2 * 102 - 60
    row = as_dict(crossed(operands), 0)
    for name in context.names.tolist():
        for other in action.names.tolist()[:30]:
            assert of_pair(of_context(name), other) >> 46 in row


def test_buckets_are_even_and_what_collides_with_one_action_does_not_with_all() -> None:
    auto = AutoFeatures(bits=10, most_crossed=65_536, context_alone=False)
    encoder = AutoEncoder(auto)
    contexts = [encoder.encode({f"c{number}": "x"}) for number in range(250)]
    actions = [encoder.encode({f"a{number}": "x"}) for number in range(360)]
    rows = crossed(Crossing(auto).operands(contexts, [actions] * 250))
    pairs = rows.indices[rows.indptr[1:] - 1].reshape(250, 360)  # the last of each row
    counts = np.bincount(pairs.ravel(), minlength=1024)[2:]
    expected = pairs.size / 1024
    chi_squared = ((counts - expected) ** 2 / expected).sum()
    assert chi_squared == pytest.approx(1022, abs=4 * np.sqrt(2 * 1022))
    together = (pairs[:, None] == pairs[None]).sum(axis=2)[np.triu_indices(250, 1)]
    mean = 360 / 1024
    assert together.mean() == pytest.approx(mean, rel=0.05)
    assert (together * (together - 1)).mean() == pytest.approx(mean**2, rel=0.1)
