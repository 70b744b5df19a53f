"""What the columns of a decision's rows stand for, where features are not declared."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from itertools import combinations_with_replacement
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from operators.logic.features.auto import AutoEncoder, SparseFeatures
from operators.logic.features.auto.survey import ACTION, CONTEXT, NotedHashes
from operators.logic.features.crossing import Crossing, Operands, crossed
from operators.logic.features.own_products import (
    has_own_products,
    product_buckets,
    product_hashes,
)
from operators.logic.features.rows import Rows
from schemas.catalog import AutoFeatures

MOST_PAIRS = 50_000
"""Products whose columns are named; a column of others is called by its number."""


def column_names(
    settings: AutoFeatures, context: Any, contents: Sequence[bytes | None]
) -> dict[int, str]:
    """Name the columns that the context and these actions fill; several names where they share.

    Parameters
    ----------
    settings
    context
        Decoded JSON.
    contents
        The features of the actions, as JSON.

    Examples
    --------
    >>> names = column_names(AutoFeatures(), {"geo": "US"}, [b'{"price":2}'])
    >>> for name in sorted(names.values()):
    ...     print(name)
    1
    action |price
    context |geo=US
    context |geo=US * |geo=US
    context |geo=US * |geo=US × action |price
    context |geo=US × action |price
    """
    found: dict[int, list[str]] = defaultdict(list)
    of_context, of_action = NotedHashes(), NotedHashes()
    encoder = AutoEncoder(settings, of_action)
    actions = [encoder.encode(msgspec.json.decode(text)) for text in contents if text is not None]
    left = list(_singles(AutoEncoder(settings, of_context).encode(context)))
    right = {int(each.names[0]): each for action in actions for each in _singles(action)}
    none, known = encoder.encode(None), list(right.values())
    titles, action_titles = (
        [noted.names.get(int(each.names[0]), "?") for each in singles]
        for noted, singles in ((of_context, left), (of_action, known))
    )
    plain = msgspec.structs.replace(settings, context_products=0)
    alone = Crossing(msgspec.structs.replace(plain, crosses=[], context_alone=True))
    own = _filled(alone.rows(none, known))
    _name(found, _filled(crossed(alone.operands(left, [[none]] * len(left)))), CONTEXT, titles)
    _name(found, own, ACTION, action_titles)
    pairs = Crossing(msgspec.structs.replace(plain, context_alone=False))
    crossings = []
    if 0 < len(left) * len(known) <= MOST_PAIRS:
        crossings.append((titles, pairs.operands(left, [known] * len(left))))
    hashes, of_two = _own_products(settings, left, titles, actions)
    if settings.context_alone:
        buckets = product_buckets(hashes, settings.bits).tolist()
        _name(found, [{bucket} for bucket in buckets], CONTEXT, of_two)
    if 0 < len(hashes) * len(known) <= MOST_PAIRS:
        like = pairs.operands(left[:1] * len(hashes), [known] * len(hashes))
        crossings.append((of_two, _of_products(like, hashes)))
    for names, operands in crossings:
        products = iter(_filled(crossed(operands)))
        for name in names:
            mine = [next(products) - each for each in own]
            _name(found, mine, f"{CONTEXT} {name} × {ACTION}", action_titles)
    named = {column: " + ".join(sorted(set(names))) for column, names in found.items()}
    return named | {0: "1"}


def _own_products(
    settings: AutoFeatures,
    context: Sequence[SparseFeatures],
    titles: Sequence[str],
    actions: Sequence[SparseFeatures],
) -> tuple[NDArray[np.uint64], list[str]]:
    """Give the hashes and names of a context's own products, where they count for some action."""
    if not any(has_own_products(settings, len(context), len(action)) for action in actions):
        return np.empty(0, np.uint64), []
    names = [each.names[0] for each in context]
    pairs = np.array(list(combinations_with_replacement(names, 2)), np.uint64).reshape(-1, 2)
    of_two = [" * ".join(two) for two in combinations_with_replacement(titles, 2)]
    return product_hashes(pairs), of_two


def _of_products(operands: Operands, hashes: NDArray[np.uint64]) -> Operands:
    """Let decisions whose contexts have one feature each have these products instead."""
    contexts = hashes, np.ones(len(hashes)), np.arange(len(hashes) + 1)
    return operands._replace(contexts=contexts)


def _name(
    found: dict[int, list[str]], filled: Iterable[set[int]], side: str, titles: Sequence[str]
) -> None:
    for columns, title in zip(filled, titles, strict=True):
        for column in columns:
            found[column].append(f"{side} {title}")


def _filled(rows: Rows) -> list[set[int]]:
    """Give the columns of each row, but for the bias."""
    parts: list[NDArray[np.int64]] = np.split(rows.indices, rows.indptr[1:-1])
    return [set(part.tolist()) - {0} for part in parts][: len(rows)]


def _singles(features: SparseFeatures) -> Iterator[SparseFeatures]:
    """Give each feature alone, with the value 1."""
    for place, space in enumerate(features.spaces.tolist()):
        yield SparseFeatures(
            namespaces=features.namespaces[space : space + 1],
            spaces=np.zeros(1, np.uint16),
            names=features.names[place : place + 1],
            values=np.ones(1, np.float32),
        )
