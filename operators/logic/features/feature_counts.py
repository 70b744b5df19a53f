"""How large a feature spec is, counted without laying it out: what it asks for may not fit."""

from collections.abc import Iterator
from typing import NamedTuple

from operators.logic.features.layout import OTHER, FeatureError
from schemas.bounds import MOST_LIT_PAIRS, MOST_SCALED_PAIRS
from schemas.catalog import FeatureSpec


class _Width(NamedTuple):
    """The columns of a block, and how many of them one request can set."""

    columns: int
    lit: int
    scaled: bool


def count_columns(spec: FeatureSpec) -> int:
    """Count the columns of a spec, as :func:`~operators.logic.features.layout.layout` makes them.

    >>> count_columns(FeatureSpec(numeric=["age"], hashed={"page": 65536}))
    65538
    """
    declared = dict(_declared(spec))
    products = sum(columns for columns, _, _ in _products(spec, declared))
    return 1 + sum(width.columns for width in declared.values()) + products


def check_products(spec: FeatureSpec) -> None:
    """Raise FeatureError where a spec has products that cost too much."""
    products = list(_products(spec, dict(_declared(spec))))
    lit = sum(pairs for _, pairs, _ in products)
    if lit > MOST_LIT_PAIRS:
        raise FeatureError(
            f"features.interactions: {lit:,} hashed pairs, at most {MOST_LIT_PAIRS:,}"
        )
    scaled = sum(pairs for _, _, pairs in products)
    if spec.scale and scaled > MOST_SCALED_PAIRS:
        raise FeatureError(
            f"features.interactions: {scaled:,} products with scaled numbers, "
            f"at most {MOST_SCALED_PAIRS:,}"
        )


def _declared(spec: FeatureSpec) -> Iterator[tuple[str, _Width]]:
    yield from ((name, _Width(1, 1, scaled=True)) for name in spec.numeric)
    yield from ((f"profile.{name}", _Width(1, 1, scaled=True)) for name in spec.profile)
    yield from ((name, _Width(width, width, False)) for name, width in spec.vectors.items())
    for name, values in spec.categories.items():
        listed = sum(value != OTHER for value in values)
        yield name, _Width(listed + 1, 1, scaled=False)
    yield from ((name, _Width(buckets, 1, False)) for name, buckets in spec.hashed.items())
    if spec.profile_embedding:
        width = spec.profile_embedding
        yield "profile.embedding", _Width(width, width, scaled=False)
    if spec.time_of_day:
        yield "time_of_day", _Width(2, 2, scaled=False)


def _products(spec: FeatureSpec, declared: dict[str, _Width]) -> Iterator[tuple[int, int, int]]:
    """Count each interaction's columns, the hashed pairs that are lit, and the scaled pairs."""
    none = _Width(0, 0, scaled=False)
    for interaction in spec.interactions:
        left = declared.get(interaction.left, none)
        right = declared.get(interaction.right, none)
        pairs = left.columns * right.columns
        hashed = pairs > spec.interaction_buckets
        yield (
            spec.interaction_buckets if hashed else pairs,
            left.lit * right.lit if hashed else 0,
            pairs if left.scaled or right.scaled else 0,
        )
