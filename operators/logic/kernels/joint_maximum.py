"""The chance that each of some correlated normal draws is the largest, a decision at a time.

The scores of a decision are s_i = m_i + F_i z + √o_i e_i, with z and e standard normal. P(s_i is
the largest) is an integral over all of them. It is taken by quasi-Monte-Carlo over points (z, e),
but for one direction, that of i's own advance: along the line through a point in the direction
u_i = (F_i - what its rivals' F are like, √o_i e_i) all scores are linear, "i is the largest" is an
interval, and its probability is Φ(upper end) - Φ(lower end). So nothing is counted, and who is
seldom the best gets its small probability: conditional Monte Carlo (Asmussen and Glynn, Stochastic
Simulation, 2007, V.4), as one variable is integrated exactly in Genz and Bretz (Computation of
Multivariate Normal and t Probabilities, 2009, section 4.1), with a variable of its own for each i.
"""

import math
from typing import Any

import numpy as np

from operators.logic.kernels.compiling import inlined, kernel

_FLAT = 1e-10
_STEEP = 1e150
"""An advance below _FLAT along a line is none: who is ahead stays so, as if slopes were steep."""

_UNSEEN = 1e-6
_LEAST = 1e-12
"""What candidates that no point finds the best get together, within their bounds, and the least of
them: none has exactly 0."""

_TOLERANCE = 0.02
"""Independent points that would leave this total variation are enough; these leave less."""

_SETTLED = 2e-3
"""What candidates may have together, by the points so far, that are not looked at further."""

_MEAN_ABSOLUTE = 0.5 * math.sqrt(2.0 / math.pi)
"""Half of E|z|."""

_SATURATED = 13.0
_E0, _E1, _E2, _E3 = (
    0.9999999999999075,
    -0.9999999999641822,
    0.4999999977194508,
    -0.1666666112597322,
)
_E4, _E5, _E6 = 0.0416660042268893, -0.008329018449278277, 0.0013732230888421194
_E7 = -0.00016835266411602474
_MILLS_SCALE = 0.26
_M0, _M1, _M2 = -7.012313603060871e-06, 0.10390385788654752, 0.1017365782153814
_M3, _M4, _M5 = 0.10938967826681847, 0.031456955955548135, 0.19967890763191165
_M6, _M7, _M8 = -0.20031028406215745, 0.29062345970568915, -0.17037233464570503
_M9 = 0.033900196059584824
"""Φ by the polynomials of gaussian_maximum.py: its lower tail to 5.4e-9."""


