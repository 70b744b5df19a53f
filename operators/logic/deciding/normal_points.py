"""Standard normal points for quasi-Monte-Carlo: Sobol's sequence, scrambled once and for all.

The direction numbers are those of Joe and Kuo (Constructing Sobol sequences with better
two-dimensional projections, SIAM J. Sci. Comput. 30, 2008), the scrambling Owen's (Randomly
permuted (t,m,s)-nets, 1995) by a hash (Burley, Practical hash-based Owen scrambling, JCGT 9, 2020).
Beyond their 64 dimensions the same net is taken again, scrambled and run through otherwise (Owen,
Latin supercube sampling, 1998). The scrambled integers are the same on any machine, and nothing of
a request enters, so the points are independent of whatever draws the action.
"""

from functools import cache

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

Bits = NDArray[np.uint32]

DIMENSIONS = 64
"""Dimensions of one net."""

LANES = 64
BLOCKS = 16
"""Points come in this many blocks of this many; the first 1, 2, 4 ... of them are nets too."""

_NUMBERS = """
3:1 7:1,3 11:1,3,1 13:1,1,1 19:1,1,3,3 25:1,3,5,13 37:1,1,5,5,17 41:1,1,5,5,5 47:1,1,7,11,19
55:1,1,5,1,1 59:1,1,1,3,11 61:1,3,5,5,31 67:1,3,3,9,7,49 91:1,1,1,15,21,21 97:1,3,1,13,27,49
103:1,1,1,15,7,5 109:1,3,1,15,13,25 115:1,1,5,5,19,61 131:1,3,7,11,23,15,103 137:1,3,7,13,13,15,69
143:1,1,3,13,7,35,63 145:1,3,5,9,1,25,53 157:1,3,1,13,9,35,107 167:1,3,1,5,27,61,31
171:1,1,5,11,19,41,61 185:1,3,5,3,3,13,69 191:1,1,7,13,1,19,1 193:1,3,7,5,13,19,59
203:1,1,3,9,25,29,41 211:1,3,5,13,23,1,55 213:1,3,7,3,13,59,17 229:1,3,1,3,5,53,69
239:1,1,5,5,23,33,13 241:1,1,7,7,1,61,123 247:1,1,7,9,13,61,49 253:1,3,3,5,3,55,33
285:1,3,1,15,31,13,49,245 299:1,3,5,15,31,59,63,97 301:1,3,1,11,11,11,77,249
333:1,3,1,11,27,43,71,9 351:1,1,7,15,21,11,81,45 355:1,3,7,3,25,31,65,79 357:1,3,1,1,19,11,3,205
361:1,1,5,9,19,21,29,157 369:1,3,7,11,1,33,89,185 391:1,3,3,3,15,9,79,71 397:1,3,7,11,15,39,119,27
425:1,1,3,1,11,31,97,225 451:1,1,1,3,23,43,57,177 463:1,3,7,7,17,17,37,71
487:1,3,1,5,27,63,123,213 501:1,1,3,5,11,43,53,133 529:1,3,5,5,29,17,47,173,479
539:1,3,3,11,3,1,109,9,69 545:1,1,1,5,17,39,23,5,343 557:1,3,1,5,25,15,31,103,499
563:1,1,1,11,11,17,63,105,183 601:1,1,5,11,9,29,97,231,363 607:1,1,5,15,19,45,41,7,383
617:1,3,7,7,31,19,83,137,221 623:1,1,1,3,23,15,111,223,83 631:1,1,5,13,31,15,55,25,161
637:1,1,3,13,25,47,39,87,257
"""
"""Of each dimension after the first: its primitive polynomial and its first direction numbers."""


