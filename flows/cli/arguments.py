"""Reads numbers and times on the command line; wrong ones are refused before anything starts."""

import argparse
import math
from collections.abc import Collection
from datetime import datetime

from schemas.clock import in_calendar


class OptionError(ValueError):
    """Options do not go together; the message names one that would do nothing."""


_LONGEST = 18
"""Digits of a whole number; more are a slip."""


def refuse_idle(options: argparse.Namespace, names: Collection[str], because: str) -> None:
    """Raise :class:`OptionError` where one of these options was given, which does nothing.

    An option that was not given is None or False.

    >>> refuse_idle(argparse.Namespace(logs="logs"), ["logs"], "without --processes")
    Traceback (most recent call last):
    flows.cli.arguments.OptionError: --logs has no effect without --processes
    """
    for name in names:
        if getattr(options, name) not in (None, False):
            raise OptionError(f"--{name.replace('_', '-')} has no effect {because}")


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
    if not (1.0 <= number < 10.0**_LONGEST and number == int(number)):
        raise argparse.ArgumentTypeError(f"{text} is not a whole number from 1 on")
    return int(number)


def natural(text: str) -> int:
    """Read a whole number from 0 on, such as a seed."""
    if not (text.isascii() and text.isdigit() and len(text) <= _LONGEST):
        raise argparse.ArgumentTypeError(f"{text} is not a whole number from 0 on")
    return int(text)


def time(text: str) -> datetime:
    """Read a time with its zone.

    >>> time("2026-11-27T12:00:00Z").isoformat()
    '2026-11-27T12:00:00+00:00'
    """
    try:
        read = datetime.fromisoformat(text)
    except ValueError:
        read = datetime.min
    if read.tzinfo is None or not in_calendar(read):
        raise argparse.ArgumentTypeError(
            f"{text!r} is no time with a zone, such as 2026-11-27T12:00:00Z"
        )
    return read


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number") from None
