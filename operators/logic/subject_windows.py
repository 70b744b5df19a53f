"""Names that tell which decisions are one visitor's within one window of a slot, and no more.

A decision names no subject without consent, and still one visitor may not decide alone what a slot
learns. So it bears a keyed hash of the visitor, the slot and the window: who does not know the
secret learns from it neither the visitor nor which names of two windows or slots belong together.
"""

from collections.abc import Sequence
from hashlib import blake2b
from math import lcm
from struct import unpack
from typing import Final

from schemas.catalog import Slot

_PERSON: Final = b"subject window"
_BYTES: Final = 4
_HOUR: Final = 3_600_000_000

UNREADABLE: Final = -1
"""Stands for what is no such name."""


def name_span(slot: Slot) -> int | None:
    """Say for how many microseconds a visitor of a slot bears one name; None if none is needed.

    It is a whole number of the limit's windows, and holds at least one of those that robots are
    known by, which are no longer than the reward window. It is a whole number of them, too, where
    that makes it no longer than an hour or twice the longer window.

    >>> from msgspec.structs import replace
    >>> from schemas.catalog import RobotRate, SubjectLimit
    >>> from schemas.clock import moment
    >>> slot = Slot(id="1", time=moment(0), slot_id="home")
    >>> name_span(slot)
    3600000000
    >>> robots, limit = RobotRate(window=60.0), SubjectLimit(window=90.0)
    >>> name_span(replace(slot, subject_limit=limit, robot_rate=robots)) // 1_000_000
    180
    """
    limit, robots = slot.subject_limit, slot.robot_rate
    window = max(round(min(robots.window, slot.reward_window) * 1e6), 1)
    if not limit.enabled:
        return window if robots.enabled else None
    limited = round(limit.window * 1e6)
    if not robots.enabled:
        return limited
    common = lcm(limited, window)
    if common <= max(_HOUR, 2 * limited, 2 * window):
        return common
    return -(-window // limited) * limited


def subject_windows(
    secret: bytes,
    slot: Slot,
    subjects: Sequence[str],
    times: Sequence[int],
    personal: Sequence[bool],
) -> list[str] | None:
    """Name the visitor and the window of each decision; None where the slot limits nothing.

    ``subjects`` are pseudonyms, ``times`` those of the decisions in microseconds since 1970. What
    is ``personal`` names its subject, with consent: the same visitor has another name without, so
    that nobody is told by decisions from before the consent, or after.

    >>> from schemas.clock import moment
    >>> slot = Slot(id="1", time=moment(0), slot_id="home")
    >>> first, same, named, later, other = subject_windows(
    ...     b"secret",
    ...     slot,
    ...     ["ann", "ann", "ann", "ann", "bob"],
    ...     [0, 1, 2, 3_600_000_000, 1],
    ...     [False, False, True, False, False],
    ... )
    >>> first == same, len({first, named, later, other})
    (True, 4)
    """
    length = name_span(slot)
    if length is None:
        return None
    key = secret if len(secret) <= 64 else blake2b(secret).digest()
    slot_id = slot.slot_id.encode("utf-8", "surrogatepass")
    common = b"%d:%b%d:" % (len(slot_id), slot_id, length)
    hashes: dict[tuple[int, bool], blake2b] = {}
    digests = []
    for subject, at, named in zip(subjects, times, personal, strict=True):
        window = (at // length, named)
        if window not in hashes:
            # A key of the window's own, so that a name costs one block and not two.
            of_window = blake2b(common + b"%d:%d" % window, key=key, person=_PERSON, digest_size=32)
            hashes[window] = blake2b(of_window.digest(), digest_size=_BYTES)
        stream = hashes[window].copy()
        stream.update(subject.encode())
        digests.append(stream.digest())
    text = b"".join(digests).hex()
    return [text[start : start + 2 * _BYTES] for start in range(0, len(text), 2 * _BYTES)]


def read_subject_windows(names: Sequence[str | None]) -> Sequence[int]:
    """Read many names as numbers above 0; 0 stands for none, ``UNREADABLE`` for what is no name.

    >>> read_subject_windows(["0000000a", None, "00000000", "surely not"])
    [10, 0, 1, -1]
    >>> read_subject_windows(["0000000a", None]), read_subject_windows(["0000000a"])
    ([10, 0], (10,))
    """
    named = [name for name in names if name is not None]
    try:
        digits = bytes.fromhex("".join(named))
    except ValueError:
        digits = b""
    if len(digits) != _BYTES * len(named) or not set(map(len, named)) <= {2 * _BYTES}:
        return [_number(name) for name in names]
    numbers = unpack(f">{len(named)}I", digits)
    if len(named) == len(names) and 0 not in numbers:
        return numbers
    each = iter(numbers)
    return [0 if name is None else next(each) or 1 for name in names]


def _number(name: str | None) -> int:
    if name is None:
        return 0
    try:
        digits = bytes.fromhex(name)
    except ValueError:
        return UNREADABLE
    return UNREADABLE if len(digits) != _BYTES else int.from_bytes(digits, "big") or 1
