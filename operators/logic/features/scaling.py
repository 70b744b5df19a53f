"""Numbers in units of their own spread: linear coordinates, derived from what was learned.

Logged vectors stay raw. What is scaled is the policy's view of them: z = T x, where row j of T
takes the mean from a number and divides it by its deviation. T is a function of the policy's
additive statistics, so scaling depends on no order, and what is subtracted leaves it.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from operators.logic.features.layout import layout
from operators.logic.features.products import places_of
from schemas.catalog import FeatureSpec

Floats = NDArray[np.float64]

WARM = 20.0
"""Decisions that must count before a number is looked at: so few say nothing of its spread."""

FLAT, LEAST = 1e-6, 1e-12
"""A deviation below this share of the mean, or below this, is rounding: the number is constant."""


class Factors(NamedTuple):
    """A column that adds up products of two others, one of them scaled at least."""

    place: int
    left: int
    right: int


class Scaled(Struct, frozen=True):
    """Which columns of a feature map are scaled, and which are products of such columns."""

    numbers: tuple[int, ...]
    products: tuple[Factors, ...] = ()


def scaled_columns(spec: FeatureSpec) -> Scaled | None:
    """Find the columns of ``numeric`` and ``profile`` where the spec scales; None without any.

    >>> scaled_columns(FeatureSpec(numeric=["price"], time_of_day=True, scale=True))
    Scaled(numbers=(1,), products=())
    """
    count = len(spec.numeric) + len(spec.profile)
    if not spec.scale or not count:
        return None
    numbers = range(1, 1 + count)
    products = [
        Factors(place, left, right)
        for product in layout(spec).products
        if product.left.start in numbers or product.right.start in numbers
        for place, left, right in places_of(product)
    ]
    return Scaled(tuple(numbers), tuple(products))


class Coordinates:
    """The linear map T from logged vectors to those that a posterior is about.

    Only ``rows`` of it differ from the identity: ``matrix`` holds these.
    """

    def __init__(self, rows: NDArray[np.intp], matrix: Floats) -> None:
        self.rows = rows
        self.matrix = matrix

    def transform(self, x: Floats) -> Floats:
        """Map vectors [..., d] into the coordinates."""
        z = x.copy()
        z[..., self.rows] = x @ self.matrix.T
        return z

    def transform_forms(self, forms: Floats) -> Floats:
        """Give T F Tᵀ of symmetric matrices [K, d, d]: sums of x xᵀ become those of z zᵀ."""
        half = forms.copy()
        half[:, self.rows] = self.matrix @ forms
        whole = half.copy()
        whole[:, :, self.rows] = half @ self.matrix.T
        return whole


@dataclass(frozen=True, slots=True)
class Moments:
    """Sums over decisions of w, w x and w x² [d], and how many decisions ``count``."""

    weight: float
    first: Floats
    second: Floats
    count: float


def coordinates(scaled: Scaled, moments: Moments) -> Coordinates:
    """Derive the coordinates from the moments of all decisions, whatever their weights.

    A number without deviation, or before :data:`WARM` decisions count, is left out: its row is
    zero.
    """
    dim = len(moments.first)
    slope, offset = np.ones(dim), np.zeros(dim)
    numbers = np.array(scaled.numbers, dtype=np.intp)
    slope[numbers], offset[numbers] = _lines(moments, numbers)
    places = sorted({product.place for product in scaled.products})
    rows = np.array([*scaled.numbers, *places], dtype=np.intp)
    row_of = {place: row for row, place in enumerate(rows.tolist())}
    matrix = np.zeros((len(rows), dim))
    matrix[np.arange(len(numbers)), numbers] = slope[numbers]
    matrix[: len(numbers), 0] = offset[numbers]
    for place, i, j in scaled.products:
        # (a_i x_i + b_i) (a_j x_j + b_j), of which the bucket ``place`` holds the sum of x_i x_j.
        row = matrix[row_of[place]]
        row[place] = slope[i] * slope[j]
        row[i] += slope[i] * offset[j]
        row[j] += slope[j] * offset[i]
        row[0] += offset[i] * offset[j]
    return Coordinates(rows, matrix)


def _lines(moments: Moments, numbers: NDArray[np.intp]) -> tuple[Floats, Floats]:
    """Give the slope and offset of each number."""
    none = np.zeros(len(numbers))
    if moments.count < WARM or moments.weight <= 0.0:
        return none, none
    mean = moments.first[numbers] / moments.weight
    variance = moments.second[numbers] / moments.weight - mean * mean
    spread = variance > np.maximum(FLAT * np.abs(mean), LEAST) ** 2
    slope = np.where(spread, np.where(spread, variance, 1.0) ** -0.5, 0.0)
    return slope, -mean * slope
