"""Contexts and profiles as vectors.

Vectors are logged as float32; :meth:`FeatureMap.encode` therefore returns float64 arrays that hold
only float32 values, so that deciding and learning see the very same numbers.
"""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from operators.logic.features.layout import Block, FeatureColumn, fingerprint, layout
from operators.logic.features.one_hot import Buckets, Categories, OneHot
from operators.logic.features.products import write_product
from schemas.catalog import FeatureSpec

Floats = NDArray[np.float64]
Rows = NDArray[np.float32]
Context = Mapping[str, Any]
Profile = Mapping[str, float]

LIMIT = 1e6
"""Numbers are held to ±LIMIT, so that one absurd value cannot ruin a posterior."""

_DAY = 86_400_000_000
_NAN = float("nan")
_NUMBER_TYPES = {float, int}


class FeatureMap:
    """Maps a slot's requests to vectors of floats, compiled once per feature spec.

    Column 0 is the intercept ``1``. A missing value is zero; so is one of the wrong type, length
    or size. ``problems`` counts by (field, reason):
    ``missing``, ``other`` (an unlisted category), ``wrong_type``, ``wrong_length``,
    ``not_finite``, ``clipped``. No value is fatal, and the row of a request does not depend on
    the batch that it is encoded in.

    ``logged_fingerprint`` is the part of the fingerprint that is logged with each vector.

    >>> spec = FeatureSpec(numeric=["age"], categories={"device": ["phone", "desktop"]})
    >>> feature_map = FeatureMap(spec)
    >>> feature_map.names
    ('1', 'age', 'device=phone', 'device=desktop', 'device=other')
    >>> feature_map.encode([{"age": 7, "device": "phone"}, {"device": "watch"}]).tolist()
    [[1.0, 7.0, 1.0, 0.0, 0.0], [1.0, 0.0, 0.0, 0.0, 1.0]]
    >>> feature_map.problems[("device", "other")]
    1
    """

    def __init__(self, spec: FeatureSpec) -> None:
        self.spec = spec
        self.fingerprint = fingerprint(spec)
        self.logged_fingerprint = self.fingerprint[:8]
        self.problems: Counter[tuple[str, str]] = Counter()
        self._layout = layout(spec)
        self.names = tuple(column.name for column in self._layout.describe())
        self.dim = len(self.names)
        self._one_hots = _one_hots(spec, self._layout.blocks, self.problems)
        self._numbers = slice(1, 1 + len(spec.numeric) + len(spec.profile))

    def encode(
        self,
        contexts: Sequence[Context],
        profiles: Sequence[Profile | None] | None = None,
        embeddings: Sequence[Sequence[float] | None] | None = None,
        times_us: Sequence[int] | None = None,
    ) -> Floats:
        """Encode a batch of requests, one row each.

        Parameters
        ----------
        contexts, profiles, embeddings
            Per request: its context, and the subject's profile features and embedding (``None``
            without consent or profile; of a longer embedding the first numbers count).
        times_us
            Request times in microseconds since 1970; needed for ``time_of_day``.

        Returns
        -------
        Array of shape (requests, dim), float64 with exact float32 values.
        """
        n = len(contexts)
        blocks = self._layout.blocks
        x = np.zeros((n, self.dim), np.float32)
        if not n:
            return x.astype(np.float64)
        x[:, 0] = 1.0
        if self._numbers.stop > 1:
            self._write_numbers(x, contexts, profiles or [None] * n)
        for name in self.spec.vectors:
            self._write_vectors(x, blocks[name], [context.get(name) for context in contexts])
        if self.spec.profile_embedding and embeddings is not None:
            wanted = self.spec.profile_embedding
            some = [None if row is None else row[:wanted] for row in embeddings]
            self._write_vectors(x, blocks["profile.embedding"], some)
        if self.spec.time_of_day and times_us is not None:
            start = blocks["time_of_day"].start
            angle = (np.asarray(times_us, np.int64) % _DAY) * (2 * np.pi / _DAY)
            x[:, start] = np.sin(angle)
            x[:, start + 1] = np.cos(angle)
        if self._one_hots:
            self._light(x, contexts)
        for product in self._layout.products:
            write_product(x, product)
        return x.astype(np.float64)

    def describe(self) -> list[FeatureColumn]:
        """List the columns: index, readable name, kind, and the field that each comes from."""
        return self._layout.describe()

    def _write_numbers(
        self,
        x: Rows,
        contexts: Sequence[Context],
        profiles: Sequence[Profile | None],
    ) -> None:
        fields = {
            name: [context.get(name, _NAN) for context in contexts] for name in self.spec.numeric
        }
        for name in self.spec.profile:
            fields[f"profile.{name}"] = [_NAN if p is None else p.get(name, _NAN) for p in profiles]
        numbers = _floats([self._typed(name, values) for name, values in fields.items()])
        whole = _small(numbers)
        if not whole:
            items = zip(fields.items(), numbers, strict=True)
            numbers = np.array([self._bounded(name, raw, values) for (name, raw), values in items])
        numbers = numbers.T
        x[:, self._numbers] = numbers if whole else np.where(np.isnan(numbers), 0.0, numbers)

    def _typed(self, name: str, values: list[Any]) -> list[float]:
        """Give one field's numbers as they are, NaN where there is none."""
        if _NUMBER_TYPES.issuperset(map(type, values)):
            return values
        wrong = sum(not isinstance(value, int | float | None) for value in values)
        self._count(name, "wrong_type", wrong)
        return [value if isinstance(value, int | float) else _NAN for value in values]

    def _bounded(self, name: str, raw: list[Any], values: Floats) -> Floats:
        """Hold one field's numbers to ±LIMIT; those that are not finite become NaN."""
        infinite = np.isinf(values)
        self._count(name, "missing", sum(value is None or value != value for value in raw))
        self._count(name, "not_finite", infinite.sum())
        values = np.where(infinite, np.nan, values)
        self._count(name, "clipped", (np.abs(values) > LIMIT).sum())
        return np.clip(values, -LIMIT, LIMIT)

    def _write_vectors(self, x: Rows, block: Block, rows: Sequence[Sequence[float] | None]) -> None:
        try:
            values = np.array(rows)
        except ValueError:
            values = np.empty(0, object)
        regular = values.dtype.kind in "fiu" and values.shape == (len(rows), block.width)
        if not (regular and _small(values)):
            values = np.array([self._vector(block, row) for row in rows])
        x[:, block.columns] = values

    def _vector(self, block: Block, row: Any) -> Floats:
        """Give a vector, zero where the value is not one, and count why."""
        reason = _refusal(row, block.width)
        values = np.zeros(block.width) if reason else np.array([_float(v) for v in row])
        if not np.isfinite(values).all():
            reason, values = "not_finite", np.zeros(block.width)
        elif np.abs(values).max() > LIMIT:
            reason = "clipped"
        self._count(block.source, reason, reason != "")
        result: Floats = np.clip(values, -LIMIT, LIMIT)
        return result

    def _light(self, x: Rows, contexts: Sequence[Context]) -> None:
        places = np.array(
            [
                one_hot.columns([context.get(name) for context in contexts])
                for name, one_hot in self._one_hots
            ]
        )
        if len(contexts) > 1:
            places += np.arange(0, x.size, self.dim)
        x.reshape(-1)[places] = 1.0

    def _count(self, name: str, reason: str, times: int) -> None:
        if times:
            self.problems[(name, reason)] += int(times)


