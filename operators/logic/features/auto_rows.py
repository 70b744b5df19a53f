"""The rows that a slot's shared policy scores and learns from, made of JSON as it was logged."""

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from operators.logic.features.auto import ActionEncodings, AutoEncoder, NameHashes, SparseFeatures
from operators.logic.features.auto.names import stable_hash
from operators.logic.features.crossing import (
    Crossing,
    Operands,
    Workspace,
    crossed,
    most_entries,
)
from operators.logic.features.rows import Rows
from schemas.catalog import AutoFeatures

MOST_ENTRIES: Final = 2**21
"""Entries of rows that are made at once, 32 MB, or those of one decision if these are more."""

MOST_ENCODED: Final = 16 * 2**20
"""Bytes of actions' encodings that are remembered."""

_CONTEXT, _ACTIONS, _PRODUCTS = "context", "actions", "crosses"


class AutoRows:
    """Makes rows by one slot's settings; what repeats of actions is encoded once.

    >>> rows = AutoRows(AutoFeatures())
    >>> action = b'{"topic":"sport"}'
    >>> (several,) = map(crossed, rows.of_candidates([{"geo": "US"}], [[action, None]]))
    >>> (one,) = rows.of_chosen([b'{"geo":"US"}'], [action], np.zeros(1, np.int64))
    >>> several.take([0]).indices.tolist() == one.indices.tolist(), len(several)
    (True, 2)
    """

    def __init__(self, settings: AutoFeatures, slate_size: int = 1) -> None:
        hashes = NameHashes()
        self.width = 2**settings.bits
        self.position_columns = np.array(
            [-1, *(_position_column(place, self.width) for place in range(1, slate_size))], np.int64
        )
        """The column that is 1 more at each position of a slate; none at the first."""
        self._settings = settings
        self._contexts = AutoEncoder(settings, hashes)
        self._action_encoder = AutoEncoder(settings, hashes)
        self._actions = ActionEncodings(self._action_encoder, MOST_ENCODED)
        self._nothing = AutoEncoder(settings, hashes).encode(None)
        self._crossing = Crossing(settings)
        self._workspace = Workspace()
        self._left_out = 0

    def of_candidates(
        self, contexts: Sequence[Any], contents: Sequence[Sequence[bytes | None]]
    ) -> Iterator[Operands]:
        """Give what is crossed for n decisions' candidates, in their order, in bounded parts.

        Parameters
        ----------
        contexts
            Decoded JSON, one for each decision.
        contents
            The JSON of each candidate's features, None where there are none.
        """
        encode = self._contexts.encode
        return self._operands([encode(context) for context in contexts], contents)

    def of_chosen(
        self,
        contexts: Sequence[bytes | None],
        contents: Sequence[bytes | None],
        positions: NDArray[np.int64],
    ) -> Iterator[Rows]:
        """Give the row of each decision's chosen action, in bounded parts.

        Contexts are JSON here; ``positions`` [n] are those of slates, from 0. A part is good until
        the next one is asked for.
        """
        decode, encode = msgspec.json.decode, self._contexts.encode
        found = [self._nothing if text is None else encode(decode(text)) for text in contexts]
        columns = self.position_columns[np.minimum(positions, len(self.position_columns) - 1)]
        start = 0
        for operands in self._operands(found, [[content] for content in contents]):
            rows = crossed(operands, self._workspace)
            yield with_entries(rows, columns[start : start + len(rows)])
            start += len(rows)

    def take_problems(self) -> Counter[tuple[str, str]]:
        """Give how often what was left out, by (what, reason), since this was last asked."""
        problems: Counter[tuple[str, str]] = Counter()
        for name, encoder in ((_CONTEXT, self._contexts), (_ACTIONS, self._action_encoder)):
            for reason, count in encoder.problems.items():
                problems[name, reason] += count
            encoder.problems.clear()
        if self._left_out:
            problems[_PRODUCTS, "too_many"] = self._left_out
            self._left_out = 0
        return problems

    def _operands(
        self, contexts: Sequence[SparseFeatures], contents: Sequence[Sequence[bytes | None]]
    ) -> Iterator[Operands]:
        encode, nothing = self._actions.of_json, self._nothing
        some: list[SparseFeatures] = []
        candidates: list[list[SparseFeatures]] = []
        entries = 0
        for context, texts in zip(contexts, contents, strict=True):
            actions = [nothing if text is None else encode(text) for text in texts]
            many, settings = len(context), self._settings
            needed = sum(most_entries(settings, many, len(action)) for action in actions)
            if some and entries + needed > MOST_ENTRIES:
                yield self._part(some, candidates)
                some, candidates, entries = [], [], 0
            some.append(context)
            candidates.append(actions)
            entries += needed
        if some:
            yield self._part(some, candidates)

    def _part(
        self, contexts: Sequence[SparseFeatures], candidates: Sequence[Sequence[SparseFeatures]]
    ) -> Operands:
        operands = self._crossing.operands(contexts, candidates)
        self._left_out += operands.left_out
        return operands


def with_entries(rows: Rows, columns: NDArray[np.int64]) -> Rows:
    """Give rows that are 1 larger in one column each [K]; -1 leaves a row as it is.

    >>> rows = Rows(np.array([0, 2, 2]), np.array([0, 5]), np.array([1.0, 2.0]), 8)
    >>> with_entries(rows, np.array([5, 3])).dense().tolist()[0]
    [1.0, 0.0, 0.0, 0.0, 0.0, 3.0, 0.0, 0.0]
    >>> with_entries(rows, np.array([-1, 3])).indices.tolist()
    [0, 5, 3]
    """
    if (columns < 0).all():
        return rows
    sizes = np.diff(rows.indptr)
    hit = rows.indices == np.repeat(columns, sizes)
    values = rows.values + hit
    row = np.repeat(np.arange(len(rows)), sizes)
    lacking = columns >= 0
    lacking[row[hit]] = False
    ends = rows.indptr[1:][lacking]
    added = np.zeros(len(rows) + 1, np.int64)
    np.cumsum(lacking, out=added[1:])
    return Rows(
        rows.indptr + added,
        np.insert(rows.indices, ends, columns[lacking]),
        np.insert(values, ends, 1.0),
        rows.width,
    )


def _position_column(position: int, width: int) -> int:
    return stable_hash(f"position={position}") % width
