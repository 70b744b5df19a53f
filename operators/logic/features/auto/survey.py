"""What a slot's own requests become without a declaration: names, buckets, drift, constants."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import msgspec
import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from operators.logic.features.auto.encoder import AutoEncoder
from operators.logic.features.auto.fields import Typed, typed_fields
from operators.logic.features.auto.names import NameHashes
from operators.logic.features.auto.sparse import SparseFeatures
from operators.logic.features.auto.survey_products import (
    ContextProducts,
    FoundProduct,
    KeptContexts,
)
from operators.logic.features.crossing import Crossing, Operands, Workspace, crossed
from operators.logic.features.own_products import has_own_products
from schemas.catalog import AutoFeatures

CONTEXT, ACTION = "context", "action"
OWN_PRODUCTS = "context products"

MOST_NAMES = 5000
"""Features of a side that are told apart; of further ones it is counted how often they occur."""

_CHUNK = 100
"""Features of actions that are crossed at once with all of the contexts'."""


class FoundFeature(Struct, kw_only=True):
    """A feature that occurred: its bucket, in which share of the items, and within what range.

    ``constant``: it is in every item, with one value.
    """

    name: str
    side: str
    bucket: int
    share: float
    least: float
    greatest: float
    constant: bool


class Drift(Struct):
    """A field whose values were of several kinds, and in how many items of each."""

    field: str
    side: str
    kinds: dict[str, int]


class SharedBucket(Struct):
    """A bucket that several features fill, a context's own products among them, others not."""

    bucket: int
    names: list[str]


class Findings(Struct, kw_only=True):
    """What a survey found.

    ``context_products`` are those of each two of a context's features, where they count before
    some candidate. ``products`` counts what is crossed, a context's features and own products with
    an action's features, whatever ``most_crossed``, ``products_colliding`` those of them that share
    their bucket. ``further`` counts by side how often features occurred beyond the first
    :data:`MOST_NAMES`, and own products beyond as many, ``problems`` what was left out.
    """

    buckets: int
    contexts: int
    actions: int
    features: list[FoundFeature]
    context_products: list[FoundProduct]
    constant: list[str]
    drift: list[Drift]
    collisions: list[SharedBucket]
    products: int
    products_colliding: int
    problems: dict[str, dict[str, int]]
    further: dict[str, int]


class Survey:
    """Looks at contexts and actions as the slot's settings encode them.

    >>> survey = Survey(AutoFeatures())
    >>> survey.add(CONTEXT, {"age": 3})
    >>> survey.add(CONTEXT, {"age": "three"})
    >>> [(each.field, each.kinds) for each in survey.findings().drift]
    [('|age', {'category': 1, 'number': 1})]
    """

    def __init__(self, settings: AutoFeatures) -> None:
        self._settings = settings
        self._sides = {side: _Side(settings) for side in (CONTEXT, ACTION)}

    def add(self, side: str, features: Any, times: int = 1) -> None:
        """Take in a context, or an action's features, that occurred so many times."""
        self._sides[side].add(features, times)

    def leave_out(self, side: str, reason: str) -> None:
        """Take in a context, or an action's features, that counts as empty for this reason."""
        self.add(side, None)
        self._sides[side].problems[reason] += 1

    def findings(self) -> Findings:
        """Say what was found so far."""
        context, action = self._sides[CONTEXT], self._sides[ACTION]
        own, further = context.own_products(action.least)
        context_buckets, action_buckets, products = _buckets(self._settings, context, action, own)
        own_products = own.described(context.names, self._settings, context.items)
        features = [
            *context.features(CONTEXT, context_buckets),
            *action.features(ACTION, action_buckets),
        ]
        features.sort(key=lambda each: (each.side != CONTEXT, -each.share, each.name))
        filled: dict[int, list[str]] = defaultdict(list)
        for each in features:
            if each.side == ACTION or self._settings.context_alone:
                filled[each.bucket].append(f"{each.side} {each.name}")
        for product in own_products if self._settings.context_alone else ():
            filled[product.bucket].append(f"{CONTEXT} {' * '.join(product.names)}")
        return Findings(
            buckets=2**self._settings.bits,
            contexts=context.items,
            actions=action.items,
            features=features,
            context_products=own_products,
            constant=[f"{each.side} {each.name}" for each in features if each.constant],
            drift=[*context.drift(CONTEXT), *action.drift(ACTION)],
            collisions=[
                SharedBucket(bucket, names)
                for bucket, names in sorted(filled.items())
                if len(names) > 1
            ],
            products=int(products.sum()),
            products_colliding=int(products[products > 1].sum()),
            problems={side: dict(each.problems) for side, each in self._sides.items()},
            further={side: each.further for side, each in self._sides.items()}
            | {OWN_PRODUCTS: further},
        )