def normal_points(dimensions: int) -> NDArray[np.float64]:
    """Give points whose coordinates are independent standard normals, as evenly as may be.

    Returns
    -------
    array [BLOCKS, D, LANES], read-only
        A column for each point; D is at least ``dimensions``.

    Examples
    --------
    >>> points = normal_points(3)
    >>> points.shape, bool(abs(points.mean()) < 1e-3)
    ((16, 64, 64), True)
    """
    return _blocks(max(1, -(-dimensions // DIMENSIONS)))


@cache
def _blocks(nets: int) -> NDArray[np.float64]:
    net = sobol_bits()
    every = np.arange(net.shape[1], dtype=np.uint32)
    unused = np.uint32(33 - net.shape[1].bit_length())
    scrambled = np.empty((nets, *net.shape), np.uint32)
    for copy in range(nets):
        seeds = _seeds(copy)
        # Nested in the number of the point: every net among the first points stays one.
        order = (_scramble(every << unused, seeds[-1]) >> unused) if copy else every
        for dimension in range(DIMENSIONS):
            scrambled[copy, dimension] = _scramble(net[dimension, order], seeds[dimension])
    normal = ndtri((scrambled + 0.5) * 2.0**-32).reshape(nets * DIMENSIONS, BLOCKS, LANES)
    result = np.ascontiguousarray(normal.transpose(1, 0, 2))
    result.setflags(write=False)
    return result


def sobol_bits() -> Bits:
    """Give the unscrambled sequence as integers, in parts of 2**32: array [DIMENSIONS, points]."""
    count = BLOCKS * LANES
    width = count.bit_length() - 1
    point = np.arange(count, dtype=np.uint32)
    # Gray code: neighbours differ in one digit, and every first 2**m points are the same set.
    gray = point ^ (point >> np.uint32(1))
    result = np.zeros((DIMENSIONS, count), np.uint32)
    for dimension, numbers in enumerate(_direction_numbers(width)):
        for digit, number in enumerate(numbers):
            direction = np.uint32(number << (31 - digit))
            result[dimension] ^= direction * ((gray >> np.uint32(digit)) & np.uint32(1))
    return result


def _direction_numbers(width: int) -> list[list[int]]:
    """Give m_1 ... m_width of each dimension by the recurrence (Joe and Kuo, equation 2)."""
    result = [[1] * width]
    for entry in _NUMBERS.split():
        polynomial, first = entry.split(":")
        coefficients = int(polynomial)
        degree = coefficients.bit_length() - 1
        numbers = [int(number) for number in first.split(",")]
        while len(numbers) < width:
            new = numbers[-degree] ^ (numbers[-degree] << degree)
            for k in range(1, degree):
                if coefficients >> (degree - k) & 1:
                    new ^= numbers[-k] << k
            numbers.append(new)
        result.append(numbers[:width])
    return result


def _scramble(bits: Bits, seed: int) -> Bits:
    """Permute each digit by a hash of those before it."""
    x = _reversed(bits) + np.uint32(seed)
    for factor in (0x6C50B47C, 0xB82F1E52, 0xC7AFE638, 0x8D22F6E6):
        x = x ^ (x * np.uint32(factor))
    return _reversed(x)


def _reversed(bits: Bits) -> Bits:
    x = bits
    for shift, mask in ((1, 0x55555555), (2, 0x33333333), (4, 0x0F0F0F0F), (8, 0x00FF00FF)):
        step, half = np.uint32(shift), np.uint32(mask)
        x = ((x >> step) & half) | ((x & half) << step)
    return (x >> np.uint32(16)) | (x << np.uint32(16))


def _seeds(copy: int) -> list[int]:
    """Give a seed for each dimension of a copy and one for its order (SplitMix64)."""
    seeds = []
    for counter in range(copy * (DIMENSIONS + 1), (copy + 1) * (DIMENSIONS + 1)):
        x = (counter + 1) * 0x9E3779B97F4A7C15 % 2**64
        x = (x ^ x >> 30) * 0xBF58476D1CE4E5B9 % 2**64
        x = (x ^ x >> 27) * 0x94D049BB133111EB % 2**64
        seeds.append((x ^ x >> 31) & 0xFFFFFFFF)
    return seeds