def _one_hots(
    spec: FeatureSpec, blocks: Mapping[str, Block], problems: Counter[tuple[str, str]]
) -> list[tuple[str, OneHot]]:
    listed = [(name, Categories(blocks[name], problems)) for name in spec.categories]
    return [*listed, *((name, Buckets(blocks[name], problems)) for name in spec.hashed)]


def _floats(columns: list[list[float]]) -> Floats:
    try:
        return np.array(columns, np.float64)
    except OverflowError:
        return np.array([[_float(value) for value in column] for column in columns])


def _float(value: float) -> float:
    try:
        return float(value)
    except OverflowError:
        return math.inf


def _small(numbers: NDArray[Any]) -> bool:
    """Tell quickly that all numbers are finite and within ±LIMIT; False may be a false alarm."""
    flat = numbers.astype(np.float64, copy=False).ravel()
    with np.errstate(all="ignore"):
        return bool(np.dot(flat, flat) <= LIMIT * LIMIT)


def _refusal(row: Any, width: int) -> str:
    if row is None:
        return "missing"
    if not isinstance(row, Sequence | np.ndarray) or isinstance(row, str | bytes):
        return "wrong_type"
    if len(row) != width:
        return "wrong_length"
    numbers = all(isinstance(value, int | float | np.number) for value in row)
    return "" if numbers else "wrong_type"