class NotedHashes(NameHashes):
    """Hashes that remember their names, while they are few enough."""

    def __init__(self) -> None:
        super().__init__()
        self.names: dict[int, str] = {}

    def of(self, name: str) -> int:
        """Give the hash of a name, which is remembered."""
        return self._noted(name, super().of(name))

    def of_element(self, path: str, place: int) -> int:
        """Give the hash of an element's name, which is remembered."""
        return self._noted(f"{path}[{place}]", super().of_element(path, place))

    def of_elements(self, path: str, count: int) -> tuple[int, ...]:
        """Give the hashes of the names of a list's elements, which are remembered."""
        return tuple(self.of_element(path, place) for place in range(count))

    def _noted(self, name: str, hashed: int) -> int:
        if len(self.names) < MOST_NAMES:
            self.names[hashed] = name
        return hashed


class _Range(Struct):
    count: int
    least: float
    greatest: float
    namespace: int
    smallest: int
    """Features of the smallest item that has it."""


class _Side:
    """What was found among the contexts, or among the actions."""

    def __init__(self, settings: AutoFeatures) -> None:
        self.items = 0
        self.further = 0
        self.least = 0
        """Features of the item that has the fewest, of those that have any."""
        self._kept = KeptContexts(settings)
        self._hashes = NotedHashes()
        self._encoder = AutoEncoder(settings, self._hashes)
        self._ranges: dict[int, _Range] = {}
        self._kinds: dict[str, Counter[str]] = defaultdict(Counter)

    @property
    def problems(self) -> Counter[str]:
        return self._encoder.problems

    @property
    def names(self) -> dict[int, str]:
        return self._hashes.names

    def own_products(self, least: int) -> tuple[ContextProducts, int]:
        """Give the products of two features of an item that count before ``least`` of an action.

        And how often others occur.
        """
        return self._kept.products(self._ranges.keys() & self.names.keys(), least)

    def add(self, features: Any, times: int = 1) -> None:
        self.items += times
        before = self.problems.copy()
        encoded = self._encoder.encode(features)
        for reason, count in (self.problems - before).items():
            self.problems[reason] += (times - 1) * count
        for _ in range(times):
            self._kept.add(encoded)
        size = len(encoded)
        self.least = min(self.least or size, size or self.least)
        known = self._hashes.names
        spaces = encoded.namespaces[encoded.spaces].tolist()
        seen: set[Typed] = set()
        columns = zip(encoded.names.tolist(), encoded.values.tolist(), spaces, strict=True)
        for hashed, value, namespace in columns:
            if hashed not in known:
                self.further += times
                continue
            range_ = self._ranges.setdefault(hashed, _Range(0, value, value, namespace, size))
            range_.count += times
            range_.least = min(range_.least, value)
            range_.greatest = max(range_.greatest, value)
            range_.smallest = min(range_.smallest, size)
            seen.update(typed_fields(known[hashed]))
        for field, kind in seen:
            self._kinds[field][kind] += times

    def one_by_one(self) -> Iterator[SparseFeatures]:
        """Give each feature that was found alone, with the value 1."""
        for hashed, range_ in self._ranges.items():
            yield _features([hashed], [range_.namespace])

    def whole(self) -> SparseFeatures:
        """Give all of them in one."""
        names = sorted(self._ranges)
        return _features(names, [self._ranges[name].namespace for name in names])

    def smallest(self) -> list[int]:
        """Give the size of the smallest item with each, in the order of :meth:`one_by_one`."""
        return [range_.smallest for range_ in self._ranges.values()]

    def features(self, side: str, buckets: Iterable[int]) -> Iterator[FoundFeature]:
        """Describe every feature; ``buckets`` in the order of :meth:`one_by_one`."""
        for (hashed, found), bucket in zip(self._ranges.items(), buckets, strict=True):
            yield FoundFeature(
                name=self._hashes.names[hashed],
                side=side,
                bucket=bucket,
                share=found.count / self.items,
                least=found.least,
                greatest=found.greatest,
                constant=found.count == self.items and found.least == found.greatest,
            )

    def drift(self, side: str) -> list[Drift]:
        return [
            Drift(field, side, dict(sorted(kinds.items())))
            for field, kinds in sorted(self._kinds.items())
            if len(kinds) > 1
        ]


