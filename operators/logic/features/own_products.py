"""The products of each two of a context's own features, where its candidates say little."""

from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from schemas.catalog import AutoFeatures

_PRODUCT = np.uint64(0x9E3779B97F4A7C15)
_MIX_1, _MIX_2 = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)


def has_own_products(settings: AutoFeatures, context: Any, action: Any) -> Any:
    """Say of rows with so many features of either whether the context's own products count.

    >>> has_own_products(AutoFeatures(), 20, 1), has_own_products(AutoFeatures(), 20, 2)
    (True, False)
    """
    several = context * (context + 3) // 2 * action
    return (several > 0) & (several <= most_products(settings))


def most_products(settings: AutoFeatures) -> int:
    """Give how many products a row may have at most that has a context's own; 0 where none has."""
    if settings.crosses is not None:
        return 0
    return min(settings.context_products, settings.most_crossed)


def with_products(
    names: NDArray[np.uint64],
    values: NDArray[np.float64],
    items: NDArray[np.int64],
    wanted: NDArray[np.bool_],
) -> tuple[NDArray[np.uint64], NDArray[np.float64], NDArray[np.int64]]:
    """Put behind the features of items that are ``wanted`` the products of each two of them.

    A feature's product with itself is among them. Names are mixed hashes, and so are theirs.

    >>> names, values = np.array([1, 2], np.uint64), np.array([2.0, 3.0])
    >>> _, both, items = with_products(names, values, np.array([0, 2]), np.array([True]))
    >>> both.tolist(), items.tolist()
    ([2.0, 3.0, 4.0, 6.0, 9.0], [0, 5])
    """
    all_names, all_values = [], []
    for item, (start, end) in enumerate(pairwise(items.tolist())):
        of_item, numbers = names[start:end], values[start:end]
        all_names.append(of_item)
        all_values.append(numbers)
        if wanted[item]:
            one, other = np.triu_indices(end - start)
            all_names.append(_product_names(of_item[one], of_item[other]))
            all_values.append(numbers[one] * numbers[other])
    sizes = np.diff(items)
    larger = np.zeros(len(items), np.int64)
    np.cumsum(np.where(wanted, sizes * (sizes + 3) // 2, sizes), out=larger[1:])
    return np.concatenate(all_names), np.concatenate(all_values), larger


def product_hashes(pairs: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Give what stands for products of two of a context's features, in rows and further products.

    ``pairs`` [P, 2] are the hashes of both names, the lesser first.
    """
    from operators.logic.kernels.crossing_plan import mix_names

    names, none = np.ascontiguousarray(pairs.T).reshape(-1), np.empty(0, np.uint64)
    mixed = np.empty_like(names)
    mix_names(names, none, mixed, none)
    one, other = mixed.reshape(2, -1)
    return _product_names(one, other)


def product_buckets(hashes: NDArray[np.uint64], bits: int) -> NDArray[np.int64]:
    """Give the bucket, of 2**bits, that each product fills by itself."""
    buckets: NDArray[np.int64] = (hashes >> np.uint64(64 - bits)).astype(np.int64)
    buckets[buckets == 0] = 1  # 0 is the bias's alone
    return buckets


def _product_names(one: NDArray[np.uint64], other: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Mix the hashes of two names, by the finaliser of SplitMix64 (Steele, Lea and Flood 2014)."""
    z = one * _PRODUCT + other
    z = (z ^ (z >> np.uint64(30))) * _MIX_1
    z = (z ^ (z >> np.uint64(27))) * _MIX_2
    return np.asarray(z ^ (z >> np.uint64(31)))
