"""Reads numbers on the command line; a wrong one is refused before anything starts."""

import argparse
import math


def positive(text: str) -> float:
    """Read a finite number above 0.

    >>> positive("0.5")
    0.5
    """
    number = _number(text)
    if not 0.0 < number < math.inf:
        raise argparse.ArgumentTypeError(f"{text} is not a number above 0")
    return number


def share(text: str) -> float:
    """Read a number from 0 to 1."""
    number = _number(text)
    if not 0.0 <= number <= 1.0:
        raise argparse.ArgumentTypeError(f"{text} is not a number from 0 to 1")
    return number


def count(text: str) -> int:
    """Read a whole number from 1 on.

    >>> count("2")
    2
    """
    number = _number(text)
    if not (number >= 1.0 and number == int(number)):
        raise argparse.ArgumentTypeError(f"{text} is not a whole number from 1 on")
    return int(number)


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number") from None
