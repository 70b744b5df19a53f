"""The chance that each of some normal draws is the largest, a row at a time.

With densities f_a and distributions F_a, p_a = ∫ f_a ∏_{b≠a} F_b = ∫ (f_a / F_a) ∏_b F_b. Below
L = max_a (an extreme lower quantile of a) the product is nothing, and above L every F_a is bounded
away from 0, so the second form needs no logarithms. An action that matters at a distance y - L has
a width of at least about (y - L) / 11.4, so nodes at y = L + c sinh(t) resolve narrow and wide
posteriors alike. The rule is the trapezoidal one in t: it converges exponentially (Trefethen and
Weideman, SIAM Review 56, 2014), and halving its step adds the nodes between. It is checked by
|Σp - 1| before normalising, and the step is halved where that fails.
"""

import math
from typing import Any

import numpy as np

from operators.logic.kernels.compiling import inlined, kernel

_BELOW, _ABOVE = 5.5, 5.9
"""The window in standard deviations, below and above the means."""

_GRADE = 4.0
"""Narrowest widths from L after which the spacing of the nodes grows in proportion."""

_STEP = 0.1
"""The largest spacing in t at first."""

_LANES = 8
"""Nodes come in multiples of this, the doubles that a processor takes at once."""

_BLOCK, _CELLS = 64, 4096
"""Nodes, and nodes times actions, worked on at once: they stay in the first caches."""

_MOST_NODES = 2048
_TOLERANCE = 1e-6
_LEAST_WIDTH = 1e-9
"""A narrower deviation, in parts of 1 + |mean|, is as good as this one."""

_SATURATED = 13.0
"""Standard deviations beyond which a density is taken as constant, e^-84: so a hopeless action
keeps a positive probability, and a slate can be filled."""

_DENSITY_SCALE = math.sqrt(0.5 / math.pi)
_E0, _E1, _E2, _E3 = (
    0.9999999999999075,
    -0.9999999999641822,
    0.4999999977194508,
    -0.1666666112597322,
)
_E4, _E5, _E6 = 0.0416660042268893, -0.008329018449278277, 0.0013732230888421194
_E7 = -0.00016835266411602474
"""exp(-v) for v in [0, 13²/512] as a polynomial: its 256th power, exp(-z²/2), errs by 3.2e-11."""

_MILLS_SCALE = 0.26
_M0, _M1, _M2 = -7.012313603060871e-06, 0.10390385788654752, 0.1017365782153814
_M3, _M4, _M5 = 0.10938967826681847, 0.031456955955548135, 0.19967890763191165
_M6, _M7, _M8 = -0.20031028406215745, 0.29062345970568915, -0.17037233464570503
_M9 = 0.033900196059584824
"""Φ(-a) / exp(-a²/2) as a polynomial in t = 1 / (1 + 0.26 a), minimax of the relative error: 5.4e-9
for a in [0, 13]."""


@inlined
def _dot(a: Any, b: Any) -> float:
    """Sum products in the order of the nodes."""
    total = 0.0
    for j in range(b.size):
        total += a[j] * b[j]
    return total


@inlined
def _multiply(distance: Any, scale: float, offset: float, ratio: Any, product: Any) -> None:
    """Write an action's f / F at the nodes, and multiply the product by its F.

    A loop of its own over whole arrays, with neither branches nor calls: else it is not vectorised.
    """
    for j in range(distance.size):
        z = min(distance[j] * scale - offset, _SATURATED)
        v = z * z * (1.0 / 512.0)
        x = _E3 + v * (_E4 + v * (_E5 + v * (_E6 + v * _E7)))
        x = _E0 + v * (_E1 + v * (_E2 + v * x))
        for _ in range(8):
            x *= x
        t = 1.0 / (1.0 + _MILLS_SCALE * abs(z))
        tail = _M5 + t * (_M6 + t * (_M7 + t * (_M8 + t * _M9)))
        tail = x * (_M0 + t * (_M1 + t * (_M2 + t * (_M3 + t * (_M4 + t * tail)))))
        cumulative = 1.0 - tail if z > 0.0 else tail
        ratio[j] = x / cumulative
        product[j] *= cumulative