@inlined
def _sign(key: Any, coordinate: Any) -> float:
    """Give -1 or 1 by a hash of key and coordinate (SplitMix64, Steele, Lea and Flood 2014)."""
    x = key + (np.uint64(coordinate) + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return 1.0 if (x >> np.uint64(63)) == np.uint64(0) else -1.0


@inlined
def _add(total: Any, row: int, values: Any, first: int, scales: Any) -> None:
    """Add multiples of four rows: a loop of its own, as LLVM vectorises it."""
    a, b = scales[row, first], scales[row, first + 1]
    c, d = scales[row, first + 2], scales[row, first + 3]
    for j in range(total.shape[1]):
        total[row, j] += (a * values[first, j] + b * values[first + 1, j]) + (
            c * values[first + 2, j] + d * values[first + 3, j]
        )


@inlined
def _add_one(total: Any, row: int, values: Any, other: int, scale: float) -> None:
    for j in range(total.shape[1]):
        total[row, j] += scale * values[other, j]


@inlined
def _raise(low: Any, score: Any, i: int, rivals: Any, place: int, slope: Any) -> None:
    """Raise the lower ends to where i has passed four more rivals."""
    j, k, m, n = rivals[i, place], rivals[i, place + 1], rivals[i, place + 2], rivals[i, place + 3]
    a, b, c, d = slope[i, j], slope[i, k], slope[i, m], slope[i, n]
    for lane in range(low.size):
        at = score[i, lane]
        first, second = (score[j, lane] - at) * a, (score[k, lane] - at) * b
        third, fourth = (score[m, lane] - at) * c, (score[n, lane] - at) * d
        first = first if first > second else second
        third = third if third > fourth else fourth
        first = first if first > third else third
        low[lane] = first if first > low[lane] else low[lane]


@inlined
def _lower(high: Any, score: Any, i: int, j: int, steep: float) -> None:
    """Lower the upper ends to where a rival passes i."""
    for lane in range(high.size):
        end = (score[j, lane] - score[i, lane]) * steep
        high[lane] = end if end < high[lane] else high[lane]


@inlined
def _shift(
    shift: Any, pull: Any, i: int, own_pull: Any, along: float, against: float, alone: float
) -> None:
    """Write how far along its direction each point lies."""
    for lane in range(shift.size):
        shift[lane] = along * pull[i, lane] - against * pull[-1, lane] + alone * own_pull[lane]


@inlined
def _tails(end: Any, shift: Any, result: Any) -> None:
    """Write 1 - Φ(end + shift), to another array: else it is not vectorised."""
    for j in range(end.size):
        z = min(max(end[j] + shift[j], -_SATURATED), _SATURATED)
        v = z * z * (1.0 / 512.0)
        x = _E3 + v * (_E4 + v * (_E5 + v * (_E6 + v * _E7)))
        x = _E0 + v * (_E1 + v * (_E2 + v * x))
        for _ in range(8):
            x *= x
        t = 1.0 / (1.0 + _MILLS_SCALE * abs(z))
        tail = _M5 + t * (_M6 + t * (_M7 + t * (_M8 + t * _M9)))
        tail = x * (_M0 + t * (_M1 + t * (_M2 + t * (_M3 + t * (_M4 + t * tail)))))
        result[j] = tail if z > 0.0 else 1.0 - tail


@inlined
def _between(beyond_low: Any, beyond_high: Any) -> tuple[float, float]:
    """Sum the intervals' probabilities, and their squares; an interval may be empty."""
    total, squares = 0.0, 0.0
    for j in range(beyond_low.size):
        inside = max(beyond_low[j] - beyond_high[j], 0.0)
        total += inside
        squares += inside * inside
    return total, squares


@inlined
def _uncertainty(mass: Any, squares: Any, count: int) -> float:
    """Estimate the total variation that as many independent points would leave: half Σ E|error|."""
    total, deviations = 0.0, 0.0
    for i in range(mass.size):
        total += mass[i]
        deviations += math.sqrt(max(squares[i] - mass[i] * mass[i] / count, 0.0))
    return _MEAN_ABSOLUTE * deviations / total if total > 0.0 else np.inf


@inlined
def _directions(factor: Any, own: Any, weight: Any, slope: Any, scale: Any) -> None:
    """Write for each one 1 / how fast it gains on each rival, and 1 / its direction's length.

    The factor's last row becomes the weighted sum of the others.
    """
    count, columns = weight.size, factor.shape[1]
    across, centre = np.empty((columns, count)), factor[count]
    all_weight = weight.sum()
    centre[:] = 0.0
    for i in range(count):
        for c in range(columns):
            across[c, i] = factor[i, c]
            centre[c] += weight[i] * factor[i, c]
    directions = np.empty((count, columns))
    for i in range(count):
        others, length = 1.0 / (all_weight - weight[i]), own[i]
        for c in range(columns):
            direction = factor[i, c] - (centre[c] - weight[i] * factor[i, c]) * others
            directions[i, c] = direction
            length += direction * direction
        scale[i] = 1.0 / math.sqrt(length) if length > _FLAT * _FLAT else 0.0
        slope[i, :] = 0.0
        for c in range(0, columns - 3, 4):
            _add(slope, i, across, c, directions)
        for c in range(columns // 4 * 4, columns):
            _add_one(slope, i, across, c, directions[i, c])
        reference = slope[i, i] + own[i]
        for j in range(count):
            gain = (reference - slope[i, j]) * scale[i]
            slope[i, j] = 1.0 / gain if abs(gain) > _FLAT else _STEEP


@inlined
def _order(slope: Any, active: Any, rivals: Any, behind: Any) -> None:
    """List the rivals of each that fall back along its line, in fours, then those that gain."""
    for i in active:
        front, back = 0, rivals.shape[1] - 1
        for j in active:
            if j != i and slope[i, j] > 0.0:
                rivals[i, front] = j
                front += 1
            elif j != i:
                rivals[i, back] = j
                back -= 1
        while front > 0 and front % 4 != 0:
            rivals[i, front] = rivals[i, front - 1]
            front += 1
        behind[i, 0], behind[i, 1] = front, back + 1


@inlined
def _integrate(
    level: Any, factor: Any, root: Any, row: Any, points: Any, weight: Any, mass: Any
) -> None:
    """Add to each one's mass its probabilities along the lines through points, while it pays."""
    count, columns = weight.size, factor.shape[1]
    lanes = points.shape[2]
    slope, scale = np.empty((count, count)), np.empty(count)
    _directions(factor, root * root, weight, slope, scale)
    rivals, behind = np.empty((count, count + 3), np.int64), np.empty((count, 2), np.int64)
    active, frozen = np.arange(count), np.ones(count)
    _order(slope, active, rivals, behind)
    score, pull = np.empty((count, lanes)), np.empty((count + 1, lanes))
    shift, low, high, none = np.empty(lanes), np.empty(lanes), np.empty(lanes), np.zeros(lanes)
    beyond_low, beyond_high = np.empty(lanes), np.empty(lanes)
    all_weight, squares, taken = weight.sum(), np.zeros(count), 0
    for number in range(points.shape[0]):
        # After 1, 2, 4 ... blocks the points are a net.
        whole = number > 0 and number & (number - 1) == 0
        if whole and _uncertainty(mass, squares, number * lanes) <= _TOLERANCE:
            break
        if whole:
            # Who has next to nothing keeps what it has, and is nobody's rival any more.
            share = _SETTLED / count * mass[active].sum()
            frozen[active] = 1.0 / number
            active = active[mass[active] > share]
            _order(slope, active, rivals, behind)
        block = points[number]
        pull[:] = 0.0
        for c in range(columns):
            _add_one(pull, count, block, c, factor[count, c])
        for i in active:
            for c in range(0, columns - 3, 4):
                _add(pull, i, block, c, factor)
            for c in range(columns // 4 * 4, columns):
                _add_one(pull, i, block, c, factor[i, c])
            for lane in range(lanes):
                score[i, lane] = level[i] + pull[i, lane]
            if root[i] != 0.0:
                _add_one(score, i, block, row[i], root[i])
        for i in active:
            against = scale[i] / (all_weight - weight[i])
            along = scale[i] + against * weight[i]
            _shift(shift, pull, i, block[row[i]], along, against, scale[i] * root[i])
            low[:] = -np.inf
            for place in range(0, behind[i, 0], 4):
                _raise(low, score, i, rivals, place, slope)
            _tails(low, shift, beyond_low)
            if behind[i, 1] == rivals.shape[1]:
                inside = _between(beyond_low, none)
                mass[i] += inside[0]
                squares[i] += inside[1]
                continue
            high[:] = np.inf
            for place in range(behind[i, 1], rivals.shape[1]):
                _lower(high, score, i, rivals[i, place], slope[i, rivals[i, place]])
            _tails(high, shift, beyond_high)
            inside = _between(beyond_low, beyond_high)
            mass[i] += inside[0]
            squares[i] += inside[1]
        taken = number + 1
    frozen[active] = 1.0 / taken
    for i in range(count):
        mass[i] *= frozen[i]


@inlined
def _pair(level: Any, factor: Any, own: Any, mass: Any) -> None:
    """Write the probabilities of two, which need no points."""
    variance = own[0] + own[1]
    for c in range(factor.shape[1]):
        variance += (factor[0, c] - factor[1, c]) ** 2
    ahead = level[0] - level[1]
    if variance > 0.0:
        mass[0] = 0.5 * math.erfc(-ahead / math.sqrt(2.0 * variance))
    else:
        mass[0] = 0.5 if ahead == 0.0 else (1.0 if ahead > 0.0 else 0.0)
    mass[1] = 1.0 - mass[0]


@inlined
def _settle(mass: Any, taking: Any, bound: Any, group: Any, p: Any) -> None:
    """Turn masses into probabilities: alike candidates get the same, and none exactly 0."""
    kept, total = 0, 0.0
    for i in range(taking.size):
        total += mass[i]
    for i in range(p.size):
        p[i] = max(bound[i], _LEAST) if bound[i] >= 0.0 else 0.0
        kept += bound[i] >= 0.0
    for i in range(taking.size):
        p[taking[i]] = mass[i] / total if total > 0.0 else 1.0 / taking.size
    sums, sizes, limits = np.zeros(p.size), np.zeros(p.size), np.zeros(p.size)
    for i in range(p.size):
        if bound[i] >= 0.0:
            sums[group[i]] += p[i]
            sizes[group[i]] += 1.0
            limits[group[i]] = max(limits[group[i]], bound[i])
    total = 0.0
    for i in range(p.size):
        if bound[i] >= 0.0:
            least = max(min(limits[group[i]], _UNSEEN / kept), _LEAST)
            p[i] = max(sums[group[i]] / sizes[group[i]], least)
            total += p[i]
    for i in range(p.size):
        if bound[i] >= 0.0:
            p[i] /= total


@kernel(
    "void(float64[::1], float64[:, ::1], float64[::1], float64[::1], int64[::1], int64[::1],"
    "int64[::1], int64[::1], Array(uint64, 1, 'C', readonly=True),"
    "Array(float64, 3, 'C', readonly=True), Array(int64, 2, 'C', readonly=True), float64[::1])"
)
def joint_maximum(
    level: Any,
    factor: Any,
    own: Any,
    bound: Any,
    group: Any,
    place: Any,
    rank: Any,
    indptr: Any,
    keys: Any,
    points: Any,
    effort: Any,
    p: Any,
) -> None:
    """Fill ``p`` with the probability that each score is its decision's largest.

    A decision's result depends on its own rows and key alone, to the last bit.

    Parameters
    ----------
    level, factor, own, bound, group, place, rank
        What ``contenders`` writes of the decisions.
    indptr : array [n + 1]
        The candidates of decision d are rows ``indptr[d]:indptr[d + 1]``.
    keys : array [n]
        Each reflects the points in a way of its own.
    points : array [B, D, lanes]
        Standard normal points in blocks that are worked on at once, a column each. D is at least
        the less of r and twice the candidates, and as many more as there are if any has ``own``.
    effort : array [m, 2]
        Up to how many contenders how many blocks are taken at most, rising; the last one goes
        for more.
    p : array [T]
        Sums to 1 for each decision, or to 0 where no candidate remains.
    """
    for d in range(indptr.size - 1):
        first, last = indptr[d], indptr[d + 1]
        taking = place[first:last]
        count = 0
        while count < taking.size and taking[count] >= 0:
            count += 1
        taking, mass = taking[:count], np.zeros(count)
        mean, weight, row = level[first : first + count], np.empty(count), np.zeros(count, np.int64)
        root, spread = np.empty(count), np.empty((count + 1, rank[d]))
        for i in range(count):
            weight[i] = bound[first + taking[i]]
            root[i] = math.sqrt(own[first + i])
            if root[i] > 0.0:
                row[i] = min(factor.shape[1], 2 * (last - first)) + taking[i]
                root[i] *= _sign(keys[d], row[i])
            for c in range(rank[d]):
                spread[i, c] = factor[first + i, c] * _sign(keys[d], c)
        if count == 1:
            mass[0] = 1.0
        elif count == 2:
            _pair(mean, spread, root * root, mass)
        elif count > 2:
            number = effort[-1, 1]
            for step in range(effort.shape[0] - 1, -1, -1):
                if count <= effort[step, 0]:
                    number = effort[step, 1]
            _integrate(mean, spread, root, row, points[:number], weight, mass)
        _settle(mass, taking, bound[first:last], group[first:last], p[first:last])
