"""Interactions: products of two features' columns."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from operators.logic.features.layout import Product
from operators.logic.features.one_hot import stable_hash

Rows = NDArray[np.float32]

_MIX = np.uint64(0x9E3779B97F4A7C15)


def write_product(x: Rows, product: Product) -> None:
    """Write the products of every pair of columns of two blocks that ``x`` already holds.

    Where the pairs outnumber the buckets, each pair adds its product to the bucket it hashes to.
    """
    left, right = x[:, product.left.columns], x[:, product.right.columns]
    if not product.hashed:
        pairs = left[:, :, None] * right[:, None, :]
        x[:, product.block.columns] = pairs.reshape(len(x), product.block.width)
        return
    row_l, col_l = np.nonzero(left)
    row_r, col_r = np.nonzero(right)
    first = np.searchsorted(row_r, row_l, "left")
    many = np.searchsorted(row_r, row_l, "right") - first
    a = np.repeat(np.arange(len(row_l)), many)
    b = np.arange(len(a)) + np.repeat(first - np.cumsum(many) + many, many)
    pair = (col_l[a] * product.right.width + col_r[b]).astype(np.uint64)
    place = _mix(pair, product.block.source) % np.uint64(product.block.width)
    value = left[row_l[a], col_l[a]] * right[row_r[b], col_r[b]]
    np.add.at(x, (row_l[a], product.block.start + place.astype(np.int64)), value)


def places_of(product: Product) -> Iterator[tuple[int, int, int]]:
    """Give each pair of columns of a product: where their product is added, left, right.

    >>> from operators.logic.features.layout import Block
    >>> a, b = Block("a", "number", 1, ("a",)), Block("b", "vector", 2, ("b[0]", "b[1]"))
    >>> both = Block("a*b", "interaction", 4, ("a*b[0]", "a*b[1]"))
    >>> list(places_of(Product(both, a, b, hashed=False)))
    [(4, 1, 2), (5, 1, 3)]
    """
    width = product.right.width
    pairs = np.arange(product.left.width * width, dtype=np.uint64)
    if product.hashed:
        places = _mix(pairs, product.block.source) % np.uint64(product.block.width)
    else:
        places = pairs
    for pair, place in enumerate(places.tolist()):
        left, right = divmod(pair, width)
        start = product.block.start
        yield start + place, product.left.start + left, product.right.start + right


def _mix(pair: NDArray[np.uint64], source: str) -> NDArray[np.uint64]:
    """Hash pairs of columns: the finaliser of SplitMix64 (Steele, Lea and Flood 2014)."""
    z = (pair + np.uint64(1)) * _MIX + np.uint64(stable_hash("interaction", source))
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))