@inlined
def _add_nodes(
    grid: tuple[float, float, int], unit: float, offset: Any, scale: Any, mass: Any, room: Any
) -> None:
    """Add f_a / F_a ∏ F dy/dt at t = first, first + step, ... to each action's mass."""
    first, step, nodes = grid
    actions, half_unit = offset.size, 0.5 * unit
    block = max(_LANES, min(_BLOCK, _CELLS // actions // _LANES * _LANES))
    for start in range(0, nodes, block):
        size = min(block, nodes - start)
        distance, product, ratio = room[:size], room[size : 2 * size], room[2 * size :]
        growth, decay = math.exp(first + start * step), math.exp(-first - start * step)
        faster, slower = math.exp(step), math.exp(-step)
        for j in range(size):
            distance[j] = half_unit * (growth - decay)
            product[j] = half_unit * (growth + decay)
            growth *= faster
            decay *= slower
        for i in range(actions):
            _multiply(distance, scale[i], offset[i], ratio[i * size : (i + 1) * size], product)
        for i in range(actions):
            mass[i] += _dot(ratio[i * size : (i + 1) * size], product)


@inlined
def _integrate(width: float, unit: float, offset: Any, scale: Any, mass: Any, room: Any) -> float:
    """Fill ``mass`` with each action's share; give what it is to be multiplied by to sum to 1."""
    actions = offset.size
    extent = math.asinh(width / unit)
    nodes = _LANES * math.ceil(min(extent / _STEP, _MOST_NODES) / _LANES)
    step = extent / nodes
    mass[:actions] = 0.0
    _add_nodes((0.0, step, nodes), unit, offset, scale, mass, room)
    while True:
        total = 0.0
        for i in range(actions):
            total += mass[i] * scale[i]
        error = abs(total * step * _DENSITY_SCALE - 1.0)
        if error <= _TOLERANCE or nodes >= _MOST_NODES:
            break
        _add_nodes((0.5 * step, step, nodes), unit, offset, scale, mass, room)
        nodes *= 2
        step *= 0.5
    for i in range(actions):
        mass[i] *= scale[i]
    return 1.0 / total


@inlined
def _gather(
    mean: Any, deviation: Any, eligible: Any, row: int, place: Any, offset: Any, scale: Any
) -> tuple[int, float, float]:
    """Collect the eligible actions as (y - L) scale - offset; give window and narrowest width.

    The window is infinite where a number is not finite.
    """
    count, low = 0, -np.inf
    for action in range(mean.shape[1]):
        centre, spread = mean[row, action], deviation[row, action]
        if not (abs(centre) < np.inf and abs(spread) < np.inf):
            return 0, np.inf, 0.0
        if eligible.size == 0 or eligible[row, action]:
            spread = max(spread, _LEAST_WIDTH * (1.0 + abs(centre)))
            place[count], offset[count], scale[count] = action, centre, spread
            count += 1
            low = max(low, centre - _BELOW * spread)
    if count == 0:
        return 0, 0.0, 0.0
    high, narrowest = low, np.inf
    for i in range(count):
        top = offset[i] + _ABOVE * scale[i]
        high = max(high, top)
        if top >= low:
            narrowest = min(narrowest, scale[i])
    for i in range(count):
        scale[i] = 1.0 / scale[i]
        offset[i] = (offset[i] - low) * scale[i]
    return count, high - low, narrowest


@kernel(
    "boolean(Array(float64, 2, 'A', readonly=True), Array(float64, 2, 'A', readonly=True),"
    "Array(boolean, 2, 'A', readonly=True), float64[:, ::1])"
)
def gaussian_maximum(mean: Any, deviation: Any, eligible: Any, p: Any) -> bool:
    """Fill ``p`` with the probability that each draw N(mean, deviation²) is its row's largest.

    A row's result depends on that row's eligible actions alone, to the last bit.

    Parameters
    ----------
    mean, deviation : arrays [n, K]
    eligible : array [n, K] of bool
        The actions that take part; the others get 0. Without elements: all do.
    p : array [n, K], contiguous
        Rows sum to 1, or to 0 where nothing is eligible. Partly filled where False is returned.

    Returns
    -------
    bool
        Whether all numbers are finite, and small enough to compute with.
    """
    if deviation.shape != mean.shape or p.shape != mean.shape:
        raise ValueError("mean, deviation and p differ in shape")
    if eligible.size > 0 and eligible.shape != mean.shape:
        raise ValueError("the mask's shape is not that of mean")
    n, k = mean.shape
    place = np.empty(k, np.int64)
    numbers = np.empty(3 * k + 2 * _BLOCK + max(_LANES * k, _CELLS))
    offset, scale, mass = numbers[:k], numbers[k : 2 * k], numbers[2 * k : 3 * k]
    room = numbers[3 * k :]
    for row in range(n):
        count, width, narrowest = _gather(mean, deviation, eligible, row, place, offset, scale)
        if not width < np.inf:
            return False
        p[row] = 0.0
        if count == 1:
            p[row, place[0]] = 1.0
        elif count > 1:
            unit = _GRADE * narrowest
            factor = _integrate(width, unit, offset[:count], scale[:count], mass, room)
            if not factor < np.inf:
                return False
            for i in range(count):
                p[row, place[i]] = mass[i] * factor
    return True
