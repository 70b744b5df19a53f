"""The one rule that says what a visitor's consent to some purposes allows.

Purposes are those of the IAB Europe Transparency and Consent Framework, version 2.2, by number.
"""

from collections.abc import Iterable
from enum import IntEnum


class Purpose(IntEnum):
    """The purposes that concern the choice of content; those of advertising are left out."""

    STORE_ON_DEVICE = 1
    CREATE_PROFILE = 5
    USE_PROFILE = 6
    MEASURE_CONTENT = 8
    IMPROVE_SERVICES = 10
    SELECT_BY_CONTEXT = 11


_PROFILE = frozenset({Purpose.CREATE_PROFILE, Purpose.USE_PROFILE})


def allows_profile(purposes: Iterable[int]) -> bool:
    """Tell whether the purposes allow to remember a visitor, to decide by it and to learn from it.

    A consent without it withdraws every earlier one that had it.

    >>> allows_profile([1, 5, 6]), allows_profile([1, 5, 8, 10, 11]), allows_profile([])
    (True, False, False)
    """
    return _PROFILE.issubset(purposes)
