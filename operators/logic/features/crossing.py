"""A context's and its candidates' features as rows: each alone, and their products, in buckets."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from operators.logic.features.auto.names import namespace_hash
from operators.logic.features.auto.sparse import SparseFeatures
from operators.logic.features.own_products import has_own_products, with_products
from operators.logic.features.rows import Rows
from schemas.catalog import AutoFeatures

_LINEAR = 8.0
"""Values up to here are taken as they are, larger ones by their logarithm, see :func:`bounded`."""

_Side = tuple[NDArray[np.uint64], NDArray[np.float64], NDArray[np.int64]]
_Groups = tuple[NDArray[np.int64], NDArray[np.uint64], NDArray[np.int64]]


class Operands(NamedTuple):
    """What is crossed: the features of n contexts and of the candidates of each, N in all.

    Attributes
    ----------
    contexts, actions
        Hashes and values of the features of each context and of each different action, and where
        each of them begins (and the last ends).
    starts : int64[n + 1]
        Decision d has the candidates ``starts[d]`` to ``starts[d + 1]`` - 1.
    which : int64[N]
        Each candidate's action.
    blocks : int32[N, P, 4]
    whole : boolean[N]
        What is multiplied, and whether that is all there is
        (:func:`operators.logic.kernels.crossing_plan.plan_products`); in a decision whose rows
        have the context's own products or not, only those like the first are whole.
    counted : int64[N]
        How many of the context's features count in a row: with its products of two, or without.
    bits
        Rows have 2**bits columns.
    context_alone
        Whether a context's features also count by themselves.
    left_out
        How many products are left out.
    """

    contexts: _Side
    actions: _Side
    starts: NDArray[np.int64]
    which: NDArray[np.int64]
    blocks: NDArray[np.int32]
    whole: NDArray[np.bool_]
    counted: NDArray[np.int64]
    bits: int
    context_alone: bool
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
    declared pairs all namespaces count as one pair, and where a row has no more than
    ``context_products`` products even so, the products of each two of the context's features (and
    their squares) count like features of the context.

    >>> from operators.logic.features.auto import AutoEncoder
    >>> settings = AutoFeatures()
    >>> encoder, crossing = AutoEncoder(settings), Crossing(settings)
    >>> rows = crossing.rows(encoder.encode({"geo": "US"}), [encoder.encode({"topic": "sport"})])
    >>> rows.indptr.tolist(), rows.indices.tolist()
    ([0, 6], [0, 253945, 229831, 84762, 256195, 240094])
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
        return crossed(self.operands([context], [candidates]))

    def operands(
        self, contexts: Sequence[SparseFeatures], candidates: Sequence[Sequence[SparseFeatures]]
    ) -> Operands:
        """Give what is crossed for several decisions, each with any number of candidates.

        An action that is the same object in several places is looked at once.
        """
        from operators.logic.kernels.crossing_plan import mix_names, plan_products

        settings = self._settings
        unique: dict[int, int] = {}
        actions: list[SparseFeatures] = []
        which = np.array(
            [_place(each, unique, actions) for some in candidates for each in some], np.int64
        )
        starts = _sums([len(some) for some in candidates])
        declared = settings.crosses is not None
        names, values, items, groups = _side(contexts, declared)
        action_names, action_values, action_items, action_groups = _side(actions, declared)
        hashes, action_hashes = np.empty_like(names), np.empty_like(action_names)
        mix_names(names, action_names, hashes, action_hashes)
        blocks = np.empty((len(which), len(self._pairs), 4), np.int32)
        whole = np.empty(len(which), np.bool_)
        left_out = plan_products(
            groups, action_groups, starts, which, self._pairs, settings.most_crossed, blocks, whole
        )
        decisions = np.repeat(np.arange(len(contexts)), np.diff(starts))
        operands = Operands(
            contexts=(hashes, values, items),
            actions=(action_hashes, action_values, action_items),
            starts=starts,
            which=which,
            blocks=blocks,
            whole=whole,
            counted=np.diff(items)[decisions],
            bits=settings.bits,
            context_alone=settings.context_alone,
            left_out=left_out,
        )
        return operands if declared else self._with_own_products(operands, decisions)

    def _with_own_products(self, operands: Operands, decisions: NDArray[np.int64]) -> Operands:
        """Let the products of a context's features count in the rows that have room for them."""
        (hashes, values, items), counted = operands.contexts, operands.counted
        actions = np.diff(operands.actions[2])[operands.which]
        has_products = has_own_products(self._settings, counted, actions)
        if not has_products.any():
            return operands
        wanted = np.zeros(len(items) - 1, np.bool_)
        wanted[decisions[has_products]] = True
        contexts = with_products(hashes, values, items, wanted)
        more = (np.diff(contexts[2]) - np.diff(items))[decisions] * has_products
        counted = counted + more
        operands.blocks[:, 0, 0] = contexts[2][:-1][decisions]
        operands.blocks[:, 0, 1] += more.astype(np.int32)
        alike = counted == counted[operands.starts[:-1][decisions]]
        return operands._replace(contexts=contexts, whole=operands.whole & alike, counted=counted)