def _buckets(
    settings: AutoFeatures, context: _Side, action: _Side, own: ContextProducts
) -> tuple[list[int], list[int], NDArray[np.float64]]:
    """Give the buckets of each side's features, and how many products fill each bucket."""
    none, everything = _features([], []), context.whole()
    alone = msgspec.structs.replace(settings, crosses=[], context_alone=True)
    singles = list(context.one_by_one())
    context_rows = crossed(Crossing(alone).operands(singles, [[none]] * len(singles)))
    actions, sizes = list(action.one_by_one()), np.array(action.smallest(), np.int64)
    action_rows = Crossing(alone).rows(none, actions)
    room = len(everything)  # a row for each of the actions' features alone: none is left out
    crossing = Crossing(
        msgspec.structs.replace(
            settings, most_crossed=room, context_products=0, context_alone=False
        )
    )
    by_size = np.argsort(own.smallest, kind="stable")
    hashes, smallest = own.hashes()[by_size], own.smallest[by_size]
    products, workspace = np.zeros(crossing.width), Workspace()
    for start in range(0, len(actions), _CHUNK):
        some: Sequence[SparseFeatures] = actions[start : start + _CHUNK]
        operands = crossing.operands([everything], [some])
        counts = [
            int(has_own_products(settings, smallest, size).sum())
            for size in sizes[start : start + _CHUNK].tolist()
        ]
        for each in (operands, _of_products(operands, hashes, counts)):
            rows = crossed(each, workspace)
            products += np.bincount(rows.indices, rows.values, crossing.width)
    products[0] = 0.0
    products -= 2 * np.bincount(action_rows.indices, action_rows.indices > 0, crossing.width)
    return context_rows.indices[1::2].tolist(), action_rows.indices[1::2].tolist(), products


def _of_products(operands: Operands, hashes: NDArray[np.uint64], counts: Sequence[int]) -> Operands:
    """Cross actions of a single feature with the first so many of some products instead."""
    blocks = np.empty((len(counts), 1, 4), np.int32)
    blocks[:, 0] = 0, 0, 0, 1
    blocks[:, 0, 1], blocks[:, 0, 2] = counts, operands.actions[2][operands.which]
    contexts = hashes, np.ones(len(hashes)), np.array([0, len(hashes)], np.int64)
    return operands._replace(contexts=contexts, blocks=blocks)


def _features(names: list[int], namespaces: list[int]) -> SparseFeatures:
    """Make features of these names, rising, each with the value 1."""
    known, spaces = np.unique(np.array(namespaces, np.uint64), return_inverse=True)
    return SparseFeatures(
        namespaces=known,
        spaces=spaces.astype(np.uint16),
        names=np.array(names, np.uint64),
        values=np.ones(len(names), np.float32),
    )
