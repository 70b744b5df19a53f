"""The products of contexts' own features that a survey found: which, how often, in which bucket."""

from collections.abc import Mapping, Set
from typing import Any, Self

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from operators.logic.features.auto.sparse import SparseFeatures
from operators.logic.features.crossing import bounded
from operators.logic.features.own_products import (
    has_own_products,
    most_products,
    product_buckets,
    product_hashes,
)
from schemas.catalog import AutoFeatures

MOST_PRODUCTS = 5000
"""Products that are told apart; of further ones it is counted how often they occur."""

MOST_KEPT = 2**21
"""Features of contexts that are kept until it is known what candidates say: 24 MB of them."""

_AT_ONCE = 2**20
"""Products that are counted at once."""


class FoundProduct(Struct, kw_only=True):
    """A product of two of a context's own features that counts like one of them.

    ``names`` are both. ``share`` is that of the contexts in which it counts before some candidate
    that was found, the range that of its values there. Before a candidate of more than
    ``most_action_features`` features it never counts. ``constant``: it is in every context, with
    one value.
    """

    names: tuple[str, ...]
    bucket: int
    share: float
    least: float
    greatest: float
    constant: bool
    most_action_features: int


class ContextProducts(Struct, kw_only=True):
    """What was found of P products, in the order in which they were met.

    ``pairs`` [P, 2] are the hashes of both names, the lesser first, ``smallest`` [P] the number of
    features of the smallest context that has it.
    """

    pairs: NDArray[np.uint64]
    counts: NDArray[np.int64]
    least: NDArray[np.float64]
    greatest: NDArray[np.float64]
    smallest: NDArray[np.int64]

    @classmethod
    def of(
        cls, names: NDArray[np.uint64], values: NDArray[np.float64], smallest: NDArray[np.int64]
    ) -> Self:
        """Take each row for one product that occurred once."""
        return cls(
            pairs=names,
            counts=np.ones(len(names), np.int64),
            least=values,
            greatest=values,
            smallest=smallest,
        )

    def merged(self, other: Self) -> Self:
        """Join with what was found later, so that each pair is one product."""
        pairs = np.concatenate([self.pairs, other.pairs])
        _, first, which = np.unique(pairs, axis=0, return_index=True, return_inverse=True)
        which = np.argsort(np.argsort(first))[which.reshape(-1)]  # in the order of the first ones
        order = np.argsort(which, kind="stable")
        starts = np.searchsorted(which[order], np.arange(len(first)))
        if not len(starts):
            return self

        def joined(ufunc: np.ufunc, name: str) -> NDArray[Any]:
            both = np.concatenate([getattr(self, name), getattr(other, name)])
            return np.asarray(ufunc.reduceat(both[order], starts))

        return type(self)(
            pairs=pairs[np.sort(first)],
            counts=joined(np.add, "counts"),
            least=joined(np.minimum, "least"),
            greatest=joined(np.maximum, "greatest"),
            smallest=joined(np.minimum, "smallest"),
        )

    def first(self, count: int) -> Self:
        """Give the first so many."""
        return type(self)(**{name: getattr(self, name)[:count] for name in self.__struct_fields__})

    def hashes(self) -> NDArray[np.uint64]:
        """Give what stands for each product in buckets and further products."""
        return product_hashes(self.pairs)

    def described(
        self, names: Mapping[int, str], settings: AutoFeatures, contexts: int
    ) -> list[FoundProduct]:
        """Describe each product, those that occur most often first; of so many contexts."""
        rows = zip(
            self.pairs.tolist(),
            product_buckets(self.hashes(), settings.bits).tolist(),
            self.counts.tolist(),
            self.least.tolist(),
            self.greatest.tolist(),
            (most_products(settings) // _several(self.smallest)).tolist(),
            strict=True,
        )
        found = [
            FoundProduct(
                names=tuple(sorted((names[one], names[other]))),
                bucket=bucket,
                share=count / contexts,
                least=least,
                greatest=greatest,
                constant=count == contexts and least == greatest,
                most_action_features=most,
            )
            for (one, other), bucket, count, least, greatest, most in rows
        ]
        return sorted(found, key=lambda each: (-each.share, each.names))


class KeptContexts:
    """The contexts that may have products of their own, until it is known whether they do.

    ``further`` counts the products of those for which there was no room.
    """

    def __init__(self, settings: AutoFeatures) -> None:
        self.further = 0
        self._settings = settings
        self._contexts: list[tuple[NDArray[np.uint64], NDArray[np.float64]]] = []
        self._room = MOST_KEPT

    def add(self, context: SparseFeatures) -> None:
        """Keep a context if its products count before a candidate of a single feature."""
        size = len(context)
        if not has_own_products(self._settings, size, 1):
            return
        if size > self._room:
            self.further += size * (size + 1) // 2
            return
        self._room -= size
        self._contexts.append((context.names, bounded(context.values)))

    def products(self, known: Set[int], least: int) -> tuple[ContextProducts, int]:
        """Give the products that count before candidates of ``least`` features.

        And how often others occur: those beyond :data:`MOST_PRODUCTS`, or of a name not known.
        """
        found = ContextProducts.of(np.empty((0, 2), np.uint64), np.empty(0), np.empty(0, np.int64))
        occurred = 0
        waiting: list[tuple[NDArray[np.uint64], NDArray[np.float64], NDArray[np.int64]]] = []
        size = 0
        for names, values in self._contexts:
            if not has_own_products(self._settings, len(names), least):
                continue
            occurred += len(names) * (len(names) + 1) // 2
            is_known = np.array([name in known for name in names.tolist()], np.bool_)
            one, other = np.triu_indices(int(is_known.sum()))
            some, numbers = names[is_known], values[is_known]
            pairs = np.column_stack([some[one], some[other]])
            sizes = np.full(len(pairs), len(names))
            waiting.append((pairs, numbers[one] * numbers[other], sizes))
            size += len(pairs)
            if size > _AT_ONCE:
                found, waiting, size = _counted(found, waiting), [], 0
        if waiting:
            found = _counted(found, waiting)
        return found, self.further + occurred - int(found.counts.sum())


def _counted(
    found: ContextProducts,
    waiting: list[tuple[NDArray[np.uint64], NDArray[np.float64], NDArray[np.int64]]],
) -> ContextProducts:
    """Add what occurred; of products met after the first :data:`MOST_PRODUCTS` nothing is kept."""
    pairs, values, sizes = (np.concatenate(each) for each in zip(*waiting, strict=True))
    return found.merged(ContextProducts.of(pairs, values, sizes)).first(MOST_PRODUCTS)


def _several(size: NDArray[np.int64]) -> NDArray[np.int64]:
    """Count the features of a context of so many, products of two included."""
    return size * (size + 3) // 2
