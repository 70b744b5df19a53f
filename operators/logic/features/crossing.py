"""A context's and its candidates' features as rows: each alone, and their products, in buckets."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from operators.logic.features.auto.names import namespace_hash
from operators.logic.features.auto.sparse import SparseFeatures
from operators.logic.features.rows import Rows
from schemas.catalog import AutoFeatures

_Side = tuple[
    NDArray[np.uint64],
    NDArray[np.float32],
    NDArray[np.int64],
    NDArray[np.uint64],
    NDArray[np.int64],
]


class Crossed(NamedTuple):
    """The rows of all candidates, decision by decision, and how many products were left out.

    Decision d has the rows ``starts[d]`` to ``starts[d + 1]`` - 1.
    """

    rows: Rows
    starts: NDArray[np.int64]
    left_out: int


class Workspace:
    """Memory that rows are written into, to be used again: fresh memory costs more than crossing.

    Rows that were written into it are good until it is given to the next call.
    """

    def __init__(self) -> None:
        self._indices, self._values = np.empty(0, np.int64), np.empty(0)

    def take(self, size: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Give room for so many entries."""
        if size > len(self._indices):
            self._indices, self._values = np.empty(size, np.int64), np.empty(size)
        return self._indices[:size], self._values[:size]


class Crossing:
    """A slot's view of encoded features: rows of ``width`` = 2**bits buckets.

    A row has the bias (bucket 0), the action's features, the context's where the settings say so,
    and for each pair of namespaces that are crossed all products of one feature of each. The bucket
    of a product is a mix of both names' hashes; values multiply; what falls into one bucket adds
    up. Of more products than ``most_crossed`` the pairs of namespaces share that room: small pairs
    have all of theirs, the others the same room each, in which the features that come first in the
    order of hashes are multiplied, as many of the smaller side as fit into a square. Without
    declared pairs all namespaces count as one pair.

    >>> from operators.logic.features.auto import AutoEncoder
    >>> settings = AutoFeatures()
    >>> encoder, crossing = AutoEncoder(settings), Crossing(settings)
    >>> rows = crossing.rows(encoder.encode({"geo": "US"}), [encoder.encode({"topic": "sport"})])
    >>> rows.indptr.tolist(), rows.indices.tolist()
    ([0, 4], [0, 253945, 229831, 256195])
    """

    def __init__(self, settings: AutoFeatures) -> None:
        self.width = 2**settings.bits
        self._settings = settings
        pairs = (
            {(0, 0)}
            if settings.crosses is None
            else {
                (namespace_hash(context), namespace_hash(action))
                for context, action in settings.crosses
            }
        )
        self._pairs = np.array(sorted(pairs), np.uint64).reshape(-1, 2)

    def rows(self, context: SparseFeatures, candidates: Sequence[SparseFeatures]) -> Rows:
        """Give the rows of one decision's candidates."""
        return self.cross([context], [candidates]).rows

    def cross(
        self,
        contexts: Sequence[SparseFeatures],
        candidates: Sequence[Sequence[SparseFeatures]],
        workspace: Workspace | None = None,
    ) -> Crossed:
        """Give the rows of several decisions' candidates, of any number each, none included.

        A row depends on its own context and candidate alone, to the last bit. An action that is
        the same object in several places is looked at once. A row takes 16 bytes for each entry:
        callers bound how many decisions they cross at once. With a ``workspace`` they lie in it.
        """
        from operators.logic.kernels.crossed_rows import crossed_rows

        settings = self._settings
        unique: dict[int, int] = {}
        actions: list[SparseFeatures] = []
        which = np.array(
            [_place(each, unique, actions) for some in candidates for each in some], np.int64
        )
        starts = _sums([len(some) for some in candidates])
        many = np.repeat([len(context) for context in contexts], np.diff(starts))
        more = np.array([len(action) for action in actions], np.int64)[which]
        products = np.minimum(many * more, settings.most_crossed)
        room = int(np.sum(1 + settings.context_alone * many + more + products))
        indptr = np.empty(len(which) + 1, np.int64)
        indices, values = (workspace or Workspace()).take(room)
        declared = settings.crosses is not None
        filled, left_out = crossed_rows(
            _side(contexts, declared),
            _side(actions, declared),
            starts,
            which,
            self._pairs,
            settings.most_crossed,
            settings.bits,
            settings.context_alone,
            indptr,
            indices,
            values,
        )
        return Crossed(
            Rows(indptr, indices[:filled], values[:filled], self.width), starts, left_out
        )


def _place(item: SparseFeatures, unique: dict[int, int], items: list[SparseFeatures]) -> int:
    place = unique.setdefault(id(item), len(items))
    if place == len(items):
        items.append(item)
    return place


def _side(items: Sequence[SparseFeatures], declared: bool) -> _Side:
    """Stack items; where pairs of namespaces are declared, by namespace, else as one group each."""
    empty = [np.empty(0, np.uint64)]
    names = np.concatenate([item.names for item in items] or empty)
    values = np.concatenate([item.values for item in items] or [np.empty(0, np.float32)])
    if not declared:
        groups = _sums([len(item) for item in items])
        return names, values, groups, np.zeros(len(items), np.uint64), np.arange(len(items) + 1)
    spaces = np.concatenate([item.namespaces for item in items] or empty)
    first = _sums([len(item.namespaces) for item in items])
    group = np.concatenate([item.spaces for item in items] or empty).astype(np.int64)
    group += np.repeat(first[:-1], [len(item) for item in items])
    order = np.argsort(group, kind="stable")
    sizes = np.bincount(group, minlength=len(spaces))
    return names[order], values[order], _sums(sizes), spaces, first


def _sums(sizes: Sequence[int] | NDArray[np.int64]) -> NDArray[np.int64]:
    starts = np.zeros(len(sizes) + 1, np.int64)
    np.cumsum(sizes, out=starts[1:])
    return starts