def most_entries(settings: AutoFeatures, context: int, action: int) -> int:
    """Give how many entries the row of so many features of a context and an action has at most.

    >>> most_entries(AutoFeatures(), 2, 1), most_entries(AutoFeatures(context_products=0), 2, 1)
    (12, 6)
    """
    if has_own_products(settings, context, action):
        context = context * (context + 3) // 2
    return 1 + context + action + min(context * action, settings.most_crossed)


def crossed(operands: Operands, workspace: Workspace | None = None) -> Rows:
    """Give the rows of all candidates, decision by decision.

    A row depends on its own context and candidate alone, to the last bit. It takes 16 bytes for
    each entry: callers bound how many decisions they cross at once. With a ``workspace`` the rows
    lie in it.
    """
    from operators.logic.kernels.crossed_rows import crossed_rows

    more = np.diff(operands.actions[2])
    products = (operands.blocks[:, :, 1].astype(np.int64) * operands.blocks[:, :, 3]).sum()
    alone = operands.counted.sum() if operands.context_alone else 0
    count = len(operands.which)
    room = int(count + alone + more[operands.which].sum() + products)
    indptr = np.empty(count + 1, np.int64)
    indices, values = (workspace or Workspace()).take(room)
    filled = crossed_rows(
        operands.contexts,
        operands.actions,
        operands.starts,
        operands.which,
        operands.blocks,
        operands.counted,
        operands.bits,
        operands.context_alone,
        indptr,
        indices,
        values,
    )
    return Rows(indptr, indices[:filled], values[:filled], 2**operands.bits)


def _place(item: SparseFeatures, unique: dict[int, int], items: list[SparseFeatures]) -> int:
    place = unique.setdefault(id(item), len(items))
    if place == len(items):
        items.append(item)
    return place


def _side(
    items: Sequence[SparseFeatures], declared: bool
) -> tuple[NDArray[np.uint64], NDArray[np.float64], NDArray[np.int64], _Groups]:
    """Stack items; where pairs of namespaces are declared, by namespace, else as one group each.

    Gives names, values, where each item begins, and the groups.
    """
    empty = [np.empty(0, np.uint64)]
    names = np.concatenate([item.names for item in items] or empty)
    values = bounded(np.concatenate([item.values for item in items] or [np.empty(0, np.float32)]))
    starts = _sums([len(item) for item in items])
    if not declared:
        groups = starts, np.zeros(len(items), np.uint64), np.arange(len(items) + 1)
        return names, values, starts, groups
    spaces = np.concatenate([item.namespaces for item in items] or empty)
    first = _sums([len(item.namespaces) for item in items])
    group = np.concatenate([item.spaces for item in items] or empty).astype(np.int64)
    group += np.repeat(first[:-1], [len(item) for item in items])
    order = np.argsort(group, kind="stable")
    sizes = np.bincount(group, minlength=len(spaces))
    return names[order], values[order], starts, (_sums(sizes), spaces, first)


def bounded(values: NDArray[np.float32]) -> NDArray[np.float64]:
    """Give values that grow with ``values`` and are them up to ±8, then 8 (1 + log(|value| / 8)).

    No sum of squares of products overflows.

    >>> bounded(np.array([-3.0, 8.0, 8.0 * np.e], np.float32)).round(3).tolist()
    [-3.0, 8.0, 16.0]
    """
    wide = values.astype(np.float64)
    size = np.abs(wide)
    if size.max(initial=0.0) <= _LINEAR:
        return wide
    shrunk = _LINEAR * (1.0 + np.log(np.maximum(size, _LINEAR) / _LINEAR))
    return np.where(size <= _LINEAR, wide, np.copysign(shrunk, wide))


def _sums(sizes: Sequence[int] | NDArray[np.int64]) -> NDArray[np.int64]:
    starts = np.zeros(len(sizes) + 1, np.int64)
    np.cumsum(sizes, out=starts[1:])
    return starts
